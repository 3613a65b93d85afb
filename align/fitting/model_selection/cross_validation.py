"""Folds of training pairs, and what a candidate map scores on the part it has not seen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from align.adapters.card import Candidate
from align.adapters.closed_form.moments import Paired, Spectrum, prepare, second_moment
from align.adapters.corrections.hubness import Hubness, InvertedSoftmax
from align.adapters.corrections.reference_set import ReferenceSet
from align.adapters.maps.linear import BlendMap, LinearMap, directions
from align.adapters.maps.parts import Parts
from align.adapters.maps.residual import ResidualMap
from align.data.embeddings import PairedEmbeddings
from align.data.splits import folds, group_codes
from align.metrics.chance import HeldOutRanks
from align.metrics.ranks import ranks
from align.scoring.ties import MEANS

WIDEST = 1280  # directions kept of a wider side, which costs the cube of its width per fold
GALLERY = 1000  # held-out pairs per fold: recall depends on it, and 1,000 is what papers report
REFERENCE = 8192  # training pairs kept for the gallery: a bound on memory, not a tuned number
MAP_REFERENCE = 512  # rows while maps are compared; the correction is chosen with the whole set
WANTED_QUERIES = 1000  # small data is folded again until this many queries were held out
SCREENING_QUERIES = 600  # maps are compared on as many folds as hold out this many queries
SCREENING = InvertedSoftmax(10.0)  # maps are compared after a correction, as they will be used

Projected = tuple[Tensor, Tensor]  # source and target side of the same rows, (n, d), unit norm


@dataclass(frozen=True, slots=True)
class Outcome:
    """Held-out results of one candidate: one entry per held-out pair, both directions averaged.

    Attributes:
        reciprocal_ranks: ``(q,)`` float64.
        hits_at_10: ``(q,)`` float64.
        rounds: How often each pair is among them: folds that are drawn again hold the same pairs,
            which is no further evidence.
        held_out: The ranks behind both and their galleries, or ``None`` where several queries are
            one entry.
    """

    reciprocal_ranks: Tensor
    hits_at_10: Tensor
    rounds: float = 1.0
    held_out: HeldOutRanks | None = None

    @classmethod
    def of_ranks(cls, ranks: Tensor, gallery: int) -> Outcome:
        """Of pairs that are each the only match of their partner.

        Args:
            ranks: Rank of each in each direction, ``(r, q)``.
            gallery: Items that they were ranked among.
        """
        first = ranks.double()
        sizes = torch.full((ranks.shape[1],), gallery)
        return cls(
            first.reciprocal().mean(dim=0),
            (first <= 10).double().mean(dim=0),
            held_out=HeldOutRanks(ranks.T, sizes),
        )

    @property
    def mrr(self) -> float:
        """Mean reciprocal rank, in [0, 1]."""
        return self.reciprocal_ranks.mean().item()

    @property
    def standard_error(self) -> float:
        """Standard error of the mean reciprocal rank."""
        return self._error_of(self.reciprocal_ranks)

    def gain_over(self, other: Outcome) -> tuple[float, float]:
        """Mean paired difference in reciprocal rank, and its standard error."""
        difference = self.reciprocal_ranks - other.reciprocal_ranks
        return difference.mean().item(), self._error_of(difference)

    def gains(self, other: Outcome) -> bool:
        """Whether it gains more than a standard error, by more than rounding.

        Where a single pair comes out better, gain and error are equal on paper.
        """
        gain, error = self.gain_over(other)
        return gain > error + MEANS

    def candidate(self, stage: str, name: str, *, chosen: bool) -> Candidate:
        """What the card of an adapter says of it, with a 95 % interval."""
        half = 1.96 * self.standard_error
        hits, found = self.hits_at_10.mean().item(), self.held_out
        low, high = self.mrr - half, self.mrr + half
        return Candidate(
            stage,
            name,
            self.mrr,
            low,
            high,
            hits,
            chosen,
            None if found is None else found.mean_reciprocal_rank_at_random,
            None if found is None else found.recall_at_random(10),
        )

    def first(self, n: int) -> Outcome:
        """The results of the first ``n`` held-out pairs alone."""
        found = None if self.held_out is None else self.held_out.first(n)
        return Outcome(self.reciprocal_ranks[:n], self.hits_at_10[:n], held_out=found)

    def _error_of(self, values: Tensor) -> float:
        if len(values) < 2:
            return float("inf")
        return values.std().item() * math.sqrt(self.rounds / len(values))


@dataclass(slots=True)
class Fold:
    """One split of the training pairs.

    Attributes:
        train: Rows to fit on, int64.
        held_out: Rows to rank, one of each group, at most ``GALLERY``.
        reference: Rows of ``train`` in random order, at most ``REFERENCE``; their projections serve
            the gallery. While maps are compared the first ``MAP_REFERENCE`` do.
        moments: Second moments of ``train`` by roots, filled when first asked for.
    """

    train: Tensor
    held_out: Tensor
    reference: Tensor
    moments: dict[tuple[bool, bool], Paired] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Unpaired:
    """Items of each side without a partner; they sharpen means and covariances.

    Attributes:
        source: ``(u, d_source)``, or ``None``.
        target: ``(v, d_target)``, or ``None``.
    """

    source: Tensor | None = None
    target: Tensor | None = None

    @property
    def counts(self) -> tuple[int, int]:
        """Number of unpaired source and target items."""
        return (
            0 if self.source is None else len(self.source),
            0 if self.target is None else len(self.target),
        )

    def __bool__(self) -> bool:
        return self.counts != (0, 0)


class Prepared:
    """One side, normalised and centred for good, with its second moments fold by fold.

    The mean is taken over all training rows, held-out ones included: it knows of no pairing, and
    moments that add up over folds save one pass per fold.
    """

    def __init__(self, x: Tensor, extra: Tensor | None, *, root: bool, parts: Parts | None) -> None:
        rows = x if extra is None else torch.cat([x, extra])
        self.mean, prepared = prepare(rows, root=root, parts=parts)
        self.rows, self.extra = prepared[: len(x)], prepared[len(x) :]
        self.total = self._moment(self.rows)
        self.extra_total = self._moment(self.extra)

    def _moment(self, rows: Tensor) -> Tensor:
        return second_moment(rows, rows)

    def is_thin(self) -> bool:
        """Whether there are fewer rows than dimensions, so that rows are the shorter way."""
        return len(self.rows) + len(self.extra) < self.rows.shape[1]

    def spectrum(self, train: Tensor | None = None) -> Spectrum:
        """Spectrum over the rows ``train``, or over all, and every unpaired row.

        Folds are decomposed in float32, which is enough to compare candidates and twice as fast;
        the spectrum over all rows, which is kept, in float64.
        """
        dtype = torch.float64 if train is None else torch.float32
        if self.is_thin():
            rows = self.rows if train is None else self.rows[train]
            return Spectrum.of_rows(torch.cat([rows, self.extra]), dtype=dtype)
        n, moment = len(self.rows), self.total
        if train is not None:
            left_out = torch.ones(n, dtype=torch.bool)
            left_out[train] = False
            n, moment = len(train), moment - self._moment(self.rows[left_out])
        covariance = (moment + self.extra_total) / (n + len(self.extra))
        if len(covariance) <= WIDEST:
            return Spectrum.of_covariance(covariance.to(dtype))
        basis = self._widest
        inside = Spectrum.of_covariance((basis.T @ covariance @ basis).to(dtype))
        mean = covariance.diagonal().mean().to(dtype)
        return Spectrum(inside.values, basis.to(dtype) @ inside.vectors, mean)

    @cached_property
    def _widest(self) -> Tensor:
        """The ``WIDEST`` directions of most variance over all rows, ``(d, WIDEST)`` float64."""
        whole = (self.total + self.extra_total) / (len(self.rows) + len(self.extra))
        vectors: Tensor = torch.linalg.eigh(whole.float()).eigenvectors
        return vectors[:, -WIDEST:].double()


class CrossValidation:
    """The folds of one training set, the moments of each, and the scoring of candidates."""

    def __init__(
        self,
        train: PairedEmbeddings,
        *,
        folds_wanted: int,
        seed: int,
        unpaired: Unpaired,
        parts: tuple[Parts | None, Parts | None] = (None, None),
    ) -> None:
        self.data = train
        self.seed = seed
        self.raw = (train.source.float(), train.target.float())
        self.unpaired = unpaired
        self.parts = parts
        self._prepared: dict[tuple[int, bool], Prepared] = {}
        codes = group_codes(train.groups)
        n_groups = int(codes.max()) + 1
        self.n_groups = n_groups
        self.k = folds_wanted
        self.repeats = max(1, min(5, round(WANTED_QUERIES / n_groups)))
        generator = torch.Generator().manual_seed(seed)
        self.folds: list[Fold] = []
        for repeat in range(self.repeats):
            numbers = torch.from_numpy(folds(train.group_key, self.k, seed=seed + repeat))
            for number in range(self.k):
                inside = (numbers == number).nonzero().flatten()
                shuffled = inside[torch.randperm(len(inside), generator=generator)]
                held_out = first_of_each(torch.from_numpy(codes)[shuffled], shuffled)[:GALLERY]
                rest = (numbers != number).nonzero().flatten()
                reference = rest[torch.randperm(len(rest), generator=generator)[:REFERENCE]]
                self.folds.append(Fold(rest, held_out, reference))
        enough = max(2, -(-SCREENING_QUERIES // len(self.folds[0].held_out)))
        self.screening_folds = self.folds[:enough]

    def prepared(self, side: int, root: bool) -> Prepared:
        """One side (0 source, 1 target) with or without the signed root; computed once."""
        key = (side, root)
        if key not in self._prepared:
            extra = (self.unpaired.source, self.unpaired.target)[side]
            self._prepared[key] = Prepared(
                self.raw[side],
                None if extra is None else extra.float(),
                root=root,
                parts=self.parts[side],
            )
        return self._prepared[key]

    def moments(self, roots: tuple[bool, bool], fold: Fold | None = None) -> Paired:
        """Moments of one fold's training rows, or of all rows for the final fit."""
        if fold is not None and roots in fold.moments:
            return fold.moments[roots]
        x, y = self.prepared(0, roots[0]), self.prepared(1, roots[1])
        train = None if fold is None else fold.train
        sx, sy = self._spectra(roots, fold, train)
        a, b = (x.rows, y.rows) if train is None else (x.rows[train], y.rows[train])
        c_xy = (second_moment(a, b) / len(a)).to(sx.vectors.dtype)
        cross = sx.vectors.T @ c_xy @ sy.vectors
        found = Paired((x.mean, y.mean), roots, sx, sy, cross, len(a), self.parts)
        if fold is not None:
            fold.moments[roots] = found
        return found

    def _spectra(
        self, roots: tuple[bool, bool], fold: Fold | None, train: Tensor | None
    ) -> tuple[Spectrum, Spectrum]:
        known = {} if fold is None else fold.moments
        for other, moments in known.items():
            if other[0] == roots[0]:
                return moments.source, self.prepared(1, roots[1]).spectrum(train)
            if other[1] == roots[1]:
                return self.prepared(0, roots[0]).spectrum(train), moments.target
        return (
            self.prepared(0, roots[0]).spectrum(train),
            self.prepared(1, roots[1]).spectrum(train),
        )

    def raw_rows(self, rows: Tensor) -> Projected:
        """The encoders' vectors of ``rows``, source and target."""
        return self.raw[0][rows], self.raw[1][rows]

    def project(self, maps: tuple[nn.Module, nn.Module], rows: Tensor) -> Projected:
        """Both sides of ``rows`` in the shared space of ``maps``."""
        return self._side(0, maps[0], rows), self._side(1, maps[1], rows)

    def _side(self, side: int, side_map: nn.Module, rows: Tensor) -> Tensor:
        if isinstance(side_map, LinearMap):
            prepared = self.prepared(side, side_map.root).rows[rows]
            return F.normalize(prepared @ side_map.weight, dim=1)
        if isinstance(side_map, ResidualMap):
            return side_map.shifted(
                self._side(side, side_map.inner, rows),
                self.prepared(side, side_map.root).rows[rows],
            )
        if isinstance(side_map, BlendMap):
            return side_map.join([self._side(side, part, rows) for part in side_map.maps])
        mapped: Tensor = side_map(self.raw[side][rows])
        return mapped

    def identity(self, rows: Tensor) -> Projected:
        """Both sides of ``rows`` as the encoders gave them, unit norm."""
        x, y = self.raw_rows(rows)
        return directions(x), directions(y)


