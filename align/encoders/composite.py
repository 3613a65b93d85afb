"""Several encoders as one: side by side, each for its kind of item, or each for a part of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from align._checks import as_list
from align._display.panel import render
from align.data.composite import Composite
from align.data.encoding import COMPOSITE, Encoder, JoinedEncoder, spec_of
from align.data.modality import Modality
from align.encoders.panels import concat_line, named_line, several_panel
from align.encoders.pretrained.weights import fingerprint

EncodePart = Callable[[Encoder, Sequence[Any]], Tensor]


@dataclass(frozen=True, eq=False)
class ConcatEncoder:
    """The vectors of several encoders, or of several layers of one, side by side.

    ``align.fit`` normalises and centres each part by itself and finds its weight; an
    ``EmbeddingStore`` keeps each part under its own encoder, so that adding one encodes no other
    again.

    Attributes:
        encoders: Encoders of one modality, two or more.

    Raises:
        ValueError: There are fewer than two, or they are of several modalities.

    Examples:
        >>> import numpy as np, align
        >>> def constant(dim):
        ...     def ones(items):
        ...         return np.ones((len(items), dim), "f4")
        ...
        ...     return align.CallableEncoder(ones, name=f"ones-{dim}", dim=dim)
        >>> align.ConcatEncoder(constant(2), constant(3)).dim
        5
    """

    encoders: tuple[Encoder, ...]

    def __init__(self, *encoders: Encoder) -> None:
        object.__setattr__(self, "encoders", encoders)
        kinds = {encoder.modality for encoder in encoders}
        if len(encoders) < 2 or len(kinds) > 1:
            raise ValueError(
                "ConcatEncoder needs two or more encoders of one modality; "
                f"got {len(encoders)} of {sorted(kinds)}. "
                "Use MixedEncoder for items of several modalities."
            )

    def __repr__(self) -> str:
        return concat_line(self.encoders)

    def _repr_html_(self) -> str:
        numbered = [(str(number), each) for number, each in enumerate(self.encoders, start=1)]
        return render(several_panel(f"ConcatEncoder of {self.modality}", numbered))

    @property
    def modality(self) -> str:
        """Modality of each part."""
        return self.encoders[0].modality

    @property
    def parts(self) -> tuple[int, ...]:
        """Width of each part."""
        return tuple(encoder.dim for encoder in self.encoders)

    @property
    def dim(self) -> int:
        """Sum of the widths of the parts."""
        return sum(self.parts)

    @property
    def fingerprint(self) -> str:
        """Changes with the fingerprint and the order of the parts."""
        names = [encoder.fingerprint for encoder in self.encoders]
        return fingerprint(self.modality, "concat", str(len(names)), {"parts": names})

    @property
    def spec(self) -> str | None:
        """How to build it again, for ``load_encoder``; ``None`` unless every part can be named."""
        return _together(
            [None if hasattr(each, "compose") else spec_of(each) for each in self.encoders], "+"
        )

    def encode(self, items: Sequence[Any], *, progress: bool | None = None) -> Tensor:
        """The vectors of all parts side by side, ``(n, dim)`` float32 on the CPU."""
        return self.compose(items, lambda encoder, x: encoder.encode(x, progress=progress))

    def compose(self, items: Sequence[Any], encode: EncodePart) -> Tensor:
        """The same, each part taken from ``encode(encoder, items)``."""
        listed = as_list("items", items)
        return torch.cat([encode(encoder, listed) for encoder in self.encoders], dim=1)


@dataclass(frozen=True, eq=False)
class MixedEncoder:
    """An encoder for each kind of item, so that one index can hold several kinds.

    An item is a pair ``(modality, item)``, for example ``("image", path)``. Its vector has a block
    of columns for each modality, of which all but its own are zero. ``align.fit`` then centres each
    modality by itself and finds one map for each, all into one space.

    Attributes:
        encoders: By the name of the modality, as ``align.data.modality.Modality.parse`` reads it.

    Raises:
        ValueError: There are none, or a name is no modality.

    Examples:
        >>> import numpy as np, align
        >>> def ones(dim, modality):
        ...     return align.CallableEncoder(
        ...         lambda items: np.ones((len(items), dim), "f4"),
        ...         name="ones", dim=dim, modality=modality,
        ...     )
        >>> align.MixedEncoder({"text": ones(2, "text"), "code": ones(3, "code")}).dim
        5
    """

    encoders: Mapping[str, Encoder]

    modality = "mixed"

    def __post_init__(self) -> None:
        if not self.encoders:
            raise ValueError(
                'MixedEncoder needs an encoder per modality; got none. Pass {"image": ..., ...}.'
            )
        for name in self.encoders:
            Modality.parse(name)

    def __repr__(self) -> str:
        return named_line("MixedEncoder", self.encoders)

    def _repr_html_(self) -> str:
        return render(several_panel("MixedEncoder", list(self.encoders.items())))

    @property
    def parts(self) -> tuple[int, ...]:
        """Width of the block of each modality."""
        return tuple(encoder.dim for encoder in self.encoders.values())

    @property
    def dim(self) -> int:
        """Sum of the widths of the blocks."""
        return sum(self.parts)

    @property
    def fingerprint(self) -> str:
        """Changes with the modalities, their order and their encoders."""
        names = [f"{name}={encoder.fingerprint}" for name, encoder in self.encoders.items()]
        return fingerprint(self.modality, "mixed", str(len(names)), {"parts": names})

    @property
    def spec(self) -> str | None:
        """How to build it again, for ``load_encoder``; ``None`` unless all can be named."""
        specs = []
        for name, encoder in self.encoders.items():
            spec = None if isinstance(encoder, MixedEncoder) else spec_of(encoder)
            specs.append(spec and f"{name}={spec}" if name == name.lower() else None)
        return _together(specs, ";")

    def encode(self, items: Sequence[Any], *, progress: bool | None = None) -> Tensor:
        """Block vectors of ``(modality, item)`` pairs, ``(n, dim)`` float32 on the CPU.

        Raises:
            TypeError: An item is no pair of a modality and an item.
            ValueError: An item is of a modality that has no encoder.
        """
        return self.compose(items, lambda encoder, x: encoder.encode(x, progress=progress))

    def compose(self, items: Sequence[Any], encode: EncodePart) -> Tensor:
        """The same, each block taken from ``encode(encoder, items)``."""
        items = as_list("items", items)
        for row, pair in enumerate(items):
            if not isinstance(pair, (tuple, list)) or len(pair) != 2 or type(pair[0]) is not str:
                raise TypeError(
                    "items of several modalities must be a list of pairs (modality, item); item "
                    f"{row} is {repr(pair)[:60]}. Say of each what it is, such as "
                    '("image", path), and wrap a single pair in a list.'
                )
        unknown = {name for name, _ in items} - set(self.encoders)
        if unknown:
            raise ValueError(
                f"every item must be of one of the modalities {sorted(self.encoders)}; "
                f"got {sorted(unknown)}. Add an encoder for them, or leave those items out."
            )
        return _side_by_side(self.encoders, [{name: item} for name, item in items], encode)


@dataclass(frozen=True, eq=False)
class CompositeEncoder:
    """An encoder for each part of a composite item: of its title, of its photo.

    The vectors of the parts stand side by side, zeros where a part is missing. ``align.fit``
    normalises and centres each part by itself and chooses its share of the squared norm; parts that
    an item has take over the share of those that it lacks, so every item has length one, whatever
    it lacks. An ``EmbeddingStore`` keeps each part under its own encoder: a new title encodes no
    photo again.

    Attributes:
        encoders: By the name of the part, two or more.

    Raises:
        ValueError: There are fewer than two.

    Examples:
        >>> import numpy as np, align
        >>> def ones(dim):
        ...     return align.CallableEncoder(
        ...         lambda items: np.ones((len(items), dim), "f4"), name="ones", dim=dim
        ...     )
        >>> encoder = align.CompositeEncoder({"title": ones(2), "photo": ones(3)})
        >>> encoder.encode([align.Composite({"title": "a red shoe"})]).tolist()
        [[1.0, 1.0, 0.0, 0.0, 0.0]]
    """

    encoders: Mapping[str, Encoder]

    modality = COMPOSITE

    def __post_init__(self) -> None:
        if len(self.encoders) < 2:
            raise ValueError(
                "CompositeEncoder needs an encoder of each of two or more parts; got "
                f"{len(self.encoders)}. Pass {{'title': ..., 'photo': ...}}."
            )

    def __repr__(self) -> str:
        return named_line("CompositeEncoder", self.encoders)

    def _repr_html_(self) -> str:
        return render(several_panel("CompositeEncoder", list(self.encoders.items())))

    @property
    def parts(self) -> tuple[int, ...]:
        """Width of each part."""
        return tuple(encoder.dim for encoder in self.encoders.values())

    @property
    def dim(self) -> int:
        """Sum of the widths of the parts."""
        return sum(self.parts)

    @property
    def fingerprint(self) -> str:
        """Changes with the names of the parts, their order and their encoders."""
        names = [[name, encoder.fingerprint] for name, encoder in self.encoders.items()]
        return fingerprint(self.modality, "composite", str(len(names)), {"parts": names})

    @property
    def spec(self) -> str | None:
        """How to build it again, for ``load_encoder``; ``None`` unless every part can be named."""
        specs = []
        for name, encoder in self.encoders.items():
            spec = None if isinstance(encoder, JoinedEncoder) else spec_of(encoder)
            plain = re.fullmatch(r"\w+", name) is not None
            specs.append(spec and f"{name}={spec}" if plain else None)
        return _together(specs, "+")

    def encode(self, items: Sequence[Any], *, progress: bool | None = None) -> Tensor:
        """The parts of ``Composite`` items side by side, ``(n, dim)`` float32 on the CPU.

        Raises:
            TypeError: An item is no mapping of names to parts.
            ValueError: Every part of an item is missing, or one has no encoder.
        """
        return self.compose(items, lambda encoder, x: encoder.encode(x, progress=progress))

    def compose(self, items: Sequence[Any], encode: EncodePart) -> Tensor:
        """The same, each part taken from ``encode(encoder, items)``."""
        items = as_list("items", items)
        for row, item in enumerate(items):
            if not isinstance(item, Composite):
                raise TypeError(
                    f"composite items must be align.Composite; item {row} is {repr(item)[:60]}. "
                    "Name its parts, as in align.Composite({'title': ..., 'photo': ...})."
                )
            if not item or not set(item) <= set(self.encoders):
                raise ValueError(
                    f"a composite item must have a part or more of {sorted(self.encoders)} and no "
                    f"other; item {row} has {sorted(item)}. Correct it, or drop it."
                )
        return _side_by_side(self.encoders, items, encode)


def _side_by_side(
    encoders: Mapping[str, Encoder], items: Sequence[Mapping[str, Any]], encode: EncodePart
) -> Tensor:
    """A block of columns for each encoder, zeros where an item has nothing for it."""
    vectors = torch.zeros(len(items), sum(encoder.dim for encoder in encoders.values()))
    start = 0
    for name, encoder in encoders.items():
        rows = [row for row, item in enumerate(items) if name in item]
        if rows:
            block = encode(encoder, [items[row][name] for row in rows])
            vectors[rows, start : start + encoder.dim] = block
        start += encoder.dim
    return vectors


def _together(specs: Sequence[str | None], between: str) -> str | None:
    known = [spec for spec in specs if spec is not None]
    return between.join(known) if len(known) == len(specs) else None
