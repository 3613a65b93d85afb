"""What a peer is: how to fit it, and the few settings that its own training pairs choose from."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from align.data.embeddings import PairedEmbeddings
from align.metrics.evaluation import evaluate
from experiments.trials import Fitted

HELD_OUT = 0.2  # share of the training pairs, whole groups, that a setting is chosen on

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
    """A system of others.

    Attributes:
        name: Of its row.
        note: Whose it is, what is as published and what is not.
        fit: Training pairs, a setting and a seed in.
        settings: To choose from; one that stands alone is taken as it is.
    """

    name: str
    note: str
    fit: Callable[[PairedEmbeddings, S, int], Fitted]
    settings: tuple[S, ...]


@dataclass(frozen=True, slots=True)
class Chosen:
    """How a peer came to its setting in one draw.

    Attributes:
        setting: In words.
        held_out: Mean reciprocal rank of every setting on the held-out training pairs, in [0, 1].
        fit_seconds: Of the fit on all pairs alone.
    """

    setting: str
    held_out: Mapping[str, float]
    fit_seconds: float


def choose_and_fit(peer: Peer[S], train: PairedEmbeddings, seed: int) -> tuple[Fitted, Chosen]:
    """Choose a setting on held-out training pairs, then fit on all of them with it."""
    best, held_out = peer.settings[0], {}
    if len(peer.settings) > 1:
        rest, judging = train.split(test=HELD_OUT, seed=seed)
        for setting in peer.settings:
            found = evaluate(judging, peer.fit(rest, setting, seed))
            held_out[str(setting)] = found.mean["mean_reciprocal_rank"].value
        best = max(peer.settings, key=lambda setting: held_out[str(setting)])
    start = time.perf_counter()
    fitted = peer.fit(train, best, seed)
    return fitted, Chosen(str(best), held_out, time.perf_counter() - start)


def shortened(peer: Peer[Any], length: int) -> Peer[Any]:
    """The same with its first setting alone, and training of ``length`` steps or epochs."""
    first = peer.settings[0]
    if isinstance(first, Setting):
        first = replace(first, length=min(length, first.length))
    return replace(peer, settings=(first,))