def screen(held_out: Projected, reference: Projected) -> Outcome:
    """Outcome of projected held-out pairs under the screening correction."""
    return score(held_out, ReferenceSet(*reference, expansion=None, hubness=SCREENING))


def score(held_out: Projected, reference: ReferenceSet | None) -> Outcome:
    """Outcome of projected held-out pairs, each the only match of its partner."""
    x, y = held_out
    if reference is None:
        return _outcome((x, y), (y, x))
    return _outcome(
        (_with_one(x), _with_one(y)),
        (reference.gallery(y, side="target"), reference.gallery(x, side="source")),
    )


def score_each(
    held_out: Projected, reference: Projected, corrections: Sequence[Hubness]
) -> list[Outcome]:
    """``score`` under each correction without expansion; the similarities serve them all."""
    x, y = held_out
    near_target, near_source = y @ reference[0].T, x @ reference[1].T
    found = []
    for correction in corrections:
        target = torch.cat([y, -correction(near_target)[:, None]], dim=1)
        source = torch.cat([x, -correction(near_source)[:, None]], dim=1)
        found.append(_outcome((_with_one(x), _with_one(y)), (target, source)))
    return found


def _with_one(z: Tensor) -> Tensor:
    return torch.cat([z, z.new_ones(len(z), 1)], dim=1)


