"""What an encoder and a cache must offer, and how items and instructions become vectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from align._advice import Advised
from align.data.composite import Composite
from align.data.multi_vector import MultiVector

if TYPE_CHECKING:
    from align.data.embeddings import PairedEmbeddings
    from align.data.sides import RawPairs

MIXED = "mixed"
"""Modality of an encoder whose items are pairs ``(modality, item)``, as ``MixedEncoder``'s are."""

COMPOSITE = "composite"
"""Modality of an encoder whose items are ``Composite``, as ``CompositeEncoder``'s are."""


class Encoder(Protocol):
    """Anything frozen that turns items into one vector each.

    ``fingerprint`` changes whenever the vectors could: weights, pooling, prompt, preprocessing,
    dtype. ``modality`` names the kind of item, for example ``"text"``, ``"image"`` or ``"code"``.

    Examples:
        >>> import numpy as np, align
        >>> class Letters:  # any object with these members is an encoder
        ...     modality, dim, fingerprint = "text", 26, "letters-v1"
        ...     def encode(self, items, *, progress=False):
        ...         letters = "abcdefghijklmnopqrstuvwxyz"
        ...         counts = [[text.count(each) for each in letters] for text in items]
        ...         return np.array(counts, "f4")
        >>> encoder: align.Encoder = Letters()
        >>> encoder.encode(["abba"])[0, :3].tolist()
        [2.0, 2.0, 0.0]
    """

    @property
    def modality(self) -> str: ...
    @property
    def dim(self) -> int: ...
    @property
    def fingerprint(self) -> str: ...
    def encode(self, items: Sequence[Any], *, progress: bool | None = None) -> Tensor:
        """Pooled float32 vectors on the CPU, ``(n, dim)``, in the order of ``items``."""
        ...


def spec_of(encoder: Encoder) -> str | None:
    """The line by which ``align.load_encoder`` builds an encoder again, if it has one.

    Encoders of a hub id or a folder have one, as their property ``spec``; functions have none.
    """
    return getattr(encoder, "spec", None)


@runtime_checkable
class TokenEncoder(Encoder, Protocol):
    """An encoder that also gives the token or patch states behind its pooled vector.

    Examples:
        >>> import align
        >>> isinstance(align.TextEncoder("minilm"), align.TokenEncoder)
        True
    """

    @property
    def token_dim(self) -> int: ...
    def encode_tokens(self, items: Sequence[Any], *, progress: bool | None = None) -> MultiVector:
        """Token states of ``n`` items on the CPU, float32, width ``token_dim``."""
        ...


@runtime_checkable
class WordEncoder(TokenEncoder, Protocol):
    """An encoder of texts that says of which word each token is."""

    def words(self, item: Any) -> tuple[str, ...]:
        """The word of each token of an item; ``""`` if special, ``"##"`` where a word goes on."""
        ...


@runtime_checkable
class PatchEncoder(TokenEncoder, Protocol):
    """An encoder of pictures whose tokens are a grid, row by row."""

    def seen(self, item: Any) -> Any:
        """The Pillow picture that the grid covers."""
        ...


@runtime_checkable
class FrameEncoder(TokenEncoder, Protocol):
    """An encoder of videos whose tokens are vectors of frames, by an encoder of pictures."""

    @property
    def image_encoder(self) -> Encoder: ...
    @property
    def pooling(self) -> str:
        """``"tokens"`` where an index keeps a vector of each frame."""
        ...

    def frame_times(self, item: Any) -> list[float]:
        """The second at which each frame of an item is shown."""
        ...


@runtime_checkable
class LayeredEncoder(Encoder, Protocol):
    """An encoder of whose network other layers and poolings can be read, all by one pass."""

    def variants(self) -> tuple[Encoder, ...]:
        """The encoder itself first, then those that differ in layer or pooling alone."""
        ...

    def encode_variants(
        self, items: Sequence[Any], variants: Sequence[Any], *, progress: bool | None = None
    ) -> list[Tensor]:
        """The vectors of some of ``variants()``, each as its own ``encode`` gives them."""
        ...


@runtime_checkable
class JoinedEncoder(Encoder, Protocol):
    """An encoder made of others, so that a cache can keep the vectors of each by itself."""

    @property
    def parts(self) -> tuple[int, ...]:
        """Widths of the parts of a vector, which sum to ``dim``."""
        ...

    def compose(
        self, items: Sequence[Any], encode: Callable[[Encoder, Sequence[Any]], Tensor]
    ) -> Tensor:
        """The vectors of ``encode(items)``, with ``encode`` in place of each part's own."""
        ...


class Cache(Protocol):
    """Where ``Pairs.encode`` may look before it encodes; ``EmbeddingStore`` is one."""

    def encode(
        self, encoder: Encoder, items: Sequence[Any], *, progress: bool | None = None
    ) -> Tensor:
        """The same vectors as ``encoder.encode(items)``, each distinct item encoded once."""
        ...


class TokenCache(Cache, Protocol):
    """A cache that keeps token states too; ``EmbeddingStore`` is one."""

    def encode_tokens(
        self, encoder: TokenEncoder, items: Sequence[Any], *, progress: bool | None = None
    ) -> MultiVector:
        """The same token states as ``encoder.encode_tokens(items)``."""
        ...


