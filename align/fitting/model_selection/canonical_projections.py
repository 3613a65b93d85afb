"""Rows of a fold through RCCA at many ridges and powers, which share what they have in common."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from align.adapters.recipes.formulas import power_weights
from align.fitting.model_selection.cross_validation import (
    MAP_REFERENCE,
    CrossValidation,
    Fold,
    Projected,
)

FLOOR = 1e-7  # share of the largest correlation that float32 cannot tell from none


class CanonicalProjections:
    """Held-out and reference rows of a fold as ``rcca_maps`` and ``project`` give them.

    Let ``n`` be the side with fewer directions and ``w`` the other. The squared correlations are
    the eigenvalues of ``(C_n + k_n I)^-1/2 T (C_n + k_n I)^-1/2``, a matrix as small as ``n``, with
    ``T = C_nw (C_w + k_w I)^-1 C_wn``; and where ``A`` are the directions of ``n`` and ``s`` the
    correlations, those of ``w`` are ``(C_w + k_w I)^-1 C_wn A / s``. So rows of ``w`` are mapped
    once per ridge of that side, and no singular vectors of a wide matrix are taken.

    Reference:
        Hotelling 1936, doi:10.1093/biomet/28.3-4.321, for the eigenproblem.
    """

    def __init__(self, cv: CrossValidation, roots: tuple[bool, bool], fold: Fold) -> None:
        moments = cv.moments(roots, fold)
        spectra, cross = (moments.source, moments.target), moments.cross
        at = torch.cat([fold.held_out, fold.reference[:MAP_REFERENCE]])
        rows = [cv.prepared(side, root).rows.index_select(0, at) for side, root in enumerate(roots)]
        self.held_out = len(fold.held_out)
        self.order = (1, 0) if cross.shape[0] > cross.shape[1] else (0, 1)  # narrow, wide
        narrow, wide = self.order
        self.narrow, self.wide = spectra[narrow], spectra[wide]
        self.cross = cross if narrow == 0 else cross.T
        self.narrow_rows = rows[narrow] @ self.narrow.vectors
        self.wide_rows = rows[wide]
        self._by_wide_ridge: dict[float, tuple[Tensor, Tensor]] = {}

    def at(
        self, ridge: tuple[float, float], powers: Sequence[float]
    ) -> Iterator[tuple[Projected, Projected]]:
        """Held-out and reference rows for each power, both sides at unit norm."""
        squares, mapped = self._through_wide(ridge[self.order[1]])
        scale = self.narrow.scaled(ridge[self.order[0]]).double()
        values, vectors = torch.linalg.eigh(scale[:, None] * squares * scale)
        correlations = values.flip(0).clamp_min(0).sqrt()
        # A direction that correlates with nothing has no partner that rounding would leave defined.
        correlations = correlations.where(correlations > FLOOR * correlations[0], 0)
        directions = scale[:, None] * vectors.flip(1)
        partners = directions * torch.where(correlations > 0, 1 / correlations, 0)
        narrow = self.narrow_rows @ directions.to(mapped.dtype)
        wide = mapped @ partners.to(mapped.dtype)
        for power in powers:
            weight = power_weights(correlations, power).to(mapped.dtype)
            sides = [F.normalize(rows * weight, dim=1) for rows in (narrow, wide)]
            source, target = sides[self.order[0]], sides[self.order[1]]
            m = self.held_out
            yield (source[:m], target[:m]), (source[m:], target[m:])

    def _through_wide(self, ridge: float) -> tuple[Tensor, Tensor]:
        """``T`` in the eigenbasis of ``n``, float64, and rows of ``w`` predicting that basis."""
        if ridge not in self._by_wide_ridge:
            scale = self.wide.scaled(ridge)
            half = (self.cross * scale).double()  # its square has half of the digits
            weight = self.wide.vectors @ (scale.square() * self.cross).T
            self._by_wide_ridge[ridge] = half @ half.T, self.wide_rows @ weight
        return self._by_wide_ridge[ridge]
