"""Nearest neighbours within one side, and whether the two sides agree on them."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from align.data.random_pairings import random_pairings
from align.scoring.neighbourhoods import neighbours, shared, shared_under
from probes.estimates import Measured, Null, SmoothEstimate, sizes_of_others
from probes.inputs import Matrix, codes_of, directions, pairs
from probes.nulls import upper_p
from probes.space import SAMPLE, K, Probe, Space

_DRAWS = 199  # random pairings behind a p-value


def neighbour_overlaps(
    source: Matrix, target: Matrix, *, k: int = 10, groups: Sequence[str] | None = None
) -> Tensor:
    """Share of each pair's ``k`` nearest neighbours on which both sides agree; ``(n,)`` float64.

    Their mean is ``mutual_knn``, where the arguments are described.

    Norms: any; a cosine does not depend on them.

    Args:
        source: Source embeddings, ``(n, d_source)``.
        target: Target embeddings of the same pairs, ``(n, d_target)``.
        k: Neighbourhood size.
        groups: Group names, ``n`` of them; pairs of one group are never neighbours.

    Raises:
        ValueError: As for ``mutual_knn``.

    Examples:
        >>> import torch, probes
        >>> from torch.nn.functional import normalize
        >>> rng = torch.Generator().manual_seed(0)
        >>> x = normalize(torch.randn(50, 6, generator=rng), dim=1)
        >>> probes.neighbour_overlaps(x, x, k=5)[:3].tolist()
        [1.0, 1.0, 1.0]
    """
    x, y = pairs(source, target)
    codes = codes_of(groups, len(x))
    x, y = directions("source", x), directions("target", y)
    return shared(neighbours(x, codes, k), neighbours(y, codes, k)).double() / k


def mutual_knn(
    source: Matrix, target: Matrix, *, k: int = 10, groups: Sequence[str] | None = None
) -> float:
    """Mean overlap of the k nearest neighbours of each pair in the two spaces; higher is better.

    ``mean_i |kNN_source(i) ∩ kNN_target(i)| / k`` with cosine neighbours, in [0, 1]. 1 means that
    both spaces agree on every neighbourhood; unrelated spaces give ``k / (n - 1)`` (with groups,
    the mean of ``k / (n - size of the pair's group)``). It falls as n grows, so compare values of
    one n only: the report fixes n = 1,000 and sets the null beside the value. Invariant to rotation
    and scale of either side, not to a shift. The widths may differ. Cost: O(n^2 d).

    Norms: any; a cosine does not depend on them.

    Args:
        source: Source embeddings, ``(n, d_source)``, no zero rows.
        target: Target embeddings of the same ``n`` pairs, ``(n, d_target)``, no zero rows.
        k: Neighbourhood size, at most the number of pairs outside the largest group.
        groups: Group name of each pair; pairs of one group are never neighbours of each other,
            each pair is its own group if left out.

    Raises:
        ValueError: The sides are not row-matched finite matrices without zero rows, groups do not
            fit, or ``k`` is out of range.

    Meaning:
        How many of an item's nearest neighbours are the same on both sides.

    Beware:
        It falls as pairs are added and is changed by hubs and by a shift of one side.

    Range:
        In [0, 1]; k / (n - 1) with nothing there; higher is better.

    Reference:
        Huh et al. 2024, arXiv:2405.07987, appendix A. A pair is never its own neighbour, as
        there; groups are ours.

    Examples:
        >>> import torch, probes
        >>> from torch.nn.functional import normalize
        >>> rng = torch.Generator().manual_seed(0)
        >>> x = normalize(torch.randn(50, 6, generator=rng), dim=1)
        >>> probes.mutual_knn(x, x.flip(1), k=5)
        1.0
    """
    return neighbour_overlaps(source, target, k=k, groups=groups).mean().item()


def _influence(x: Tensor, y: Tensor) -> Tensor:
    """What leaving a pair out takes from the sum of overlaps, up to a constant; ``(n,)`` float64.

    Its own overlap goes, and in each neighbour set that held it the next neighbour moves up: so
    ``x`` and ``y`` hold ``k + 1`` neighbours. The jackknife of this (Efron and Stein 1981,
    doi:10.1214/aos/1176345462) is too wide rather than too narrow; neighbour sets held fixed would
    miss the second part and give intervals that cover too rarely.
    """
    (x, next_x), (y, next_y) = ((side[:, :-1], side[:, -1:]) for side in (x, y))
    enters_y = (y == next_x).any(dim=1, keepdim=True).double().expand(x.shape)
    enters_x = (x == next_y).any(dim=1, keepdim=True).double().expand(x.shape)
    both = (x[:, :, None] == y[:, None, :]).any(dim=2)
    lost = both * ((next_x == next_y).double() - 1)
    change = enters_y.new_zeros(len(x))
    change.index_add_(0, x.flatten(), (enters_y + lost).flatten())
    change.index_add_(0, y.flatten(), enters_x.flatten())
    return both.sum(dim=1) - change


def _measure_mutual_knn(space: Space) -> Measured:
    drawn, rows = space.sample(SAMPLE)
    codes = drawn.codes
    x, y = neighbours(drawn.source, codes, K + 1), neighbours(drawn.target, codes, K + 1)
    influence = _influence(x, y) / K
    x, y = x[:, :K], y[:, :K]
    agreed = shared(x, y)
    estimate = SmoothEstimate(agreed.double().mean().item() / K, influence)
    expected = (K / sizes_of_others(codes).double()).mean().item()
    pairings = random_pairings(codes, _DRAWS, space.generator("mutual_knn"))
    under_null = shared_under(x, y, pairings)
    return estimate.measured(Null(expected, upper_p(float(agreed.sum()), under_null)), rows=rows)


MUTUAL_KNN = Probe(
    name="mutual_knn",
    label=f"Mutual {K}-NN overlap",
    extreme=1.0,
    function=mutual_knn,
    family="structure",
    better="higher",
    needs="sides",
    measure=_measure_mutual_knn,
    interval="bootstrap over pairs, by the jackknife: up to half too wide",
    null="random neighbours: k / (n - 1); p by random pairing",
)
