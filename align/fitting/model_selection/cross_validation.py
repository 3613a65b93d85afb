"""Folds of training pairs, with the second moments that closed forms are fitted to."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from align.adapters.corrections.reference_set import MOST_PAIRS
from align.adapters.maps.linear import BlendMap, LinearMap, directions
from align.adapters.maps.parts import Parts
from align.adapters.maps.residual import ResidualMap
from align.adapters.recipes.moments import (
    WIDEST,
    Paired,
    Spectrum,
    prepare,
    second_moment,
    widest_directions,
)
from align.adapters.recipes.recipe import Recipe
from align.adapters.recipes.statistics import SufficientStatistics
from align.data.embeddings import PairedEmbeddings
from align.data.splits import deal, group_codes

GALLERY = 1000  # held-out pairs per fold: recall depends on it, and 1,000 is what papers report
REFERENCE = MOST_PAIRS  # training pairs that serve the gallery
MAP_REFERENCE = 512  # rows while maps are compared; the correction is chosen with the whole set
WANTED_QUERIES = 1000  # small data is folded again until this many queries were held out
SCREENING_QUERIES = 600  # maps are compared on as many folds as hold out this many queries

Projected = tuple[Tensor, Tensor]  # source and target side of the same rows, (n, d), unit norm


class Projection(NamedTuple):
    """One fold through its own maps: held-out pairs, and a reference set of training pairs."""

    held_out: Projected
    reference: Projected


@dataclass(slots=True)
class Fold:
    """One split of the training pairs.

    Projections of ``reference`` serve the gallery; while maps are compared the first
    ``MAP_REFERENCE`` do.
    """

    train: Tensor  # rows to fit on, int64
    held_out: Tensor  # rows to rank, one of each group, at most GALLERY
    reference: Tensor  # rows of train in random order, at most REFERENCE
    moments: dict[tuple[bool, bool], Paired] = field(default_factory=dict)  # by roots


@dataclass(frozen=True, slots=True)
class Unpaired:
    """Items of each side without a partner; they sharpen means and covariances."""

    source: Tensor | None = None  # (u, d_source)
    target: Tensor | None = None  # (v, d_target)

    @property
    def counts(self) -> tuple[int, int]:
        """Number of unpaired source and target items."""
        source, target = (0 if x is None else len(x) for x in (self.source, self.target))
        return source, target

    def __bool__(self) -> bool:
        return self.counts != (0, 0)


NO_UNPAIRED = Unpaired()


class PreparedSide:
    """One side, normalised and centred once, with its second moments fold by fold.

    The mean is taken over all training rows, held-out ones included: it knows of no pairing, and
    moments that add up over folds save one pass per fold.
    """

    def __init__(self, x: Tensor, extra: Tensor | None, *, root: bool, parts: Parts | None) -> None:
        rows = x if extra is None else torch.cat([x, extra])
        self.mean, prepared = prepare(rows, root=root, parts=parts)
        self.rows, self.extra = prepared[: len(x)], prepared[len(x) :]

    def is_thin(self) -> bool:
        """Whether there are fewer rows than dimensions, so that rows are the shorter way."""
        return len(self.rows) + len(self.extra) < self.rows.shape[1]

    @cached_property
    def total(self) -> Tensor:
        """Sum of the outer products of all rows, unpaired ones included, ``(d, d)`` float64."""
        total = second_moment(self.rows, self.rows)
        return total + second_moment(self.extra, self.extra) if len(self.extra) else total

    def spectrum(self, train: Tensor | None = None) -> Spectrum:
        """Spectrum over the rows ``train``, or over all, and every unpaired row.

        Folds are left out and decomposed in float32, which is enough to compare candidates and
        twice as fast; the spectrum over all rows, which an adapter is made of, in float64.
        """
        dtype = torch.float64 if train is None else torch.float32
        if self.is_thin():
            rows = self.rows if train is None else self.rows[train]
            return Spectrum.of_rows(torch.cat([rows, self.extra]), dtype=dtype)
        n, moment = len(self.rows), self.total
        if train is not None:
            left_out = self.rows[others(train, n)]
            n, moment = len(train), moment - second_moment(left_out, left_out, dtype=dtype)
        covariance = moment / (n + len(self.extra))
        if len(covariance) <= WIDEST:
            return Spectrum.of_covariance(covariance.to(dtype))
        return Spectrum.within(covariance, self._widest, dtype=dtype)

    @cached_property
    def _widest(self) -> Tensor:
        return widest_directions(self.total / (len(self.rows) + len(self.extra)))


class CrossValidation:
    """The folds of one training set, the moments of each, and projections through maps."""

    def __init__(
        self,
        train: PairedEmbeddings,
        *,
        folds_wanted: int,
        seed: int,
        unpaired: Unpaired = NO_UNPAIRED,
        parts: tuple[Parts | None, Parts | None] = (None, None),
    ) -> None:
        self.data, self.seed, self.k = train, seed, folds_wanted
        self.unpaired, self.parts = unpaired, parts
        self.raw = (train.source.float(), train.target.float())
        self._prepared: dict[tuple[int, bool], PreparedSide] = {}
        self._cross: dict[tuple[bool, bool], Tensor] = {}
        self.codes = torch.from_numpy(group_codes(train.groups))
        self.n_groups = int(self.codes.max()) + 1
        self.repeats = max(1, min(5, round(WANTED_QUERIES / self.n_groups)))
        generator = torch.Generator().manual_seed(seed)
        self.folds: list[Fold] = []
        for repeat in range(self.repeats):
            for rest, inside in deal(train.group_key, self.k, seed=seed + repeat):
                shuffled = inside[torch.randperm(len(inside), generator=generator)]
                held_out = first_of_each(self.codes, shuffled)[:GALLERY]
                reference = rest[torch.randperm(len(rest), generator=generator)[:REFERENCE]]
                self.folds.append(Fold(rest, held_out, reference))
        enough = max(2, -(-SCREENING_QUERIES // len(self.folds[0].held_out)))
        self.screening_folds = self.folds[:enough]

    @property
    def widths(self) -> tuple[int, int]:
        """Width of the encoders' vectors of each side."""
        return self.raw[0].shape[1], self.raw[1].shape[1]

    @property
    def is_comparable(self) -> bool:
        """Whether the two sides have one width, so that their raw cosine is defined."""
        return self.widths[0] == self.widths[1]

    def prepared(self, side: int, root: bool) -> PreparedSide:
        """One side (0 source, 1 target) with or without the signed root; computed once."""
        key = (side, root)
        if key not in self._prepared:
            extra = (self.unpaired.source, self.unpaired.target)[side]
            self._prepared[key] = PreparedSide(
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
        sx, sy = self._spectrum(0, roots[0], fold), self._spectrum(1, roots[1], fold)
        n, c_xy = len(x.rows), self._cross_total(roots)
        if fold is not None:
            left_out = others(fold.train, n)
            outside = second_moment(x.rows[left_out], y.rows[left_out], dtype=torch.float32)
            n, c_xy = len(fold.train), c_xy - outside
        cross = sx.vectors.T @ (c_xy / n).to(sx.vectors.dtype) @ sy.vectors
        moments = Paired((x.mean, y.mean), roots, sx, sy, cross, n, self.parts)
        if fold is not None:
            fold.moments[roots] = moments
        return moments

    def statistics(
        self, recipe: Recipe, roots: tuple[bool, bool], *, sampled: bool
    ) -> SufficientStatistics:
        """Statistics of all rows, and of the pairs of the reference set where it is ``sampled``."""
        x, y = self.prepared(0, roots[0]), self.prepared(1, roots[1])
        rows = self.sample() if sampled else torch.zeros(0, dtype=torch.int64)
        return SufficientStatistics.of(
            recipe,
            (x.mean, y.mean),
            (x.rows, y.rows),
            self.raw_rows(rows),
            roots=roots,
            parts=self.parts,
            unpaired=(x.extra, y.extra),
        )

    def sample(self) -> Tensor:
        """Rows of the final reference set: all, or ``REFERENCE`` at random; rising int64."""
        rows = torch.randperm(len(self.data), generator=torch.Generator().manual_seed(self.seed))
        return rows[:REFERENCE].sort().values

    def keep_only(self, roots: tuple[bool, bool]) -> None:
        """Give up the rows and moments of other roots, which are as large as the data.

        What is asked for again is computed again.
        """
        self._prepared = {
            key: side for key, side in self._prepared.items() if key in enumerate(roots)
        }
        self._cross = {key: cross for key, cross in self._cross.items() if key == roots}
        for fold in self.folds:
            fold.moments = {key: kept for key, kept in fold.moments.items() if key == roots}

    def _cross_total(self, roots: tuple[bool, bool]) -> Tensor:
        """Sum of the outer products of all pairs, ``(d_source, d_target)`` float64; taken once."""
        if roots not in self._cross:
            x, y = self.prepared(0, roots[0]), self.prepared(1, roots[1])
            self._cross[roots] = second_moment(x.rows, y.rows)
        return self._cross[roots]

    def _spectrum(self, side: int, root: bool, fold: Fold | None) -> Spectrum:
        """That of one side over a fold's training rows, decomposed once whatever the other is."""
        if fold is None:
            return self.prepared(side, root).spectrum()
        for roots, moments in fold.moments.items():
            if roots[side] == root:
                return moments.target if side else moments.source
        return self.prepared(side, root).spectrum(fold.train)

    def raw_rows(self, rows: Tensor) -> Projected:
        """The encoders' vectors of ``rows``, source and target."""
        return self.raw[0][rows], self.raw[1][rows]

    def project(self, maps: tuple[nn.Module, nn.Module], rows: Tensor) -> Projected:
        """Both sides of ``rows`` in the shared space of ``maps``."""
        return self._side(0, maps[0], rows), self._side(1, maps[1], rows)

    def projection(self, maps: tuple[nn.Module, nn.Module], fold: Fold) -> Projection:
        """Held-out pairs and the whole reference set of a fold."""
        return Projection(self.project(maps, fold.held_out), self.project(maps, fold.reference))

    def _side(self, side: int, side_map: nn.Module, rows: Tensor) -> Tensor:
        if isinstance(side_map, LinearMap):
            prepared = self.prepared(side, side_map.root).rows.index_select(0, rows)
            # A product with the identity gives the same bits.
            mapped = prepared if is_identity(side_map.weight) else prepared @ side_map.weight
            return F.normalize(mapped, dim=1)
        if isinstance(side_map, ResidualMap):
            return side_map.shifted(
                self._side(side, side_map.inner, rows),
                self.prepared(side, side_map.root).rows[rows],
            )
        if isinstance(side_map, BlendMap):
            return side_map.join([self._side(side, part, rows) for part in side_map.maps])
        of_raw: Tensor = side_map(self.raw[side][rows])
        return of_raw

    def identity(self, rows: Tensor) -> Projected:
        """Both sides of ``rows`` as the encoders gave them, unit norm."""
        x, y = self.raw_rows(rows)
        return directions(x), directions(y)


def is_identity(weight: Tensor) -> bool:
    """Whether a matrix has ones on its diagonal and zeros elsewhere."""
    if weight.shape[0] != weight.shape[1] or not bool((weight.diagonal() == 1).all()):
        return False
    return int(weight.count_nonzero()) == len(weight)


def first_of_each(codes: Tensor, rows: Tensor) -> Tensor:
    """The first of ``rows`` of each code, in order; ``codes`` are of all rows."""
    first = np.unique(codes[rows].numpy(), return_index=True)[1]
    return rows[torch.from_numpy(np.sort(first))]


def others(rows: Tensor, n: int) -> Tensor:
    """The rows of ``0 .. n - 1`` that are not among ``rows``, rising int64."""
    left = torch.ones(n, dtype=torch.bool)
    left[rows] = False
    return left.nonzero().flatten()
