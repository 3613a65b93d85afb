"""A picture under a heat map, as a cell of a panel."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from torch import Tensor

from align._display.lines import shortened
from align._display.parts import Picture
from align.data.pictures import opened
from align.data.thumbnails import NEUTRAL, thumbnail

EDGE = 88  # longest side in pixels, in a panel
_RED, _BLUE = np.array([220.0, 40.0, 20.0]), np.array([30.0, 80.0, 220.0])
_COVER = 0.75  # of the picture where the heat is largest


def heat_map(picture: Any, heat: Tensor, caption: str, *, edge: int = EDGE) -> Picture:
    """A small grey picture, red where ``heat`` ``(rows, columns)`` is near 1, blue near -1."""
    from PIL import Image

    jpeg = thumbnail(picture, shortened(caption, 40), edge=edge, ground=NEUTRAL).jpeg
    with opened(io.BytesIO(jpeg), caption) as small:
        grey = np.asarray(small.convert("L"), dtype=np.float32)
        size = small.size
    wide = Image.fromarray(heat.clamp(-1, 1).float().cpu().numpy())
    strength = np.asarray(wide.resize(size, Image.Resampling.BICUBIC)).clip(-1, 1)[..., None]
    cover = _COVER * np.abs(strength)
    colour = np.where(strength >= 0, _RED, _BLUE)
    mixed = (1 - cover) * (0.85 * grey[..., None] + 25) + cover * colour
    shown = Image.fromarray(mixed.clip(0, 255).astype(np.uint8))
    return Picture(thumbnail(shown, "heat map", edge=edge).address, shortened(caption, 80))