def items_for(
    encoder: Encoder, items: Sequence[Any], modality: Sequence[str] | None, *, side: str
) -> Sequence[Any]:
    """The items as an encoder takes them: with the ``modality`` of each where it is one of several.

    Raises:
        ValueError: An image encoder would get texts, a text encoder files, or one of composite
            items any other; or the modalities are not known and the encoder needs them.
    """
    if encoder.modality == COMPOSITE:
        for row, item in enumerate(items):
            if not isinstance(item, Composite):
                raise ValueError(
                    f"the {side} items must be Composite, as their encoder takes items of several "
                    f"parts; row {row} is {repr(item)[:60]}. Name its parts: "
                    "align.Composite({NAME: item, ...})."
                )
        return items
    if encoder.modality != MIXED:
        _check_kinds(side, items, [encoder.modality] * len(items))
        return items
    if modality is None:
        raise ValueError(
            Advised(
                f"an encoder of several modalities must be told which each {side} item is of; got "
                f"{len(items)} items without.",
                python=f"Name the column that says so by {side}_modality=, give modality=, or use "
                "an encoder of one modality.",
                command=f"Name the column that says so by --{side}-modality, or by --modality "
                "where one side is encoded, or use an encoder of one modality.",
            )
        )
    _check_kinds(side, items, modality)
    return list(zip(modality, items, strict=True))


def encode_items(
    encoder: Encoder, items: Sequence[Any], *, store: Cache | None, progress: bool | None
) -> Tensor:
    """Vectors of items that suit the encoder, ``(n, dim)``, from the store where there is one."""
    if store is None:
        return encoder.encode(items, progress=progress)
    return store.encode(encoder, items, progress=progress)


def encode_instructions(
    encoder: Encoder, instructions: Sequence[str], *, store: Cache | None, progress: bool | None
) -> Tensor:
    """A vector for each instruction, zeros for an empty one; ``(n, dim)`` float32.

    Each distinct instruction is encoded once, with or without a store.
    """
    mixed = encoder.modality == MIXED
    if not (encoder.modality == "text" or (mixed and "text" in getattr(encoder, "encoders", ()))):
        raise ValueError(
            Advised(
                "instructions are texts and need an encoder of text; got one of modality "
                f"{encoder.modality!r}.",
                python="Pass instruction_encoder=, such as a TextEncoder.",
                command="Name one by --instruction-encoder text:MODEL.",
            )
        )
    distinct = list(dict.fromkeys(text for text in instructions if text.strip()))
    vectors = torch.zeros(len(distinct) + 1, encoder.dim)  # the last row is no instruction
    if distinct:
        items = [("text", text) for text in distinct] if mixed else distinct
        vectors[:-1] = encode_items(encoder, items, store=store, progress=progress)
    rows = {text: row for row, text in enumerate(distinct)}
    return vectors[[rows.get(text, len(distinct)) for text in instructions]]


def encode_pairs(
    pairs: RawPairs,
    source_encoder: Encoder,
    target_encoder: Encoder,
    *,
    instruction_encoder: Encoder | None,
    store: Cache | None,
    progress: bool | None,
) -> PairedEmbeddings:
    """What ``Pairs.encode`` gives."""
    from align.data.embeddings import PairedEmbeddings
    from align.data.modality import modality_codes

    source = items_for(source_encoder, pairs.source, pairs.source_modality, side="source")
    target = items_for(target_encoder, pairs.target, pairs.target_modality, side="target")
    encoders, instructions = {"source": source_encoder, "target": target_encoder}, None
    if pairs.instructions is not None:
        encoder = source_encoder if instruction_encoder is None else instruction_encoder
        instructions = encode_instructions(
            encoder, pairs.instructions, store=store, progress=progress
        )
        encoders["instruction"] = encoder
    specs = {role: spec_of(encoder) for role, encoder in encoders.items()}
    source_modality, target_modality = (
        None if names is None else modality_codes(names)
        for names in (pairs.source_modality, pairs.target_modality)
    )
    return PairedEmbeddings(
        encode_items(source_encoder, source, store=store, progress=progress),
        encode_items(target_encoder, target, store=store, progress=progress),
        pairs.ids,
        pairs.groups,
        source_encoder.fingerprint,
        target_encoder.fingerprint,
        source_modality=source_modality,
        target_modality=target_modality,
        source_parts=parts_of(source_encoder),
        target_parts=parts_of(target_encoder),
        instructions=instructions,
        encoders={role: spec for role, spec in specs.items() if spec is not None},
        side_names=pairs.side_names,
    )


def parts_of(encoder: Encoder) -> tuple[int, ...] | None:
    """Widths of the parts of an encoder made of several."""
    return encoder.parts if isinstance(encoder, JoinedEncoder) else None


_UNFIT = {"image": str, "video": str, "text": Path, "code": Path}


def _check_kinds(side: str, items: Sequence[object], kinds: Sequence[str]) -> None:
    """Raise where plain texts would go to an image encoder, or files to one of text or code."""
    for row, (item, kind) in enumerate(zip(items, kinds, strict=True)):
        unfit = _UNFIT.get(kind)
        if isinstance(item, Composite) or (unfit is not None and isinstance(item, unfit)):
            raise ValueError(
                f"the {side} items must suit the {side} encoder, whose modality is "
                f"{kind!r}; row {row} is {item!r}. Swap the encoders, or say with "
                "images= which columns hold image paths; in a list, image files are pathlib.Path. "
                "Composite items need a CompositeEncoder."
            )
