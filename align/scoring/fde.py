"""Fixed dimensional encodings: one vector per item, whose inner product stands for MaxSim."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from align._checks import check_at_least
from align._display.lines import changed_fields, one_line
from align._display.panel import Cell, Panel, render
from align.data.multi_vector import MultiVector

_BYTES = 64 << 20  # that encoding may take beyond input, result and draws, if one item needs less
_MOST_BITS = 10  # the fill compares each bucket with each: 4**10 entries per document are 6 MiB


@dataclass(frozen=True, slots=True)
class FDE:
    """A way to turn each multi-vector into one vector, the same for queries and documents.

    In each repetition ``r``, SimHash ``phi_r`` sends a token to one of ``2 ** bits`` buckets: bit
    ``b`` is 1 where ``<g_b, x> > 0`` for a Gaussian ``g_b``. Per bucket ``k`` a query keeps a sum
    and a document a mean,

        ``F_q[r, k] = 1 / repetitions * sum of psi_r(x) over query tokens x with phi_r(x) = k``
        ``F_d[r, k] = mean of psi_r(y) over document tokens y nearest to k``,

    where the tokens nearest to a bucket are those in it, or, if it is empty, those whose own
    bucket differs from it in the fewest bits. ``psi_r(x) = S_r x / sqrt(projection)`` with random
    signs ``S_r``, or ``x`` itself. So

        ``<F_q, F_d> = mean over r of sum_i <psi_r(q_i), mean of psi_r of tokens near phi_r(q_i)>``

    takes for each query token a document token that likely lies in its direction, where MaxSim
    takes the best. Without a projection it never exceeds MaxSim (sum), and equals it for documents
    of one token; a projection adds noise of mean zero. It is good for candidates, not for their
    order.

    Attributes:
        dim: Width ``d`` of a token.
        repetitions: Independent partitions; more of them average the noise away.
        bits: Hyperplanes per partition, 0 to 10. With 0 a document is the mean of its tokens.
        projection: Width that random signs bring a token to, or ``None`` for ``dim`` unprojected.
        seed: Of hyperplanes and signs, drawn on the CPU whatever the device of the tokens.

    Raises:
        ValueError: A number is out of range.

    Reference:
        Dhulipala et al. 2024, arXiv:2405.19504, section 2. There one of the nearest tokens fills
        an empty bucket; here the mean of them all does, so that the order of tokens is immaterial.
        The division by ``repetitions`` is ours too: it puts scores on the scale of MaxSim.

    Examples:
        >>> import torch, align
        >>> documents = align.MultiVector.pack([torch.eye(8)[:3], torch.eye(8)[3:]])
        >>> fde = align.FDE(dim=8, repetitions=4, bits=2)
        >>> (fde.queries(documents) @ fde.documents(documents).T).argmax(dim=1).tolist()
        [0, 1]
    """

    dim: int
    repetitions: int
    bits: int
    projection: int | None = None
    seed: int = 0

    def __repr__(self) -> str:
        return one_line(
            "FDE",
            f"dim={self.dim}",
            f"repetitions={self.repetitions}",
            f"bits={self.bits}",
            *changed_fields(self),
        )

    def _repr_html_(self) -> str:
        facts: dict[str, Cell] = {each.name: str(getattr(self, each.name)) for each in fields(self)}
        return render(Panel("FDE", facts={**facts, "width of an encoding": self.width}))

    def __post_init__(self) -> None:
        check_at_least("dim", self.dim, 1)
        check_at_least("repetitions", self.repetitions, 1)
        if not 0 <= self.bits <= _MOST_BITS:
            raise ValueError(
                f"bits must lie in [0, {_MOST_BITS}]; got {self.bits}. "
                "A document of t tokens fills few of more than t buckets: raise repetitions first."
            )
        if self.projection is not None and not 1 <= self.projection <= self.dim:
            raise ValueError(
                f"projection must lie in [1, {self.dim}], the width of a token; "
                f"got {self.projection}. Leave it out to keep tokens as they are."
            )

    @property
    def width(self) -> int:
        """Width of an encoding: ``repetitions * 2 ** bits`` buckets of one token each."""
        return self.repetitions * self._buckets * self._block

    @torch.no_grad()
    def queries(self, queries: MultiVector) -> Tensor:
        """One vector per query, ``(q, width)`` float32: tokens summed per bucket.

        Args:
            queries: ``q`` packed queries of width ``dim``; tokens of any dtype count as what they
                stand for.

        Raises:
            ValueError: The width is another.
        """
        return self._encode(queries, fill=False).div_(self.repetitions)

    @torch.no_grad()
    def documents(self, documents: MultiVector) -> Tensor:
        """One vector per document, ``(m, width)`` float32: nearest tokens averaged per bucket.

        Args:
            documents: ``m`` packed documents of width ``dim``; tokens of any dtype count as what
                they stand for.

        Raises:
            ValueError: The width is another.
        """
        return self._encode(documents, fill=True)

    def encoding_flops(self, tokens: int) -> int:
        """Floating-point operations that hash and project ``tokens`` tokens; sums come on top."""
        projected = self.projection or 0
        return 2 * tokens * self.dim * self.repetitions * (self.bits + projected)

    @property
    def _buckets(self) -> int:
        return 1 << self.bits

    @property
    def _block(self) -> int:
        return self.projection or self.dim

    def _encode(self, items: MultiVector, *, fill: bool) -> Tensor:
        if items.dim != self.dim:
            raise ValueError(
                f"tokens must have width {self.dim}; got {items.dim}. "
                "Make an FDE with the dim of the encoder that made them."
            )
        draws = self._draw(items.tokens.device)
        encoded = items.tokens.new_zeros(len(items), self.width, dtype=torch.float32)
        rows, most_tokens = self._within_bytes()
        for start in range(0, len(items), rows):
            block = items[start : start + rows]
            sums = encoded[start : start + rows].view(-1, self._block)
            counts = torch.zeros(len(sums), dtype=torch.int64, device=sums.device)
            for tokens, owners in _slices(block, most_tokens):
                self._add(tokens, owners, draws, sums, counts)
            if fill:
                self._average(sums, counts)
        return encoded

    def _draw(self, device: torch.device) -> _Draws:
        generator = torch.Generator().manual_seed(self.seed)
        planes = torch.randn(self.dim, self.repetitions * self.bits, generator=generator)
        signs = None
        if self.projection is not None:
            drawn = torch.randint(
                2, (self.dim, self.repetitions * self.projection), generator=generator
            )
            signs = ((2 * drawn - 1) / self.projection**0.5).to(device)
        return _Draws(planes.to(device), signs)

    def _within_bytes(self) -> tuple[int, int]:
        """Items, and tokens, to work on at a time: half of the bytes for each."""
        # Sums of a slice, and six counts of a bucket; and for one repetition of the averages,
        # distances, a comparison and weights of all buckets with all, with three tables of sums.
        per_item = self.repetitions * self._buckets * (4 * self._block + 48)
        per_item += self._buckets * (6 * self._buckets + 12 * self._block)
        # A token in its own dtype and in float32, its place and item, its bits, its projection,
        # and what sorting and summing it takes.
        per_token = 8 * self.dim + 24
        per_token += self.repetitions * (16 * self.bits + 4 * (self.projection or 0) + 48)
        return max(1, _BYTES // 2 // per_item), max(1, _BYTES // 2 // per_token)

    def _add(
        self, tokens: Tensor, owners: Tensor, draws: _Draws, sums: Tensor, counts: Tensor
    ) -> None:
        """Add tokens ``(t, d)`` of the items ``owners``, ``(t,)``, to their buckets."""
        t, repetitions = len(tokens), self.repetitions
        device = tokens.device
        code = torch.zeros(t, repetitions, dtype=torch.int64, device=device)
        if self.bits:
            above = _above(tokens, draws.planes).view(t, repetitions, self.bits)
            code = (above * (1 << torch.arange(self.bits, device=device))).sum(2)
        partition = torch.arange(repetitions, device=device)
        bucket = (owners[:, None] * repetitions + partition) * self._buckets + code
        # Sorted into bags and summed: twice as fast as index_add_, and in one order on any device.
        order = bucket.flatten().argsort(stable=True)
        members = torch.bincount(bucket.flatten(), minlength=len(counts))
        if draws.signs is None:
            table, order = tokens, order // repetitions
        else:
            table = (tokens @ draws.signs).view(t * repetitions, -1)
        sums += F.embedding_bag(order, table, members.cumsum(0) - members, mode="sum")
        counts += members

    def _average(self, sums: Tensor, counts: Tensor) -> None:
        """Turn sums per bucket into means of the nearest tokens, in place."""
        bits = torch.arange(self._buckets, device=sums.device)[:, None] >> torch.arange(
            self.bits, device=sums.device
        )
        bits = bits & 1
        apart = (bits[:, None] != bits[None]).sum(2, dtype=torch.uint8)
        by_item = sums.view(-1, self.repetitions, self._buckets, self._block)
        tokens_in = counts.view(-1, self.repetitions, self._buckets).float()
        for repetition in range(self.repetitions):
            count, total = tokens_in[:, repetition], by_item[:, repetition]
            distance = apart.masked_fill((count == 0)[:, None], 255)
            nearest = (distance == distance.amin(2, keepdim=True)).float()
            by_item[:, repetition] = (nearest @ total) / (nearest @ count[:, :, None])


class _Draws(NamedTuple):
    """Hyperplanes ``(d, repetitions * bits)``; scaled signs ``(d, repetitions * projection)``."""

    planes: Tensor
    signs: Tensor | None


def _above(tokens: Tensor, planes: Tensor) -> Tensor:
    """On which side of each hyperplane each token lies, ``(t, planes)`` bool.

    Where rounding of float32 could take a token across, float64 decides: else one token's bucket
    would depend on the tokens beside it, and on the processor.
    """
    products = tokens @ planes
    above = products > 0
    lengths = torch.outer(
        torch.linalg.vector_norm(tokens, dim=1), torch.linalg.vector_norm(planes, dim=0)
    )
    close = (products.abs_() < lengths.mul_(1e-5)).nonzero()
    for rows, columns in (pairs.unbind(1) for pairs in torch.split(close, 1024)):
        exact = (tokens[rows].double() * planes.T[columns].double()).sum(1)
        above[rows, columns] = exact > 0
    return above


def _slices(items: MultiVector, most: int) -> Iterator[tuple[Tensor, Tensor]]:
    """At most ``most`` tokens at a time in float32, ``(t, d)``, and their items, ``(t,)``."""
    for start in range(0, len(items.tokens), most):
        tokens = items.tokens[start : start + most].float()
        places = torch.arange(start, start + len(tokens), device=tokens.device)
        owner = torch.bucketize(places, items.offsets, right=True) - 1
        yield tokens if items.scales is None else tokens * items.scales[owner][:, None], owner
