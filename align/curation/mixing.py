"""What a training set is made of, and weights and samples that change the mixture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from align._checks import check_k
from align._display.escaping import plain
from align._display.lines import count, one_line, percent
from align._display.panel import Cell, Panel, Table, render
from align.data.embeddings import PairedEmbeddings
from align.data.modality import Modality


@dataclass(frozen=True, slots=True)
class Stratum:
    """Pairs of one pair of modalities: ``"text"``, ``"text|image"``, ... and how many they are.

    ``groups`` is how many groups they are of, ``share`` their share of all pairs, in (0, 1].
    """

    source: str
    target: str
    pairs: int
    groups: int
    share: float

    def __repr__(self) -> str:
        return one_line(
            "Stratum",
            f"{self.source} → {self.target}",
            count(self.pairs, "pair"),
            percent(self.share),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Composition:
    """Pairs by the modalities of their two sides.

    Attributes:
        parts: One entry per pair of modalities, largest first.
        strata: Which of ``parts`` each pair belongs to, int64 ``(n,)``.
    """

    parts: tuple[Stratum, ...]
    strata: Tensor

    def __repr__(self) -> str:
        named = [f"{p.source} → {p.target} {p.pairs:,}" for p in self.parts]
        return one_line("Composition", *named)

    def _repr_html_(self) -> str:
        return render(Panel("Composition", tables=[self.table()]))

    def table(self) -> Table:
        """A row for each pair of modalities, for a notebook."""
        rows: list[list[Cell]] = [
            [part.source, part.target, part.pairs, part.groups, percent(part.share)]
            for part in self.parts
        ]
        return Table(["source", "target", "pairs", "groups", "share"], rows, numeric=(2, 3, 4))

    def __str__(self) -> str:
        rows = [("source", "target", "pairs", "groups", "share")]
        for part in self.parts:
            counts = f"{part.pairs:,}", f"{part.groups:,}", f"{100 * part.share:.1f} %"
            rows.append((plain(part.source), plain(part.target), *counts))
        a, b, c, d, e = (max(map(len, column)) for column in zip(*rows, strict=True))
        line = f"{{:<{a}}}  {{:<{b}}}  {{:>{c}}}  {{:>{d}}}  {{:>{e}}}"
        return "\n".join(line.format(*row) for row in rows)

    def to_dict(self) -> list[dict[str, Any]]:
        """One dictionary per part, ready for JSON."""
        return [asdict(part) for part in self.parts]


def composition(pairs: PairedEmbeddings) -> Composition:
    """Count pairs by the modalities of their sides; a side without masks is ``"any"``."""
    n = len(pairs)
    source, target = (
        [-1] * n if mask is None else mask.tolist()
        for mask in (pairs.source_modality, pairs.target_modality)
    )
    rows: dict[tuple[int, int], list[int]] = {}
    for row, key in enumerate(zip(source, target, strict=True)):
        rows.setdefault(key, []).append(row)
    strata = torch.zeros(n, dtype=torch.int64)
    parts = []
    for number, key in enumerate(sorted(rows, key=lambda key: (-len(rows[key]), key))):
        strata[rows[key]] = number
        groups = {pairs.groups[row] for row in rows[key]}
        sizes = len(rows[key]), len(groups), len(rows[key]) / n
        parts.append(Stratum(_words(key[0]), _words(key[1]), *sizes))
    return Composition(tuple(parts), strata)


def temperature_weights(strata: Tensor, *, temperature: float) -> Tensor:
    """Weight of each row so that stratum ``i`` is drawn with ``p_i ~ n_i^(1 / temperature)``.

    The rows of a stratum share its probability evenly: ``(n,)`` float64 that sum to 1.

    Args:
        strata: Stratum of each row, int64 ``(n,)``, not negative; ``composition(pairs).strata``,
            or ``group_codes`` of anything else.
        temperature: At least 1, where all rows weigh the same; with ``math.inf`` all strata do.

    Raises:
        ValueError: ``strata`` are not codes, or ``temperature`` is below 1.

    Reference:
        Arivazhagan et al. 2019, arXiv:1907.05019.
    """
    if strata.ndim != 1 or strata.dtype != torch.int64 or not len(strata) or strata.min() < 0:
        raise ValueError(
            "strata must be one code per row, int64 (n,), none negative; got "
            f"{strata.dtype} of shape {tuple(strata.shape)}. Take them from composition."
        )
    if not temperature >= 1:
        raise ValueError(
            f"temperature must be at least 1; got {temperature}. 1 leaves the mixture as it is."
        )
    sizes = strata.bincount().double()
    raised = sizes.pow(1 / temperature) if math.isfinite(temperature) else (sizes > 0).double()
    share = raised / raised.sum()
    return (share / sizes)[strata]


def sample_rows(weights: Tensor, size: int, *, generator: torch.Generator) -> Tensor:
    """Distinct rows drawn one after another by weight, in rising order; ``(size,)`` int64.

    As rows are not put back, a small stratum that runs out falls behind its share.

    Args:
        weights: Positive, ``(n,)``, for example of ``temperature_weights``.
        size: Rows to draw, ``1 <= size <= n``.
        generator: Source of the draws.

    Raises:
        ValueError: A weight is not positive and finite, or ``size`` is out of range.

    Reference:
        Efraimidis and Spirakis 2006, doi:10.1016/j.ipl.2005.11.003 (exponential keys).
    """
    check_k(size, len(weights), name="size", of="the number of rows")
    if not (weights.isfinite() & (weights > 0)).all():
        raise ValueError(
            f"weights must be finite and above 0; they span [{weights.min()}, {weights.max()}]. "
            "Drop rows that should never be drawn."
        )
    # Waiting times: the first rows to arrive are a weighted draw without putting back.
    times = torch.empty_like(weights).exponential_(generator=generator) / weights
    return times.topk(size, largest=False).indices.sort().values


def _words(mask: int) -> str:
    names: Sequence[str] = [str(kind.name) for kind in Modality if mask > 0 and mask & kind]
    return "|".join(names).lower() or "any"
