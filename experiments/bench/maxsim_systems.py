"""What the benchmark of MaxSim compares: ours, and what people install today, called one way."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from align.data.multi_vector import MultiVector
from align.scoring.late_interaction import maxsim

Scorer = Callable[[Tensor], Tensor]
"""Queries of one length, ``(q, s, d)`` float32, to scores with all documents, ``(q, m)``."""

IN_A_BLOCK = 32  # documents of the plain loop over blocks

TOPICS = 256
TOPICS_OF_A_DOCUMENT = 6
NOISE = 0.8  # norm of what a token has of its own, beside a direction of its topic of norm 1


@dataclass(frozen=True, slots=True)
class System:
    """A way to score.

    Attributes:
        name: As printed.
        storage: What it keeps documents in: "float32", "float16" or "int8".
        prepare: Documents in, scorer out; what it does once per collection is not timed.
        tolerance: Largest error of a score of 32 unit-norm query tokens that its storage explains.
        package: What is imported for it; ``None`` for what is always there.
        distribution: What is installed for it.
        most: Documents it is given at most, because keeping them takes long; ``None`` for all.
        looped: Whether it takes one query per call, so that its time grows as ``q`` does.
        fragile: Whether it can end the process, so that it is first called in another. Where it is
            wrong there, it is not called again.
    """

    name: str
    storage: str
    prepare: Callable[[MultiVector], Scorer]
    tolerance: float
    package: str | None = None
    distribution: str | None = None
    most: int | None = None
    looped: bool = False
    fragile: bool = False


def ours(storage: str) -> Callable[[MultiVector], Scorer]:
    """Our scorer on documents kept in one storage; int8 queries are made in the timed call."""

    def prepare(documents: MultiVector) -> Scorer:
        if storage == "int8":
            codes = documents.quantized()
            return lambda queries: maxsim(MultiVector.from_equal(queries).quantized(), codes)
        kept = documents.to(dtype=getattr(torch, storage))
        return lambda queries: maxsim(MultiVector.from_equal(queries), kept)

    return prepare


def naive_loop(documents: MultiVector) -> Scorer:
    """One product per document, with the tokens of all queries."""
    items = list(documents)
    return lambda queries: torch.stack([(queries @ each.T).amax(2).sum(1) for each in items], 1)


def loop_over_blocks(documents: MultiVector) -> Scorer:
    """Products of some documents where they lie, into one buffer that stays in a cache."""
    lengths = documents.lengths.tolist()
    ends = [0, *documents.lengths.cumsum(0).tolist()]
    firsts = range(0, len(documents), IN_A_BLOCK)
    t = _one_length(documents)

    def scores(queries: Tensor) -> Tensor:
        columns = queries.flatten(0, 1).T
        buffer = torch.empty(max(lengths) * IN_A_BLOCK, columns.shape[1])
        found = torch.empty(len(queries), len(documents))
        for first in firsts:
            last = min(first + IN_A_BLOCK, len(documents))
            rows = documents.tokens[ends[first] : ends[last]]
            product = torch.mm(rows, columns, out=buffer[: len(rows)])
            if t is None:
                parts = product.split(lengths[first:last])
                best = torch.stack([part.amax(0) for part in parts])
            else:
                best = product.view(last - first, t, -1).amax(1)
            found[:, first:last] = best.view(last - first, len(queries), -1).sum(2).T
        return found

    return scores


def sentence_transformers_maxsim(documents: MultiVector) -> Scorer:
    """``util.maxsim`` with its own chunks: a 3-D tensor of equal documents, else a list."""
    score: Any = import_module("sentence_transformers.util").maxsim
    t = _one_length(documents)
    items = list(documents) if t is None else documents.tokens.view(-1, t, documents.dim)
    return lambda queries: score(queries, items)


def maxsim_cpu(documents: MultiVector) -> Scorer:
    """The Rust kernel, on as many threads as torch; one query per call."""
    os.environ.setdefault("RAYON_NUM_THREADS", str(torch.get_num_threads()))
    package: Any = import_module("maxsim_cpu")
    t = _one_length(documents)
    score: Any = package.maxsim_scores_variable if t is None else package.maxsim_scores
    items = [each.numpy() for each in documents]
    kept = items if t is None else documents.tokens.view(-1, t, documents.dim).numpy()

    def scores(queries: Tensor) -> Tensor:
        return torch.from_numpy(np.stack([score(query, kept) for query in queries.numpy()]))

    return scores


def qdrant_local(documents: MultiVector) -> Scorer:
    """A collection in memory, exact by multi-vectors; one query per call, scores of all points."""
    package: Any = import_module("qdrant_client")
    models = package.models
    client = package.QdrantClient(":memory:")
    client.create_collection(
        "documents",
        vectors_config=models.VectorParams(
            size=documents.dim,
            distance=models.Distance.DOT,
            multivector_config=models.MultiVectorConfig(
                comparator=models.MultiVectorComparator.MAX_SIM
            ),
        ),
    )
    points = [
        models.PointStruct(id=row, vector=item.tolist()) for row, item in enumerate(documents)
    ]
    client.upsert("documents", points)

    def scores(queries: Tensor) -> Tensor:
        found = torch.zeros(len(queries), len(documents))
        for row, query in enumerate(queries.tolist()):
            answer = client.query_points(
                "documents", query=query, limit=len(documents), with_payload=False
            )
            for point in answer.points:
                found[row, point.id] = point.score
        return found

    return scores


SYSTEMS = (
    System("ours, float32", "float32", ours("float32"), 1e-4),
    System("ours, float16", "float16", ours("float16"), 2e-2),
    System("ours, bfloat16", "bfloat16", ours("bfloat16"), 2e-1),
    System("ours, int8", "int8", ours("int8"), 2e-1),
    System(
        "sentence-transformers", "float32", sentence_transformers_maxsim, 1e-4,
        "sentence_transformers.util", "sentence-transformers",
    ),
    # 0.1.0 leaves large products to a library that it is not linked with.
    System(
        "maxsim-cpu", "float32", maxsim_cpu, 1e-4, "maxsim_cpu", "maxsim-cpu",
        looped=True, fragile=True,
    ),
    System(
        "qdrant-client local", "float32", qdrant_local, 1e-4,
        "qdrant_client", "qdrant-client", most=100, looped=True,
    ),
    System("loop over blocks", "float32", loop_over_blocks, 1e-4),
    System("loop over documents", "float32", naive_loop, 1e-4),
)  # fmt: skip


def installed(systems: Sequence[System]) -> tuple[tuple[System, ...], dict[str, str]]:
    """Those that can be imported, and for each that needs a package its version or ``absent``."""
    here, versions = [], {}
    for system in systems:
        if system.package is not None and system.distribution is not None:
            try:
                import_module(system.package)
                versions[system.distribution] = version(system.distribution)
            except ImportError:
                versions[system.distribution] = "absent"
                continue
        here.append(system)
    return tuple(here), versions


def clustered_tokens(
    lengths: Sequence[int], *, d: int, queries: int, s: int, seed: int
) -> tuple[Tensor, MultiVector]:
    """Unit-norm tokens around topics, and queries near tokens of one document each.

    Each document has a few topics; a token is the direction of one of them plus noise, so that its
    cosine with others of its topic is about 0.6. A query's tokens are tokens of one document with
    noise again.

    Args:
        lengths: Tokens of each document.
        d: Width.
        queries: Number of queries.
        s: Tokens of each.
        seed: Of all draws.

    Returns:
        Queries ``(q, s, d)`` and documents.
    """
    generator = torch.Generator().manual_seed(seed)
    counts = torch.tensor(list(lengths))
    centres = F.normalize(torch.randn(TOPICS, d, generator=generator), dim=1)
    themes = torch.randint(TOPICS, (len(counts), TOPICS_OF_A_DOCUMENT), generator=generator)
    owner = torch.repeat_interleave(torch.arange(len(counts)), counts)
    chosen = torch.randint(TOPICS_OF_A_DOCUMENT, (len(owner),), generator=generator)
    topic = themes[owner, chosen]
    tokens = torch.randn(len(owner), d, generator=generator)
    for block, topics in zip(torch.split(tokens, 8192), torch.split(topic, 8192), strict=True):
        _near(block, centres[topics])
    ends = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    about = torch.randint(len(counts), (queries, 1), generator=generator)
    place = (torch.rand(queries, s, generator=generator) * counts[about]).long()
    asked = torch.randn(queries, s, d, generator=generator)
    _near(asked, tokens[ends[about] + place])
    return asked, MultiVector(tokens, ends)


def opposed_tokens(
    lengths: Sequence[int], *, d: int, s: int, seed: int
) -> tuple[Tensor, MultiVector]:
    """One query and documents of which no token has a similarity above zero, as padding has."""
    generator = torch.Generator().manual_seed(seed)
    items = [torch.rand(t, d, generator=generator) for t in (s, *lengths)]
    query, *documents = [F.normalize(each, dim=1) for each in items]
    return query[None], MultiVector.pack([-each for each in documents])


def _near(noise: Tensor, directions: Tensor) -> None:
    """Turn noise into unit vectors around ``directions``, in place."""
    noise.mul_(NOISE / noise.shape[-1] ** 0.5).add_(directions)
    noise.div_(torch.linalg.vector_norm(noise, dim=-1, keepdim=True))


def _one_length(documents: MultiVector) -> int | None:
    """Tokens of each document where all have as many, else ``None``."""
    lengths = documents.lengths
    return int(lengths[0]) if bool((lengths == lengths[0]).all()) else None
