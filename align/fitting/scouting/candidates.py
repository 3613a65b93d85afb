"""Candidate encoders of one side: networks, their layers and poolings, and several together."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

from align._checks import as_list
from align.adapters.maps.linear import directions
from align.data.encoding import (
    Encoder,
    JoinedEncoder,
    LayeredEncoder,
    encode_items,
    items_for,
    parts_of,
    spec_of,
)
from align.data.pairs import Pairs
from align.data.sides import Side
from align.encoders.cache.store import EmbeddingStore
from align.encoders.composite import ConcatEncoder
from align.encoders.panels import encoder_words
from align.encoders.spec import load_encoder

TIMED = 16  # items whose encoding is timed
_ALIKE = 1e-6  # directions that float32 cannot tell apart

T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """One encoder of a side, and what it gives of the items of the pairs.

    Attributes:
        encoder: Ready for ``encode``.
        parts: Vectors of the items, ``(n, d)`` float32 each, which stand side by side; the tensors
            of one candidate serve all others that it is a part of.
        seconds: Seconds that encoding an item takes on this machine, in batches.
        as_given: Whether the caller named it, as it is.
    """

    encoder: Encoder
    parts: tuple[Tensor, ...]
    seconds: float
    as_given: bool = False

    @property
    def name(self) -> str:
        """The line that builds the encoder again, or else what it is in short."""
        return spec_of(self.encoder) or encoder_words(self.encoder)

    @property
    def vectors(self) -> Tensor:
        """Of the items, ``(n, d)`` float32."""
        return self.parts[0] if len(self.parts) == 1 else torch.cat(self.parts, dim=1)

    @property
    def widths(self) -> tuple[int, ...] | None:
        """Widths of the parts, where there are several."""
        return parts_of(self.encoder)

    def beside(self, other: Candidate) -> Candidate:
        """Both side by side; where one is made of several, its parts are."""
        encoder = ConcatEncoder(*_parts(self.encoder), *_parts(other.encoder))
        parts = (*self.parts, *other.parts)
        return Candidate(encoder, parts, self.seconds + other.seconds)

    def may_join(self, other: Candidate, *, most: int) -> bool:
        """Whether ``other`` can stand beside it, as no part of it yet, in ``most`` parts in all."""
        mine, theirs = _parts(self.encoder), _parts(other.encoder)
        if len(mine) + len(theirs) > most:
            return False
        if any(isinstance(part, JoinedEncoder) for part in (*mine, *theirs)):
            return False  # of several modalities, each of which has its own columns
        known = {part.fingerprint for part in mine}
        same_kind = self.encoder.modality == other.encoder.modality
        return same_kind and known.isdisjoint(part.fingerprint for part in theirs)


def named_encoders(side: Side, encoders: Sequence[str | Encoder]) -> list[Encoder]:
    """The encoders that the caller named, each once, in order.

    Raises:
        ValueError: There are none.
    """
    listed = [
        load_encoder(each) if isinstance(each, str) else each
        for each in as_list(f"{side}s", encoders)
    ]
    if not listed:
        raise ValueError(
            f"there must be at least one {side} encoder to look at; got none. "
            f'Name some, such as {side}s=["text:minilm"].'
        )
    return list({each.fingerprint: each for each in listed}.values())


def candidates_of(
    pairs: Pairs,
    side: Side,
    encoder: Encoder,
    *,
    layers: bool,
    store: EmbeddingStore | None,
    progress: bool | None,
) -> tuple[list[Candidate], list[str]]:
    """Candidates of one encoder, itself first, and why others of its network are none.

    Each item passes once through the network, whatever is read from it.

    Raises:
        ValueError: The items do not suit the encoder, or it gives all of them one direction.
    """
    own, modality = (
        (pairs.source, pairs.source_modality)
        if side == "source"
        else (pairs.target, pairs.target_modality)
    )
    items = items_for(encoder, own, modality, side=side)
    variants: tuple[Encoder, ...] = (encoder,)
    if layers and isinstance(encoder, LayeredEncoder):
        variants = encoder.variants()
    if len(variants) == 1:
        vectors = [encode_items(encoder, items, store=store, progress=progress)]
    elif isinstance(encoder, LayeredEncoder) and store is not None:
        vectors = store.encode_variants(encoder, variants, items, progress=progress)
    elif isinstance(encoder, LayeredEncoder):
        vectors = encoder.encode_variants(items, variants, progress=progress)
    seconds = seconds_per_item(encoder, items)
    found, left_out = [], []
    for at, (each, rows) in enumerate(zip(variants, vectors, strict=True)):
        candidate = Candidate(each, (rows.float(),), seconds, as_given=at == 0)
        if says_something(candidate.vectors):
            found.append(candidate)
        elif at == 0:
            raise ValueError(
                f"the {side} side must differ between pairs and have no zero vectors; "
                f"{candidate.name} gives vectors that do not. Check what is encoded, and from "
                "which column, or leave this encoder out."
            )
        else:
            left_out.append(f"{candidate.name}: zero, infinite or equal vectors")
    return found, left_out


def says_something(vectors: Tensor) -> bool:
    """Whether rows ``(n, d)`` are finite, none is zero, and they have more than one direction."""
    if not vectors.isfinite().all() or not (vectors != 0).any(dim=1).all():
        return False
    rows = directions(vectors)
    return (rows - rows[0]).abs().amax().item() > _ALIKE


def seconds_per_item(encoder: Encoder, items: Sequence[Any]) -> float:
    """Seconds that an item takes among some others, no vector being known from before."""
    some = list(items[:TIMED])
    encoder.encode(some[:2], progress=False)  # what is loaded once is not counted
    start = time.perf_counter()
    encoder.encode(some, progress=False)
    return (time.perf_counter() - start) / len(some)


def _parts(encoder: Encoder) -> tuple[Encoder, ...]:
    return encoder.encoders if isinstance(encoder, ConcatEncoder) else (encoder,)
