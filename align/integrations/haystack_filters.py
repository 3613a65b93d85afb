"""Filters as Haystack writes them, as conditions on the fields of an index's metadata."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from align.integrations.extras import extra
from align.retrieval.index.filters import Where

with extra("haystack"):
    from haystack import Document
    from haystack.utils.filters import document_matches_filter

Filter = Mapping[str, Any]


def where_of(filters: Filter | None) -> Where | None:
    """What ``Retriever.search`` takes as ``where``.

    An item without a field matches no condition on it, where Haystack reads ``None``.

    Args:
        filters: A comparison (``field``, ``operator``, ``value``) or ``AND``, ``OR`` and ``NOT`` of
            ``conditions``, of which each part joined by ``AND`` must be about one field; or a
            mapping of fields to values, as ``where`` is.

    Raises:
        ValueError: A part is about several fields, or about what is no metadata.
    """
    if filters is None or "operator" not in filters:
        return filters
    parts: dict[str, list[Filter]] = {}
    for part in _joined(filters):
        names = set(_fields(part))
        if len(names) != 1:
            raise ValueError(
                "each part of a filter that AND joins must be about one field, as items are "
                f"looked up field by field; got {part}, about {sorted(names)}. Ask once for each "
                "alternative and join the answers."
            )
        parts.setdefault(names.pop(), []).append(_renamed(part))
    return {name: _test(conditions) for name, conditions in parts.items()}


def _joined(part: Filter) -> Iterator[Filter]:
    """The parts that all have to hold."""
    if part.get("operator") == "AND" and "field" not in part:
        for each in part.get("conditions", ()):
            yield from _joined(each)
    else:
        yield part


def _fields(part: Filter) -> Iterator[str]:
    if "field" in part:
        name = str(part["field"])
        if "." not in name and name in _OTHERS:
            raise ValueError(
                f"a filter must be about metadata; got one about {name!r} of a document. Write "
                f"meta.{name} if the metadata has such a field, or leave it out."
            )
        yield name.removeprefix("meta.")
    for each in part.get("conditions", ()):
        yield from _fields(each)


def _renamed(part: Filter) -> dict[str, Any]:
    """The same about the field ``meta.value``; the name of ours may have dots in it."""
    new = dict(part)
    if "field" in new:
        new["field"] = "meta.value"
    if "conditions" in new:
        new["conditions"] = [_renamed(each) for each in new["conditions"]]
    return new


def _test(conditions: list[Filter]) -> Callable[[Any], bool]:
    def suits(value: Any) -> bool:
        document = Document(id="any", meta={"value": value})
        return all(document_matches_filter(dict(each), document) for each in conditions)

    return suits


_OTHERS = ("id", "content", "blob", "score", "embedding", "sparse_embedding")
