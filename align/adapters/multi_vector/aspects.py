"""A few ordered vectors per item, the first of which is a closed-form adapter's own."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from align._checks import check_k, check_length, check_side
from align.adapters.adapter import Adapter
from align.adapters.maps.linear import centred
from align.data.embeddings import Vectors, as_tensor
from align.data.multi_vector import MultiVector
from align.data.sides import Side
from align.data.token_pairs import TokenPairs
from align.scoring.ties import COSINES, first_largest, first_smallest

ITEMS = 256
"""Items whose attention is worked out at a time: bounds memory, changes no number."""


class Reduction(nn.Module):
    """Token states in a few closed-form coordinates: ``norm(norm(x) - mean)`` onto a basis.

    Attributes:
        mean: Mean direction of the training states, ``(d_token,)``.
        basis: Orthonormal columns, ``(d_token, d)``: principal axes of what is left.
    """

    mean: Tensor
    basis: Tensor

    def __init__(self, mean: Tensor, basis: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        # Products round differently for other strides: a saved head must give the same bits.
        self.register_buffer("basis", basis.contiguous())

    @property
    def d_in(self) -> int:
        """Width of the encoder's token states."""
        return self.basis.shape[0]

    def forward(self, tokens: MultiVector) -> MultiVector:
        """Unit-norm reduced tokens of the same items, width ``d``, float32.

        Works through ``ITEMS`` items at a time, so that only the result is ever float32.
        """
        parts = [
            self._rows(tokens[start : start + ITEMS]) for start in range(0, len(tokens), ITEMS)
        ]
        return MultiVector(torch.cat(parts), tokens.offsets)

    def _rows(self, tokens: MultiVector) -> Tensor:
        rows = F.normalize(tokens.to(dtype=torch.float32).tokens, dim=1) - self.mean
        return F.normalize(F.normalize(rows, dim=1) @ self.basis, dim=1)


class Resampler(nn.Module):
    """Learnable queries that each attend over the token states of an item.

    ``h_r = norm(W^T sum_t softmax_t(<k_r, x_t>) x_t)``: one layer of cross-attention with one head
    per meta token, whose values share one map.

    Attributes:
        queries: ``k_r``, one row per meta token, ``(r, d)``; their length sets how sharp they look.
        weight: ``W``, ``(d, width)``.

    Reference:
        Xiao et al. 2025, arXiv:2509.18095 (meta tokens); as a resampler over frozen states,
        Lee et al. 2019, arXiv:1810.00825, section 3.2 (pooling by multi-head attention).
    """

    def __init__(self, queries: Tensor, weight: Tensor) -> None:
        super().__init__()
        self.queries = nn.Parameter(queries.contiguous())
        self.weight = nn.Parameter(weight.contiguous())

    @property
    def count(self) -> int:
        """Number of meta tokens."""
        return self.queries.shape[0]

    @property
    def dim(self) -> int:
        """Width of what comes out."""
        return self.weight.shape[1]

    def forward(self, reduced: MultiVector) -> Tensor:
        """Unit-norm aspects, ``(n, r, width)``, of ``n`` items with reduced token states."""
        parts = []
        for start in range(0, len(reduced), ITEMS):
            tokens, held = _padded(reduced[start : start + ITEMS])
            logits = torch.einsum("rd,ntd->nrt", self.queries, tokens)
            share = torch.softmax(logits.masked_fill(~held[:, None], -torch.inf), dim=2)
            parts.append(F.normalize(share @ tokens @ self.weight, dim=2))
        return torch.cat(parts)


class Selector(nn.Module):
    """Some token states of an item itself, spread out, mapped: for items that are lists of parts.

    The first is the state nearest to the mean of all, and each next one the state farthest from
    those taken. Of states equally near or far, up to ``align.scoring.ties.COSINES``, the one that
    stands first is taken: of two states both are equally near to their mean, and rounding must not
    decide. An item with fewer states repeats its last, which never changes a maximum. Only the map
    learns.

    Attributes:
        weight: ``W``, ``(d, width)``.

    Reference:
        Gonzalez 1985, doi:10.1016/0304-3975(85)90224-5 (farthest-first traversal).
    """

    def __init__(self, weight: Tensor, *, count: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight.contiguous())
        self.count = count

    @property
    def dim(self) -> int:
        """Width of what comes out."""
        return self.weight.shape[1]

    def forward(self, reduced: MultiVector) -> Tensor:
        """Unit-norm aspects, ``(n, count, width)``, of ``n`` items with reduced token states."""
        parts = []
        for start in range(0, len(reduced), ITEMS):
            tokens, held = _padded(reduced[start : start + ITEMS])
            parts.append(F.normalize(_spread(tokens, held, self.count) @ self.weight, dim=2))
        return torch.cat(parts)


