"""Whether a stream of queries or documents has moved since an adapter was fitted."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from align._checks import check_side
from align._display.lines import count, one_line, percent, rounded
from align._display.panel import Panel, Tile, render
from align.data.embeddings import Embeddings, PairedEmbeddings
from align.data.sides import Side
from probes.distribution.two_samples import TwoSamples
from probes.inputs import Matrix, codes_of, directions, matrix

Action = Literal["nothing", "watch", "refit"]

_OUTSIDE = 0.2
"""Part of the level that goes to the count of items out of domain. It notices strange items by far,
and is cautious where nothing moved: what more it had would be lost to the other two tests."""

_REPEATED = 0.05  # share of items that repeat others from which a stream has frequent ones

LEAST = 20  # items of each sample
MOST = 1_000  # items of each sample that are compared: what more would show is too small to act on

PLAIN = 0.01
"""MMD² from which a drift calls for pairs of the new kind: that of a stream of which about half was
replaced by another topic (experiments/results/drift-power.json)."""

FLAGS = 0.05  # share of items like those of training that are flagged as unlike them
MANY = 0.25  # share of flagged items from which a drift calls for pairs of the new kind


class RemembersItems(Protocol):
    """What ``drift`` asks of an adapter; an ``align.Adapter`` is one."""

    @property
    def training_items(self) -> Any:
        """What is remembered of the training pairs, or ``None``."""
        ...

    @property
    def calibration(self) -> Any:
        """What training items look like, or ``None``."""
        ...

    def typicality(self, x: Tensor, /, *, side: Side) -> Tensor:
        """Conformal p-values of items, ``(n,)``, where there is a calibration."""
        ...

    def check_fingerprint(self, side: Side, fingerprint: str | None, /) -> None:
        """Raise ``ValueError`` for vectors of another encoder."""
        ...


class OutOfDomain(NamedTuple):
    """How many new items are unlike those of training, one by one.

    Attributes:
        share: Of the new items that ``adapter.out_of_domain`` flags; 0.05 where nothing moved.
        p: How often as many are flagged where nothing moved.
    """

    share: float
    p: float


@dataclass(frozen=True, slots=True)
class Drift:
    """Whether new items of a side follow the law of the training items, and what to do.

    Attributes:
        side: The side of the items.
        test: A classifier and a kernel that were to tell new items from training items.
        outside: How many new items are out of domain; ``None`` of an adapter without a calibration.
        given: New vectors that came.
        items: New items that were compared, one of each group, repeats left out.
        known: Training items that they were compared with, likewise.
        columns: Numbers of each item that were compared: 8 that an adapter remembers, or the width
            of whole vectors.
        encoder: Encoder of the new vectors, compared with that of the adapter, or ``None`` where
            nobody said which it is.
        level: How often a stream that did not move may be said to have.

    Examples:
        >>> import numpy as np, align, probes
        >>> rng = np.random.default_rng(0)
        >>> captions = rng.standard_normal((300, 8))
        >>> adapter = align.fit(captions, captions @ rng.standard_normal((8, 12)), effort="fast")
        >>> found = probes.drift(adapter, rng.standard_normal((100, 8)) + 1)
        >>> isinstance(found, probes.Drift), found.drifted
        (True, True)
    """

    side: Side
    test: TwoSamples
    outside: OutOfDomain | None
    given: int
    items: int
    known: int
    columns: int
    encoder: str | None
    level: float

    @property
    def p(self) -> float:
        """How often new items as different come from a stream that has not moved."""
        if self.outside is None:
            return self.test.p
        return min(1.0, self.test.p / (1 - _OUTSIDE), self.outside.p / _OUTSIDE)

    @property
    def drifted(self) -> bool:
        """Whether ``p`` is at most the level."""
        return self.p <= self.level

    @property
    def action(self) -> Action:
        """What to do: ``"nothing"``, ``"watch"`` it, or add pairs and ``"refit"``."""
        if not self.drifted:
            return "nothing"
        many = self.outside is not None and self.outside.share >= MANY
        return "refit" if many or self.test.mmd >= PLAIN else "watch"

    @property
    def recommendation(self) -> str:
        """What to do, in one sentence."""
        test, side = self.test, self.side
        if self.action == "nothing":
            return (
                f"Nothing to do: the new {side} items look like those of training; a classifier "
                f"with an AUC above {test.auc_by_chance:.2f} would have been noticed."
            )
        if self.action == "watch":
            return (
                f"Watch it: the new {side} items differ from those of training, but not by much; "
                "evaluate the adapter on some of their pairs before you fit anew."
            )
        first = ""
        if self.encoder is None:
            first = "make sure that the same encoder made them, then "
        return (
            f"Refit: the new {side} items are of another kind than those of training; {first}add "
            "pairs of that kind and fit anew."
        )

    def __repr__(self) -> str:
        return one_line(
            "Drift", self.action, f"p {self.p:.3g}", f"AUC {rounded(self.test.auc)}",
            f"{count(self.items, f'new {self.side} item')} beside {self.known:,}",
        )  # fmt: skip

    def __str__(self) -> str:
        shown = (f"{name:16}{said}" for name, said in self._facts.items())
        return "\n".join([*textwrap.wrap(self.recommendation, 100), *shown])

    def _repr_html_(self) -> str:
        tiles = [
            Tile("p", f"{self.p:.3g}", f"level {self.level:g}"),
            Tile("AUC", rounded(self.test.auc), f"by chance up to {self.test.auc_by_chance:.2f}"),
            Tile(_MMD, f"{self.test.mmd:.2g}", f"refit from {PLAIN:g}"),
        ]
        if self.outside is not None:
            tiles.append(Tile("out of domain", percent(self.outside.share), _EXPECTED))
        return render(Panel("Drift", self.recommendation, tiles=tiles, facts=self._facts))

    def to_dict(self) -> dict[str, Any]:
        """All of it, ready for JSON."""
        said = {"action": self.action, "drifted": self.drifted, "p": self.p}
        return {**said, "recommendation": self.recommendation, **asdict(self)}

    @property
    def _facts(self) -> dict[str, str | int]:
        test = self.test
        told = f"AUC {rounded(test.auc)}, p {test.auc_p:.3g}"
        outside = "not known: the adapter has no calibration"
        if self.outside is not None:
            outside = f"{percent(self.outside.share)}, p {self.outside.p:.3g}; {_EXPECTED}"
        return {
            "p of all": f"{self.p:.3g}, at a level of {self.level:g}",
            "classifier": f"{told}; up to {rounded(test.auc_by_chance)} by chance",
            "kernel": f"{_MMD} {test.mmd:.2g}, p {test.mmd_p:.3g}",
            "out of domain": outside,
            "new items": f"{self.items:,} of {count(self.given, 'vector')}",
            "training items": f"{self.known:,}",
            "compared by": f"{self.columns:,} numbers each",
        }


_EXPECTED = "5.0 % where nothing moved"
_MMD = "MMD\N{SUPERSCRIPT TWO}"


def drift(
    adapter: RemembersItems,
    new_vectors: Matrix,
    *,
    side: Side = "source",
    reference: PairedEmbeddings | Matrix | None = None,
    groups: Sequence[str] | None = None,
    level: float = 0.05,
    seed: int = 0,
) -> Drift:
    """Whether a stream of queries or documents has moved since training, and what to do about it.

    A linear classifier and a kernel, as in ``modality_classifier_auc`` and ``mmd``, are to tell the
    new items from the training items. Labels are permuted 499 times, for both alike, so that the
    smaller p of the two has a law of its own. A third test counts the items that
    ``adapter.out_of_domain`` flags, where the adapter has a calibration: a few items of another
    kind move no mean, but are seen one by one. ``p`` is that of all, so that one level holds.

    An adapter remembers eight numbers of each training item, random projections of its direction.
    They show what moves much of the cloud: another topic, a part of the stream replaced, the
    outputs of another encoder. They do not show a shift along a direction in which items vary
    little, or a change that keeps means and spreads of the projections; pass the training vectors
    as ``reference`` to look at all of them. The projected pairs that a correction keeps
    are not used: the maps were fitted on them, and look different on any other item.

    What is noticed is a change of the items. Whether retrieval suffers, only an evaluation on new
    pairs tells; and a change of what belongs together, with the same items, is not seen here.
    Another topic and another encoder look alike. ``Embeddings`` say which encoder made them, and
    those of another are refused.

    The p-value takes items for independent draws. So one item of each group is compared, and of
    the items that an adapter remembers one for each distinct partner, as one caption of a photo;
    equal items are compared once. What belongs together for other reasons, as sentences of one
    document or frames of one video, needs ``groups``, on both sides: then pass ``reference`` as
    pairs that have them. At most 1,000 items of each sample are compared, drawn at random.

    Norms: any; directions are compared.

    Args:
        adapter: The adapter that serves the stream.
        new_vectors: Raw vectors of new items of the side, ``(m, d_side)``.
        side: The side of the items.
        reference: Raw vectors of the training items of that side, ``(n, d_side)``, or the training
            pairs, whose groups then count; what the adapter remembers if left out.
        groups: Group of each new item; each its own if left out.
        level: How often a stream that did not move may be said to have, in (0, 1). Divide it by
            the number of looks if you look often.
        seed: Seeds which items are drawn, folds and permutations.

    Raises:
        ValueError: There are fewer than 20 different items of a sample, vectors are of another
            encoder or width or not finite, the level is out of range, or the adapter remembers
            nothing and there is no reference.

    Reference:
        Rabanser et al. 2019, arXiv:1810.11953, compare such detectors; the tests are of Lopez-Paz
        and Oquab 2017, arXiv:1610.06545, and Gretton et al. 2012, JMLR 13:723-773, under one set
        of permutations as in Westfall and Young 1993. The count of conformal p-values has a fifth
        of the level, and they the rest (a weighted Bonferroni correction).

    Examples:
        >>> import numpy as np, align, probes
        >>> rng = np.random.default_rng(0)
        >>> captions = rng.standard_normal((300, 8))
        >>> adapter = align.fit(captions, captions @ rng.standard_normal((8, 12)), effort="fast")
        >>> probes.drift(adapter, rng.standard_normal((100, 8))).action
        'nothing'
        >>> probes.drift(adapter, rng.standard_normal((100, 8)) + 1).action
        'refit'
    """
    check_side(side)
    if not 0 < level < 1:
        raise ValueError(f"level must lie in (0, 1); got {level}. Pass 0.05 or 0.01.")
    fingerprint = new_vectors.fingerprint if isinstance(new_vectors, Embeddings) else None
    adapter.check_fingerprint(side, fingerprint)
    rows = matrix("new_vectors", new_vectors)
    generator = torch.Generator().manual_seed(seed)
    new = rows[_one_of_each(codes_of(groups, len(rows)), generator)]
    outside = _outside(adapter, new, side)
    if reference is None:
        items = adapter.training_items
        if items is None:
            raise ValueError(
                "a drift is measured against training items, and this adapter remembers none: "
                "training_items is None, as for maps that were put together by hand. Pass the "
                "training vectors as reference."
            )
        new, known = items.numbers(side, new).cpu(), items.independent(side, generator)
    else:
        known = _reference(adapter, reference, side, generator)
        if known.shape[1] != new.shape[1]:
            raise ValueError(
                "new_vectors and reference must come from one encoder; got widths "
                f"{new.shape[1]} and {known.shape[1]}. Pass raw vectors of the {side} encoder."
            )
        new = directions("new_vectors", new).float().cpu()
        known = directions("reference", known).float().cpu()
    new, known = _distinct(new, known, generator)
    for name, sample in (("new", new), ("training", known)):
        if len(sample) < LEAST:
            raise ValueError(
                f"a drift needs at least {LEAST} different items of each sample, one of each "
                f"group; got {len(sample)} {name} items. Ask again when there are more."
            )
    test = TwoSamples.of(new, known, seed=seed)
    sizes = len(rows), len(new), len(known), new.shape[1]
    return Drift(side, test, outside, *sizes, fingerprint, level)


def _outside(adapter: RemembersItems, new: Tensor, side: Side) -> OutOfDomain | None:
    """How many items are flagged, beside how many are where all distances are of one law.

    Items share the distances that they are compared with, so that their number is beta-binomial
    and varies more than binomial.
    """
    if adapter.calibration is None:
        return None
    from scipy.stats import betabinom

    flagged = int((adapter.typicality(new, side=side) <= FLAGS).sum())
    known = adapter.calibration.domain(side).kept + 1
    edge = int(FLAGS * known + 1e-9)  # ranks of a flagged item among the known distances
    p = float(betabinom.sf(flagged - 1, len(new), edge, known - edge)) if edge else 1.0
    return OutOfDomain(flagged / len(new), p)


def _reference(
    adapter: RemembersItems,
    reference: PairedEmbeddings | Matrix,
    side: Side,
    generator: torch.Generator,
) -> Tensor:
    """Training vectors of a side, one of each group, in random order."""
    if isinstance(reference, PairedEmbeddings):
        adapter.check_fingerprint(side, getattr(reference, f"{side}_fingerprint"))
        groups, rows = reference.groups, matrix("reference", getattr(reference, side))
    else:
        groups, rows = None, matrix("reference", reference)
    return rows[_one_of_each(codes_of(groups, len(rows)), generator)]


def _one_of_each(codes: Tensor, generator: torch.Generator) -> Tensor:
    """A row of each group, drawn at random, in random order."""
    order = torch.randperm(len(codes), generator=generator)
    return order[_first_of_each(codes[order])]


def _first_of_each(rows: Tensor) -> Tensor:
    return torch.from_numpy(np.unique(rows.numpy(), axis=0, return_index=True)[1]).sort().values


def _distinct(new: Tensor, known: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """At most ``MOST`` items of both, repeats left out.

    A long sample has seen most frequent items and goes on to rare ones, so that its distinct items
    are of another law than those of a short one. Where many repeat, both are cut to one length.
    """
    samples = [x[torch.randperm(len(x), generator=generator)[:MOST]] for x in (new, known)]
    kept = [_first_of_each(x) for x in samples]
    if any(len(rows) < (1 - _REPEATED) * len(x) for rows, x in zip(kept, samples, strict=True)):
        least = min(map(len, samples))
        samples = [x[:least] for x in samples]
        kept = [_first_of_each(x) for x in samples]
    first, second = (x[rows] for rows, x in zip(kept, samples, strict=True))
    return first, second
