"""How far the two sides stay apart under the best rotation."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from align.data.random_pairings import random_pairings
from probes.estimates import Measured, Null, SmoothEstimate
from probes.inputs import Matrix, announce, each_near_one, pairs
from probes.nulls import upper_p
from probes.space import SAMPLE, Probe, Space
from probes.structure.components import deviations

_DRAWS = 19  # random pairings behind the null, the fewest for a p of 0.05
_FEW_DRAWS = 5  # on sides wider than the next: these nearly agree, and each takes a second
_WIDE = 512
_HARDLY = 1.98  # distance of random pairings from which on rotations fit next to no noise


def procrustes_distance(source: Matrix, target: Matrix) -> float:
    """Squared distance of the two sides after the best rotation; lower is better.

    Each side is centred and scaled to unit Frobenius norm; then ``2 - 2 ||X'Y||_*`` with the
    nuclear norm, the smallest ``||X Q - Y||_F^2`` over orthogonal Q, the narrower side padded with
    zero columns. In [0, 2]: 0 means equal up to rotation, shift and scale, to which it is
    invariant; 2 means that no direction of one side varies with any of the other. Unrelated sides
    give less than 2: the rotation fits noise, all the more with fewer pairs or larger widths, so
    read the value against its null. The widths may differ. Cost: O(n d^2 + d^3).

    Norms: as they are; one scale for all rows changes nothing.

    Args:
        source: Source embeddings, ``(n, d_source)``.
        target: Target embeddings of the same pairs, ``(n, d_target)``.

    Raises:
        ValueError: The sides are not row-matched finite matrices, or all rows of a side are one
            point.

    Warns:
        UnreliableEstimate: n is below the larger width.

    Meaning:
        How much of the two sides is left apart after the best rotation of one onto the other.

    Beware:
        With few pairs or many dimensions the rotation fits noise: only the distance to the null
        means something.

    Range:
        In [0, 2]; the value of random pairings with nothing there; lower is better.

    Reference:
        Schoenemann 1966, doi:10.1007/BF02289451 (the rotation); Ding et al. 2021,
        arXiv:2108.01661, section 3 (the distance). ``scipy.spatial.procrustes`` scales one side
        best as well, and so gives ``1 - (1 - distance / 2)^2``.

    Examples:
        >>> import torch, probes
        >>> rng = torch.Generator().manual_seed(0)
        >>> x = torch.randn(50, 4, generator=rng)
        >>> abs(round(probes.procrustes_distance(x, x.flip(1)), 6))
        0.0
    """
    x, y = each_near_one(*pairs(source, target))
    announce(_notes(x, y))
    return _rotate(x, y).value


class _Rotated(NamedTuple):
    """The distance, and both sides as it compares them: centred, of unit Frobenius norm."""

    value: float
    influence: Tensor  # what each pair adds to the value to first order, (n,)
    x: Tensor
    y: Tensor


def _rotate(source: Tensor, target: Tensor) -> _Rotated:
    x, y = deviations("source", source), deviations("target", target)
    x, y = x / torch.linalg.matrix_norm(x), y / torch.linalg.matrix_norm(y)
    u, s, vt = torch.linalg.svd(x.T @ y, full_matrices=False)
    nuclear = s.sum(dtype=torch.float64).item()
    # The derivative of the nuclear norm of M is U V', that of the norms the squared lengths.
    shared = ((x @ u) * (y @ vt.T)).sum(dim=1)
    lengths = x.square().sum(dim=1) + y.square().sum(dim=1)
    influence = -2 * len(x) * (shared.double() - nuclear / 2 * lengths.double())
    return _Rotated(2 - 2 * nuclear, influence, x, y)


def _nuclear_norm(matrix: Tensor) -> Tensor:
    """Sum of the singular values; from eigenvalues in float64, which take half the time."""
    wide = matrix.double() if matrix.shape[0] <= matrix.shape[1] else matrix.double().T
    # Rounding leaves eigenvalues of a singular matrix just below zero.
    squares: Tensor = torch.linalg.eigvalsh(wide @ wide.T).clamp_min(0)
    return squares.sqrt().sum()


def _notes(x: Tensor, y: Tensor) -> tuple[str, ...]:
    n, d = len(x), max(x.shape[1], y.shape[1])
    if n >= d:
        return ()
    return (
        f"Procrustes distance with n < d: a rotation of width {d} fits much of the noise of {n} "
        "pairs; only the distance to its null means anything.",
    )


def _measure_procrustes_distance(space: Space) -> Measured:
    drawn, rows = space.sample(SAMPLE)
    rotated = _rotate(drawn.source, drawn.target)
    width = min(rotated.x.shape[1], rotated.y.shape[1])
    draws = _DRAWS if width <= _WIDE else _FEW_DRAWS
    pairings = random_pairings(drawn.codes, draws, space.generator("procrustes_distance"))
    nuclear = [_nuclear_norm(rotated.x.T @ rotated.y[paired]) for paired in pairings]
    under_null = 2 - 2 * torch.stack(nuclear)
    p = upper_p(-rotated.value, -under_null) if len(pairings) == _DRAWS else None
    notes = _notes(rotated.x, rotated.y) or _of_sample(drawn.n, under_null)
    estimate = SmoothEstimate(rotated.value, rotated.influence, notes)
    return estimate.measured(Null(under_null.mean().item(), p), rows=rows)


def _of_sample(n: int, under_null: Tensor) -> tuple[str, ...]:
    by_chance = under_null.mean().item()
    if by_chance > _HARDLY:
        return ()
    return (
        f"Procrustes distance and its interval are those of these {n} pairs: a rotation fits the "
        f"noise of so many down to {by_chance:.3g} where nothing is shared, and the value of more "
        "pairs is higher.",
    )


PROCRUSTES_DISTANCE = Probe(
    name="procrustes_distance",
    label="Procrustes distance, squared",
    extreme=0.0,
    function=procrustes_distance,
    family="structure",
    better="lower",
    needs="sides",
    scale="width",
    measure=_measure_procrustes_distance,
    interval="bootstrap over pairs, to first order",
    null=f"mean over {_DRAWS} random pairings ({_FEW_DRAWS} above width {_WIDE})",
)
