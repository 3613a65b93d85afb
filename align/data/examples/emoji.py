"""Emoji pictures with names and keywords in three languages."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from align._checks import check_one_of
from align._files.cache import unpacked
from align.data.pairs import Pairs

PACK = Path(__file__).parent / "emoji.zip"
LANGUAGES = ("en", "fr", "ja")


@dataclass(frozen=True, slots=True)
class Emoji:
    """One emoji.

    Attributes:
        id: Code points in lower-case hexadecimal, joined by ``-``.
        character: The emoji itself.
        image: A PNG of 64 x 64 pixels with alpha.
        category: Unicode group, such as ``"Animals & Nature"``.
        subcategory: Unicode subgroup, such as ``"animal-bird"`` or ``"country-flag"``.
        group: English name of the first of its variants; rules in ``experiments.emoji_groups``.
        name: CLDR short name by language.
        keywords: CLDR and Emojibase keywords by language, in alphabetical order.
    """

    id: str
    character: str
    image: Path
    category: str
    subcategory: str
    group: str
    name: Mapping[str, str]
    keywords: Mapping[str, Sequence[str]]

    def caption(self, language: str) -> str:
        """``"name: keyword, keyword, ..."``, leaving out a keyword that repeats the name."""
        name = self.name[language]
        rest = [word for word in self.keywords[language] if word.casefold() != name.casefold()]
        return f"{name}: {', '.join(rest)}" if rest else name


def emoji_entries() -> tuple[Emoji, ...]:
    """All 1,911 emoji in the order of the CLDR, from smileys to flags."""
    folder = unpacked(PACK, "emoji")
    rows = map(json.loads, (folder / "emoji.jsonl").read_text(encoding="utf-8").splitlines())
    return tuple(
        Emoji(
            id=row["id"],
            character=row["emoji"],
            image=folder / row["file"],
            category=row["category"],
            subcategory=row["subcategory"],
            group=row["group"],
            name=row["name"],
            keywords=row["keywords"],
        )
        for row in rows
    )


def emoji_pairs(language: str = "en") -> Pairs:
    """Captions and pictures of all 1,911 emoji, to try things with; they come with the package.

    Variants of one picture, such as skin tones, share a group. The pictures are unpacked in the
    cache folder, ``ISTHMUS_CACHE`` or ``~/.cache/isthmus``, on the first call. They are those of
    Noto Emoji (Apache License 2.0), the names those of Unicode's CLDR and Emojibase (Unicode
    License v3 and MIT); ``align/data/examples/NOTICE`` has the whole story.

    Args:
        language: ``"en"``, ``"fr"`` or ``"ja"``.

    Returns:
        ``source`` holds captions such as ``"grinning face: cheerful, cheery, ..."``, ``target``
        paths of PNG files with alpha; the sides are called caption and image.

    Raises:
        OSError: The cache folder cannot be written.
        ValueError: There are no captions in that language.

    Example:
        >>> import align
        >>> pairs = align.emoji_pairs()
        >>> len(pairs)
        1911
    """
    check_one_of("language", language, LANGUAGES, "Pass one of those.")
    entries = emoji_entries()
    return Pairs.from_lists(
        [entry.caption(language) for entry in entries],
        [entry.image for entry in entries],
        ids=[entry.id for entry in entries],
        groups=[entry.group for entry in entries],
        side_names=("caption", "image"),
    )
