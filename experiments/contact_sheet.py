"""A picture of what a search found: one row per query, its best images in order of rank."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from align._files.atomic import atomic_file
from align.data.pictures import opened

Picture = Path | Image.Image
Row = tuple[str, Sequence[Picture]]

SCALE = 2  # output pixels per layout unit, so that the sheet is sharp on dense screens
# Layout units, CSS pixels at scale 2.
_MARGIN, _QUERY_WIDTH, _CARD, _GAP, _ROW_GAP, _CAPTION_GAP = 36, 216, 116, 18, 38, 8
_RADIUS, _INSET = 14, 18
_PAGE, _WHITE, _LINE, _EDGE = "#F7F6F3", "#FFFFFF", "#E4E1DA", "#E9E6E0"
_INK, _QUIET = "#22262B", "#7A7F87"
_QUERY_SIZE, _CAPTION_SIZE, _TITLE_SIZE = 20, 11.5, 15
_CAPTION_LEADING, _HEAD = 15, 36

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def contact_sheet(
    rows: Sequence[Row],
    path: Path,
    *,
    captions: Sequence[Sequence[str]] | None = None,
    title: str = "",
) -> None:
    """Write a PNG with each query on the left and its images, best first, beside it.

    Images with transparency are shown whole with room around them; photos fill their card,
    cropped to a square at the centre. Plain ASCII is set in the font that Pillow brings; a sheet
    with any other letter is set in DejaVu Sans, which matplotlib brings and which has Latin,
    Greek, Cyrillic and Arabic letters. Other scripts show as boxes.

    Args:
        rows: ``(query, images)``, at least one row; images are paths or PIL images.
        path: The PNG to write; appears whole or not at all.
        captions: A line below each image, such as a name or a score, in the shape of ``rows``.
        title: A quiet line above the rows.

    Raises:
        ValueError: There are no rows or no images, or captions do not match them.
    """
    longest = max((len(images) for _, images in rows), default=0)
    if longest == 0:
        raise ValueError(
            f"a contact sheet needs at least one row with an image; got {len(rows)} rows without. "
            "Pass (query, images) tuples."
        )
    shape = [len(images) for _, images in rows]
    if captions is not None and [len(line) for line in captions] != shape:
        raise ValueError(
            f"captions must name each image once, {shape} in the rows; "
            f"got {[len(line) for line in captions]}. Pass one caption per image."
        )
    below = [list(line) for line in captions] if captions is not None else [[] for _ in rows]
    typeface = _typeface(
        [title, *(query for query, _ in rows), *(t for line in below for t in line)]
    )
    small, large = typeface(_CAPTION_SIZE), typeface(_QUERY_SIZE)
    broken = [[_lines(text, small, _CARD, 2) for text in line] for line in below]
    heights = [_CARD + _caption_height(texts) for texts in broken]

    head = _HEAD if title else 0
    width = 2 * _MARGIN + _QUERY_WIDTH + longest * (_CARD + _GAP) - _GAP
    height = 2 * _MARGIN + head + sum(heights) + _ROW_GAP * (len(rows) - 1)
    page = Image.new("RGB", (width * SCALE, height * SCALE), _PAGE)
    draw = ImageDraw.Draw(page)
    draw.text(_at(_MARGIN, _MARGIN - 6), title, fill=_QUIET, font=typeface(_TITLE_SIZE))
    top = _MARGIN + head
    for (query, images), texts, row_height in zip(rows, broken, heights, strict=True):
        if top > _MARGIN + head:
            y = top - _ROW_GAP / 2
            draw.line((_at(_MARGIN, y), _at(width - _MARGIN, y)), fill=_LINE, width=SCALE)
        _write_query(draw, _lines(query, large, _QUERY_WIDTH - 28, 4), large, top)
        for rank, image in enumerate(images):
            _paste_card(page, image, _card_left(rank), top)
        for rank, lines in enumerate(texts):
            _write_caption(draw, lines, small, _card_left(rank), top + _CARD + _CAPTION_GAP)
        top += row_height + _ROW_GAP
    with atomic_file(path) as scratch:
        page.save(scratch, "PNG", optimize=True)


def _at(x: float, y: float) -> tuple[float, float]:
    return x * SCALE, y * SCALE


def _card_left(rank: int) -> int:
    return _MARGIN + _QUERY_WIDTH + rank * (_CARD + _GAP)


def _caption_height(texts: Sequence[Sequence[str]]) -> int:
    most = max((len(lines) for lines in texts), default=0)
    return _CAPTION_GAP + most * _CAPTION_LEADING if most else 0


def _typeface(texts: Sequence[str]) -> Callable[[float], Font]:
    """A font by size in layout units that has the letters of ``texts``."""
    if all(text.isascii() for text in texts):
        return lambda size: ImageFont.load_default(size * SCALE)
    import matplotlib

    file = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    # DejaVu is drawn larger on its body than the other font.
    return lambda size: ImageFont.truetype(str(file), size * SCALE * 0.9)


def _lines(text: str, font: Font, width: float, most: int) -> list[str]:
    """Break ``text`` at spaces into at most ``most`` lines of ``width`` layout units."""

    def fits(line: str) -> bool:
        return font.getlength(line) <= width * SCALE

    lines: list[str] = []
    for word in text.split():
        if lines and fits(f"{lines[-1]} {word}"):
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    shown, cut = lines[:most], len(lines) > most
    for i, line in enumerate(shown):
        if fits(line) and not (cut and i == most - 1):
            continue
        while line and not fits(line + "..."):
            line = line[:-1]
        shown[i] = line.rstrip(" ,:;") + "..."
    return shown


def _write_query(draw: ImageDraw.ImageDraw, lines: list[str], font: Font, top: float) -> None:
    """The query, level with the middle of the cards."""
    leading = _QUERY_SIZE * 1.3
    y = top + (_CARD - leading * len(lines)) / 2
    for i, line in enumerate(lines):
        draw.text(_at(_MARGIN, y + i * leading), line, fill=_INK, font=font)


def _write_caption(
    draw: ImageDraw.ImageDraw, lines: list[str], font: Font, left: float, top: float
) -> None:
    """Centred lines below a card."""
    for i, line in enumerate(lines):
        place = _at(left + _CARD / 2, top + i * _CAPTION_LEADING)
        draw.text(place, line, fill=_QUIET, font=font, anchor="ma")


def _paste_card(page: Image.Image, picture: Picture, left: int, top: int) -> None:
    """A white card with round corners and the picture in it."""
    side = _CARD * SCALE
    card = Image.new("RGB", (side, side), _WHITE)
    if isinstance(picture, Image.Image):
        image = picture
    else:
        with opened(picture, str(picture)) as file:
            file.load()
            image = file
    if image.has_transparency_data:
        room = side - 2 * _INSET * SCALE
        whole = _fitted(image.convert("RGBA"), room)
        card.paste(whole, ((side - whole.width) // 2, (side - whole.height) // 2), whole)
    else:
        card.paste(_filled(image.convert("RGB"), side))
    # Drawn four times too large and reduced, which smooths the corners.
    large, radius = side * 4, _RADIUS * SCALE * 4
    mask = Image.new("L", (large, large), 0)
    ImageDraw.Draw(mask).rounded_rectangle((0, 0, large - 1, large - 1), radius, fill=255)
    edge = Image.new("L", (large, large), 0)
    ImageDraw.Draw(edge).rounded_rectangle(
        (0, 0, large - 1, large - 1), radius, outline=255, width=SCALE * 4
    )
    small = (side, side)
    card.paste(_EDGE, (0, 0), edge.resize(small, Image.Resampling.BOX))
    page.paste(card, (left * SCALE, top * SCALE), mask.resize(small, Image.Resampling.BOX))


def _fitted(image: Image.Image, room: int) -> Image.Image:
    """The whole image, its longer side ``room`` pixels."""
    ratio = room / max(image.size)
    size = max(1, round(image.width * ratio)), max(1, round(image.height * ratio))
    return image.resize(size, Image.Resampling.LANCZOS)


def _filled(image: Image.Image, side: int) -> Image.Image:
    """The largest centred square of the image, ``side`` pixels wide."""
    short = min(image.size)
    left, top = (image.width - short) // 2, (image.height - short) // 2
    square = image.crop((left, top, left + short, top + short))
    return square.resize((side, side), Image.Resampling.LANCZOS)
