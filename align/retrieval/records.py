"""What is stored beside the vectors: a modality and a JSON object per item, read when asked."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

import numpy as np

from align._checks import check_length
from align.modalities import Modality
from align.retrieval.hits import NOTHING
from align.retrieval.packed import Array, Packed, damaged

MODALITY = "modality"
"""The field that filters read from the modality of an item; metadata cannot have it."""

_MODALITIES = 1 << len(Modality)


class Column(NamedTuple):
    """One field of the metadata of many items.

    Attributes:
        codes: For each item the place of its value, -1 where it has none; ``(n,)`` int32.
        values: The distinct values.
    """

    codes: Array
    values: list[Any]


@dataclass(frozen=True, slots=True, eq=False)
class Records:
    """Modality and metadata of ``n`` items.

    Attributes:
        modality: Bits of ``Modality``, 0 where nobody said; ``(n,)`` uint8.
        metadata: JSON objects; empty where there is none.
        columns: Fields that filters have asked for, kept for the next time.
    """

    modality: Array
    metadata: Packed
    columns: dict[str, Column] = field(default_factory=dict)

    @classmethod
    def join(cls, parts: Sequence[Self]) -> Self:
        """All records of several, one after the other."""
        return cls(
            np.concatenate([part.modality for part in parts]),
            Packed.join([part.metadata for part in parts]),
        )

    def __len__(self) -> int:
        return len(self.modality)

    def where(self, keep: Array) -> Self:
        """The records that a mask ``(n,)`` keeps."""
        return type(self)(self.modality[keep], self.metadata.where(keep))

    def of(self, row: int) -> Mapping[str, Any]:
        """The metadata of one item."""
        return self._parsed(row, self.metadata[row])

    def column(self, name: str) -> Column:
        """One field of all items, read once and then kept."""
        if name not in self.columns:
            self.columns[name] = self._modalities() if name == MODALITY else self._read(name)
        return self.columns[name]

    @staticmethod
    def _parsed(row: int, text: bytes) -> Mapping[str, Any]:
        if not text:
            return NOTHING
        try:
            found = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise damaged(f"the metadata of its row {row}") from error
        if not isinstance(found, dict):
            raise damaged(f"the metadata of its row {row}")
        return found

    def _modalities(self) -> Column:
        known, codes = np.unique(self.modality, return_inverse=True)
        codes = np.where(self.modality == 0, -1, codes).astype(np.int32)
        return Column(codes, [modality_name(code) for code in known.tolist()])

    def _read(self, name: str) -> Column:
        codes = np.full(len(self), -1, dtype=np.int32)
        places: dict[str, int] = {}
        values: list[Any] = []
        for row in np.flatnonzero(np.diff(self.metadata.ends)).tolist():
            held = self._parsed(row, self.metadata[row])
            if name in held:
                # Lists and objects cannot be keys, and 1, 1.0 and true would be one key.
                text = json.dumps(held[name], sort_keys=True)
                if text not in places:
                    places[text] = len(values)
                    values.append(held[name])
                codes[row] = places[text]
        return Column(codes, values)


def modality_name(code: int) -> str | None:
    """``"image"`` or ``"text|image"``; ``None`` for 0, which is no modality."""
    if code >= _MODALITIES:
        raise damaged(f"a modality that is {code}")
    return "|".join(str(kind.name).lower() for kind in Modality(code)) or None


def records_of(
    items: int,
    metadata: Sequence[Mapping[str, Any]] | None,
    modality: str | Sequence[str] | None,
) -> Records:
    """Records of ``items`` new items, checked.

    Args:
        items: How many there are.
        metadata: One mapping per item that JSON can write, or none at all.
        modality: A name for each item, or one for all.

    Raises:
        TypeError: Metadata is no mapping with strings as keys, or JSON cannot write a value.
        ValueError: The lengths differ, a modality is unknown, a number is NaN or infinite, or
            metadata has a field ``"modality"``.
    """
    codes = np.zeros(items, dtype=np.uint8)
    if isinstance(modality, str):
        codes[:] = int(Modality.parse(modality))
    elif modality is not None:
        check_length("modality", modality, items)
        known = {name: int(Modality.parse(name)) for name in set(modality)}
        codes[:] = [known[name] for name in modality]
    if metadata is not None:
        check_length("metadata", metadata, items)
    objects = [b""] * items if metadata is None else [_json(held) for held in metadata]
    return Records(codes, Packed.of(objects))


def _json(held: Mapping[str, Any]) -> bytes:
    if not isinstance(held, Mapping) or not _has_string_keys(held):
        raise TypeError(
            "metadata must be one mapping per item with strings as keys, within too; "
            f"got {held!r}. Use str for the keys."
        )
    if MODALITY in held:
        raise ValueError(
            f"metadata must leave the field {MODALITY!r} to the modality of the item; got "
            f"{held!r}. Pass modality= instead, or name the field differently."
        )
    try:
        return json.dumps(dict(held), ensure_ascii=False, allow_nan=False).encode() if held else b""
    except (TypeError, ValueError) as error:
        raise type(error)(
            f"metadata must be what JSON can write; got {held!r}: {error}. "
            "Keep text, finite numbers, true and false, None, lists and mappings of these."
        ) from error


def _has_string_keys(value: Any) -> bool:
    """Whether every mapping inside has strings as keys; JSON would change others silently."""
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and _has_string_keys(own) for key, own in value.items())
    if isinstance(value, (list, tuple)):
        return all(_has_string_keys(own) for own in value)
    return True
