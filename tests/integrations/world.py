"""Forty planted pairs that an adapter knows, as vectors, texts and pictures, and their ranking."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

import align
from align.adapters.adapter import Adapter
from align.adapters.closed_form.rcca import rcca
from align.adapters.corrections.hubness import InvertedSoftmax
from align.adapters.corrections.reference_set import ReferenceSet
from align.retrieval.hits import Hit
from align.retrieval.wrap import Wrapped
from tests.helpers.lookups import lookup
from tests.helpers.planted import shared_factors

N = 40
SOURCE, TARGET = shared_factors(240, (12, 9), shared=6, noise=0.5)
QUESTIONS = [f"question {i}" for i in range(N)]
ANSWERS = [f"answer {i}" for i in range(N)]
PICTURES = [Image.new("RGB", (2, 2), (i, 0, 0)) for i in range(N)]


def plain_adapter() -> Adapter:
    return rcca(SOURCE[N:], TARGET[N:])


def corrected_adapter() -> Adapter:
    """Whose gallery vectors have one more column, which changes rankings."""
    plain = plain_adapter()
    reference = ReferenceSet(
        plain.source(SOURCE[N:]),
        plain.target(TARGET[N:]),
        expansion=None,
        hubness=InvertedSoftmax(5.0),
    )
    return Adapter(plain.source_map, plain.target_map, plain.card, reference=reference)


def planted(*, corrected: bool) -> tuple[Adapter, Tensor, Tensor]:
    """An adapter, with a correction if asked, and 7 sources that ask for all 40 targets."""
    return corrected_adapter() if corrected else plain_adapter(), SOURCE[:7], TARGET[:N]


def ranked(adapter: Adapter, source: Tensor, target: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Scores and rows of the best ``k``, by the plain product of queries and gallery."""
    return torch.topk(adapter.queries(source) @ adapter.gallery(target).T, k, dim=1)


def questions() -> align.CallableEncoder:
    return lookup("question ", SOURCE)


def answers() -> align.CallableEncoder:
    return lookup("answer ", TARGET)


def pictures() -> align.CallableEncoder:
    return align.CallableEncoder(
        lambda images: TARGET[[image.getpixel((0, 0))[0] for image in images]],
        name="pictures 1",
        dim=9,
        modality="image",
    )


def picture_files() -> align.CallableEncoder:
    """Pictures as paths or opened images."""

    def looked_at(items: Sequence[Any]) -> Tensor:
        opened = [Image.open(each) if isinstance(each, Path) else each for each in items]
        return pictures().encode(opened)

    return align.CallableEncoder(looked_at, name="picture files 1", dim=9, modality="image")


def both() -> align.MixedEncoder:
    """Answers and pictures side by side: 18 columns."""
    return align.MixedEncoder({"text": answers(), "image": picture_files()})


def scores(adapter: Adapter) -> Tensor:
    """What every integration has to rank by, ``(40, 40)``."""
    return adapter.queries(SOURCE[:N]) @ adapter.gallery(TARGET[:N]).T


def ranking(adapter: Adapter, row: int) -> list[int]:
    return scores(adapter)[row].argsort(descending=True).tolist()


def retriever(adapter: Adapter) -> align.Retriever:
    """Answers questions with all it knows: text in the metadata of even items only."""
    known = [hit(row, 0) for row in range(N)]
    index = align.Index.create("never saved", adapter)
    index.add(
        [f"id {row}" for row in range(N)],
        TARGET[:N],
        metadata=[each.metadata for each in known],
        modality=[str(each.modality) for each in known],
    )
    return align.Retriever(index, source=questions())


def plain_retriever() -> align.Retriever:
    return retriever(plain_adapter())


def wrapped() -> Wrapped:
    """Answers questions with rows, as a store whose ids are whole numbers does."""
    adapter = plain_adapter()
    gallery = adapter.gallery(TARGET[:N])

    def search(vectors: Any, k: int) -> tuple[Tensor, Tensor]:
        best = torch.topk(torch.from_numpy(vectors) @ gallery.T, k, dim=1)
        return best.indices, best.values

    return align.wrap(search, adapter, questions())


def hit(row: int, score: float) -> Hit:
    if row % 2:
        return Hit(f"id {row}", score, "image", {"path": f"{row}.png"})
    return Hit(f"id {row}", score, "text", {"text": ANSWERS[row]})


class Broken:
    """A search whose second score is not a number."""

    def search(self, items: Sequence[Any], *, k: int = 10) -> list[list[Hit]]:
        return [[Hit("a", 1.0), Hit("b", float("nan"))] for _ in items]


def half_scored(query: str, items: Sequence[Any]) -> Tensor:
    """Scores of items, the third of which is not a number."""
    found = torch.ones(len(items))
    found[2] = torch.nan
    return found
