"""A toy world for the examples: drawn scenes, captions of them, and an encoder for each.

It stands in for real encoders, so that every example runs offline in seconds. The two encoders
know nothing of each other: one counts words, the other looks at pixels.
"""

from __future__ import annotations

import itertools
import random
import zlib
from functools import cache

import torch
from PIL import Image, ImageDraw
from torch import Tensor

import align
from align.adapters.rcca import rcca

COLOURS = {
    "red": (220, 40, 40),
    "green": (40, 170, 60),
    "blue": (50, 70, 220),
    "yellow": (240, 220, 60),
    "white": (250, 250, 250),
    "black": (15, 15, 15),
    "purple": (140, 50, 170),
    "orange": (250, 150, 40),
}
PLACES = {"left": 1, "right": 17}
SHAPES = {"tower": (3, 2, 10, 30), "wall": (0, 18, 13, 30)}
WIDTH = 64


def scenes(*, seed: int = 0) -> tuple[list[str], list[Image.Image]]:
    """224 captions and their pictures, 32 x 32, in a random order."""
    found = [
        (colour, shape, place, ground)
        for colour, shape, place, ground in itertools.product(COLOURS, SHAPES, PLACES, COLOURS)
        if colour != ground
    ]
    random.Random(seed).shuffle(found)
    return [caption(*scene) for scene in found], [picture(*scene) for scene in found]


def caption(colour: str, shape: str, place: str, ground: str) -> str:
    """What a scene shows, in words."""
    return f"a {colour} {shape} on the {place} before {ground}"


def picture(colour: str, shape: str, place: str, ground: str) -> Image.Image:
    """The scene, drawn."""
    image = Image.new("RGB", (32, 32), COLOURS[ground])
    left, top, right, bottom = SHAPES[shape]
    box = left + PLACES[place], top, right + PLACES[place], bottom
    ImageDraw.Draw(image).rectangle(box, fill=COLOURS[colour])
    return image


def count_words(texts: list[str]) -> Tensor:
    """Words and pairs of neighbours, each a fixed random direction, summed; ``(n, 64)``."""
    return torch.stack([sum(map(_direction, _words(text)), torch.zeros(WIDTH)) for text in texts])


def look_at_pixels(images: list[Image.Image]) -> Tensor:
    """Colours on a 8 x 8 grid; ``(n, 192)``."""
    small = [list(image.convert("RGB").resize((8, 8)).tobytes()) for image in images]
    return torch.tensor(small) / 255 + 0.1


def _words(text: str) -> list[str]:
    words = text.split()
    return words + [" ".join(pair) for pair in itertools.pairwise(words)]


@cache
def _direction(word: str) -> Tensor:
    return torch.randn(WIDTH, generator=torch.Generator().manual_seed(zlib.crc32(word.encode())))


TEXTS = align.CallableEncoder(count_words, name="toy words 1", dim=WIDTH)
PICTURES = align.CallableEncoder(look_at_pixels, name="toy pixels 1", dim=192, modality="image")


def fitted() -> tuple[align.Adapter, list[str], list[Image.Image]]:
    """An adapter fitted on 160 scenes, and the 64 that it has not seen.

    ``align.fit`` would choose among some fifty maps; one of them, named here, is fitted at once.
    """
    captions, pictures = scenes()
    adapter = rcca(TEXTS.encode(captions[:160]), PICTURES.encode(pictures[:160]), ridge=(0.1, 0.1))
    return adapter, captions[160:], pictures[160:]
