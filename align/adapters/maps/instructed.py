"""A query map that an instruction steers: the same item, asked with another task in mind."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from align._checks import check_at_least, check_matrix, check_no_zero_rows, check_paired
from align.adapters.adapter import Adapter
from align.adapters.maps.residual import at_length_of, device_of


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
        return int(self.inner.d_in), self.shift.shape[0]  # type: ignore[arg-type]

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


def instructed(adapter: Adapter, d_instruction: int, *, scaled: bool = False) -> Adapter:
    """The same adapter with sources that bring an instruction; it does nothing until trained.

    The new adapter takes sources ``with_instructions``. Its card names no source encoder, since
    those vectors come from two. The adapter's correction of galleries is kept.

    Args:
        adapter: Of any maps, which are shared with the new adapter. Maps without weights to learn
            stay as they are while the instruction is learned: wrap a ``residual`` to train both.
        d_instruction: Width of an instruction's embedding.
        scaled: Whether an instruction also scales each coordinate.

    Raises:
        ValueError: ``d_instruction`` is below 1.
    """
    check_at_least("d_instruction", d_instruction, 1)
    inner: Any = adapter.source_map
    zeros = torch.zeros(d_instruction, inner.dim, device=device_of(inner))
    source = InstructedMap(inner, zeros, zeros.clone() if scaled else None)
    card = replace(
        adapter.card,
        method=f"{adapter.card.method} + instructions",
        d_source=source.d_in,
        source_fingerprint=None,
    )
    return Adapter(
        source,
        adapter.target_map,
        card,
        reference=adapter.reference,
        training_items=adapter.training_items,
    )


def with_instructions(embeddings: Tensor, instructions: Tensor) -> Tensor:
    """Items and their instructions side by side: what an ``instructed`` adapter takes as sources.

    Args:
        embeddings: Vectors of the items, ``(n, d)``, no row zero.
        instructions: An embedding of the instruction of each item, ``(n, d_instruction)``, or of
            all of them, ``(1, d_instruction)``; a row of zeros is no instruction.

    Returns:
        ``(n, d + d_instruction)``.

    Raises:
        ValueError: The two are not row-matched finite matrices, or an item is zero.
    """
    if instructions.ndim == 2 and len(instructions) == 1:
        instructions = instructions.expand(len(embeddings), -1)
    check_paired(embeddings, instructions)
    check_matrix("embeddings", embeddings)
    check_no_zero_rows("embeddings", embeddings)
    check_matrix("instructions", instructions)
    return torch.cat([embeddings, instructions], dim=1)
