"""A query map that an instruction steers: the same item, asked with another task in mind."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from align.adapters.maps.residual import at_length_of


class InstructedMap(nn.Module):
    """A map of ``x`` that is shifted by an instruction ``p``; its input is ``[x ; p]``.

    ``map([x ; p]) = norm((1 + e @ scale) inner(x) + e @ shift)`` with ``e = norm(p)``, or ``e = 0``
    where ``p`` is zero: a row without an instruction. Both matrices start at zero, and there is no
    bias, so an untrained map, or one without an instruction, is ``inner(x)`` to the last bit.

    Reference:
        Perez et al. 2018, arXiv:1709.07871 (FiLM), for a scale and a shift of each coordinate that
        a condition decides.
    """

    def __init__(self, inner: nn.Module, shift: Tensor, scale: Tensor | None = None) -> None:
        super().__init__()
        self.inner = inner
        self.shift = nn.Parameter(shift.contiguous())  # (d_instruction, dim)
        self.scale = None if scale is None else nn.Parameter(scale.contiguous())

    @property
    def d_in(self) -> int:
        """Width of an item's vector and of its instruction together."""
        return sum(self.parts)

    @property
    def parts(self) -> tuple[int, int]:
        """Width of an item's vector, and of its instruction."""
        return int(self.inner.d_in), self.d_instruction  # type: ignore[arg-type]

    @property
    def d_instruction(self) -> int:
        """Width of an instruction."""
        return self.shift.shape[0]

    @property
    def scaled(self) -> bool:
        """Whether an instruction also scales each coordinate."""
        return self.scale is not None

    @property
    def dim(self) -> int:
        """Width of the shared space: that of the inner map."""
        return self.shift.shape[1]

    def project(self, x: Tensor) -> Tensor:
        """Rows ``(n, d_in)`` before the last normalisation, ``(n, dim)``."""
        return self._both(x)[1]

    def forward(self, x: Tensor) -> Tensor:
        """Map rows ``(n, d_in)``, finite and with a non-zero item, to unit-norm ``(n, dim)``."""
        return at_length_of(*self._both(x))

    def _both(self, x: Tensor) -> tuple[Tensor, Tensor]:
        item, instruction = torch.split(x, list(self.parts), dim=1)
        kept: Tensor = self.inner(item)
        told = F.normalize(instruction, dim=1)
        moved = kept if self.scale is None else kept + kept * (told @ self.scale)
        return kept, moved + told @ self.shift
