"""The pairs of a report in one state (raw, centred, aligned), and what probes share of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from threading import Lock
from typing import Concatenate, Generic, Literal, NamedTuple, ParamSpec, TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from align.data.sides import Side
from align.metrics.ranks import Ranks, rank_scores
from align.scoring.inner_products import inner_products, mutual_products
from probes.estimates import Measured
from probes.neighbours import closest_by

Family = Literal["offset", "distribution", "pairing", "structure", "pathology"]
Better = Literal["lower", "higher", "neither"]
Needs = Literal["sides", "common space", "search"]
Scale = Literal["fixed", "width", "spread", "raw"]

P = ParamSpec("P")
T = TypeVar("T")

K = 10  # neighbourhood size of the standard report
SAMPLE = 1_000
"""Most pairs that a quantity which depends on their number is measured on: one number for all keeps
reports of different sizes comparable."""


class SearchSides(NamedTuple):
    """Vectors of the side that searches and of the side that is searched, row-matched, ``(n, d)``.

    The score of a gallery row is its inner product with the query.
    """

    queries: Tensor
    gallery: Tensor


class Sample(NamedTuple):
    """Some of the pairs of a space, and their rows in the whole, ``(r,)`` int64, rising."""

    space: Space
    rows: Tensor


class _Once(Generic[T]):
    """A result, computed by the first thread that asks, while others that ask wait for it."""

    def __init__(self) -> None:
        self._lock, self._found = Lock(), list[T]()

    def get(self, compute: Callable[[], T]) -> T:
        with self._lock:
            if not self._found:
                self._found.append(compute())
        return self._found[0]


def once_per_space(
    measure: Callable[Concatenate[Space, P], T],
) -> Callable[Concatenate[Space, P], T]:
    """``measure`` that keeps its result, for each further argument, as long as the space lives."""
    cache: WeakKeyDictionary[Space, dict[object, _Once[T]]] = WeakKeyDictionary()
    lock = Lock()

    def measured(space: Space, /, *args: P.args, **kwargs: P.kwargs) -> T:
        with lock:
            once = cache.setdefault(space, {}).setdefault((args, *kwargs.items()), _Once())
        return once.get(lambda: measure(space, *args, **kwargs))

    return measured


@dataclass(frozen=True, eq=False)
class Space:
    """Row-matched unit vectors of both sides; what is derived from them is computed once.

    Attributes:
        source: Unit-norm float32, ``(n, d_source)``.
        target: Unit-norm float32, ``(n, d_target)``.
        codes: Group code of each pair, ``(n,)`` int64, every code of ``0 .. g - 1`` present. Pairs
            of one group are never false pairs, and a bootstrap draws them together.
        seed: Seeds whatever a probe draws.
        corrected: Searches of target by source and of source by target where they are not plain
            cosine, as with a hubness correction.
        before: The same pairs before anything was done to them; ``None`` if that is this state.
        folds: Fold of each pair, ``(n,)`` int64, where each side was moved by its mean over the
            other folds; ``None`` if it was not. No offset is left to test then.

    Examples:
        >>> import torch, probes
        >>> from torch.nn.functional import normalize
        >>> rng = torch.Generator().manual_seed(0)
        >>> x = normalize(torch.randn(20, 4, generator=rng), dim=1)
        >>> space = probes.Space(x, x, codes=torch.arange(20))
        >>> recall = next(probe for probe in probes.STANDARD if probe.name == "recall_at_1")
        >>> recall.measure(space).value
        1.0
    """

    source: Tensor
    target: Tensor
    codes: Tensor
    seed: int = 0
    corrected: tuple[SearchSides, SearchSides] | None = None
    before: Space | None = None
    folds: Tensor | None = None
    _samples: dict[int, _Once[Sample]] = field(default_factory=dict, repr=False)

    @property
    def n(self) -> int:
        """Number of pairs."""
        return len(self.codes)

    @property
    def is_centred(self) -> bool:
        """Whether the sides were moved by means of these very pairs."""
        return self.folds is not None

    @property
    def is_common(self) -> bool:
        """Whether both sides have one width, so that a cosine across them exists."""
        return self.source.shape[1] == self.target.shape[1]

    @property
    @once_per_space
    def cross(self) -> Tensor:
        """Cosine of each source row with each target row, ``(n, n)`` float32; do not write."""
        return mutual_products(self.source, self.target)

    @property
    @once_per_space
    def same_group(self) -> Tensor:
        """Whether two pairs are of one group, ``(n, n)`` bool, the diagonal included."""
        return self.codes[:, None] == self.codes

    @property
    def searches(self) -> tuple[SearchSides, SearchSides]:
        """Target searched by source, and source searched by target."""
        if self.corrected is not None:
            return self.corrected
        return SearchSides(self.source, self.target), SearchSides(self.target, self.source)

    @property
    @once_per_space
    def scores(self) -> tuple[Tensor, Tensor]:
        """Score of each query with each gallery row, ``(n, n)``, both searches; do not write."""
        if self.corrected is None:
            return self.cross, self.cross.T
        forth, back = (inner_products(search.queries, search.gallery) for search in self.searches)
        return forth, back

    @property
    @once_per_space
    def ranks(self) -> tuple[Ranks, Ranks]:
        """Ranks of each query's group in both searches, as ``align.evaluate`` counts them."""
        forth, back = (rank_scores(scores, self.codes, self.codes) for scores in self.scores)
        return forth, back

    @property
    @once_per_space
    def retrieved(self) -> tuple[Tensor, Tensor]:
        """Gallery rows in the top ``K`` of each query, best first, ``(n, K)``, both searches."""
        forth, back = (
            closest_by(scores, search.queries, search.gallery, k=K)
            for scores, search in zip(self.scores, self.searches, strict=True)
        )
        return forth, back

    def side(self, side: Side) -> Tensor:
        """The vectors of one side."""
        return self.source if side == "source" else self.target

    def generator(self, purpose: str) -> torch.Generator:
        """A generator that depends on the seed and on its purpose, in any words, alone."""
        digest = sha256(f"{self.seed} {purpose}".encode()).digest()
        return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))

    def sample(self, size: int) -> Sample:
        """At most ``size`` pairs, whole groups drawn at random; the same for all states."""
        if self.n <= size:
            return Sample(self, torch.arange(self.n))
        return self._samples.setdefault(size, _Once()).get(lambda: self._drawn(size))

    def _drawn(self, size: int) -> Sample:
        rows = whole_groups(self.codes, size, self.generator("sample"))
        again = torch.unique(self.codes[rows], return_inverse=True)[1]
        before = None if self.before is None else self.before.sample(size).space
        corrected = self.corrected and (
            SearchSides(*(side[rows] for side in self.corrected[0])),
            SearchSides(*(side[rows] for side in self.corrected[1])),
        )
        folds = None if self.folds is None else self.folds[rows]
        drawn = Space(
            self.source[rows], self.target[rows], again, self.seed, corrected, before, folds
        )
        return Sample(drawn, rows)


