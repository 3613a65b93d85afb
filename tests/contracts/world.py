"""Forty planted pairs that an adapter knows, as texts and pictures, and a plain search of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor

import align
from align.adapters.adapter import Adapter
from align.adapters.bank import Bank
from align.adapters.rcca import rcca
from align.hubness import InvertedSoftmax
from align.retrieval.hits import Hit
from tests.planted import shared_factors

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
    bank = Bank(
        plain.source(SOURCE[N:]),
        plain.target(TARGET[N:]),
        expansion=None,
        hubness=InvertedSoftmax(5.0),
    )
    return Adapter(plain.source_map, plain.target_map, plain.card, bank=bank)


def questions() -> align.CallableEncoder:
    return align.CallableEncoder(lambda texts: _rows(SOURCE, texts), name="questions 1", dim=12)


def answers() -> align.CallableEncoder:
    return align.CallableEncoder(lambda texts: _rows(TARGET, texts), name="answers 1", dim=9)


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


class PlainSearch:
    """Answers questions with all it knows: text in the metadata of even items only."""

    def __init__(self, adapter: Adapter) -> None:
        self.adapter = adapter

    def search(self, items: Sequence[Any], *, k: int = 10) -> list[list[Hit]]:
        asked = self.adapter.queries(_rows(SOURCE, items))
        found = (asked @ self.adapter.gallery(TARGET[:N]).T).topk(k)
        return [
            [hit(row, score) for row, score in zip(rows, values, strict=True)]
            for rows, values in zip(found.indices.tolist(), found.values.tolist(), strict=True)
        ]


def hit(row: int, score: float) -> Hit:
    if row % 2:
        return Hit(f"id {row}", score, "image", {"path": f"{row}.png"})
    return Hit(f"id {row}", score, "text", {"text": ANSWERS[row]})


def _rows(vectors: Tensor, texts: Sequence[str]) -> Tensor:
    return vectors[[int(text.split()[-1]) for text in texts]]


def search() -> PlainSearch:
    return PlainSearch(plain_adapter())
