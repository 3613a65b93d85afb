"""Raw items to vectors of the shared space: an adapter or a head beside its encoders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar, cast

import torch
from torch import Tensor

from align._advice import Advised
from align._checks import as_list, check_length, check_side
from align._device import find_device
from align._display.lines import count, one_line
from align._display.panel import Panel, render
from align.adapters.adapter import Adapter
from align.adapters.digest import adapter_digest
from align.adapters.instructions import sources_for, takes_instructions
from align.adapters.multi_vector.aspects import TokenAspects
from align.adapters.multi_vector.meta_tokens import MetaTokens
from align.data.embeddings import Vectors
from align.data.encoding import (
    Cache,
    Encoder,
    FrameEncoder,
    TokenEncoder,
    encode_instructions,
    encode_items,
    items_for,
)
from align.data.lone_parts import as_composites
from align.data.multi_vector import MultiVector
from align.data.picture_names import route_picture_names
from align.data.sides import Side
from align.encoders.spec import from_card
from align.retrieval.panels import embedder_line, embedder_panel

VectorsT = TypeVar("VectorsT", bound=Tensor | MultiVector)
VectorsT_co = TypeVar("VectorsT_co", bound=Tensor | MultiVector, covariant=True)


class SharedSpace(Protocol[VectorsT_co]):
    """An ``Adapter``, which gives a matrix, or ``MetaTokens``, which give a ``MultiVector``."""

    def queries(self, x: Vectors, /, *, side: Side = ...) -> VectorsT_co: ...
    def gallery(self, y: Vectors, /, *, side: Side = ...) -> VectorsT_co: ...


@dataclass(frozen=True, slots=True, eq=False)
class Encoded:
    """Raw items of one side after its encoder, before the shared space."""

    side: Side
    raw: Tensor  # vectors as the encoder gave them, (n, d_encoder)
    vectors: Tensor  # the same as the adapter takes them, (n, d_side): with any instruction
    tokens: MultiVector | None  # token states, where a head draws on those of this side
    modality: list[str] | None  # what each item is, where that was said or seen

    def __repr__(self) -> str:
        n, d = self.raw.shape
        tokens = "" if self.tokens is None else "with token states"
        return one_line("Encoded", count(n, f"{self.side} item"), f"{d:,} dimensions", tokens)


class Embedder(Generic[VectorsT]):
    """Items of either side in, vectors for an inner-product or late-interaction index out.

    An encoder that is not given is built from the adapter's card when it is first needed, so that
    text queries load no image model.

    Attributes:
        adapter: Maps both sides into the shared space; the one behind a head of meta tokens.
        store: Where encoded items are looked up and kept, or ``None``.

    Examples:
        >>> import numpy as np, align
        >>> rng = np.random.default_rng(0)
        >>> vectors = rng.standard_normal((100, 4)).astype("f4")
        >>> rows = align.CallableEncoder(lambda items: vectors[items], name="rows", dim=4)
        >>> adapter = align.fit(vectors, vectors, effort="fast")
        >>> embedder = align.Embedder(adapter, source=rows, target=rows)
        >>> embedder.queries([0, 1]).shape == embedder.gallery([0, 1]).shape
        True
    """

    def __init__(
        self,
        adapter: SharedSpace[VectorsT],
        *,
        source: Encoder | None = None,
        target: Encoder | None = None,
        instructions: Encoder | None = None,
        store: Cache | None = None,
        device: str | torch.device = "auto",
        trust: bool = False,
    ) -> None:
        """Keep an adapter and the encoders that are at hand.

        Args:
            adapter: A fitted adapter, or a head of meta tokens.
            source: Encoder of the source side that the adapter was fitted on.
            target: Encoder of the target side, likewise.
            instructions: Encoder of instructions, if the adapter takes any.
            store: Where encoded items are looked up and kept, such as ``EmbeddingStore``.
            device: Where encoders that are built from the card run, as for ``TextEncoder``.
            trust: Run Python code that the card names as an encoder, ``python:MODULE:ATTRIBUTE``.
                Whoever wrote the card chose it: look at ``adapter.card.encoders`` first.

        Raises:
            ValueError: This machine has no such device.
        """
        find_device(device)
        self._device, self._trust = device, trust
        self._space = adapter
        head = adapter.adapter if isinstance(adapter, MetaTokens) else adapter
        self.adapter = cast(Adapter, head)
        self.store = store
        roles = {"source": source, "target": target, "instruction": instructions}
        self._encoders = {role: encoder for role, encoder in roles.items() if encoder is not None}
        self._fingerprints = {role: each.fingerprint for role, each in self._encoders.items()}

    def __repr__(self) -> str:
        return embedder_line(self._space, self._encoders, self.adapter.card)

    def _repr_html_(self) -> str:
        return render(self.panel())

    def panel(self) -> Panel:
        """What a notebook shows of it: the adapter and the encoders; none is built for it."""
        return embedder_panel(self._space, self._encoders, self.adapter.card, self.store)

    def digest(self, **words: str | None) -> str:
        """A name for the vectors of the adapter, for what caches them; hexadecimal.

        It changes with the adapter, its corrections and encoders (none is built for it), and with
         ``words``: what else a cached vector depends on, such as side and modality.
        """
        card = self.adapter.card
        fitted = {"source": card.source_fingerprint, "target": card.target_fingerprint}
        fingerprints = {**fitted, **self._fingerprints}
        known = {
            f"{role} encoder": fingerprints.get(role) or card.encoders.get(role)
            for role in ("source", "target", "instruction")
        }
        return adapter_digest(self.adapter.components(), **known, **words)

    def encoder(self, side: Side) -> Encoder:
        """The encoder of a side.

        Raises:
            ValueError: It was not given and the card does not say how to build it, or names Python
                code to do so and ``trust`` was not given.
        """
        check_side(side)
        return self._encoder(side)

    def queries(
        self,
        items: Sequence[Any],
        *,
        side: Side = "source",
        modality: str | Sequence[str] | None = None,
        instruction: str | None = None,
        progress: bool | None = None,
    ) -> VectorsT:
        """Query vectors of raw items, for ``gallery`` vectors of the other side.

        Args:
            items: ``n`` texts, or ``pathlib.Path`` or PIL images, as the encoder of ``side`` takes.
                A text that names a picture, such as ``"dog.jpg"``, is taken for the picture; of an
                encoder of composite items, a text or picture may stand for its part alone.
            side: The side of the items.
            modality: Modality of each item, or of all, where the encoder is of several; and
                ``"text"`` for a text that names a picture and is meant as a text.
            instruction: What to look for, if sources of the adapter take instructions.
            progress: Whether to draw a progress bar; by default in a terminal or notebook.

        Returns:
            ``(n, d)`` of an adapter; ``n`` packed queries of a head of meta tokens.

        Raises:
            TypeError: ``items`` is one item.
            ValueError: An item does not suit the encoder, a text names a picture and no encoder of
                the side takes pictures, a modality is missing, the encoder is not the one that the
                adapter was fitted on or gives no token states where a head needs them, or the
                adapter takes no instruction.
        """
        encoded = self.encode(
            items, side=side, modality=modality, instruction=instruction, progress=progress
        )
        return self.to_queries(encoded)

    def gallery(
        self,
        items: Sequence[Any],
        *,
        side: Side = "target",
        modality: str | Sequence[str] | None = None,
        progress: bool | None = None,
    ) -> VectorsT:
        """Gallery vectors of raw items, hubness correction included; otherwise as ``queries``."""
        return self.to_gallery(self.encode(items, side=side, modality=modality, progress=progress))

    def encode(
        self,
        items: Sequence[Any],
        *,
        side: Side,
        modality: str | Sequence[str] | None = None,
        instruction: str | None = None,
        progress: bool | None = None,
    ) -> Encoded:
        """Raw items through their encoder once, for ``to_queries`` and ``to_gallery``.

        Raises:
            TypeError: As for ``queries``.
            ValueError: Likewise; nothing is encoded by another encoder than the fitted one.
        """
        if side == "target" and instruction is not None:
            raise ValueError(
                "an instruction belongs to a source; these queries are targets; got "
                f"{instruction!r}. Leave it out."
            )
        encoder = self.encoder(side)
        self._check_fitted(side, encoder)
        items = as_list("items", items)
        kinds = [modality] * len(items) if isinstance(modality, str) else modality
        if kinds is not None:
            kinds = as_list("modality", kinds)
            check_length("modality", kinds, len(items))
        items = as_composites(encoder, items, kinds, side=side)
        items, kinds = route_picture_names(encoder, items, kinds, side=side)
        named = items_for(encoder, items, kinds, side=side)
        raw = encode_items(encoder, named, store=self.store, progress=progress)
        vectors = raw
        if side == "source":
            beside = None if instruction is None else self._instruction(instruction)
            vectors = sources_for(self.adapter, raw, beside)
        tokens = self._tokens(encoder, named, side, progress=progress)
        return Encoded(side, raw, vectors, tokens, kinds)

    def frames(
        self, items: Sequence[Any], *, side: Side, progress: bool | None = None
    ) -> MultiVector:
        """Gallery vectors of the frames of videos, each mapped by itself, packed by video.

        Raises:
            ValueError: The encoder of the side is none of videos, or neither it nor its encoder of
                frames is what the adapter was fitted on.
        """
        encoder = self.encoder(side)
        if not isinstance(encoder, FrameEncoder) or not isinstance(self._space, Adapter):
            raise ValueError(
                "vectors of frames need a VideoEncoder and an adapter; got an encoder of modality "
                f"{encoder.modality!r} and {type(self._space).__name__}. Use gallery() for others."
            )
        self._check_fitted(side, encoder)
        states = self._token_states(encoder, items, progress=progress)
        return MultiVector(self._space.gallery(states.tokens, side=side), states.offsets)

    def to_queries(self, encoded: Encoded) -> VectorsT:
        """Query vectors of encoded items; ``ValueError`` if a vector has no direction."""
        return self._project("queries", encoded)

    def to_gallery(self, encoded: Encoded) -> VectorsT:
        """Gallery vectors of encoded items, likewise."""
        return self._project("gallery", encoded)

    def _project(self, role: str, encoded: Encoded) -> VectorsT:
        beside = (encoded.tokens,) if isinstance(self._space, MetaTokens) else ()
        vectors: VectorsT = getattr(self._space, role)(encoded.vectors, *beside, side=encoded.side)
        return vectors

    def _check_fitted(self, side: Side, encoder: Encoder) -> None:
        """Raise unless the adapter takes what an encoder gives; frames of a video are pictures."""
        card = self.adapter.card
        fitted = card.source_fingerprint if side == "source" else card.target_fingerprint
        if fitted not in (None, encoder.fingerprint) and isinstance(encoder, FrameEncoder):
            if encoder.image_encoder.fingerprint == fitted:
                return
        self.adapter.check_fingerprint(side, encoder.fingerprint)

    def _token_states(
        self, encoder: TokenEncoder, items: Sequence[Any], *, progress: bool | None
    ) -> MultiVector:
        if self.store is not None and hasattr(self.store, "encode_tokens"):
            states: MultiVector = self.store.encode_tokens(encoder, items, progress=progress)
            return states
        return encoder.encode_tokens(items, progress=progress)

    def _tokens(
        self, encoder: Encoder, items: Sequence[Any], side: Side, *, progress: bool | None
    ) -> MultiVector | None:
        """Token states, if this side of a head draws on any."""
        head = self._space
        if not isinstance(head, MetaTokens):
            return None
        aspects = head.source_aspects if side == "source" else head.target_aspects
        if not isinstance(aspects, TokenAspects):
            return None
        if not isinstance(encoder, TokenEncoder):
            raise ValueError(
                Advised(
                    f"these meta tokens draw on token states of the {side} side; its encoder, "
                    f"{encoder.fingerprint}, gives none.",
                    python="Pass an encoder with encode_tokens.",
                    command="Name the encoder that the head was fitted with.",
                )
            )
        return self._token_states(encoder, items, progress=progress)

    def _instruction(self, instruction: str) -> Tensor:
        if not takes_instructions(self.adapter):
            raise ValueError(
                Advised(
                    f"this adapter was fitted without instructions; got {instruction!r}.",
                    python="Leave it out, or fit an adapter with align.instruct.",
                    command="Leave it out, or fit an adapter with --instruction.",
                )
            )
        remembered = self.adapter.card.encoders
        same = remembered.get("instruction") == remembered.get("source")
        role = "source" if same and "instruction" not in self._encoders else "instruction"
        encoder = self._encoder(role)
        return encode_instructions(encoder, [instruction], store=self.store, progress=False)

    def _encoder(self, role: str) -> Encoder:
        if role not in self._encoders:
            self._encoders[role] = from_card(
                self.adapter.card.encoders, role, device=self._device, trust=self._trust
            )
        return self._encoders[role]
