"""Several vectors per item, packed end to end: no padding, so no masks and no padding defects."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class MultiVector:
    """A bag of token embeddings per item, packed without padding.

    Attributes:
        tokens: All token embeddings end to end, ``(total_tokens, d)``.
        offsets: Item ``i`` owns rows ``offsets[i]:offsets[i + 1]``; ``(n + 1,)`` int64, starts at
            0, ends at ``total_tokens``, strictly increasing.
    """

    tokens: Tensor
    offsets: Tensor

    def __post_init__(self) -> None:
        ends = self.offsets
        if (
            self.tokens.ndim != 2
            or ends.ndim != 1
            or ends.dtype != torch.int64
            or len(ends) == 0
            or int(ends[0]) != 0
            or int(ends[-1]) != len(self.tokens)
            or bool((ends.diff() < 1).any())
        ):
            raise ValueError(
                "offsets must be int64, start at 0, increase by at least one per item and end at "
                f"the number of tokens; got {tuple(self.tokens.shape)} tokens and {ends.dtype} "
                f"offsets {ends[:4].tolist()}..{ends[-1:].tolist()}. Use MultiVector.pack."
            )

    @classmethod
    def pack(cls, items: Sequence[Tensor]) -> Self:
        """Pack ``n`` matrices of shape ``(t_i, d)``, each with ``t_i >= 1``.

        Raises:
            ValueError: There are no items, one has no tokens, or their widths differ.
        """
        shapes = {tuple(item.shape[1:]) for item in items}
        if len(shapes) > 1 or any(len(shape) != 1 for shape in shapes):
            raise ValueError(
                "items must be matrices (t_i, d) of one width d; "
                f"their trailing shapes are {sorted(shapes)[:8]}. "
                "Pack the outputs of one encoder only, one matrix per item."
            )
        lengths = [len(item) for item in items]
        if not lengths or min(lengths) == 0:
            raise ValueError(
                f"every item needs at least one token; the first lengths are {lengths[:8]}. "
                "Drop empty items, and their ids, before packing."
            )
        ends = torch.tensor([0, *lengths], device=items[0].device).cumsum(0)
        return cls(torch.cat(list(items)), ends)

    @property
    def lengths(self) -> Tensor:
        """Tokens per item, ``(n,)`` int64."""
        return self.offsets.diff()

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __iter__(self) -> Iterator[Tensor]:
        return iter(torch.split(self.tokens, self.lengths.tolist()))

    def __getitem__(self, item: int) -> Tensor:
        """Token embeddings of one item, ``(t_i, d)``, a view."""
        if not -len(self) <= item < len(self):
            raise IndexError(
                f"an item must lie in [{-len(self)}, {len(self)}); got {item}. "
                "Items count from 0; negative ones count from the end."
            )
        place = item % len(self)
        return self.tokens[int(self.offsets[place]) : int(self.offsets[place + 1])]
