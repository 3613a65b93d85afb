"""Emoji pictures with names and keywords in three languages; shipped with the experiments."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from align.data.pairs import Pairs
from experiments.datasets.folders import check_choice, unpacked

PACK = Path(__file__).parents[1] / "data" / "emoji.zip"
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


def emoji(language: str = "en") -> Pairs:
    """Captions and pictures of all 1,911 emoji; variants of one picture share a group.

    Args:
        language: ``"en"``, ``"fr"`` or ``"ja"``.

    Returns:
        ``source`` holds captions such as ``"grinning face: cheerful, cheery, ..."``, ``target``
        paths of PNG files with alpha.

    Raises:
        ValueError: There are no captions in that language.
    """
    check_choice("language", language, LANGUAGES)
    entries = emoji_entries()
    return Pairs.from_lists(
        [entry.caption(language) for entry in entries],
        [entry.image for entry in entries],
        ids=[entry.id for entry in entries],
        groups=[entry.group for entry in entries],
    )
