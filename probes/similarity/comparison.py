"""Which similarity finds the match best: four standard and two learned ones on the same pairs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from align._display.escaping import plain, plain_lines
from align.data.embeddings import PairedEmbeddings
from align.data.splits import group_codes
from align.metrics.bootstrap import (
    bootstrap_interval,
    paired_bootstrap_interval,
    randomisation_test,
)
from align.metrics.ranks import hits_at_k, reciprocal_ranks
from probes.inputs import codes_of, directions
from probes.similarity import standard
from probes.similarity.standard import Similarity, match_ranks
from probes.similarity.training import LearnedSimilarity, bilinear_plans, learn, mlp_plans

METRICS = ("recall_at_1", "recall_at_10", "mean_reciprocal_rank")
DECIDES = "mean_reciprocal_rank"
CHANCE = 0.05  # of naming a winner where there is none
COSINE = "cosine"
NETWORK = "MLP on the pair"
BILINEAR = "low-rank bilinear"


@dataclass(frozen=True, slots=True)
class SimilarityScore:
    """A metric with its 95 % bootstrap interval over groups."""

    value: float  # the mean over pairs and both directions, in [0, 1]
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True, slots=True)
class SimilarityGain:
    """A metric minus that of the reference, with the paired 95 % bootstrap interval over groups."""

    value: float  # positive where the reference is worse
    low: float
    high: float
    p: float  # two-sided, of the randomisation test over groups, in (0, 1]

    def __str__(self) -> str:
        # z: what rounds to zero has no sign.
        return f"{self.value:+z.3f} [{self.low:+z.3f}, {self.high:+z.3f}]"


@dataclass(frozen=True, slots=True)
class ScoredSimilarity:
    """The metrics of one similarity by name, and its gains; ``None`` for the reference."""

    name: str
    metrics: Mapping[str, SimilarityScore]
    gain: Mapping[str, SimilarityGain] | None


@dataclass(frozen=True, slots=True, eq=False)
class SimilarityComparison:
    """Similarities scored on the same pairs; ``print`` shows a Markdown table and a conclusion."""

    reference: str  # the similarity that the others are compared with
    judged: tuple[ScoredSimilarity, ...]  # all of them, in order
    ranks: Mapping[str, Tensor]  # of each, by name, (gallery, c) int64, as of match_ranks
    gallery: int  # pairs that were ranked: recall depends on it
    groups: int  # groups among them, which are what is resampled
    learned: Mapping[str, LearnedSimilarity]  # how each learned one was chosen, by name

    @property
    def conclusion(self) -> str:
        """One sentence; it names a winner only if that is more than the best of several by chance.

        The interval of its gain in MRR must lie above 0, and its p-value, times the number of
        similarities that could have won, must be at most 0.05.

        Reference:
            Dunn 1961, doi:10.1080/01621459.1961.10482090 (the Bonferroni correction).
        """
        gains = {each.name: each.gain[DECIDES] for each in self.judged if each.gain is not None}
        wins = {
            name: gain.low > 0 and gain.p * len(gains) <= CHANCE for name, gain in gains.items()
        }
        best = max(gains, key=lambda name: (wins[name], gains[name].value))
        gain = gains[best]
        seen = f"{gain} in MRR over {self.gallery:,} pairs, p = {gain.p:.2g}"
        if len(gains) > 1:
            seen += f", or {min(1.0, gain.p * len(gains)):.2g} as the best of {len(gains)}"
        if wins[best]:
            return f"{best} beats {self.reference}: {seen}."
        return f"No similarity beats {self.reference}; the best other is {best}: {seen}."

    def to_dict(self) -> dict[str, Any]:
        """Everything but ranks and the parameters of what was learned, ready for JSON."""
        return {
            "reference": self.reference,
            "gallery": self.gallery,
            "groups": self.groups,
            "conclusion": self.conclusion,
            "judged": [asdict(each) for each in self.judged],
            "learned": {name: each.to_dict() for name, each in self.learned.items()},
        }

    def __str__(self) -> str:
        lines = [
            f"| similarity | R@1 | R@10 | MRR | MRR minus that of {_cell(self.reference)} | p |",
            "|---|---|---|---|---|---|",
        ]
        for each in self.judged:
            cells = [_cell(each.name), *(str(each.metrics[name]) for name in METRICS)]
            if each.gain is None:
                cells += ["", ""]
            else:
                cells += [str(each.gain[DECIDES]), f"{each.gain[DECIDES].p:.2g}"]
            lines.append(f"| {' | '.join(cells)} |")
        return plain_lines("\n".join([*lines, "", self.conclusion]))


def _cell(name: str) -> str:
    """A name inside the table: on one line, and in one cell."""
    return plain(name).replace("|", "\\|")


def compare_similarities(
    train: PairedEmbeddings, test: PairedEmbeddings, *, seed: int = 0
) -> SimilarityComparison:
    """Four standard and two learned similarities on the same pairs, each beside the cosine.

    Cosine, Euclidean, Manhattan and chi-square need no training; the chi-square distance is taken
    between ``positive_and_negative_parts``. A network on the pair and a low-rank bilinear form are
    trained on ``train``; like the cosine, they see directions only. A query is answered by any row
    of its group, ties count against a similarity, and metrics are means of both directions.

    If an adapter made the space, fit it on other pairs than ``train``. It has bent the space so
    that its own pairs match nearly perfectly, so that on them there is nothing left to learn and
    nothing to choose by. That leaves the adapter fewer pairs: compare what was learned with the
    cosine behind an adapter that had them all, too, by ``compare_ranks``.

    Args:
        train: Pairs to train on, both sides ``(n, d)`` of one space, 20 groups or more.
        test: Pairs to rank, both sides ``(m, d)`` of the same space; ``(m, m)`` scores are held.
        seed: Seeds training, bootstrap and random swaps.

    Raises:
        ValueError: Widths differ, a row is all zeros, or there are too few groups.

    Reference:
        Xu and Leiva 2025, arXiv:2506.08774: cosine wins there. How its chi-square distance meets
        negative entries, and how its learned similarities are built, is not known to us.

    Examples:
        >>> import numpy as np, align, probes
        >>> rng = np.random.default_rng(0)
        >>> captions = rng.standard_normal((80, 4))
        >>> photos = captions + 0.3 * rng.standard_normal((80, 4))
        >>> pairs = align.PairedEmbeddings.from_arrays(captions, photos)
        >>> found = probes.compare_similarities(*pairs.split(test=0.5, seed=0))
        >>> [each.name for each in found.judged][:4]
        ['cosine', 'Euclidean', 'Manhattan', 'chi-square']
    """
    d = _common_width(train, test)
    unit = replace(
        train,
        source=directions("train source", train.source.float()),
        target=directions("train target", train.target.float()),
    )
    learned = {
        NETWORK: learn(unit, mlp_plans(d), seed=seed),
        BILINEAR: learn(unit, bilinear_plans(d, d), seed=seed),
    }
    similarities: dict[str, Similarity] = {
        COSINE: standard.cosine,
        "Euclidean": standard.euclidean,
        "Manhattan": standard.manhattan,
        "chi-square": _chi_square_of_parts,
        **{name: _of_directions(each.similarity.scores) for name, each in learned.items()},
    }
    codes = codes_of(test.groups, len(test))
    source, target = test.source.float(), test.target.float()
    ranks = {name: match_ranks(each, source, target, codes) for name, each in similarities.items()}
    return compare_ranks(ranks, test.groups, learned=learned, seed=seed)


def compare_ranks(
    ranks: Mapping[str, Tensor],
    groups: tuple[str, ...],
    *,
    reference: str = COSINE,
    learned: Mapping[str, LearnedSimilarity] | None = None,
    seed: int = 0,
) -> SimilarityComparison:
    """Similarities compared by ranks that they gave to the same pairs, in one space or in several.

    Args:
        ranks: ``match_ranks`` of each similarity, ``(n, 2)`` int64, by name; or ``(n, 2 t)`` for
            the mean over ``t`` training sets, with an interval that holds for just these.
        groups: Group name of each pair, ``n`` of them.
        reference: Name of the one that the others are compared with.
        learned: How those that were learned were chosen, by name.
        seed: Seeds bootstrap and random swaps.

    Raises:
        ValueError: The reference or something to compare it with is missing, or ranks are not of
            these pairs.
    """
    if reference not in ranks or len(ranks) < 2:
        raise ValueError(
            f"ranks must hold {reference!r} and another similarity to compare it with; got "
            f"{list(ranks)}. Name one of them as the reference."
        )
    for name, given in ranks.items():
        if given.shape != (len(groups), ranks[reference].shape[-1]):
            raise ValueError(
                f"ranks of {name!r} must be a row for each of {len(groups)} pairs, with as many "
                f"columns as those of {reference!r}; got {tuple(given.shape)}. "
                "Rank the same pairs with every similarity."
            )
    codes = torch.from_numpy(group_codes(groups))
    values = {name: _values(given) for name, given in ranks.items()}
    judged = tuple(
        ScoredSimilarity(
            name,
            _scores(each, codes, seed),
            None if name == reference else _gains(each, values[reference], codes, seed),
        )
        for name, each in values.items()
    )
    return SimilarityComparison(
        reference, judged, dict(ranks), len(groups), int(codes.max()) + 1, dict(learned or {})
    )


def _values(ranks: Tensor) -> Tensor:
    """``METRICS`` of each pair, averaged over the columns of its ranks, ``(n, 3)``."""
    columns = (hits_at_k(ranks, 1), hits_at_k(ranks, 10), reciprocal_ranks(ranks))
    return torch.stack([column.mean(dim=1) for column in columns], dim=1)


def _scores(values: Tensor, codes: Tensor, seed: int) -> dict[str, SimilarityScore]:
    generator = torch.Generator().manual_seed(seed)
    low, high = bootstrap_interval(values, groups=codes, generator=generator)
    bounds = zip(values.mean(dim=0).tolist(), low.tolist(), high.tolist(), strict=True)
    return {name: SimilarityScore(*bound) for name, bound in zip(METRICS, bounds, strict=True)}


def _gains(
    values: Tensor, reference: Tensor, codes: Tensor, seed: int
) -> dict[str, SimilarityGain]:
    generator = torch.Generator().manual_seed(seed)
    low, high = paired_bootstrap_interval(values, reference, groups=codes, generator=generator)
    p = randomisation_test(values, reference, groups=codes, generator=generator)
    value = (values - reference).mean(dim=0)
    columns = (each.tolist() for each in (value, low, high, p))
    bounds = zip(*columns, strict=True)
    return {name: SimilarityGain(*bound) for name, bound in zip(METRICS, bounds, strict=True)}


def _chi_square_of_parts(queries: Tensor, gallery: Tensor) -> Tensor:
    return standard.chi_square(*map(standard.positive_and_negative_parts, (queries, gallery)))


def _of_directions(similarity: Similarity) -> Similarity:
    return lambda queries, gallery: similarity(
        directions("queries", queries), directions("gallery", gallery)
    )


def _common_width(train: PairedEmbeddings, test: PairedEmbeddings) -> int:
    widths = [side.shape[1] for side in (train.source, train.target, test.source, test.target)]
    if len(set(widths)) > 1:
        raise ValueError(
            "train and test must lie in one common space; got widths "
            f"{widths[0]} and {widths[1]} in train, {widths[2]} and {widths[3]} in test. "
            "Map all of them with one adapter first."
        )
    return widths[0]
