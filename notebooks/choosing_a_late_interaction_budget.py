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
# # Choosing a late-interaction budget
#
# **How many vectors should an item have?** One is enough where an item says one thing. A Python
# class says several: each of its methods does something else, and the mean of their vectors says
# none of it well. Here each class gets a few *ordered* vectors, so that their number can be chosen
# when a query is asked: more find more, cost more, and need no second index. Emoji, which say one
# thing, are the counterexample.
#
# The documents are classes of Python's own standard library, the queries are the docstrings of
# single methods, and all-MiniLM-L6-v2 encodes both. Nothing is downloaded; `pip install
# 'isthmus[encoders,report]'` is enough.

# %%
import ast
import sysconfig
from pathlib import Path

import torch

import align

library = Path(sysconfig.get_paths()["stdlib"])
Function = ast.FunctionDef | ast.AsyncFunctionDef
methods = {}  # first paragraph of the docstring: (module, class, code without it)
for path in sorted(library.glob("*.py")):
    for node in ast.parse(path.read_bytes()).body:
        for function in node.body if isinstance(node, ast.ClassDef) else ():
            if isinstance(function, Function) and (said := ast.get_docstring(function)):
                function.body = function.body[1:] or [ast.Pass()]
                paragraph = " ".join(said.split("\n\n")[0].split())
                if len(paragraph.split()) >= 4:  # "Return self." tells nobody
                    code = ast.unparse(function)[:1500]
                    methods.setdefault(paragraph, (path.stem, node.name, code))

classes = {}
for paragraph, (module, name, code) in methods.items():
    classes.setdefault(f"{module}.{name}", []).append((paragraph, code))
classes = {name: members for name, members in classes.items() if 3 <= len(members) <= 20}
next(iter(classes.items()))[1][:2]

# %% [markdown]
# ## Pairs of a docstring and a class
#
# Every method is encoded once. A class comes as a pooled vector, the mean over its methods, and as
# the list of those vectors. Pairs of one class are a *group*: any of its docstrings may find it.
# Modules are *domains*: splits and folds keep them whole, since the classes that are searched
# later will be of other modules.

# %%
minilm = align.load_encoder("text:minilm")
store = align.EmbeddingStore("~/.cache/isthmus/store")
owner = [name for name, members in classes.items() for _ in members]
docstrings, code = zip(*(each for members in classes.values() for each in members), strict=True)
vectors = store.encode(minilm, code)
parts = [vectors[[at for at, other in enumerate(owner) if other == name]] for name in owner]
data = align.TokenPairs(
    align.PairedEmbeddings.from_arrays(
        store.encode(minilm, docstrings),
        torch.stack([part.mean(dim=0) for part in parts]),
        ids=[f"{name}:{at}" for at, name in enumerate(owner)],
        groups=owner,
        domains=[name.partition(".")[0] for name in owner],
        side_names=("docstring", "class"),
    ),
    source=store.encode_tokens(minilm, docstrings),
    target=align.MultiVector.pack(parts),
)
train, test = data.split(test=0.3, seed=0)
print(f"{len(classes)} classes; {len(train)} pairs to fit, {len(test)} held out")
test

# %% [markdown]
# ## A head, and a gate before it
#
# `fit_meta_tokens` keeps the vector of the closed-form adapter as the first and learns further
# ones beside it, each step judged on folds of the training pairs. Had the further vectors gained
# less than two standard errors, the head would come back with one. `epochs=0` leaves Matryoshka
# training out to keep this quick; the start is closed form.

# %%
head = align.fit_meta_tokens(train, asking=4, vectors=16, epochs=0)
head

# %% [markdown]
# ## Recall against cost
#
# The same head at each budget `(r_q, r_c)`: the first `r_q` vectors of a query against the first
# `r_c` of a document. The first budget is the adapter alone; it is compared with a middle and the
# full one. Gains over it are paired query by query, with intervals over classes.

# %%
budgets = [(1, 1), (1, 4), (2, 4), (2, 8), (4, 8), (4, 16)]
budgets = [(q, c) for q, c in budgets if c <= head.vectors]
found = {str(b): align.evaluate_meta_tokens(test, head, budget=b) for b in budgets}
comparison = align.compare({str(b): found[str(b)] for b in (budgets[0], budgets[3], budgets[-1])})
comparison

# %% [markdown]
# The full budget finds more than one vector: its interval lies above nought at rank one and in MRR.
# Adjusted for eight looks at a few dozen classes the difference is not shown; the gate, which saw
# more classes, was sure by well over two standard errors. The middle budget gains nothing at rank
# one: without training (`epochs=0`) a prefix is not taught to stand by itself.
#
# What a budget costs is arithmetic: operations grow with `r_q` times `r_c`, bytes with `r_c`.

