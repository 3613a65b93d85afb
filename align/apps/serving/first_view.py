"""What a page shows of an index before anything is searched: captions, a sample, examples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from align.apps.serving.roots import Roots
from align.retrieval.hits import Hit
from align.retrieval.picture_paths import FIELD, PicturePaths

CAPTIONS = ("caption", "title", "name", "label", "description", "alt", "alt_text")
"""Fields that are taken for captions where nobody names one, the first that items have."""

EXAMPLES = 3
_LONGEST = 60  # characters of an example
_LOOKED_AT = 1000  # items at most

_NEUTRAL = {
    "image": ("an animal", "something red", "people outdoors"),
    "code": ("read a file line by line", "sort a list of pairs", "parse a date"),
}
_OF_ANYTHING = ("where to begin", "something new", "a story about the sea")


def evenly_spaced(items: Sequence[Hit], most: int) -> list[Hit]:
    """At most ``most`` items, the same for the same items, from the first to the last."""
    count = min(most, len(items))
    return [items[(2 * at + 1) * len(items) // (2 * count)] for at in range(count)]


def caption_field(items: Sequence[Hit], named: str | None) -> str | None:
    """The field that captions come from: the one that was named, or one that items have.

    Raises:
        ValueError: No item has the field that was named.
    """
    if named is not None:
        if not any(_said(item.metadata, named) for item in items):
            fields = Counter(field for item in items for field in item.metadata)
            raise ValueError(
                f"captions must come from a field that items have; none has a text in {named!r}. "
                f"Choose among {sorted(fields)}, or keep a column with align index --metadata."
            )
        return named
    looked_at = evenly_spaced(items, _LOOKED_AT)
    counts = {name: sum(_said(item.metadata, name) for item in looked_at) for name in CAPTIONS}
    # A field that few items have is no caption of the others.
    often = [name for name, count in counts.items() if 2 * count > len(looked_at)]
    return often[0] if often else None


def example_texts(items: Sequence[Hit], caption: str | None) -> tuple[str, ...]:
    """Three texts to search with: what the index itself says of some items, or neutral ones."""
    said = [
        item.metadata[caption].strip()
        for item in evenly_spaced(items, _LOOKED_AT)
        if caption is not None and _said(item.metadata, caption)
    ]
    short = list(dict.fromkeys(text for text in said if len(text) <= _LONGEST and "\n" not in text))
    if len(short) >= EXAMPLES:
        return tuple(short[(2 * at + 1) * len(short) // (2 * EXAMPLES)] for at in range(EXAMPLES))
    kinds = Counter(item.modality for item in items)
    return _NEUTRAL.get(kinds.most_common(1)[0][0] or "", _OF_ANYTHING)


def missing_pictures(items: Sequence[Hit], paths: PicturePaths, roots: Roots) -> str | None:
    """One sentence about files of items that are not there, and what to do; ``None`` if all are."""
    named = [path for item in items if isinstance(path := item.metadata.get(FIELD), str)]
    looked_at = named[:: max(1, len(named) // _LOOKED_AT)]
    gone = [path for path in looked_at if not roots.holds(paths.find(path))]
    if not gone:
        return None
    share = f"{len(gone):,} of {len(looked_at):,} files" + (
        " that were looked at" if len(looked_at) < len(named) else ""
    )
    return (
        f"{share} of items cannot be shown, such as {gone[0]!r}, read from the folder of the index."
        " If they have moved, start again with --root and the folder that they are in now."
    )


def _said(metadata: Mapping[str, Any], field: str) -> bool:
    text = metadata.get(field)
    return isinstance(text, str) and bool(text.strip())
