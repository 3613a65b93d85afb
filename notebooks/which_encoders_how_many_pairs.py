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
# # Which encoders, how many pairs?
#
# Before an adapter is trained there are two questions. **Which network, which layer of it, which
# pooling?** And: **would more pairs help, or are the encoders the limit?** Both can be answered
# from the pairs at hand.
#
# The pairs here are emoji: what a caption says, and the picture. The encoders come with `pip
# install 'isthmus[encoders,report]'`, so that this notebook runs offline.

# %%
import align

train, rest = align.emoji_pairs().split(test=0.84, seed=0)
test, _ = rest.split(test=0.7, seed=0)
store = align.EmbeddingStore("~/.cache/isthmus/store")
train, test

# %% [markdown]
# `train` is what we pretend to have labelled so far. `test` is looked at once, to see whether the
# answers hold.
#
# ## Which encoders?
#
# `align.scout` compares the networks that are named, and other layers and poolings of each, by
# cross-validation on `train` alone. Each network sees an item once. (It would also look for a
# second encoder to stand beside the best; `most_parts=1` leaves that out here.)

# %%
scouting = align.scout(
    train,
    sources=["text:minilm"],
    targets=["image:efficientnet-lite0"],
    most_parts=1,
    store=store,
    progress=False,
)
scouting

# %% [markdown]
# Three things to read here:
#
# - **Within the noise.** Some candidates cannot be told from the best on so few pairs. The interval
#   of what each is behind is widened for the number of candidates, since one of many comes out
#   ahead by luck.
# - **kNN** is the share of nearest neighbours on which both sides agree, without any map. Of many
#   layers one always looks related, so zero is what the *luckiest of all candidates* reaches when
#   pairs are shuffled.
# - **Cost.** All of these come from one network a side, so they cost the same. Name several
#   networks, and the figure below shows what a better score is paid with.

# %%
scouting.plot()

# %% [markdown]
# `best` has the highest score; `cheapest` the fewest dimensions of those that cannot be told from
# it, and of equals one that was named. Both hold encoders that are ready to use.

# %%
print("best:    ", *scouting.best.specs)
print("cheapest:", *scouting.cheapest.specs)

# %% [markdown]
# ## Does the choice hold?
#
# The same pairs through the encoders as they were named and through the best, each with an adapter
# of its own, on pairs that none of this has seen:

# %%
named = next(pair for pair in scouting.pairs if pair.as_named)
choices = {"as named": named, "best": scouting.best}
systems = {}
for name, pair in choices.items():
    encoded = [
        each.encode(pair.source, pair.target, store=store, progress=False) for each in (train, test)
    ]
    systems[name] = encoded[1], align.fit(encoded[0], effort="fast", progress=False)
align.compare(systems)

# %% [markdown]
# Scout could not tell these two apart, and it was right not to: what it put first by a little is
# no better on other pairs, if anything a little worse. A lead within the noise is luck, and the
# best of many looks better than it is. Among equals take what is plainest or cheapest.
#
# ## How many pairs?
#
# `align.learning_curve` fits on growing parts of the pairs, judges each in galleries of one size,
# and says what twice and four times as many would bring, with an interval that is made for
# predictions.

# %%
chosen = scouting.cheapest
pairs = train.encode(chosen.source, chosen.target, store=store, progress=False)
curve = align.learning_curve(pairs, folds=3, progress=False)
curve

# %%
curve.plot()

# %% [markdown]
# So before the next labelling round: if the band at twice the pairs lies clearly above the last
# measured point, more pairs will pay. If it does not, the encoders are the limit, and the first
# half of this notebook is where to go on: name further networks in `align.scout`.
