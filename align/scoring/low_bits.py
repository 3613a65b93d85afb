"""Token embeddings in 1, 2 or 4 bits an entry: small, fast to search, and not quite exact."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from align._checks import check_k, check_one_of
from align._display.lines import count, one_line, size
from align._display.panel import Panel, Tile, render
from align._files.codec import Schema
from align._files.tensors import read_tensors, write_tensors
from align.data.multi_vector import MultiVector
from align.scoring.kernels import low_bits as kernel
from align.scoring.kernels.cpu_blocks import runs
from align.scoring.topk import Neighbours

Bits = Literal[1, 2, 4]

# Best step between the levels of a uniform quantizer of numbers of a normal distribution, in
# standard deviations: Max 1960, table II.
_STEPS = {1: 1.596, 2: 0.9957, 4: 0.3352}

_ENTRIES = 2**22  # encoded at a time
_SCHEMA = Schema("isthmus-low-bits", 1)


@dataclass(frozen=True, slots=True, eq=False)
class LowBitVectors:
    """A bag of token embeddings per item in 1, 2 or 4 bits an entry; a first stage of ``cascade``.

    Tokens are turned by one random rotation, which gives their entries about a normal distribution
    whatever it was before, and then rounded to ``2 ** bits`` levels at equal distances, as many
    below zero as above, with one scale per item. Called with queries and ``n``, it gives the ``n``
    items with the largest MaxSim, for queries that are turned likewise and rounded to int8.

    These scores are rounded, and nothing proves that the best items are among the best by codes.
    So keep the exact vectors as well, in int8 or float16, on disk if need be
    (``MultiVector.open``), and let ``align.cascade`` score the candidates by them;
    ``align.candidates_for`` measures how many candidates find what share of the exact top ``k``.

    Attributes:
        codes: 64 bits of codes in each word, ``(total_tokens, w)`` int64, ``w`` the fewest that
            hold a token.
        offsets: Item ``i`` owns rows ``offsets[i]:offsets[i + 1]``, as in ``MultiVector``.
        scales: Half the step between levels, float32 ``(n,)``, > 0.
        rotation: What turned the tokens, from the right; orthogonal, ``(d, d)`` float32.
        bits: Of an entry: 1, its sign; 2, or 4.

    Reference:
        Max 1960, IRE Transactions on Information Theory 6:7-12, for the levels; a rotation before
        them as in RaBitQ, Gao and Long 2024, arXiv:2405.12497.

    Examples:
        >>> import torch, align
        >>> rng = torch.Generator().manual_seed(0)
        >>> vectors = torch.nn.functional.normalize(torch.randn(40, 6, 64, generator=rng), dim=2)
        >>> documents = align.MultiVector.from_equal(vectors)
        >>> first = align.LowBitVectors.of(documents, bits=2)
        >>> found = align.cascade(documents[:3], documents, k=1, candidates=5, first=first)
        >>> found.indices.tolist(), documents.tokens.nbytes // first.codes.nbytes
        ([[0], [1], [2]], 16)
    """

    codes: Tensor
    offsets: Tensor
    scales: Tensor
    rotation: Tensor
    bits: Bits

    def __post_init__(self) -> None:
        check_one_of("bits", self.bits, get_args(Bits), "Use int8 where 4 are too few.")
        words = -(-self.dim * self.bits // 64)
        if (
            self.codes.dtype != torch.int64
            or self.codes.shape != (int(self.offsets[-1]), words)
            or self.scales.shape != (len(self),)
            or self.rotation.shape != (self.dim, self.dim)
        ):
            raise ValueError(
                f"codes of {self.bits} bits must be int64 with {words} words for each of "
                f"{int(self.offsets[-1])} tokens, a scale for each of {len(self)} items and a "
                f"rotation (d, d); got {self.codes.dtype} {tuple(self.codes.shape)}, "
                f"{tuple(self.scales.shape)} and {tuple(self.rotation.shape)}. "
                "Make them with LowBitVectors.of."
            )

    @classmethod
    @torch.no_grad()
    def of(cls, documents: MultiVector, *, bits: Bits = 2) -> Self:
        """Round packed tokens, a part of them at a time.

        Args:
            documents: ``n`` items of width ``d >= 1``, of any dtype; may be memory-mapped. Tokens
                of one item should have about one norm, since they share a scale.
            bits: Of an entry.

        Raises:
            ValueError: ``bits`` is none of 1, 2 and 4, there is no width, or an entry is not
                finite.
        """
        check_one_of("bits", bits, get_args(Bits), "Use int8 where 4 are too few.")
        d = documents.dim
        if d == 0:
            raise ValueError(
                "documents must have tokens with at least one dimension; got 0. "
                "Look for what left their vectors empty."
            )
        seeded = torch.Generator().manual_seed(0)
        turned = torch.linalg.qr(torch.randn(d, d, generator=seeded, dtype=torch.float64)).Q
        rotation = turned.to(dtype=torch.float32, device=documents.tokens.device)
        levels = 2**bits
        words = -(-d * bits // 64)
        codes = documents.offsets.new_empty(len(documents.tokens), words)
        scales = rotation.new_empty(len(documents))
        for first, last in runs(documents.offsets, items=2**16, rows=_ENTRIES // d):
            part = documents[first:last].to(dtype=torch.float32)
            rows = part.tokens @ rotation
            norms = torch.linalg.vector_norm(rows, dim=1, dtype=torch.float64)
            power = torch.segment_reduce(norms.square(), "mean", lengths=part.lengths, axis=0)
            scale = ((power / d).sqrt() * (_STEPS[bits] / 2)).float()
            scale = scale.clamp_min(torch.finfo(torch.float32).tiny)
            if not bool(scale.isfinite().all()):
                bad = (~scale.isfinite()).nonzero().flatten() + first
                raise ValueError(
                    f"tokens must be finite to be rounded; {len(bad)} of items {first} to "
                    f"{last - 1} hold NaN or infinity, the first at {bad[:5].tolist()}. "
                    "Drop or re-encode those items."
                )
            each = torch.repeat_interleave(scale, part.lengths)[:, None]
            nearest = ((rows / each + (levels - 1)) / 2).round().clamp(0, levels - 1)
            at = slice(int(documents.offsets[first]), int(documents.offsets[last]))
            codes[at] = kernel.pack(nearest.to(torch.uint8), bits)
            scales[first:last] = scale
        return cls(codes, documents.offsets, scales, rotation, bits)

    @torch.no_grad()
    def __call__(self, queries: MultiVector, n: int) -> Neighbours:
        """The ``n`` items with the largest score by codes, best first; equal ones by rising row.

        Args:
            queries: ``q`` items of the same width, on the same device.
            n: Items per query, at least 1, and no more than there are.

        Returns:
            ``values``, which are rounded, and ``indices``, both ``(q, n)``.

        Raises:
            ValueError: The width or ``n`` does not fit, or a query is not finite.
        """
        if queries.dim != self.dim:
            raise ValueError(
                f"queries must have tokens of width {self.dim}, as the codes had; got "
                f"{queries.dim}. Map both into one shared space first."
            )
        check_k(n, len(self), name="n", of="the number of items")
        rows = queries.to(dtype=torch.float32).tokens @ self.rotation
        width = self.codes.shape[1] * 64 // self.bits
        turned = MultiVector(F.pad(rows, (0, width - self.dim)), queries.offsets).quantized()
        return kernel.topk(turned, self.codes, self.offsets, self.scales, n, bits=self.bits)

    @torch.no_grad()
    def decoded(self) -> MultiVector:
        """What the codes stand for, turned back; float32."""
        width = self.codes.shape[1] * 64 // self.bits
        numbers = self.scales.new_empty(len(self.codes), width)
        kernel.unpack(self.codes, numbers, bits=self.bits)
        each = torch.repeat_interleave(self.scales, self.offsets.diff())[:, None]
        rows = (2 * numbers[:, : self.dim] + 1 - 2**self.bits) * each
        return MultiVector(rows @ self.rotation.T, self.offsets)

    def flops(self, queries: MultiVector) -> int:
        """Multiplications and additions of scoring ``queries``, of small whole numbers."""
        turning = 2 * len(queries.tokens) * self.dim**2
        return 2 * self.dim * len(queries.tokens) * len(self.codes) + turning

    @property
    def dim(self) -> int:
        """Width ``d`` of a token."""
        return len(self.rotation)

    @property
    def nbytes(self) -> int:
        """Bytes of codes, offsets, scales and the rotation."""
        return sum(part.nbytes for part in (self.codes, self.offsets, self.scales, self.rotation))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __repr__(self) -> str:
        return one_line(
            "LowBitVectors",
            count(len(self), "item"),
            f"{count(len(self.codes), 'vector')} of {count(self.dim, 'dimension')}",
            count(self.bits, "bit"),
            size(self.nbytes),
        )

    def _repr_html_(self) -> str:
        tiles = [
            Tile("items", f"{len(self):,}"),
            Tile("vectors", f"{len(self.codes):,}"),
            Tile("dimensions", f"{self.dim:,}", count(self.bits, "bit") + " each"),
            Tile("size", size(self.nbytes)),
        ]
        return render(Panel("LowBitVectors", tiles=tiles))

    def save(self, path: str | Path) -> None:
        """Write a safetensors file, which appears whole or not at all and holds its own digest.

        Raises:
            OSError: The disk is full, or the folder cannot be written.
        """
        tensors = {
            "codes": self.codes,
            "offsets": self.offsets,
            "scales": self.scales,
            "rotation": self.rotation,
        }
        words = {"bits": str(self.bits)}
        write_tensors(Path(path).expanduser(), tensors, schema=_SCHEMA, words=words)

    @classmethod
    def open(cls, path: str | Path, *, check: bool = True) -> Self:
        """What ``save`` wrote, on the CPU and mapped into memory.

        Args:
            path: The file.
            check: Read all of it once and compare it with its digest.

        Raises:
            FileNotFoundError: There is no such file.
            OSError: The file cannot be read.
            ValueError: The file is damaged or was not written by ``save``.
        """
        again = "Write it again with LowBitVectors.save."
        tensors, words, newer = read_tensors(
            Path(path).expanduser(), schema=_SCHEMA, again=again, mapped=True, check=check
        )
        known = {"codes", "offsets", "scales", "rotation"}
        bits = {str(bits): bits for bits in get_args(Bits)}.get(words.get("bits", ""))
        if not known <= set(tensors) or (not newer and set(tensors) != known) or bits is None:
            raise ValueError(
                f"{str(path)!r} must hold {sorted(known)} and say 1, 2 or 4 bits; got "
                f"{sorted(tensors)} and {words}. {again}"
            )
        parts = [tensors[name] for name in ("codes", "offsets", "scales", "rotation")]
        return cls(parts[0], parts[1], parts[2], parts[3], bits)
