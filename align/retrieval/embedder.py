"""Raw items to vectors of the shared space: an adapter beside the encoders it was fitted on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from align._checks import as_list, check_length, check_side
from align.adapters.adapter import Adapter
from align.adapters.artifact.digest import adapter_digest
from align.adapters.instructions import sources_for, takes_instructions
from align.data.embeddings import Embeddings
from align.data.encoding import Cache, Encoder, encode_instructions, encode_items, items_for
from align.data.picture_names import route_picture_names
from align.data.sides import Side
from align.encoders.spec import from_card


class Embedder:
    """Items of either side in, vectors for an inner-product index out.

    An encoder that is not given is built from the adapter's card when it is first needed, so that
    text queries load no image model.

    Attributes:
        adapter: Maps both sides into the shared space.
        store: Where encoded items are looked up and kept, or ``None``.
    """

    def __init__(
        self,
        adapter: Adapter,
        *,
        source: Encoder | None = None,
        target: Encoder | None = None,
        instructions: Encoder | None = None,
        store: Cache | None = None,
    ) -> None:
        """Keep an adapter and the encoders that are at hand.

        Args:
            adapter: A fitted adapter.
            source: Encoder of the source side, the one that the adapter was fitted on.
            target: Encoder of the target side, likewise.
            instructions: Encoder of instructions, if the adapter takes any.
            store: Where encoded items are looked up and kept, such as ``EmbeddingStore``.
        """
        self.adapter = adapter
        self.store = store
        given = {"source": source, "target": target, "instruction": instructions}
        self._encoders = {role: encoder for role, encoder in given.items() if encoder is not None}
        self._given = {role: encoder.fingerprint for role, encoder in self._encoders.items()}

    def digest(self, **words: str | None) -> str:
        """A name for the vectors that this gives, for what caches them; hexadecimal.

        It changes with the weights, the corrections and the encoders of the adapter. No encoder is
        built for it: the card's word counts where none was given.

        Args:
            **words: What else a cached vector depends on, by name, such as side and modality.
        """
        card = self.adapter.card
        fitted = {"source": card.source_fingerprint, "target": card.target_fingerprint}
        known = {
            f"{role} encoder": self._given.get(role) or fitted.get(role) or card.encoders.get(role)
            for role in ("source", "target", "instruction")
        }
        return adapter_digest(self.adapter, **known, **words)

    def encoder(self, side: Side) -> Encoder:
        """The encoder of a side.

        Raises:
            ValueError: ``side`` is neither side, or the encoder was not given and the card of the
                adapter does not say how to build it, or names Python code to do so.
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
        progress: bool = False,
    ) -> Tensor:
        """Query vectors of raw items, for ``gallery`` vectors of the other side; ``(n, d)``.

        Args:
            items: ``n`` texts, or ``pathlib.Path`` or PIL images, as the encoder of ``side`` takes.
                A text that names a picture, such as ``"dog.jpg"``, is taken for the picture.
            side: The side that asks.
            modality: Modality of each item, or of all, where the encoder is of several; and
                ``"text"`` for a text that names a picture and is meant as a text.
            instruction: What to look for, if the adapter takes instructions and sources ask.
            progress: Show a bar.

        Raises:
            TypeError: ``items`` is one item.
            ValueError: An item does not suit the encoder, a text names a picture and no encoder
                of the side takes pictures, a modality is missing, the encoder is not the one that
                the adapter was fitted on, or there is an instruction that the adapter cannot take.
        """
        found = self.encode(
            items, side=side, modality=modality, instruction=instruction, progress=progress
        )
        return self.adapter.queries(found, side=side)

    def gallery(
        self,
        items: Sequence[Any],
        *,
        side: Side = "target",
        modality: str | Sequence[str] | None = None,
        progress: bool = False,
    ) -> Tensor:
        """Gallery vectors of raw items, hubness correction included; ``(n, d)``.

        Raises:
            ValueError: As for ``queries``.
        """
        found = self.encode(items, side=side, modality=modality, progress=progress)
        return self.adapter.gallery(found, side=side)

    def encode(
        self,
        items: Sequence[Any],
        *,
        side: Side,
        modality: str | Sequence[str] | None = None,
        instruction: str | None = None,
        progress: bool = False,
    ) -> Embeddings:
        """Raw items as the adapter takes them, named by their rows; ``(n, d_side)``.

        Raises:
            ValueError: As for ``queries``.
        """
        if side == "target" and instruction is not None:
            raise ValueError(
                f"an instruction belongs to a source; here targets ask; got {instruction!r}. "
                "Leave it out."
            )
        encoder = self.encoder(side)
        found, kinds = self.route_picture_names(items, side=side, modality=modality)
        named = items_for(encoder, found, kinds, side=side)
        vectors = encode_items(encoder, named, store=self.store, progress=progress)
        if side == "source":
            told = None if instruction is None else self._told(instruction)
            vectors = sources_for(self.adapter, vectors, told)
        return Embeddings(vectors, encoder.fingerprint, tuple(map(str, range(len(vectors)))))

    def route_picture_names(
        self, items: Sequence[Any], *, side: Side, modality: str | Sequence[str] | None
    ) -> tuple[list[Any], list[str] | None]:
        """Items one by one, names of pictures among them as paths; and what each is, if said.

        Raises:
            TypeError: ``items`` is one item.
            ValueError: A text names a picture and the side has no encoder of pictures, or there is
                not one modality for each item.
        """
        held = as_list("items", items)
        kinds = [modality] * len(held) if isinstance(modality, str) else modality
        if kinds is not None:
            kinds = as_list("modality", kinds)
            check_length("modality", kinds, len(held))
        return route_picture_names(self.encoder(side), held, kinds, side=side)

    def _told(self, instruction: str) -> Tensor:
        if not takes_instructions(self.adapter):
            raise ValueError(
                f"this adapter was fitted without instructions; got {instruction!r}. "
                "Leave it out, or fit an adapter with align.instruct."
            )
        remembered = self.adapter.card.encoders
        same = remembered.get("instruction") == remembered.get("source")
        role = "source" if same and "instruction" not in self._encoders else "instruction"
        return encode_instructions(
            self._encoder(role), [instruction], store=self.store, progress=False
        )

    def _encoder(self, role: str) -> Encoder:
        if role not in self._encoders:
            self._encoders[role] = from_card(self.adapter.card.encoders, role)
        return self._encoders[role]
