"""Sources that bring an instruction: what an adapter takes beside each of its items."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from align._checks import check_matrix, check_no_zero_rows, check_paired
from align.adapters.adapter import Adapter
from align.adapters.maps.instructed import InstructedMap
from align.data.embeddings import PairedEmbeddings, Vectors, as_tensor


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

    Examples:
        >>> import torch, align
        >>> items, instructions = torch.ones(3, 4), torch.zeros(3, 2)
        >>> align.with_instructions(items, instructions).shape
        torch.Size([3, 6])
    """
    if instructions.ndim == 2 and len(instructions) == 1:
        instructions = instructions.expand(len(embeddings), -1)
    check_paired(embeddings, instructions)
    check_matrix("embeddings", embeddings)
    check_no_zero_rows("embeddings", embeddings)
    check_matrix("instructions", instructions)
    return torch.cat([embeddings, instructions], dim=1)


def takes_instructions(adapter: Adapter) -> bool:
    """Whether the sources of an adapter are items with instructions beside them."""
    return isinstance(adapter.source_map, InstructedMap)


def sources_for(
    adapter: Adapter, embeddings: Vectors, instructions: Tensor | None = None
) -> Tensor:
    """Sources as an adapter takes them: with instructions, or zeros for none, if it takes any.

    ``embeddings`` and ``instructions`` are those of ``with_instructions``. An adapter that takes no
    instructions leaves them out.
    """
    rows = as_tensor(embeddings).float()
    if not isinstance(adapter.source_map, InstructedMap):
        return rows
    if instructions is None:
        instructions = rows.new_zeros(1, adapter.source_map.parts[1])
    return with_instructions(rows, instructions.to(rows))


def pairs_for(adapter: Adapter, pairs: PairedEmbeddings) -> PairedEmbeddings:
    """Pairs whose sources are as ``sources_for`` gives them, for ``evaluate`` and probes."""
    if not takes_instructions(adapter):
        return pairs
    source = sources_for(adapter, pairs.source, pairs.instructions)
    return replace(pairs, source=source, source_parts=None, instructions=None)