class Heads(nn.Module):
    """Linear heads on a pooled vector, for encoders without token states.

    ``h_r = norm(W_r^T norm(norm(x) - mean))``.

    Attributes:
        mean: Mean direction of the training vectors, ``(d,)``.
        weight: ``W_r``, ``(r, d, width)``.
    """

    mean: Tensor

    def __init__(self, mean: Tensor, weight: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.weight = nn.Parameter(weight)

    @property
    def count(self) -> int:
        """Number of meta tokens."""
        return self.weight.shape[0]

    @property
    def dim(self) -> int:
        """Width of what comes out."""
        return self.weight.shape[2]

    def forward(self, pooled: Tensor) -> Tensor:
        """Unit-norm aspects, ``(n, r, width)``, of pooled vectors ``(n, d)``."""
        rows = centred(pooled, self.mean)
        return F.normalize(torch.einsum("nd,rdw->nrw", rows, self.weight), dim=2)


class TokenAspects(nn.Module):
    """Aspects of one side whose encoder gives token states: reduced, then resampled or selected."""

    def __init__(self, reduction: Reduction, resampler: Resampler | Selector) -> None:
        super().__init__()
        self.reduction = reduction
        self.resampler = resampler

    @property
    def count(self) -> int:
        """Number of meta tokens."""
        return self.resampler.count

    @property
    def dim(self) -> int:
        """Width of what comes out."""
        return self.resampler.dim


Aspects = TokenAspects | Heads


class MetaTokens(nn.Module):
    """Several unit-norm vectors per item, ordered coarse to fine, for late interaction.

    The first vector of an item is what the adapter makes of it. Each further one is
    ``[sqrt(1 - mix) * first, sqrt(mix) * aspect]``: the first vector beside an aspect that a meta
    token draws from the item's token states. So a score is the adapter's score, weighed once per
    query vector, plus what the aspects find; at the budgets ``(1, r)`` and ``(r, 1)`` the ranking
    is the adapter's own, since the score then rises with the adapter's.

    Both sides may ask and may be searched. An item has ``vectors`` vectors in a gallery, and asks
    with the first ``asking`` of them.

    Attributes:
        adapter: The closed-form adapter behind the first vector.
        source_aspects: Further vectors of source items, or ``None`` if they earned no place.
        target_aspects: The same for target items.
        mix_logit: Log-odds of ``mix``, scalar.
        asking: Vectors of a query, from 1 to ``vectors``.
        card: How the head came to be; ready for JSON.

    Reference:
        Xiao et al. 2025, arXiv:2509.18095 (MetaEmbed), with frozen encoders and a resampler in
        place of tokens inside a language model, and the pooled vector kept as the first.
    """

    def __init__(
        self,
        adapter: Adapter,
        source_aspects: Aspects | None,
        target_aspects: Aspects | None,
        *,
        mix: float,
        asking: int,
        card: dict[str, object],
    ) -> None:
        super().__init__()
        found = [
            None if part is None else (part.count, part.dim)
            for part in (source_aspects, target_aspects)
        ]
        if found[0] != found[1]:
            raise ValueError(
                "both sides of a head need equally many aspects of one width, or neither any; "
                f"got (count, width) {found[0]} and {found[1]}. Make both from one setting."
            )
        if not 0 < mix < 1:
            raise ValueError(
                f"mix must lie in (0, 1); got {mix}. It is the aspects' share of a further vector."
            )
        self.adapter = adapter
        self.source_aspects = source_aspects
        self.target_aspects = target_aspects
        self.mix_logit = nn.Parameter(torch.logit(torch.tensor(mix)))
        check_k(asking, self.vectors, name="asking", of="the vectors of an item")
        self.asking = asking
        self.card = card

    @property
    def vectors(self) -> int:
        """Vectors of an item in a gallery."""
        return 1 if self.source_aspects is None else 1 + self.source_aspects.count

    @property
    def mix(self) -> Tensor:
        """Share of the aspect in a further vector, a scalar in (0, 1)."""
        return torch.sigmoid(self.mix_logit)

    @torch.no_grad()
    def source(self, x: Vectors, tokens: MultiVector | None = None) -> MultiVector:
        """All vectors of source items, unit norm, without the gallery's corrections.

        Args:
            x: Pooled embeddings, ``(n, d_source)``.
            tokens: Token states of the same items, if the head was fitted with any.

        Raises:
            ValueError: The adapter refuses ``x``, or the tokens are missing, not finite, of
                another width or of other items.
        """
        return self._vectors("source", self.adapter.source(x), x, tokens)

    @torch.no_grad()
    def target(self, y: Vectors, tokens: MultiVector | None = None) -> MultiVector:
        """All vectors of target items; as ``source``."""
        return self._vectors("target", self.adapter.target(y), y, tokens)

    @torch.no_grad()
    def queries(
        self, x: Vectors, tokens: MultiVector | None = None, *, side: Side = "source"
    ) -> MultiVector:
        """The ``asking`` first vectors of each query, to score a ``gallery`` of the other side.

        Args:
            x: Pooled embeddings of the side that asks, ``(n, d_side)``.
            tokens: Token states of the same items, if the head was fitted with any.
            side: Which side that is.

        Raises:
            ValueError: As for ``source``, or ``side`` is neither side.
        """
        check_side(side)
        first = self.adapter.queries(x, side=side)
        return self._vectors(side, first, x, tokens).prefix(self.asking)

    @torch.no_grad()
    def gallery(
        self, y: Vectors, tokens: MultiVector | None = None, *, side: Side = "target"
    ) -> MultiVector:
        """All vectors of gallery items, the adapter's gallery corrections in each of them.

        Args:
            y: Pooled embeddings of the side that is searched, ``(m, d_side)``.
            tokens: Token states of the same items, if the head was fitted with any.
            side: Which side that is.

        Raises:
            ValueError: As for ``queries``.
        """
        check_side(side)
        return self._vectors(side, self.adapter.gallery(y, side=side), y, tokens)

    def trained_on(self, pairs: TokenPairs) -> Tensor:
        """Which of these pairs the head was fitted on: bool ``(n,)``, as ``Adapter.trained_on``.

        Raises:
            ValueError: As for ``Adapter.trained_on``.
        """
        return self.adapter.trained_on(pairs.pooled)

    def save(self, folder: str | Path) -> None:
        """Write ``folder`` whole or not at all; ``align.load_meta_tokens`` reads it."""
        from align.adapters.multi_vector.files import save_meta_tokens

        save_meta_tokens(self, folder)

    def join(self, first: Tensor, aspects: Tensor) -> Tensor:
        """First vectors ``(n, d)`` and aspects ``(n, r, width)`` as ``(n, 1 + r, d + width)``."""
        n, r, width = aspects.shape
        alone = torch.cat([first, first.new_zeros(n, width)], dim=1)
        repeated = first[:, None].expand(n, r, -1) * (1 - self.mix).sqrt()
        further = torch.cat([repeated, aspects * self.mix.sqrt()], dim=2)
        return torch.cat([alone[:, None], further], dim=1)

    def _vectors(
        self, side: Side, first: Tensor, pooled: Vectors, tokens: MultiVector | None
    ) -> MultiVector:
        part = self.source_aspects if side == "source" else self.target_aspects
        if part is None:
            return MultiVector.from_equal(first[:, None])
        if isinstance(part, Heads):
            aspects = part(as_tensor(pooled).float())
        else:
            aspects = part.resampler(part.reduction(self._checked(side, tokens, part, len(first))))
        return MultiVector.from_equal(self.join(first, aspects))

    @staticmethod
    def _checked(side: Side, tokens: MultiVector | None, part: TokenAspects, n: int) -> MultiVector:
        if tokens is None:
            raise ValueError(
                f"this head draws on the token states of the {side} side; got none. "
                "Pass tokens=encoder.encode_tokens(items) of the same items."
            )
        check_tokens(f"{side} tokens", tokens, d=part.reduction.d_in)
        check_length(f"{side} tokens", tokens, n)  # type: ignore[arg-type]
        return tokens


def check_tokens(name: str, tokens: MultiVector, *, d: int) -> None:
    """Raise ``ValueError`` unless token states have width ``d`` and are finite.

    A state of zeros passes: networks that end in a ReLU give some for blank patches. Centring gives
    it the direction away from the mean.
    """
    if tokens.dim != d:
        raise ValueError(
            f"{name} must have width {d}; got {tokens.dim}. "
            "Pass the token states of the encoder that the head was fitted on."
        )
    bad = ~tokens.tokens.isfinite().all(dim=1)
    if bad.any():
        rows = bad.nonzero().flatten()
        items = torch.unique(torch.searchsorted(tokens.offsets, rows, right=True) - 1)
        raise ValueError(
            f"{name} must be finite; {len(rows)} of {len(bad)} rows hold NaN or infinity, in items "
            f"{items[:5].tolist()}. Drop or re-encode those items."
        )


def _spread(tokens: Tensor, held: Tensor, count: int) -> Tensor:
    """``count`` held unit-norm rows of each item by farthest-first traversal, ``(n, count, d)``."""
    n = torch.arange(len(tokens), device=tokens.device)
    mean = tokens.sum(dim=1) / held.sum(dim=1, keepdim=True)
    near = torch.einsum("ntd,nd->nt", tokens, mean)
    at = first_largest(near.masked_fill(~held, -torch.inf), within=COSINES)
    taken, closest = [tokens[n, at]], torch.full_like(near, -torch.inf)
    for _ in range(count - 1):
        closest = torch.maximum(closest, torch.einsum("ntd,nd->nt", tokens, taken[-1]))
        closest[n, at] = torch.inf
        left = closest.masked_fill(~held, torch.inf)
        farthest = first_smallest(left, within=COSINES)
        at = torch.where(left[n, farthest] < torch.inf, farthest, at)
        taken.append(tokens[n, at])
    return torch.stack(taken, dim=1)


def _padded(tokens: MultiVector) -> tuple[Tensor, Tensor]:
    """Tokens with zeros up to the longest item, ``(n, t, d)``, and where they are real."""
    lengths = tokens.lengths
    longest = int(lengths.max()) if len(tokens) else 0
    held = torch.arange(longest, device=lengths.device) < lengths[:, None]
    padded = tokens.tokens.new_zeros(len(tokens), longest, tokens.dim)
    padded[held] = tokens.tokens
    return padded, held
