"""Which emoji are variants of one picture, so that no split puts one on each side.

An emoji joins the group of another when one of three rules says so; groups are closed under all
three (if a joins b and b joins c, all are one group):

1. The same base sequence: code points without skin tone, hair, gender sign, facing direction and
   colour square, with man and woman read as person and boy and girl as child. "woman tipping
   hand" and "man tipping hand" meet here, as do "lime" and "lemon" (a lemon recoloured).
2. The same series, by English name: clock faces, moon phases, keycaps, zodiac signs, families,
   hearts, circles, squares and diamonds in colours, arrows by direction, and the like (``SERIES``).
3. Pictures that cannot be told apart: equal pixels, or, for country flags only, thumbnails closer
   than ``FLAG_DISTANCE`` (Chad and Romania; the blue ensigns). Other flags stay apart, because a
   group also counts as one right answer, and one flag is not a right answer for another.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from PIL import Image

VARIATION = "FE0F"
_JOINER = "200D"
_MODIFIERS = {
    *(f"{c:X}" for c in range(0x1F3FB, 0x1F400)),  # skin tones
    *(f"{c:X}" for c in range(0x1F9B0, 0x1F9B4)),  # hair
    "2640", "2642",  # gender signs
    "27A1",  # facing right
    *(f"{c:X}" for c in range(0x1F7E5, 0x1F7EC)), "2B1B", "2B1C",  # colour squares
}  # fmt: skip
_NEUTRAL = {
    "1F468": "1F9D1", "1F469": "1F9D1",  # man, woman -> person
    "1F466": "1F9D2", "1F467": "1F9D2",  # boy, girl -> child
    "1F474": "1F9D3", "1F475": "1F9D3",  # old man, old woman -> older person
}  # fmt: skip

_COLOUR = r"(red|pink|orange|yellow|green|(light )?blue|purple|brown|black|gr[ae]y|white)"
SERIES = tuple(
    re.compile(pattern)
    for pattern in (
        r"(.* o\u2019clock|.*-thirty)",
        r".*\bmoon( face)?",
        r"keycap: .*",
        r"(Aries|Taurus|Gemini|Cancer|Leo|Virgo|Libra|Scorpio|Sagittarius|Capricorn|Aquarius"
        r"|Pisces|Ophiuchus)",
        rf"{_COLOUR} heart",
        rf"({_COLOUR}|hollow red) circle",
        rf"({_COLOUR} ((large|medium|medium-small|small) )?square"
        r"|(white|black) square button|.*skin tone)",
        r"(large|small) (orange|blue) diamond",
        r"red triangle pointed (up|down)",
        r"(up|down|left|right)[-a-z]* arrow( curving [a-z]+)?",
        r"(BACK|END|ON!|SOON|TOP) arrow",
        r"(input .*|(COOL|FREE|NEW) button)",
        r"(red|white) (question|exclamation) mark",
        r"(closed|green|blue|orange) book",
        r"(1st|2nd|3rd) place medal|sports medal",
        r"globe showing .*",
        r"(muted speaker|speaker .* volume)",
        r"magnifying glass tilted .*",
        r"hourglass .*",
        r"(closed|open) mailbox .*",
        r"backhand index pointing .*",
        r"(left|right)-facing fist",
        r"(left|right)wards hand",
        r"(left|right)wards pushing hand",
        r"(yen|dollar|euro|pound) banknote",
        r"snowman.*",
        r"(star of David|dotted six-pointed star)",
        r"(wo)?men\u2019s room",
        r"family.*",
        r"kiss(: .*)?",
        r"couple with heart.*",
        r".* holding hands",
        r"(person|man|woman|boy|girl|child|older person|old (wo)?man)(: .*)?",
        r"(person with crown|prince|princess)",
        r"(Santa Claus|Mrs\. Claus|Mx Claus)",
        r"pregnant .*",
        r"(breast-feeding|.* feeding baby)",
        r"(wo)?man dancing",
    )
)
FLAG_DISTANCE = 16.0  # root mean square over a 16 x 16 thumbnail, in grey levels of 255


def base_sequence(unified: str) -> str:
    """Code points such as ``1F468-200D-1F52C`` without what only varies a person or a colour."""
    points = [p for p in unified.split("-") if p not in (VARIATION, _JOINER)]
    kept = [_NEUTRAL.get(p, p) for p in points if p not in _MODIFIERS]
    # A modifier on its own, such as the female sign, is a picture of itself.
    return "-".join(kept or points)


def series(name: str) -> int | None:
    """Row of ``SERIES`` that the whole English name matches, or ``None``."""
    return next((i for i, pattern in enumerate(SERIES) if pattern.fullmatch(name)), None)


def on_white(image: Image.Image) -> Image.Image:
    """The picture as RGB, its transparent parts over white."""
    picture = image.convert("RGBA")
    page = Image.new("RGBA", picture.size, "white")
    page.alpha_composite(picture)
    return page.convert("RGB")


def groups(
    unified: Sequence[str],
    names: Sequence[str],
    images: Sequence[Image.Image],
    flags: Sequence[bool],
) -> list[str]:
    """Name the group of each emoji by the English name of its first member; ``(n,)``.

    Args:
        unified: Code points in hexadecimal, joined by ``-``, ``(n,)``.
        names: English names, ``(n,)``.
        images: The pictures, all of one size, ``(n,)``.
        flags: Whether each is a country flag, ``(n,)``.
    """
    parent = list(range(len(names)))

    def root(i: int) -> int:
        while parent[i] != i:
            i = parent[i]
        return i

    def join(i: int, j: int) -> None:
        first, second = sorted((root(i), root(j)))
        parent[second] = first

    seen: dict[tuple[str, object], int] = {}
    for i, (code, name, image) in enumerate(zip(unified, names, images, strict=True)):
        keys: list[tuple[str, object]] = [
            ("base", base_sequence(code)),
            ("pixels", on_white(image).tobytes()),
        ]
        number = series(name)
        if number is not None:
            keys.append(("series", number))
        for key in keys:
            join(i, seen.setdefault(key, i))

    thumbs = {
        i: np.asarray(on_white(images[i]).resize((16, 16), Image.Resampling.BOX), np.float32)
        for i, flag in enumerate(flags)
        if flag
    }
    for i, one in thumbs.items():
        for j, other in thumbs.items():
            if i < j and np.sqrt(np.mean((one - other) ** 2)) < FLAG_DISTANCE:
                join(i, j)
    return [names[root(i)] for i in range(len(names))]
