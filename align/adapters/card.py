"""The card of an adapter: what it was made from, what was tried, and how the choice fell."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from typing import Any, Self

from align.adapters.card_rules import check
from align.data.embeddings import PairedEmbeddings


@dataclass(frozen=True, slots=True)
class Candidate:
    """One thing that cross-validation tried.

    Attributes:
        stage: ``"shares"`` (of parts), ``"map"`` (some folds), ``"final"`` or ``"blend"`` (all
            folds), ``"hubness"``, ``"expansion"``, ``"refine"``, ``"identity"``,
            ``"instructions"`` or ``"tuned"``.
        name: The method and its settings, in words.
        mrr: Mean reciprocal rank over held-out queries of both directions, in [0, 1].
        low: Lower end of its 95 % interval (normal approximation over groups).
        high: Upper end of the same.
        recall_at_10: Share of held-out queries with their pair in the top ten, in [0, 1].
        chosen: Whether it is part of the adapter.
        chance_mrr: Mean reciprocal rank of a random order of the same galleries, or ``None`` where
            it was not worked out.
        chance_at_10: Recall at 10 of a random order, likewise.
    """

    stage: str
    name: str
    mrr: float
    low: float
    high: float
    recall_at_10: float
    chosen: bool = False
    chance_mrr: float | None = None
    chance_at_10: float | None = None


@dataclass(frozen=True, slots=True)
class Card:
    """How an adapter came to be; saved beside it as ``card.json``.

    Attributes:
        method: The map in words, for example ``"rcca(ridge=(3, 1), power=0.5)"``.
        n_pairs: Training pairs.
        n_groups: Distinct groups among them.
        n_unpaired: Unpaired items that helped, source and target side.
        d_source: Width of the source encoder's vectors.
        d_target: Width of the target encoder's vectors.
        source_fingerprint: Of the source encoder, or ``None`` if it was not known.
        target_fingerprint: Of the target encoder, or ``None`` if it was not known.
        seed: Seed of folds and samples.
        folds: Number of folds, and how often they were redrawn.
        fold_gallery: Items in the gallery of one held-out fold: recall depends on it.
        seconds: Seconds per stage.
        candidates: What was tried, in order.
        verdict: How held-out pairs were found against chance, what was chosen and why.
        better_than_chance: Whether held-out pairs were found more often than by chance, beyond
            doubt; ``None`` where nothing was held out.
        versions: Versions of isthmus, torch, NumPy and Python.
        encoders: How to build the encoders again, by ``"source"``, ``"target"`` and
            ``"instruction"``, of those that one line can name (``align.encoders.spec``).
    """

    method: str
    n_pairs: int
    d_source: int
    d_target: int
    n_groups: int = 0
    n_unpaired: tuple[int, int] = (0, 0)
    source_fingerprint: str | None = None
    target_fingerprint: str | None = None
    seed: int | None = None
    folds: tuple[int, int] = (0, 0)
    fold_gallery: int = 0
    seconds: Mapping[str, float] = field(default_factory=dict)
    candidates: Sequence[Candidate] = ()
    verdict: str = ""
    better_than_chance: bool | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    encoders: Mapping[str, str] = field(default_factory=dict)

    def of_encoders(self, pairs: PairedEmbeddings) -> Self:
        """The same, where it does not know its encoders with those of ``pairs``."""
        return replace(
            self,
            source_fingerprint=self.source_fingerprint or pairs.source_fingerprint,
            target_fingerprint=self.target_fingerprint or pairs.target_fingerprint,
            encoders={**pairs.encoders, **self.encoders},
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionaries, lists, strings and numbers, ready for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read what ``to_dict`` wrote.

        Raises:
            ValueError: A field is unknown, missing, or not of its type or range.
        """
        check("a card", cls, data)
        for entry in data["candidates"]:
            check("a candidate of a card", Candidate, entry)
        return cls(
            **{
                **data,
                "n_unpaired": tuple(data["n_unpaired"]),
                "folds": tuple(data["folds"]),
                "candidates": tuple(Candidate(**entry) for entry in data["candidates"]),
            }
        )


def installed_versions() -> dict[str, str]:
    """Versions that could change a number: isthmus, torch, NumPy, Python."""
    from align._version import __version__

    found = {name: version(name) for name in ("torch", "numpy")}
    return {"isthmus": __version__, "python": platform.python_version(), **found}
