"""One of each kind of object that people look at, with names that no page should obey."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from PIL import Image

import align
from align.adapters.card import Candidate, Card
from align.adapters.closed_form.procrustes import procrustes
from align.adapters.closed_form.rcca import rcca
from align.curation.duplicates import equal_items
from align.curation.mixing import composition
from align.curation.report import curate
from align.data.pairs import Pairs
from align.fitting.learning_curve import measure
from align.metrics.estimates import Estimate
from align.retrieval.cascade import CandidateChoice
from align.retrieval.hits import Hit, Hits, SearchResults

HOSTILE = '</div><script>alert(1)</script>\x1b[2J"\u202e\n'
LONG = HOSTILE + "x" * 10**6

Maker = Callable[[Path], Any]


def vectors(n: int = 60, d: int = 6, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def embedded(n: int = 60) -> align.PairedEmbeddings:
    z = vectors(n)
    ids = [f"{HOSTILE}{row}" for row in range(n)]
    target = z @ vectors(6, 5, seed=1) + 0.1 * vectors(n, 5, seed=2)
    paired = align.PairedEmbeddings.from_arrays(z, target, ids=ids)
    return align.PairedEmbeddings(
        paired.source, paired.target, paired.ids, paired.groups,
        encoders={"source": LONG, "target": HOSTILE},
    )  # fmt: skip


def adapter() -> align.Adapter:
    made = procrustes(vectors(), vectors(seed=1))
    tried = [Candidate(HOSTILE, "m" * 90_000, 0.4, 0.3, 0.5, 0.6, True, 0.1, 0.2)] * 300
    card = Card(
        "c" * 90_000, 60, 6, 6, verdict=HOSTILE + "v" * 90_000, candidates=tried,
        encoders={"source": HOSTILE}, versions={HOSTILE: HOSTILE},
    )  # fmt: skip
    return align.Adapter(made.source_map, made.target_map, card)


def pairs(folder: Path) -> Pairs:
    picture = folder / "a picture.png"
    noise = torch.randint(256, (90, 90, 3), generator=torch.Generator().manual_seed(0))
    Image.fromarray(noise.byte().numpy()).save(picture)
    items = (
        HOSTILE,
        LONG,
        picture,
        folder / "gone.png",
        Image.new("LA", (50, 30)),
        ("text", HOSTILE),
    )
    ids = tuple(f"{HOSTILE}{row}" for row in range(len(items)))
    return Pairs(ids, items, items[::-1], ids, skipped=(LONG,), instructions=(LONG,) * len(items))


def index(folder: Path) -> align.Index:
    made = align.Index.create(folder / "index", adapter())
    ids = [f"{HOSTILE}{row}" for row in range(60)]
    held = [{"text": LONG[:5000], HOSTILE: HOSTILE, "path": "gone.png"}] * 60
    made.add(ids, vectors(), metadata=held, modality="image")
    made.save()
    return made


def encoder(name: str = HOSTILE, modality: str = "text") -> align.CallableEncoder:
    return align.CallableEncoder(
        lambda items: vectors(len(items)), name=name, dim=6, modality=modality
    )


def hits(*, query: Any = LONG) -> Hits:
    fields = {"text": LONG, HOSTILE: {"a": [LONG]}, "n": 10**5000}
    return Hits([Hit(f"{HOSTILE}{n}", 0.5, HOSTILE, fields) for n in range(200)], query=query)


@cache
def evaluated() -> Any:
    held_out = align.PairedEmbeddings.from_arrays(vectors(seed=5), vectors(seed=6))
    return align.evaluate(held_out, adapter())


def explained(folder: Path) -> Any:
    names = [f"{HOSTILE}{row}" + "x" * 10**4 for row in range(60)]
    x, y = vectors()[:1], vectors(seed=1)[:1]
    pairs = align.PairedEmbeddings.from_arrays(vectors(), vectors(seed=1))
    made = align.explain(adapter(), x, y, pairs=pairs, names=names, top=60)
    return replace(made, query=LONG, item=folder / "gone.png")


def evaluation(_: Path) -> Any:
    return evaluated()


def head(_: Path) -> align.MetaTokens:
    card: dict[str, object] = {"verdict": LONG, "tried": [{"name": LONG, "mrr": 0.5}] * 400}
    return align.MetaTokens(adapter(), None, None, mix=0.5, asking=1, card=card)


def batch(_: Path) -> align.Batch:
    x, codes = vectors(), torch.arange(60)
    return align.Batch(x, x, x, x, torch.tensor(0.1), codes, None, None, 3)


@cache
def curation() -> Any:
    data = embedded()
    words = (" ".join(str((37 * (row % 50) + n) ** 3) for n in range(20)) for row in range(60))
    texts = tuple(f"{HOSTILE}{each}" for each in words)
    return curate(Pairs(data.ids, texts, texts, data.groups), data)


def curated(_: Path) -> Any:
    return curation()


def tuned(folder: Path) -> Any:
    return align.tune(embedded(), study=folder / "journal", trials=2)


@cache
def scouted() -> Any:
    texts = tuple(f"{HOSTILE}{row}" for row in range(60))
    pairs = Pairs(texts, texts, texts, texts)
    rows = {text: row for row, text in enumerate(texts)}

    def named(name: str) -> align.CallableEncoder:
        return align.CallableEncoder(
            lambda items: vectors()[[rows[item] for item in items]], name=name, dim=6
        )

    return align.scout(pairs, sources=[named(HOSTILE), named(LONG)], targets=[named("target")])


@cache
def learned() -> Any:
    rows = torch.randn(120, 6, generator=torch.Generator().manual_seed(0))

    def quick(pairs: Any, **_: Any) -> Any:
        return rcca(pairs.source, pairs.target)

    with mock.patch.object(measure, "fit", quick):
        return align.learning_curve(rows, rows + 1, folds=3)


EACH: dict[str, Maker] = {
    "Adapter": lambda _: adapter(),
    "Batch": batch,
    "CallableEncoder": lambda _: encoder(),
    "Candidate": lambda _: adapter().card.candidates[0],
    "CandidateChoice": lambda _: CandidateChoice(10, 0.9, 0.8, 5, 20),
    "Card": lambda _: adapter().card,
    "Comparison": lambda _: align.compare({HOSTILE: evaluated(), "other": evaluated()}),
    "Composite": lambda folder: align.Composite({HOSTILE: LONG, "photo": folder / "gone.png"}),
    "CompositeEncoder": lambda _: align.CompositeEncoder({HOSTILE: encoder(), "b": encoder(LONG)}),
    "Composition": lambda _: composition(embedded()),
    "ConcatEncoder": lambda _: align.ConcatEncoder(encoder(), encoder(LONG)),
    "VideoEncoder": lambda _: align.VideoEncoder(encoder(LONG, modality="image")),
    "CurationReport": curated,
    "Direction": lambda _: evaluation(_).source_to_target,
    "Duplicates": lambda _: equal_items([HOSTILE, HOSTILE]),
    "Embedder": lambda _: align.Embedder(adapter(), source=encoder()),
    "EmbeddingStore": lambda folder: align.EmbeddingStore(folder / "<script>"),
    "Embeddings": lambda _: align.Embeddings(vectors(2), LONG, (LONG, HOSTILE), HOSTILE),
    "Estimate": lambda _: Estimate(0.4, 0.3, 0.5),
    "EncoderPair": lambda _: scouted().best,
    "Evaluation": evaluation,
    "Explanation": explained,
    "FDE": lambda _: align.FDE(8, 4, 3),
    "Hit": lambda _: hits()[0],
    "Hits": lambda _: hits(),
    "Hits of a picture": lambda folder: hits(query=pairs(folder).source[2]),
    "Index": index,
    "CurvePoint": lambda _: learned().points[0],
    "Extrapolation": lambda _: learned().extrapolation,
    "LearningCurve": lambda _: learned(),
    "Predicted": lambda _: learned().at(300)["recall_at_10"],
    "LowBitVectors": lambda _: align.LowBitVectors.of(
        align.MultiVector.from_equal(vectors(12).view(4, 3, 6)), bits=2
    ),
    "MetaTokens": head,
    "Mismatches": lambda _: curated(_).mismatched,
    "MixedEncoder": lambda _: align.MixedEncoder({"text": encoder(), "image": encoder(LONG)}),
    "MultiVector": lambda _: align.MultiVector.from_equal(vectors(12).view(4, 3, 6)),
    "PairedEmbeddings": lambda _: embedded(),
    "Pairs": pairs,
    "Retriever": lambda folder: align.Retriever(index(folder), source=encoder()),
    "Scouting": lambda _: scouted(),
    "SearchResults": lambda _: SearchResults([hits()] * 100, queries=[LONG] * 100),
    "Stage": lambda _: align.Stage("retrieval", pairs=embedded()),
    "StoredItems": lambda folder: index(folder).get([f"{HOSTILE}1"]),
    "TokenExplanation": lambda _: align.explain_tokens(
        vectors(12), vectors(9), words=[LONG] * 12, picture=Image.new("RGB", (200, 100))
    ),
    "TokenPairs": lambda _: align.TokenPairs(
        embedded(4), align.MultiVector.from_equal(vectors(8).view(4, 2, 6))
    ),
    "TrainConfig": lambda _: align.TrainConfig(steps=7, mixup=0.2, seed=4),
    "Tuning": tuned,
    "Trial": lambda _: tuned(_).trials[0],
    "Upgrade": lambda _: align.upgrade(vectors(), vectors() @ vectors(6, 6, seed=3)),
    "Wrapped": lambda _: align.wrap(lambda queries, k: ([], []), adapter(), encoder()),
}
"""How to make each, in a folder of its own."""
