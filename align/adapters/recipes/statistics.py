"""What a closed form was fitted to, kept small, so that pairs can be added without the old ones."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from align.adapters.maps.linear import centred
from align.adapters.maps.parts import Parts
from align.adapters.recipes.moments import ROWS, WIDEST, Paired, Spectrum, widest_directions
from align.adapters.recipes.recipe import Recipe

Sides = tuple[Tensor, Tensor]


class SufficientStatistics(nn.Module):
    """Second moments of all pairs of a fit, its recipe, and the pairs behind a reference set.

    Moments are those of prepared rows: unit norm, less the centre of the first fit, unit norm
    again. They are held as a matrix ``F`` of ``d_source + d_target`` columns with ``F.T F`` the sum
    of the outer products of all rows ``[x, y]``, an unpaired row having zeros for its partner.
    ``F`` has as many rows as there were, or as columns where those are fewer: the triangular factor
    of a QR decomposition, to which rows are added with no loss. Its numbers are float64, each the
    sum of two float32, since a file of weights holds those.

    Where the gallery is corrected, the raw vectors of the pairs behind the correction are kept too,
    to be mapped anew by new maps.

    Reference:
        Golub and Van Loan 2013, Matrix Computations, section 6.5.2, for adding rows to a QR
        decomposition; Vitter 1985, doi:10.1145/3147.3165, for a sample of a growing set.
    """

    source_centre: Tensor  # (d_source,)
    target_centre: Tensor  # (d_target,)
    factor: Tensor  # F rounded to float32, (rows, d_source + d_target)
    rest: Tensor  # what rounding took away
    source_rows: Tensor  # raw vectors of the pairs behind the reference set, (sampled, d_source)
    target_rows: Tensor

    def __init__(
        self,
        recipe: Recipe,
        centres: Sides,
        factor: Sides,
        sample: Sides,
        *,
        roots: tuple[bool, bool],
        parts: tuple[Parts | None, Parts | None],
        counts: tuple[int, int, int],
    ) -> None:
        super().__init__()
        self.recipe = recipe
        self.register_buffer("source_centre", centres[0])
        self.register_buffer("target_centre", centres[1])
        self.register_buffer("factor", factor[0])
        self.register_buffer("rest", factor[1])
        self.register_buffer("source_rows", sample[0])
        self.register_buffer("target_rows", sample[1])
        self.roots, self.parts = roots, parts
        self.counts = counts  # pairs, and rows of each side with the unpaired ones
        self.pairs, self.sources, self.targets = counts
        self.source_root, self.target_root = roots
        self.source_parts, self.target_parts = parts
        self.d_source, self.d_target = self.widths
        self.rows, self.sampled = len(factor[0]), len(sample[0])

    @classmethod
    def of(
        cls,
        recipe: Recipe,
        centres: Sides,
        prepared: Sides,
        sample: Sides,
        *,
        roots: tuple[bool, bool] = (False, False),
        parts: tuple[Parts | None, Parts | None] = (None, None),
        unpaired: tuple[Tensor | None, Tensor | None] = (None, None),
    ) -> SufficientStatistics:
        """Of the prepared rows of ``n`` pairs and of unpaired items, on the centres given.

        Args:
            recipe: Makes the maps.
            centres: Mean directions that were subtracted, ``(d_source,)`` and ``(d_target,)``.
            prepared: Rows of both sides, ``(n, d_source)`` and ``(n, d_target)``, unit norm.
            sample: Raw vectors of the pairs behind a reference set; no rows where there is none.
            roots: Whether each side goes through the signed square root.
            parts: Where the parts of each side lie.
            unpaired: Prepared rows without a partner.
        """
        x, y = prepared
        factor = _with_rows(x.new_zeros(0, x.shape[1] + y.shape[1]).double(), x, y)
        alone = [x[:0] if extra is None else extra for extra in unpaired]
        factor = _with_rows(factor, alone[0], y.new_zeros(len(alone[0]), y.shape[1]))
        factor = _with_rows(factor, x.new_zeros(len(alone[1]), x.shape[1]), alone[1])
        counts = len(x), len(x) + len(alone[0]), len(x) + len(alone[1])
        return cls(
            recipe, centres, _halves(factor), sample, roots=roots, parts=parts, counts=counts
        )

    @property
    def widths(self) -> tuple[int, int]:
        """Columns of the vectors of each side."""
        return len(self.source_centre), len(self.target_centre)

    def moments(self) -> Paired:
        """Moments of all pairs so far, in float64."""
        whole = self.factor.double() + self.rest.double()
        x, y = torch.split(whole, list(self.widths), dim=1)
        n, n_x, n_y = self.counts
        sx, sy = (_spectrum(rows, count) for rows, count in ((x, n_x), (y, n_y)))
        cross = sx.vectors.T @ (x.T @ y / n) @ sy.vectors
        means = self.source_centre, self.target_centre
        return Paired(means, self.roots, sx, sy, cross, n, self.parts)

    def with_pairs(
        self, source: Tensor, target: Tensor, *, most: int, generator: torch.Generator
    ) -> SufficientStatistics:
        """These and further raw pairs, ``(m, d_source)`` and ``(m, d_target)`` float32.

        Where a sample is kept it is one of all pairs, each as likely as the other: all of them
        while they are at most ``most``, in order.
        """
        rows = zip((source, target), self._centres, self.roots, self.parts, strict=True)
        x, y = (centred(each, mean, root=root, parts=p) for each, mean, root, p in rows)
        factor = _with_rows(self.factor.double() + self.rest.double(), x, y)
        n, m = self.counts[0], len(source)
        sample = self.source_rows, self.target_rows
        if self.sampled:
            picked = torch.randperm(n + m, generator=generator)[:most]
            # Which old pairs are picked is not known, only how many: those kept are a sample.
            kept = torch.randperm(self.sampled, generator=generator)[: int((picked < n).sum())]
            new = (picked[picked >= n] - n).sort().values
            old = kept.sort().values
            sample = (
                torch.cat([self.source_rows[old], source[new]]),
                torch.cat([self.target_rows[old], target[new]]),
            )
        a, b, c = self.counts
        return SufficientStatistics(
            self.recipe,
            self._centres,
            _halves(factor),
            sample,
            roots=self.roots,
            parts=self.parts,
            counts=(a + m, b + m, c + m),
        )

    @property
    def _centres(self) -> Sides:
        return self.source_centre, self.target_centre


def _with_rows(factor: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """A factor of the moments of the rows of ``factor`` and the rows ``[x, y]``, float64."""
    for a, b in zip(torch.split(x, ROWS), torch.split(y, ROWS), strict=True):
        factor = torch.cat([factor, torch.cat([a, b], dim=1).double()])
        if len(factor) > factor.shape[1]:
            factor = torch.linalg.qr(factor, mode="r").R
    return factor


def _halves(whole: Tensor) -> Sides:
    """A float64 matrix as the sum of two float32 ones."""
    high = whole.float()
    return high, (whole - high.double()).float()


def _spectrum(rows: Tensor, count: int) -> Spectrum:
    """Of ``rows.T @ rows / count``, as cross-validation takes it over all rows."""
    if len(rows) < rows.shape[1] or rows.shape[1] <= WIDEST:
        return Spectrum.of_rows(rows * math.sqrt(len(rows) / count))
    covariance = rows.T @ rows / count
    return Spectrum.within(covariance, widest_directions(covariance))
