"""Tokens in 1, 2 or 4 bits an entry: packed, unpacked, and met by int8 queries."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from align.data.multi_vector import MultiVector
from align.scoring.inner_products import check_finite
from align.scoring.kernels.cpu_blocks import Packed, Product, multiplies_exactly
from align.scoring.kernels.cpu_maxsim import add_sums
from align.scoring.topk import Neighbours, best_of_blocks

_QUERIES = 128  # at a time: with the fewest documents that are scored at once, 4 MB of scores

# A code in each byte of a word.
_MASKS = {1: 0x0101010101010101, 2: 0x0303030303030303, 4: 0x0F0F0F0F0F0F0F0F}


def pack(codes: Tensor, bits: int) -> Tensor:
    """Codes ``(T, d)`` uint8 below ``2 ** bits`` as words ``(T, w)`` int64 of 64 / bits codes each.

    The bytes of a row hold the first of its codes in their lowest bits, the next ones above; so a
    shift and a mask of whole words give neighbouring codes. Missing ones are 0.
    """
    words = -(-codes.shape[1] * bits // 64)
    whole = F.pad(codes, (0, words * 64 // bits - codes.shape[1]))
    planes = whole.view(len(codes), 8 // bits, words * 8)
    packed = planes[:, 0].clone()
    for place in range(1, 8 // bits):
        packed |= planes[:, place] << (place * bits)
    return packed.view(torch.int64)


def unpack(words: Tensor, out: Tensor, *, bits: int) -> None:
    """Fill ``out``, ``(T, w * 64 / bits)`` int8 or floating point, with the codes in ``words``."""
    codes = out if out.dtype == torch.int8 else torch.empty_like(out, dtype=torch.int8)
    shifted = torch.empty_like(words)
    for place, plane in enumerate(torch.split(codes.view(torch.int64), words.shape[1], dim=1)):
        torch.bitwise_right_shift(words, place * bits, out=shifted)
        torch.bitwise_and(shifted, _MASKS[bits], out=plane)
    if codes is not out:
        out.copy_(codes)


def topk(
    queries: MultiVector, words: Tensor, offsets: Tensor, scales: Tensor, k: int, *, bits: int
) -> Neighbours:
    """The ``k`` documents with the largest MaxSim; of equal scores the lower one comes first.

    Args:
        queries: Int8, as wide as the codes in a row of words.
        words: Codes ``c`` of documents, each of which means ``(2 c + 1 - 2 ** bits) * scale``.
        offsets: Of the documents, as ``MultiVector`` has them.
        scales: Of the documents, ``(m,)``.
        k: Documents per query.
        bits: Of a code.
    """
    if not len(queries):
        return Neighbours(scales.new_empty(0, k), offsets.new_empty(0, k))
    # Codes are met as they are. What that adds is the same for all documents.
    entries = queries.tokens.sum(1, dtype=torch.int32).float()
    extra = torch.segment_reduce(entries, "sum", lengths=queries.lengths, axis=0) * (2**bits - 1)
    factors = queries.scales
    assert factors is not None, "queries are int8"
    exact = words.device.type == "cpu" and multiplies_exactly(queries.dim)
    tokens = queries.tokens if exact else queries.tokens.float()

    def score(numbers: Tensor, start: int, stop: int) -> Tensor:
        low, high = int(numbers[0]), int(numbers[-1]) + 1
        rows = slice(int(queries.offsets[low]), int(queries.offsets[high]))
        ends = queries.offsets[low : high + 1] - queries.offsets[low]
        part = Packed(
            words[int(offsets[start]) : int(offsets[stop])],
            offsets[start : stop + 1] - offsets[start],
            partial(unpack, bits=bits),
        )
        scores = scales.new_zeros(high - low, stop - start)
        dtype = torch.int32 if exact else torch.float32
        add_sums(scores, Product(tokens[rows], ends, part, dtype))
        scores.mul_(2).sub_(extra[low:high, None])
        scores.mul_(factors[low:high, None]).mul_(scales[start:stop])
        check_finite(scores, "the tokens of queries")
        return scores

    numbers = torch.arange(len(queries))
    return best_of_blocks(numbers, len(scales), score, k=k, rows=_QUERIES)
