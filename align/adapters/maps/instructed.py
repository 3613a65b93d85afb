"""A query map that an instruction steers: the same item, for another task."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from align.adapters.maps.linear import SideMap
from align.adapters.maps.residual import at_length_of


class InstructedMap(SideMap):
    """A map of ``x`` that is shifted by an instruction ``p``; its input is ``[x ; p]``.

    ``map([x ; p]) = norm((1 + e @ scale) inner(x) + e @ shift)`` with ``e = norm(p)``, or ``e = 0``
    where ``p`` is zero: a row without an instruction. Both matrices start at zero, and there is no
    bias, so an untrained map, or one without an instruction, is ``inner(x)`` to the last bit.

    Reference:
        Perez et al. 2018, arXiv:1709.07871 (FiLM), for a scale and a shift of each coordinate that
        a condition decides.
    """

    def __init__(self, inner: SideMap, shift: Tensor, scale: Tensor | None = None) -> None:
        super().__init__()
        self.inner = inner
        self.shift = nn.Parameter(shift.contiguous())  # (d_instruction, dim)
        self.scale = None if scale is None else nn.Parameter(scale.contiguous())
        self.scaled = scale is not None
        self.d_instruction, self.dim = shift.shape
        self.parts = inner.d_in, self.d_instruction  # widths of an item and its instruction
        self.d_in = sum(self.parts)

    def project(self, x: Tensor) -> Tensor:
        """Rows ``(n, d_in)`` before the last normalisation, ``(n, dim)``."""
        return self._both(x)[1]

    def forward(self, x: Tensor) -> Tensor:
        """Unit-norm ``(n, dim)`` of rows ``x`` ``(n, d_in)``."""
        return at_length_of(*self._both(x))

    def _both(self, x: Tensor) -> tuple[Tensor, Tensor]:
        item, instruction = torch.split(x, list(self.parts), dim=1)
        mapped: Tensor = self.inner(item)
        e = F.normalize(instruction, dim=1)
        moved = mapped if self.scale is None else mapped + mapped * (e @ self.scale)
        return mapped, moved + e @ self.shift
