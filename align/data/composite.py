"""Items of several parts, such as the title and the photo of a product."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


class Composite(Mapping[str, Any]):
    """An item of named parts, of which some may be missing: the title and the photo of a product.

    A mapping that does not change, from the names of its parts to texts, ``pathlib.Path`` of image
    files, or whatever their encoders take. A part that is ``None`` is missing, as one that is not
    named. ``CompositeEncoder`` makes a vector of it.

    Args:
        parts: The parts by name.

    Examples:
        >>> import align
        >>> shoe = align.Composite({"title": "a red shoe", "photo": None})
        >>> dict(shoe), "photo" in shoe
        ({'title': 'a red shoe'}, False)
    """

    __slots__ = ("_parts",)

    def __init__(self, parts: Mapping[str, Any]) -> None:
        self._parts = {name: part for name, part in parts.items() if part is not None}

    def __getitem__(self, name: str) -> Any:
        return self._parts[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._parts)

    def __len__(self) -> int:
        return len(self._parts)

    def __hash__(self) -> int:
        return hash(frozenset(self._parts.items()))

    def __repr__(self) -> str:
        from align.data.panels import composite_line

        return composite_line(self)

    def _repr_html_(self) -> str:
        from align._display.panel import render
        from align.data.panels import composite_panel

        return render(composite_panel(self))
