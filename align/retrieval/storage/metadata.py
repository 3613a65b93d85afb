"""What is stored beside the vectors: a modality and a JSON object per item, read when needed."""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from align._advice import Advised
from align._checks import as_list, check_length
from align.data.modality import Modality
from align.retrieval.hits import NOTHING
from align.retrieval.storage.packed_strings import Array, Packed, damaged

MODALITY = "modality"
"""The field that filters read from the modality of an item; metadata cannot have it."""


class Column(NamedTuple):
    """One field of the metadata of many items."""

    codes: Array  # for each item the place of its value, -1 where it has none; (n,) int32
    values: list[Any]  # the distinct values


@dataclass(frozen=True, slots=True, eq=False)
class Records:
    """Modality and metadata of ``n`` items."""

    modality: Array  # bits of Modality, 0 where nobody said; (n,) uint8
    metadata: Packed  # JSON objects; empty where there is none
    # fields that filters have used, kept for the next time
    columns: dict[str, Column] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        items: int,
        metadata: Sequence[Mapping[str, Any]] | None,
        modality: str | Sequence[str] | None,
    ) -> Records:
        """Records of new items, checked: a mapping each and a modality each, or one for all."""
        names = [modality] * items if isinstance(modality, str) else modality
        codes = [0] * items
        if names is not None:
            names = as_list("modality", names)
            check_length("modality", names, items)
            known: dict[object, int] = {None: 0}
            for row, name in enumerate(names):
                if not isinstance(name, Hashable) or name not in known:
                    known[name] = _code(name, row)
            codes = [known[name] for name in names]
        texts = [b""] * items
        if metadata is not None:
            held = as_list("metadata", metadata)
            check_length("metadata", held, items)
            texts = [_json(each, row) for row, each in enumerate(held)]
        return cls(np.array(codes, dtype=np.uint8), Packed.of(texts))

    def __len__(self) -> int:
        return len(self.modality)

    def __getitem__(self, row: int) -> Mapping[str, Any]:
        """The metadata of one item."""
        text = self.metadata[row]
        if not text:
            return NOTHING
        try:
            data = json.loads(text)
        except (ValueError, RecursionError):
            data = None
        if not isinstance(data, dict):
            raise damaged(f"the metadata of its row {row}")
        return data

    def column(self, name: str) -> Column:
        """One field of all items, read once and then kept."""
        if name not in self.columns:
            self.columns[name] = self._modalities() if name == MODALITY else self._read(name)
        return self.columns[name]

    def _modalities(self) -> Column:
        known, codes = np.unique(self.modality, return_inverse=True)
        codes = np.where(self.modality == 0, -1, codes).astype(np.int32)
        return Column(codes, [modality_name(code) for code in known.tolist()])

    def _read(self, name: str) -> Column:
        codes = np.full(len(self), -1, dtype=np.int32)
        places: dict[str, int] = {}
        values: list[Any] = []
        for row in np.flatnonzero(np.diff(self.metadata.ends)).tolist():
            held = self[row]
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
    if code >= 1 << len(Modality):
        raise damaged(f"a modality that is {code}")
    return "|".join(str(kind.name).lower() for kind in Modality(code)) or None


def _code(name: object, row: int) -> int:
    if not isinstance(name, str):
        raise TypeError(
            f"a modality must be the name of one, or None; row {row} has {name!r}. "
            f"Known are {', '.join(Modality.__members__).lower()}, or several joined by |."
        )
    return int(Modality.parse(name))


def _json(held: Mapping[str, Any], row: int) -> bytes:
    if isinstance(held, Mapping) and MODALITY in held:
        raise ValueError(
            Advised(
                f"metadata must leave the field {MODALITY!r} to the modality of the item; row "
                f"{row} has {repr(held)[:200]}.",
                python="Pass modality= instead, or name the field differently.",
                command="Name the column by --modality, not --metadata, or name it differently.",
            )
        )
    try:
        is_plain = isinstance(held, Mapping) and _has_string_keys(held)
        text = json.dumps(dict(held), ensure_ascii=False, allow_nan=False) if is_plain else ""
        data = text.encode() if held else b""
    except RecursionError as error:
        raise ValueError(
            f"metadata must be what JSON can write; that of row {row} is nested too deep. "
            "Keep fewer levels, or the text of it."
        ) from error
    except UnicodeEncodeError as error:
        raise ValueError(
            f"metadata must be text that UTF-8 can write; row {row} holds "
            f"{error.object[error.start]!r} ({error.reason}). "
            "Decode the text with the right encoding first."
        ) from error
    except (TypeError, ValueError) as error:
        raise (TypeError if isinstance(error, TypeError) else ValueError)(
            f"metadata must be what JSON can write; row {row} has {repr(held)[:200]}: {error}. "
            "Keep text, finite numbers, true and false, None, lists and mappings of these."
        ) from error
    if not is_plain:
        raise TypeError(
            "metadata must be one mapping per item with strings as keys, within too; "
            f"row {row} has {repr(held)[:200]}. Use str for the keys."
        )
    return data


def _has_string_keys(value: Any) -> bool:
    """Whether every mapping inside has strings as keys; JSON would change others silently."""
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and _has_string_keys(own) for key, own in value.items())
    if isinstance(value, (list, tuple)):
        return all(_has_string_keys(own) for own in value)
    return True
