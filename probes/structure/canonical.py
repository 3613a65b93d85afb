"""Canonical correlations, read on pairs that the directions were not fitted on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from align._checks import check_at_least, check_k
from probes.estimates import Measured, Null, Replicate, linearised
from probes.inputs import Matrix, codes_of, each_near_one, pairs
from probes.nulls import upper_p
from probes.space import SAMPLE, Probe, Space, once_per_space
from probes.structure import held_out as cca
from probes.structure.components import Components, components_of

_DIMS = 32  # leading canonical directions of the report
_RIDGE = 1.0  # in units of the mean eigenvalue of each covariance; where align.rcca starts as well
_DRAWS = 39  # random pairings behind the null, each fitted anew: 40 make a p of 0.025
_LEVEL = 0.95  # share of random pairings that stay below the null in every direction

_COMPONENTS = 128
"""Principal components of each side that are searched for canonical directions.

With 1,000 pairs more components gain next to no held-out correlation: they are not fitted on
enough. With these the null can fit each random pairing anew.
"""


@dataclass(frozen=True, slots=True, eq=False)
class CanonicalSpectrum:
    """Correlations along canonical directions, strongest first in training; ``(k,)`` each."""

    held_out: Tensor  # on pairs that the directions were not fitted on
    train: Tensor  # on the pairs that they were fitted on, mean over folds
    null: Tensor  # what all of held_out stay below in 95 % of random pairings

    @property
    def energy(self) -> float:
        """Sum of squared held-out correlations, in [0, k]; about ``k / n`` for unrelated sides.

        Meaning:
            How much of each side a linear map can tell from the other, on pairs that it was not
            fitted on.

        Beware:
            It shows what a linear map could use, and not what an adapter does use; few pairs hold
            it down.

        Range:
            In [0, k]; about k / n with nothing there; higher is better.

        Reference:
            Hotelling 1936, doi:10.1093/biomet/28.3-4.321; held out as ``canonical_spectrum`` says.
        """
        return self.held_out.square().sum().item()

    @property
    def dims_above_null(self) -> int:
        """Directions whose held-out correlation exceeds the null; 0 in 95 % of unrelated sides.

        Meaning:
            How many directions both sides share beyond what shuffled pairs would.

        Beware:
            Directions are counted however weak they are, and with few pairs weak ones cannot be
            told from none.

        Range:
            In [0, k]; 0 with nothing there; higher is better.

        Reference:
            Hotelling 1936, doi:10.1093/biomet/28.3-4.321; held out as ``canonical_spectrum`` says.
        """
        return int((self.held_out > self.null).sum())

    @property
    def optimism(self) -> float:
        """Mean of train less held-out correlations: how far the fit fooled itself."""
        return (self.train - self.held_out).mean().item()


@torch.no_grad()
def canonical_spectrum(
    source: Matrix,
    target: Matrix,
    *,
    dims: int | None = None,
    ridge: float = _RIDGE,
    groups: Sequence[str] | None = None,
    seed: int = 0,
) -> CanonicalSpectrum:
    """Held-out canonical correlations of two sides, with train ones and a null; higher is better.

    Each side is reduced to its 128 leading principal components, which takes no pairing. Ridge CCA
    is fitted on four of five folds: ``a_k, b_k`` maximise ``a' C_xy b`` subject to
    ``a' (C_x + ridge m_x I) a = 1`` with ``m_x`` the mean eigenvalue of ``C_x``, and likewise for
    ``b``. The pairs of the fifth are projected and centred, and each correlation is taken over the
    projections of all folds together; the fit fixes its sign. In-sample correlations tend to 1 as
    n falls below the widths, whatever the data; held-out ones of unrelated sides are 0 up to
    about ``1 / sqrt(n)``. The null does it again with the pairs of each fold matched at random.
    Invariant to rotation, shift and scale of either side; widths may differ. Cost: O(n d^2 + d^3).

    Norms: as they are; one scale for all rows changes nothing.

    Args:
        source: Source embeddings, ``(n, d_source)``.
        target: Target embeddings of the same pairs, ``(n, d_target)``.
        dims: Canonical directions, at most the components of either side; if left out, 32 or all
            there are.
        ridge: In units of the mean eigenvalue of each covariance, >= 0; at 0 more pairs than
            components are needed to fit on.
        groups: Group name of each pair; a group is never split over folds, each pair is its own
            group if left out.
        seed: Seeds the folds and the random pairings.

    Raises:
        ValueError: The sides are not row-matched finite matrices, there are fewer than five
            groups, groups do not fit, a side is one point, an option is out of range, or a
            covariance cannot be inverted.

    Reference:
        Hotelling 1936, doi:10.1093/biomet/28.3-4.321; Vinod 1976,
        doi:10.1016/0304-4076(76)90010-5 (ridge). The null of the largest correlation bounds the
        error over all directions, as in Winkler et al. 2020,
        doi:10.1016/j.neuroimage.2020.117065; folds and components are ours.

    Examples:
        >>> import torch, probes
        >>> rng = torch.Generator().manual_seed(0)
        >>> x = torch.randn(300, 4, generator=rng)
        >>> spectrum = probes.canonical_spectrum(x, x @ torch.randn(4, 6, generator=rng))
        >>> bool((spectrum.held_out > 0.9).all())
        True
    """
    x, y = each_near_one(*pairs(source, target, least=cca.FOLDS))
    check_at_least("ridge", ridge, 0)
    sides = Components.of("source", x), Components.of("target", y)
    return _fit(sides, codes_of(groups, len(x)), dims, ridge, seed).spectrum


class _CanonicalFit(NamedTuple):
    """The spectrum, and what its intervals and p-values need."""

    seen: cca.HeldOut  # projections of the pairs as they are
    under_null: Tensor  # held-out correlations of random pairings, (draws, k)
    train: Tensor  # correlations on the pairs fitted on, (k,)

    @property
    def spectrum(self) -> CanonicalSpectrum:
        bound = self.under_null.amax(dim=1).quantile(_LEVEL)
        return CanonicalSpectrum(self.seen.correlations, self.train, bound.expand(len(self.train)))


def _fit(
    sides: tuple[Components, Components],
    codes: Tensor,
    dims: int | None,
    ridge: float,
    seed: int,
) -> _CanonicalFit:
    x, y = (side.leading(_COMPONENTS) for side in sides)
    most = min(x.shape[1], y.shape[1])
    if dims is None:
        dims = min(_DIMS, most)
    check_k(dims, most, name="dims", of="the components of the smaller side")
    folds = cca.whitened_folds(x, y, codes, ridge=ridge, seed=seed)
    pairings = cca.pairings_within(folds, codes, _DRAWS, torch.Generator().manual_seed(seed))
    drawn = [cca.held_out(folds, dims=dims, pairing=rows).correlations for rows in pairings]
    train = cca.in_sample(folds, dims=dims)
    return _CanonicalFit(cca.held_out(folds, dims=dims), torch.stack(drawn), train)


@once_per_space
def _fit_of(space: Space) -> _CanonicalFit:
    drawn = space.sample(SAMPLE).space
    return _fit(
        components_of(drawn),
        drawn.codes,
        None,
        _RIDGE,
        space.seed,
    )


def canonical_spectrum_of(space: Space) -> CanonicalSpectrum:
    """The spectrum that a report shows, of at most 1,000 of the pairs; five groups at least."""
    return _fit_of(space).spectrum


def _measured(space: Space, value: float, replicate: Replicate, null: Null) -> Measured:
    drawn, rows = space.sample(SAMPLE)
    return Measured(value, replicate, null=null, rows=rows, notes=(cca.of_fits(drawn.n),))


def _measure_energy(space: Space) -> Measured:
    fit = _fit_of(space)
    value = fit.spectrum.energy
    under_null = fit.under_null.square().sum(dim=1)
    influence = cca.REFITTED * fit.seen.influence @ (2 * fit.seen.correlations)
    null = Null(under_null.mean().item(), upper_p(value, under_null))
    return _measured(space, value, linearised(value, influence), null)


def _measure_dims(space: Space) -> Measured:
    fit = _fit_of(space)
    spectrum, influence = fit.spectrum, fit.seen.influence

    def replicate(weights: Tensor) -> Tensor:
        moved = spectrum.held_out + weights @ influence / weights.sum(dim=1, keepdim=True)
        return (moved > spectrum.null).sum(dim=1).double()

    above = (fit.under_null > spectrum.null).sum(dim=1).double()
    p = upper_p(spectrum.held_out.max().item(), fit.under_null.amax(dim=1))
    return _measured(
        space, float(spectrum.dims_above_null), replicate, Null(above.mean().item(), p)
    )


def _directions(space: Space) -> float:
    return float(len(_fit_of(space).train))


_probe = partial(Probe, family="structure", better="higher", needs="sides", scale="width")

CANONICAL_ENERGY = _probe(
    name="canonical_energy",
    label=f"Held-out canonical energy, {_DIMS} directions",
    extreme=_directions,
    function=CanonicalSpectrum.energy,
    measure=_measure_energy,
    interval=cca.INTERVAL,
    null="pairs matched at random",
)
CANONICAL_DIMS = _probe(
    name="canonical_dims",
    label=f"Canonical directions above null, of {_DIMS}",
    extreme=_directions,
    function=CanonicalSpectrum.dims_above_null,
    measure=_measure_dims,
    interval="bootstrap over held-out pairs, to first order, fits and null held fixed; a whole "
    "number",
    null="pairs matched at random; p of the largest correlation",
)