def _outcome(queries: Projected, galleries: Projected) -> Outcome:
    """Rank row-matched queries and galleries in both directions and average the two."""
    pairs = zip(queries, galleries, strict=True)
    first = torch.stack([ranks(q[:, : g.shape[1]], g) for q, g in pairs])
    return Outcome.of_ranks(first, first.shape[1])


def pooled(outcomes: Sequence[Outcome], *, k: int) -> Outcome:
    """The outcomes of several folds as one; ``k`` folds hold out every group once."""
    held_out = [outcome.held_out for outcome in outcomes if outcome.held_out is not None]
    return Outcome(
        torch.cat([outcome.reciprocal_ranks for outcome in outcomes]),
        torch.cat([outcome.hits_at_10 for outcome in outcomes]),
        max(1.0, len(outcomes) / k),
        HeldOutRanks.joined(held_out) if len(held_out) == len(outcomes) else None,
    )


def first_of_each(codes: Tensor, rows: Tensor) -> Tensor:
    """The first of ``rows`` of each code, in order."""
    seen: set[int] = set()
    kept = []
    for code, row in zip(codes.tolist(), rows.tolist(), strict=True):
        if code not in seen:
            seen.add(code)
            kept.append(row)
    return torch.tensor(kept, dtype=torch.int64)