# %%
from matplotlib import pyplot as plt

from align.retrieval.first_stages import maxsim_flops

queries = head.queries(test.pooled.source, test.source)
at = torch.tensor([test.pooled.groups.index(name) for name in dict.fromkeys(test.pooled.groups)])
names = [test.pooled.groups[row] for row in at.tolist()]
documents = head.gallery(test.pooled.target[at], test.target.take(at))

here = [found[str(b)].source_to_target for b in budgets]
scores = [each.metrics["recall_at_1"] for each in here]
mflop = [maxsim_flops(queries, documents, budget=b) / len(queries) / 1e6 for b in budgets]

figure, axes = plt.subplots(figsize=(6.4, 3.4), dpi=90, layout="constrained")
low, high = [score.low for score in scores], [score.high for score in scores]
axes.fill_between(mflop, low, high, alpha=0.15, label="95 % interval over classes")
axes.plot(mflop, [score.value for score in scores], "o-", label="one head at six budgets")
for budget, x, score in zip(found, mflop, scores, strict=True):
    axes.annotate(budget, (x, score.value), (0, 7), textcoords="offset points", ha="center")
axes.axhline(here[0].chance["recall_at_1"], color="grey", linestyle=":", label="random order")
axes.set(xscale="log", xlabel="million operations per query", ylabel="recall at 1", ylim=(0, 1))
axes.spines[["top", "right"]].set_visible(False)
axes.legend(loc="lower right", frameon=False, ncols=3, fontsize=8)
plt.show()

# %% [markdown]
# Read it from the left: where the curve is flat, the smaller budget is free speed, and where
# intervals of the gains reach across nought the difference is not shown. The band is wide because
# there are few classes; the table above compares the same queries and is the better judge.
#
# ## When several vectors do not pay
#
# An emoji says one thing. The same call on emoji pictures and their names, with the token states
# of the names:

# %%
emoji = align.emoji_pairs().take(range(0, 1_911, 5))
image = align.load_encoder("image:efficientnet-lite0")
pooled = emoji.encode(minilm, image, store=store)
names_of_emoji = store.encode_tokens(minilm, emoji.source)
align.fit_meta_tokens(
    align.TokenPairs(pooled, source=names_of_emoji), asking=4, vectors=16, epochs=0
)

# %% [markdown]
# The gate leaves one vector: what the further ones gained on folds is within two standard errors
# of nothing. That is an answer, and it costs nothing at search time.
#
# ## Smaller: int8, and an index opened in part
#
# An index keeps all vectors of an item. It can keep them in int8, and it can be opened with the
# first few vectors of each item only: the rest stays on disk.

# %%
from tempfile import TemporaryDirectory

exact = align.topk(queries, documents, 10).indices.tolist()
with TemporaryDirectory() as folder:
    index = align.Index.create(Path(folder) / "classes", dtype="int8")
    index.add(names, documents)
    index.save()
    part = align.Index.open(Path(folder) / "classes", budget=min(4, head.vectors))
    print(f"float32, all vectors   {documents.nbytes // len(names):7,} bytes per class")
    print(f"int8, all vectors      {index.nbytes // len(names):7,}")
    print(f"int8, first 4 of each  {part.nbytes // len(names):7,}")
    hits = index.search(queries, k=10)
same = [
    len({names[row] for row in best} & {hit.id for hit in found_here}) / 10
    for best, found_here in zip(exact, hits, strict=True)
]
print(f"top 10 shared by float32 and int8: {sum(same) / len(same):.3f}")

# %% [markdown]
# int8 takes a quarter of the bytes and gives nearly the same answers.
#
# ## Faster: coarse to fine
#
# The first vectors alone can pick candidates, and all vectors then order those. `candidates_for`
# says how many it takes for the final top 10 to agree with the exhaustive one as often as asked,
# and how sure that is.

# %%
first = align.first_stage(documents, (1, 1))
choice = align.candidates_for(queries, documents, 10, recall=0.95, first=first)
best = align.cascade(queries, documents, 10, candidates=choice.candidates, first=first)
shared = [len(set(a) & set(b)) / 10 for a, b in zip(best.indices.tolist(), exact, strict=True)]
print(f"{choice.candidates} candidates of {len(documents)} classes are scored in full")
print(f"top 10 shared with exhaustive MaxSim: {sum(shared) / len(shared):.3f}")

# %% [markdown]
# In a gallery this small a cascade saves little; its saving grows with the gallery, since the
# number of candidates grows far more slowly.
#
# ## What to take
#
# - Fit with many vectors and look at the curve: the budget is chosen when a query is asked, not
#   before.
# - Take the smallest budget whose gain is not shown to be below that of the next.
# - One vector, if the gate says so. It usually does where an item says one thing, such as a photo
#   with its caption.
