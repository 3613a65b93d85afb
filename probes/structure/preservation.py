"""What a map did to the neighbourhoods of one side: are near things near before and after?"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from align._checks import check_k
from align.data.embeddings import check_named_alike
from align.data.sides import Side
from align.scoring.inner_products import inner_products
from align.scoring.ties import PRODUCTS, falling_order
from probes.estimates import Measured, Null, mean_of, sizes_of_others
from probes.inputs import Matrix, codes_of, directions, matrix
from probes.space import SAMPLE, K, Probe, Space, for_each_side, once_per_space

_ROWS = 1024  # rows scored at a time; bounds memory whatever n


def trustworthiness(
    before: Matrix, after: Matrix, *, k: int = 10, groups: Sequence[str] | None = None
) -> float:
    """How far the neighbours after a map were neighbours before it; higher is better.

    ``1 - mean_i sum_j max(r(i, j) - k, 0) / worst`` over the ``k`` nearest neighbours ``j`` of
    ``i`` after the map, with ``r(i, j)`` the rank of ``j`` among the neighbours of ``i`` before
    it, by cosine. ``worst`` is the largest sum there could be, ``k (2n - 3k - 1) / 2`` where
    ``k < n / 2``. In [0, 1]; 1 means that no strangers were brought near, and neighbours at random
    give about 0.5. Invariant to rotation and scale on either side of the map.
    Cost: O(n^2 (d + k)).

    Norms: any; a cosine does not depend on them.

    Args:
        before: One side before the map, ``(n, d_before)``, no zero rows.
        after: The same items after it, ``(n, d_after)``, no zero rows.
        k: Neighbourhood size, below the number of items outside the largest group.
        groups: Group name of each item; items of one group are never neighbours of each other and
            have no rank, each item is its own group if left out.

    Raises:
        ValueError: The matrices are not row-matched, finite and without zero rows, groups do not
            fit, or ``k`` is out of range.

    Meaning:
        Whether items that are near now were near before.

    Beware:
        It judges a map against the raw space as if that were right, and the raw state is 1 by
        definition.

    Range:
        In [0, 1]; about 0.5 with nothing there; higher is better.

    Reference:
        Venna and Kaski 2001, doi:10.1007/3-540-44668-0_68; ``worst`` for ``k >= n / 2``
        and unequal groups by the same argument. Ties: the lower row is the nearer.

    Examples:
        >>> import torch, probes
        >>> rng = torch.Generator().manual_seed(0)
        >>> x = torch.randn(50, 6, generator=rng)
        >>> round(probes.trustworthiness(x, 2 * x, k=5), 3)
        1.0
    """
    x, y, codes = _checked(before, after, groups)
    return _preserved(x, y, codes, k).mean().item()


def continuity(
    before: Matrix, after: Matrix, *, k: int = 10, groups: Sequence[str] | None = None
) -> float:
    """How far the neighbours before a map stay neighbours after it; higher is better.

    ``trustworthiness`` with before and after exchanged: 1 means that no neighbours were torn
    apart; neighbours at random give about 0.5. Cost: O(n^2 (d + k)).

    Norms: any; a cosine does not depend on them.

    Args:
        before: One side before the map, ``(n, d_before)``, no zero rows.
        after: The same items after it, ``(n, d_after)``, no zero rows.
        k: Neighbourhood size, below the number of items outside the largest group.
        groups: Group names, ``n`` of them, as for ``trustworthiness``.

    Returns:
        Continuity in [0, 1].

    Raises:
        ValueError: As for ``trustworthiness``.

    Meaning:
        Whether items that were near before are near now.

    Beware:
        It judges a map against the raw space as if that were right, and the raw state is 1 by
        definition.

    Range:
        In [0, 1]; about 0.5 with nothing there; higher is better.

    Reference:
        Venna and Kaski 2006, doi:10.1016/j.neunet.2006.05.014.

    Examples:
        >>> import torch, probes
        >>> rng = torch.Generator().manual_seed(0)
        >>> x = torch.randn(50, 6, generator=rng)
        >>> round(probes.continuity(x, -x, k=5), 3)
        1.0
    """
    x, y, codes = _checked(before, after, groups)
    return _preserved(y, x, codes, k).mean().item()


def _checked(
    before: Matrix, after: Matrix, groups: Sequence[str] | None
) -> tuple[Tensor, Tensor, Tensor]:
    check_named_alike(before, after, ("before", "after"))
    x, y = matrix("before", before, least=3), matrix("after", after, least=3)
    if len(x) != len(y):
        raise ValueError(
            "before and after must hold the same items, (n, d_before) and (n, d_after); got "
            f"{tuple(x.shape)} and {tuple(y.shape)}. Pass what went into the map and what came out."
        )
    return directions("before", x), directions("after", y), codes_of(groups, len(x))


def _preserved(ranked: Tensor, near: Tensor, codes: Tensor, k: int) -> Tensor:
    """1 less the excess ranks in ``ranked`` of the neighbours in ``near``, ``(n,)`` float64."""
    blocks = torch.split(torch.arange(len(codes)), _ROWS)
    excess = [_excess(_ranks(ranked, codes, b), _ranks(near, codes, b), k) for b in blocks]
    return _share_kept(torch.cat(excess), codes, k)


def _excess(ranked: Tensor, near: Tensor, k: int) -> Tensor:
    """Sum of the ranks beyond ``k`` of those that are near, from ranks ``(b, n)``; ``(b,)``."""
    return (ranked - k).clamp_min_(0).mul_(near <= k).sum(dim=1)


def _share_kept(excess: Tensor, codes: Tensor, k: int) -> Tensor:
    others = sizes_of_others(codes)
    check_k(k, int(others.min()) - 1, of="one less than the items outside the largest group")
    return 1 - excess.double() / _worst(others, k)


def _ranks(x: Tensor, codes: Tensor, rows: Tensor) -> Tensor:
    """Rank of each row among those of other groups, 1 is nearest, for some; ``(b, n)`` int32.

    Rows of the own group come last.
    """
    scores = inner_products(x[rows], x).masked_fill_(codes[rows, None] == codes, -torch.inf)
    order = falling_order(scores, within=PRODUCTS)
    ranks = torch.arange(1, len(x) + 1, dtype=torch.int32)
    return torch.empty(order.shape, dtype=torch.int32).scatter_(1, order, ranks.expand_as(order))


@once_per_space
def _ranks_of(space: Space, side: Side) -> Tensor:
    """Ranks within one side of a space, ``(n, n)``."""
    return _ranks(space.side(side), space.codes, torch.arange(space.n))


def _worst(others: Tensor, k: int) -> Tensor:
    """Largest sum of excess ranks of ``k`` of so many others, ``(n,)`` float64."""
    m = others.double()
    beyond = (m - k).clamp_max(k)
    return beyond * (2 * (m - k) - beyond + 1) / 2


def _by_chance(others: Tensor, k: int) -> float:
    """Expected mean where the neighbours are drawn at random from the others."""
    m = others.double()
    return (1 - k * (m - k) * (m - k + 1) / (2 * m) / _worst(others, k)).mean().item()


def _measure(space: Space, *, side: Side, backwards: bool) -> Measured:
    drawn, rows = space.sample(SAMPLE)
    first = drawn if drawn.before is None else drawn.before
    ranks = _ranks_of(first, side), _ranks_of(drawn, side)
    excess = _excess(*(ranks[::-1] if backwards else ranks), K)
    value, replicate = mean_of(_share_kept(excess, drawn.codes, K))
    null = Null(_by_chance(sizes_of_others(drawn.codes), K))
    return Measured(value, replicate, null=null, rows=rows)


_probe = partial(
    Probe,
    family="structure",
    better="higher",
    needs="sides",
    scale="raw",
    interval="bootstrap over pairs, neighbour sets held fixed",
    null="random neighbours",
    extreme=1.0,
)
TRUSTWORTHINESS_SOURCE, TRUSTWORTHINESS_TARGET = for_each_side(
    partial(_probe, function=trustworthiness),
    "trustworthiness",
    "Trustworthiness,",
    partial(_measure, backwards=False),
)
CONTINUITY_SOURCE, CONTINUITY_TARGET = for_each_side(
    partial(_probe, function=continuity),
    "continuity",
    "Continuity,",
    partial(_measure, backwards=True),
)
