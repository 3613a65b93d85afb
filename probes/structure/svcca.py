"""SVCCA: canonical correlation between leading principal components, held out."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from probes.estimates import Measured, Null, SmoothEstimate
from probes.inputs import Matrix, announce, codes_of, each_near_one, pairs
from probes.space import SAMPLE, Probe, Space
from probes.structure import held_out as cca
from probes.structure.components import Components, components_of

_VARIANCE = 0.99
_RIDGE = 1e-4  # just enough to invert a covariance, in units of its mean eigenvalue


@torch.no_grad()
def svcca(
    source: Matrix,
    target: Matrix,
    *,
    variance: float = _VARIANCE,
    groups: Sequence[str] | None = None,
    seed: int = 0,
) -> float:
    """Mean held-out canonical correlation of the leading principal components; higher is better.

    Each side keeps the principal components that hold ``variance`` of its variance, which takes no
    pairing; plain CCA between them is fitted on four of five folds and read on the fifth, as in
    ``canonical_spectrum``; the mean is over as many directions as the smaller side has components.
    In [-1, 1]: 1 means that the kept subspaces are linear images of each other, 0 that the sides
    are unrelated. In-sample, as first proposed, it tends to 1 for any data once n is below twice
    the width. Invariant to rotation, shift and scale of either side. The widths may differ. Cost:
    O(folds (n d^2 + d^3)).

    Norms: as they are; one scale for all rows changes nothing.

    Args:
        source: Source embeddings, ``(n, d_source)``.
        target: Target embeddings of the same pairs, ``(n, d_target)``.
        variance: Share of the variance of each side to keep, in (0, 1].
        groups: Group name of each pair; a group is never split over folds, each pair is its own
            group if left out.
        seed: Seeds the folds.

    Raises:
        ValueError: The sides are not row-matched finite matrices, groups do not fit, a side is
            one point, or an option is out of range.

    Warns:
        UnreliableEstimate: The components of both sides together outnumber the pairs fitted on.

    Meaning:
        How strongly the main subspaces of both sides agree, on pairs that were not fitted.

    Beware:
        All kept directions count alike, so that weak ones full of noise pull it down, the more the
        fewer pairs there are.

    Range:
        In [-1, 1]; 0 with nothing there; higher is better.

    Reference:
        Raghu et al. 2017, arXiv:1706.05806, section 2; held out here, and with a ridge of 1e-4
        mean eigenvalues to invert the covariances.

    Examples:
        >>> import torch, probes
        >>> rng = torch.Generator().manual_seed(0)
        >>> x = torch.randn(200, 4, generator=rng)
        >>> probes.svcca(x, x @ torch.diag(torch.tensor([1.0, 2.0, 3.0, 4.0]))) > 0.9
        True
    """
    x, y = each_near_one(*pairs(source, target, least=cca.FOLDS))
    codes = codes_of(groups, len(x))
    if not 0 < variance <= 1:
        raise ValueError(
            f"variance must lie in (0, 1], a share; got {variance}. Pass 0.99 for 99 %."
        )
    sides = Components.of("source", x), Components.of("target", y)
    projected, notes = _svcca(sides, codes, variance, seed)
    announce(notes)
    return projected.correlations.mean().item()


def _svcca(
    sides: tuple[Components, Components], codes: Tensor, variance: float, seed: int
) -> tuple[cca.HeldOut, tuple[str, ...]]:
    x, y = (side.holding(variance) for side in sides)
    widths = x.shape[1], y.shape[1]
    fitted_on = len(x) * (cca.FOLDS - 1) // cca.FOLDS
    notes: tuple[str, ...] = ()
    if sum(widths) > fitted_on:
        notes = (
            f"SVCCA keeps {widths[0]} and {widths[1]} principal components and fits on "
            f"{fitted_on} pairs: on fewer than {sum(widths)} its directions are arbitrary.",
        )
    folds = cca.whitened_folds(x, y, codes, ridge=_RIDGE, seed=seed)
    return cca.held_out(folds, dims=min(widths)), notes


def _measure_svcca(space: Space) -> Measured:
    drawn, rows = space.sample(SAMPLE)
    projected, notes = _svcca(
        components_of(drawn),
        drawn.codes,
        _VARIANCE,
        space.seed,
    )
    influence = cca.REFITTED * projected.influence.mean(dim=1)
    estimate = SmoothEstimate(projected.correlations.mean().item(), influence, notes)
    # Fitting hundreds of directions anew for each random pairing would take seconds.
    return estimate.measured(Null(0.0), rows=rows, notes=(cca.of_fits(drawn.n),))


SVCCA = Probe(
    name="svcca",
    label="SVCCA, held out",
    extreme=1.0,
    function=svcca,
    family="structure",
    better="higher",
    needs="sides",
    scale="width",
    measure=_measure_svcca,
    interval=cca.INTERVAL,
    null="unrelated sides: 0",
)
