"""Both sides row-matched, each with its pooled vectors and, where known, its token states."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self, TypeGuard

import numpy as np
import torch
from torch import Tensor

from align._display.lines import count, one_line
from align._display.panel import Panel, Table, Tile, render
from align.data.embeddings import PairedEmbeddings
from align.data.encoding import Encoder, TokenCache, TokenEncoder
from align.data.multi_vector import MultiVector
from align.data.pairs import Pairs
from align.data.repeats import warn_of_repeats
from align.data.splits import row_index, take_split


@dataclass(frozen=True, slots=True, eq=False)
class TokenPairs:
    """Pairs with a pooled vector per item, and the ``n`` token states behind those of each side.

    ``source`` and ``target`` are ``None`` where a side has no token states.

    Examples:
        >>> import torch, align
        >>> tokens = align.MultiVector.pack([torch.ones(3, 4), torch.ones(5, 4)])
        >>> pooled = align.PairedEmbeddings.from_arrays(torch.eye(2), torch.eye(2))
        >>> len(align.TokenPairs(pooled, tokens, tokens))
        2
    """

    pooled: PairedEmbeddings
    source: MultiVector | None = None
    target: MultiVector | None = None

    def __post_init__(self) -> None:
        for side, tokens in (("source", self.source), ("target", self.target)):
            if tokens is not None and len(tokens) != len(self.pooled):
                raise ValueError(
                    f"{side} must hold the token states of each of {len(self.pooled)} pairs; got "
                    f"{len(tokens)} items. Encode pooled vectors and tokens of the same items."
                )

    @classmethod
    def encode(
        cls,
        pairs: Pairs,
        source_encoder: Encoder,
        target_encoder: Encoder,
        *,
        store: TokenCache | None = None,
        progress: bool | None = None,
    ) -> Self:
        """Encode both sides, pooled and, by encoders that give them, token by token.

        Args:
            pairs: The raw items.
            source_encoder: For the source items; its token states come along if it has an
                ``encode_tokens``.
            target_encoder: For the target items, likewise.
            store: Where vectors are looked up and kept, such as an ``EmbeddingStore``; without
                one, every item goes through its encoder twice.
            progress: Whether to draw a bar per side and kind; by default in a terminal or notebook.

        Raises:
            ValueError: An image encoder would get texts, or a text encoder files.
        """

        def tokens(encoder: Encoder, items: Sequence[Any]) -> MultiVector | None:
            if not _gives_tokens(encoder):
                return None
            if store is None:
                return encoder.encode_tokens(items, progress=progress)
            return store.encode_tokens(encoder, items, progress=progress)

        return cls(
            pairs.encode(source_encoder, target_encoder, store=store, progress=progress),
            tokens(source_encoder, pairs.source),
            tokens(target_encoder, pairs.target),
        )

    def __len__(self) -> int:
        return len(self.pooled)

    def __repr__(self) -> str:
        source, target = (
            f"no {side} tokens"
            if tokens is None
            else f"{side} {len(tokens.tokens):,} tokens x {tokens.dim:,}"
            for side, tokens in self._sides()
        )
        return one_line("TokenPairs", count(len(self), "pair"), source, target)

    def _repr_html_(self) -> str:
        rows = [
            [side, f"{getattr(self.pooled, side).shape[1]:,}"]
            + (
                ["none", "", ""]
                if tokens is None
                else [
                    f"{len(tokens.tokens):,}",
                    f"{len(tokens.tokens) / max(1, len(tokens)):.1f}",
                    f"{tokens.dim:,}",
                ]
            )
            for side, tokens in self._sides()
        ]
        columns = ["side", "pooled dimensions", "token states", "an item", "dimensions"]
        table = Table(columns, rows, numeric=range(1, 5))
        return render(Panel("TokenPairs", tiles=[Tile("pairs", f"{len(self):,}")], tables=[table]))

    def _sides(self) -> tuple[tuple[str, MultiVector | None], ...]:
        return ("source", self.source), ("target", self.target)

    def take(self, rows: Sequence[int] | np.ndarray[Any, Any] | Tensor) -> Self:
        """The pairs at ``rows``, in that order; rows may not repeat."""
        index = torch.from_numpy(row_index(rows, len(self)))
        return type(self)(
            self.pooled.take(index),
            None if self.source is None else self.source.take(index),
            None if self.target is None else self.target.take(index),
        )

    def split(self, *, test: float, val: float = 0.0, seed: int = 0) -> tuple[Self, ...]:
        """``(train, test)``, or ``(train, val, test)`` if ``val`` > 0, of whole groups and domains.

        The same rows as ``PairedEmbeddings.split``.

        Args:
            test: Share of the pairs held out for testing, in (0, 1).
            val: Share held out for validation, in [0, 1).
            seed: Seeds the draw.

        Raises:
            ValueError: A share is out of range or leaves a part empty.

        Warns:
            RepeatedItems: Many pairs share an item and no groups say so.
        """
        sides = self.pooled.source, self.pooled.target
        warn_of_repeats(sides, self.pooled.group_key, "split", stacklevel=2)
        return take_split(self, self.pooled.group_key, test=test, val=val, seed=seed)


def _gives_tokens(encoder: Encoder) -> TypeGuard[TokenEncoder]:
    return hasattr(encoder, "encode_tokens")
