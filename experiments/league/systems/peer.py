"""What a system is: how to fit it, and the settings that its own training pairs choose from."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

import torch

from align.adapters.adapter import Adapter
from align.adapters.corrections.hubness import NNN, BalancedSoftmax, Hubness
from align.adapters.corrections.reference_set import ReferenceSet
from align.data.embeddings import PairedEmbeddings
from align.data.sides import Side
from align.data.splits import group_codes
from align.metrics.ranks import rank_positives, reciprocal_ranks

HELD_OUT = 0.2  # share of the training pairs, whole groups, that a setting is chosen on
CORRECTIONS: tuple[Hubness | None, ...] = (
    None,
    NNN(32, 0.5),
    NNN(128, 0.75),
    BalancedSoftmax(15.0),
)
"""Of the gallery, against the training pairs: of the kinds that ``align.fit`` chooses from."""

DIRECTIONS: tuple[tuple[Side, Side], ...] = (("source", "target"), ("target", "source"))

S = TypeVar("S")


@dataclass(frozen=True, slots=True)
class Setting:
    """How long a head is trained, and how fast.

    Attributes:
        length: Number of ``unit``.
        learning_rate: At its highest.
        unit: ``"steps"`` or ``"epochs"``.
    """

    length: int
    learning_rate: float
    unit: str = "steps"

    def __str__(self) -> str:
        unit = self.unit if self.length > 1 else self.unit.removesuffix("s")
        return f"{self.length} {unit} at {self.learning_rate:g}"


@dataclass(frozen=True, slots=True)
class Peer(Generic[S]):
    """A system.

    Attributes:
        name: Of its row.
        note: Whose it is, what is as published and what is not.
        fit: Training pairs, a setting and a seed in.
        settings: To choose from; one that stands alone is taken as it is.
        suits: Whether it is defined for sides of these widths.
    """

    name: str
    note: str
    fit: Callable[[PairedEmbeddings, S, int], Adapter]
    settings: tuple[S, ...]
    suits: Callable[[int, int], bool] = lambda d_source, d_target: True


@dataclass(frozen=True, slots=True)
class Chosen:
    """How a system came to its settings.

    Attributes:
        setting: Place of the best one beside the best correction.
        correction: Place of that correction among ``CORRECTIONS``.
        plain: Place of the best setting without a correction.
        held_out: Mean reciprocal rank of the held-out training pairs by setting, under each
            correction in turn, in [0, 1]; empty where there was nothing to choose.
        seconds: Of all of it.
    """

    setting: int
    correction: int
    plain: int
    held_out: Mapping[str, tuple[float, ...]]
    seconds: float


def choose(peer: Peer[S], train: PairedEmbeddings, seed: int) -> Chosen:
    """The settings of best reciprocal rank on a fifth of the training pairs; ties to the first."""
    start = time.perf_counter()
    rest, judging = train.split(test=HELD_OUT, seed=seed)
    found: list[tuple[float, ...]] = []
    for setting in peer.settings:
        adapter = peer.fit(rest, setting, seed)
        found.append(
            tuple(quality(judging, corrected(adapter, rest, each)) for each in CORRECTIONS)
        )
    best = max(
        ((row, column) for row in range(len(found)) for column in range(len(CORRECTIONS))),
        key=lambda at: (round(found[at[0]][at[1]], 9), -at[0], -at[1]),
    )
    plain = max(range(len(found)), key=lambda row: (round(found[row][0], 9), -row))
    held_out = {str(each): row for each, row in zip(peer.settings, found, strict=True)}
    return Chosen(*best, plain, held_out, time.perf_counter() - start)


def corrected(adapter: Adapter, train: PairedEmbeddings, hubness: Hubness | None) -> Adapter:
    """The adapter with a correction of its gallery against its training pairs, or with none."""
    if hubness is None:
        return adapter.replaced(reference=None)
    with torch.inference_mode():
        sides = adapter.source(train.source), adapter.target(train.target)
    return adapter.replaced(reference=ReferenceSet(*sides, expansion=None, hubness=hubness))


def quality(pairs: PairedEmbeddings, adapter: Adapter) -> float:
    """Mean reciprocal rank of both directions, in [0, 1]; any item of its group answers a query."""
    codes = torch.from_numpy(group_codes(pairs.groups))
    sides: dict[Side, torch.Tensor] = {"source": pairs.source, "target": pairs.target}
    means = []
    with torch.inference_mode():
        for asking, asked in DIRECTIONS:
            queries = adapter.queries(sides[asking], side=asking)
            gallery = adapter.gallery(sides[asked], side=asked)
            found = rank_positives(queries, gallery, codes, codes).first
            means.append(float(reciprocal_ranks(found).double().mean()))
    return sum(means) / 2


def shortened(peer: Peer[Any], length: int) -> Peer[Any]:
    """The same with its first setting alone, and training of ``length`` steps or epochs."""
    first = peer.settings[0]
    if isinstance(first, Setting):
        first = replace(first, length=min(length, first.length))
    return replace(peer, settings=(first,))
