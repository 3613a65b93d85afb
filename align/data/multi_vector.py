"""Several vectors per item, packed end to end: no padding, so no masks and no padding defects."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, overload

import numpy as np
import torch
from torch import Tensor

from align._checks import check_at_least, check_dense
from align._display.panel import render
from align._files.codec import Schema
from align._files.tensors import read_tensors, write_tensors
from align.data.arrays import dense_tensor
from align.data.panels import multi_vector_line, multi_vector_panel

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
INT8_MAX = 127
Tokens = Tensor | np.ndarray[Any, Any]
_SCHEMA = Schema("isthmus-multivector", 2)


@dataclass(frozen=True, slots=True, eq=False)
class MultiVector:
    """A bag of token embeddings per item, packed without padding.

    Attributes:
        tokens: All token embeddings end to end, ``(total_tokens, d)``; float16, bfloat16, float32,
            float64, or int8 with ``scales``.
        offsets: Item ``i`` owns rows ``offsets[i]:offsets[i + 1]``; ``(n + 1,)`` int64, starts at
            0, ends at ``total_tokens``, strictly increasing.
        scales: For int8 tokens only, float32 ``(n,)``, > 0: a token of item ``i`` means
            ``tokens * scales[i]``. One scale per item, so that the largest of several products
            with one item can be found before any of them is scaled.

    Examples:
        >>> import torch, align
        >>> documents = align.MultiVector.pack([torch.ones(3, 4), torch.ones(5, 4)])
        >>> len(documents), documents.offsets.tolist(), documents.tokens.shape
        (2, [0, 3, 8], torch.Size([8, 4]))
    """

    tokens: Tensor
    offsets: Tensor
    scales: Tensor | None = None

    def __post_init__(self) -> None:
        check_dense("tokens", self.tokens)
        check_dense("offsets", self.offsets)
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
        scales = self.scales
        if self.tokens.dtype == torch.int8:
            fits = (
                scales is not None
                and scales.dtype == torch.float32
                and scales.shape == (len(self),)
                and bool((scales > 0).all())
            )
        else:
            fits = scales is None and self.tokens.dtype in FLOATS
        if not fits:
            got = "none" if scales is None else f"{scales.dtype} {tuple(scales.shape)}"
            raise ValueError(
                "tokens must be float16, bfloat16, float32 or float64 without scales, or int8 with "
                f"a positive float32 scale per item; got {self.tokens.dtype} tokens of {len(self)} "
                f"items and scales {got}. Use quantized() to make int8 tokens."
            )

    @classmethod
    def pack(cls, items: Sequence[Tokens]) -> Self:
        """Pack ``n`` matrices of shape ``(t_i, d)``, each with ``t_i >= 1``; NumPy or torch.

        Raises:
            ValueError: There are no items, one has no tokens, or their widths differ.
            TypeError: An item does not hold numbers.
        """
        matrices = [dense_tensor(item, name=f"item {row}") for row, item in enumerate(items)]
        shapes = {tuple(item.shape[1:]) for item in matrices}
        if len(shapes) > 1 or any(len(shape) != 1 for shape in shapes):
            raise ValueError(
                "items must be matrices (t_i, d) of one width d; "
                f"their trailing shapes are {sorted(shapes)[:8]}. "
                "Pack the outputs of one encoder only, one matrix per item."
            )
        lengths = [len(item) for item in matrices]
        if not lengths or min(lengths) == 0:
            raise ValueError(
                f"every item needs at least one token; the first lengths are {lengths[:8]}. "
                "Drop empty items, and their ids, before packing."
            )
        ends = torch.tensor([0, *lengths], device=matrices[0].device).cumsum(0)
        return cls(torch.cat(matrices), ends)

    @classmethod
    def from_padded(
        cls, tokens: Tokens | Sequence[Tokens], mask: Tokens | Sequence[Tokens]
    ) -> Self:
        """Pack the rows of padded items that a mask keeps.

        Args:
            tokens: ``(n, t, d)``, or ``n`` matrices ``(t, d)``, NumPy or torch; rows outside the
                mask are never read.
            mask: ``(n, t)``, likewise, bool or 0 and 1 as tokenizers give it; nonzero keeps a row.

        Raises:
            ValueError: The shapes do not fit, the mask holds other numbers, or an item keeps
                nothing.
        """
        tokens, mask = _stacked(tokens, "tokens"), _stacked(mask, "mask")
        if tokens.ndim != 3 or mask.shape != tokens.shape[:2]:
            raise ValueError(
                "padded tokens must be (n, t, d) with a mask (n, t); "
                f"got {tuple(tokens.shape)} and {tuple(mask.shape)}. "
                "Pass the attention mask that belongs to these token states."
            )
        real = mask.bool()
        if not torch.equal(real.to(mask.dtype), mask):
            raise ValueError(
                "a mask must hold only 0 and 1, or be bool; got values from "
                f"{mask.min().item()} to {mask.max().item()}. An additive mask (0 and -inf) "
                "becomes one by mask == 0."
            )
        lengths = real.sum(1)
        if bool((lengths == 0).any()):
            empty = (lengths == 0).nonzero().flatten().tolist()
            raise ValueError(
                f"every item needs at least one token; {len(empty)} of {len(lengths)} keep none, "
                f"the first at {empty[:5]}. Drop those items, and their ids, before packing."
            )
        return cls(tokens[real], torch.cat([lengths.new_zeros(1), lengths.cumsum(0)]))

    @classmethod
    def from_equal(cls, tokens: Tokens | Sequence[Tokens]) -> Self:
        """Items of one length each, ``(n, t, d)`` with ``t >= 1``; a view where that is possible.

        A list of ``n`` matrices ``(t, d)`` is stacked first; NumPy or torch.

        Raises:
            ValueError: The shape is another.
        """
        tokens = _stacked(tokens, "tokens")
        if tokens.ndim != 3 or tokens.shape[1] == 0:
            raise ValueError(
                f"items of one length must be (n, t, d) with t >= 1; got {tuple(tokens.shape)}. "
                "Use MultiVector.pack for items of several lengths."
            )
        n, t, d = tokens.shape
        return cls(tokens.reshape(n * t, d), torch.arange(n + 1, device=tokens.device) * t)

    @property
    def lengths(self) -> Tensor:
        """Tokens per item, ``(n,)`` int64."""
        return self.offsets.diff()

    @property
    def dim(self) -> int:
        """Width ``d`` of a token."""
        return self.tokens.shape[1]

    @property
    def nbytes(self) -> int:
        """Bytes of tokens, offsets and scales."""
        parts = (self.tokens, self.offsets, self.scales)
        return sum(part.numel() * part.element_size() for part in parts if part is not None)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __repr__(self) -> str:
        return multi_vector_line(len(self), self.tokens, self.nbytes)

    def _repr_html_(self) -> str:
        return render(multi_vector_panel(len(self), self.tokens, self.nbytes))

    def __iter__(self) -> Iterator[Tensor]:
        return (self[row] for row in range(len(self)))

    @overload
    def __getitem__(self, item: int) -> Tensor: ...
    @overload
    def __getitem__(self, item: slice) -> Self: ...
    def __getitem__(self, item: int | slice) -> Tensor | Self:
        """Tokens of one item ``(t_i, d)``, or the consecutive items of a slice; both are views.

        The tokens of one int8 item come scaled, as float32.

        Raises:
            IndexError: There is no such item.
            ValueError: A slice has a step.
        """
        if isinstance(item, slice):
            start, stop, step = item.indices(len(self))
            if step != 1:
                raise ValueError(
                    f"a slice must take consecutive items; got step {step}. Use take(rows)."
                )
            stop = max(start, stop)
            first, last = int(self.offsets[start]), int(self.offsets[stop])
            scales = None if self.scales is None else self.scales[start:stop]
            ends = self.offsets[start : stop + 1] - first
            return type(self)(self.tokens[first:last], ends, scales)
        if not -len(self) <= item < len(self):
            raise IndexError(
                f"an item must lie in [{-len(self)}, {len(self)}); got {item}. "
                "Items count from 0; negative ones count from the end."
            )
        place = item % len(self)
        rows = self.tokens[int(self.offsets[place]) : int(self.offsets[place + 1])]
        return rows if self.scales is None else rows.float() * self.scales[place]

    def take(self, rows: Tensor) -> Self:
        """The items at ``rows``, ``(r,)`` int64, in that order; rows may repeat or be negative."""
        lengths = self.lengths[rows]
        scales = None if self.scales is None else self.scales[rows]
        return self._gather(self.offsets[:-1][rows], lengths, scales)

    def prefix(self, budget: int) -> Self:
        """The first ``budget`` tokens of each item; an item with fewer keeps all of its own.

        Raises:
            ValueError: ``budget`` is below 1.
        """
        check_at_least("budget", budget, 1)
        lengths = self.lengths.clamp_max(budget)
        if torch.equal(lengths, self.lengths):
            return self
        return self._gather(self.offsets[:-1], lengths, self.scales)

    def _gather(self, starts: Tensor, lengths: Tensor, scales: Tensor | None) -> Self:
        """``lengths[i]`` tokens from row ``starts[i]`` on, item after item."""
        ends = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
        shift = torch.repeat_interleave(starts - ends[:-1], lengths)
        rows = torch.arange(len(shift), device=shift.device) + shift
        return type(self)(self.tokens[rows], ends, scales)

    def to(self, *, dtype: torch.dtype | None = None, device: torch.device | None = None) -> Self:
        """The same items in another floating-point dtype or on another device.

        Int8 tokens are scaled when a dtype is named.

        Raises:
            ValueError: ``dtype`` is not floating point.
        """
        if dtype is not None and dtype not in FLOATS:
            raise ValueError(
                f"dtype must be one of {[str(known) for known in FLOATS]}; got {dtype}. "
                "Use quantized() for int8."
            )
        tokens, scales = self.tokens, self.scales
        if dtype is not None and scales is not None:
            each = torch.repeat_interleave(scales, self.lengths)
            tokens, scales = tokens.float() * each[:, None], None
        return type(self)(
            tokens.to(device=device, dtype=dtype),
            self.offsets.to(device=device),
            None if scales is None else scales.to(device=device),
        )

    def quantized(self) -> Self:
        """Int8 tokens with one scale per item: the largest entry of an item becomes 127.

        An entry is off by at most half a scale. Items of zeros get the scale 1. Where all entries
        are below 1.5e-36 the scale stays at the smallest normal float32, and they below 127.

        Raises:
            ValueError: An entry is not finite, or too large for a float32 scale.
        """
        if self.scales is not None:
            return self
        rows = self.tokens if self.tokens.dtype == torch.float64 else self.tokens.float()
        widest = rows.abs().amax(1) if self.dim else rows.new_zeros(len(rows))
        # unsafe only leaves out the checks of lengths, which hold here and fail for no items.
        largest = torch.segment_reduce(widest, "max", lengths=self.lengths, axis=0, unsafe=True)
        scales = torch.where(largest == 0, 1.0, largest / INT8_MAX).float()
        if not bool(scales.isfinite().all()):
            bad = (~scales.isfinite()).nonzero().flatten().tolist()
            raise ValueError(
                "tokens must be finite, and below 4e40, to be quantized; "
                f"{len(bad)} of {len(self)} items hold NaN, infinity or larger numbers, "
                f"the first at {bad[:5]}. Drop or re-encode those items."
            )
        scales = scales.clamp_min(torch.finfo(torch.float32).tiny)
        each = torch.repeat_interleave(scales, self.lengths)
        codes = (rows / each[:, None]).round().to(torch.int8)
        return type(self)(codes, self.offsets, scales)

    def save(self, path: str | Path) -> None:
        """Write a safetensors file, which appears whole or not at all and holds its own digest.

        Raises:
            OSError: The disk is full, or the folder cannot be written.
        """
        tensors = {"tokens": self.tokens, "offsets": self.offsets}
        if self.scales is not None:
            tensors["scales"] = self.scales
        write_tensors(Path(path).expanduser(), tensors, schema=_SCHEMA, words={})

    @classmethod
    def open(cls, path: str | Path, *, check: bool = True) -> Self:
        """What ``save`` wrote, on the CPU and mapped into memory.

        Args:
            path: The file.
            check: Read all of it once and compare it with its digest, so that damage is found
                here. Without, tokens stay on disk until they are read, and are not compared.

        Raises:
            FileNotFoundError: There is no such file.
            OSError: The file cannot be read.
            ValueError: The file is damaged or was not written by ``save``.
        """
        again = "Write it again with MultiVector.save."
        tensors, _, newer = read_tensors(
            Path(path).expanduser(), schema=_SCHEMA, again=again, mapped=True, check=check
        )
        known = {"tokens", "offsets"}
        if not known <= set(tensors) or (not newer and set(tensors) - known - {"scales"}):
            raise ValueError(
                f"{str(path)!r} must hold tokens, offsets and perhaps scales; got "
                f"{sorted(tensors)}. {again}"
            )
        return cls(tensors["tokens"], tensors["offsets"], tensors.get("scales"))


def _stacked(items: Tokens | Sequence[Tokens], name: str) -> Tensor:
    """A block as it is, or equal matrices stacked to one."""
    if isinstance(items, Tensor | np.ndarray) or not len(items):
        return dense_tensor(items, name=name)
    matrices = [dense_tensor(item, name=f"{name} of item {row}") for row, item in enumerate(items)]
    shapes = {tuple(item.shape) for item in matrices}
    if len(shapes) > 1:
        raise ValueError(
            f"{name} of all items must have one shape; got {sorted(shapes)[:8]}. "
            "Use MultiVector.pack for items of several lengths."
        )
    return torch.stack(matrices)