def whole_groups(codes: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """Rows of random whole groups, as many as fit into ``size``, rising; ``(r,)`` int64."""
    sizes = torch.bincount(codes)
    order = torch.randperm(len(sizes), generator=generator)
    fit = order[sizes[order].cumsum(0) <= size]
    rows = torch.isin(codes, fit).nonzero().flatten()
    if len(rows) == 0:
        raise ValueError(
            f"a sample of whole groups must fit into {size} rows; the first group drawn has "
            f"{int(sizes[order[0]])}. Pass smaller groups, or leave groups out."
        )
    return rows


@dataclass(frozen=True, slots=True)
class Probe:
    """One row of a report.

    Attributes:
        name: Identifier, unique within a report: the name of the function behind it, and the side.
        label: What a reader sees.
        family: The question it belongs to.
        better: Which direction is better.
        needs: Where it is defined: on two sides of any widths, in one common space, or on the
            searches of a space, which a hubness correction changes.
        measure: Space in, value out.
        interval: How the interval is made, for the reader.
        null: What the null is, for the reader; empty if there is none.
        scale: What the value depends on besides what is asked: nothing, the number of dimensions,
            how far apart the vectors of a state lie at all, or the raw state, with which it is
            compared and where it is perfect by definition. Where two states differ in that, a
            change of the value is inevitable and neither better nor worse.
        extreme: What the value is where there is as much as there can be, for unit vectors: 1 for a
            recall, 0 for a distance of partners; ``None`` where nothing bounds it. Effects are
            shares of the way from the null to here.
        opposite: How far the value can go on the other side of the null, where that is farther from
            it than ``extreme`` may be. Effects on that side are shares of the way to here, so that
            none passes -1; ``None`` measures them by ``extreme`` too.
        function: The public function of the quantity, or the property of what one gives; what its
            docstring says under Meaning, Beware, Range and Reference is what ``about`` shows.

    Examples:
        >>> import probes
        >>> by_name = {probe.name: probe for probe in probes.STANDARD}
        >>> by_name["recall_at_10"].family, by_name["recall_at_10"].better
        ('pairing', 'higher')
    """

    name: str
    label: str
    family: Family
    better: Better
    needs: Needs
    measure: Callable[[Space], Measured]
    interval: str = "bootstrap over pairs"
    null: str = ""
    scale: Scale = "fixed"
    extreme: float | Callable[[Space], float] | None = None
    opposite: float | None = None
    function: object = None


def for_each_side(
    probe: Callable[..., Probe], name: str, label: str, measure: Callable[..., Measured]
) -> tuple[Probe, Probe]:
    """One probe for the source and one for the target; name and label end with the side.

    ``probe`` is ``Probe`` or a ``partial`` of it that holds what both have in common, and
    ``measure`` takes a space and ``side``.
    """
    source, target = (
        probe(name=f"{name}_{side}", label=f"{label} {side}", measure=partial(measure, side=side))
        for side in ("source", "target")
    )
    return source, target
