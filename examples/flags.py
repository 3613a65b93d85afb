"""A toy world for the examples: flags of three stripes, captions of them, an encoder for each.

It stands in for real encoders, so that every example runs offline in seconds. The two encoders
know nothing of each other: one adds up words, the other looks at pixels.
"""

from __future__ import annotations

import itertools
import random
import zlib
from collections.abc import Sequence
from functools import cache

import torch
from PIL import Image, ImageDraw
from torch import Tensor

import align
from align.adapters.closed_form.rcca import rcca

# Small problems: threads would only wait for each other, most of all on a busy machine.
torch.set_num_threads(1)

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
WIDTH = 64


def draw_flags() -> tuple[list[str], list[Image.Image]]:
    """512 captions and their pictures, in a fixed random order."""
    found = list(itertools.product(COLOURS, repeat=3))
    random.Random(0).shuffle(found)
    return [caption(*stripes) for stripes in found], [picture(*stripes) for stripes in found]


def caption(top: str, middle: str, bottom: str) -> str:
    """A flag in words."""
    return f"a flag with {top}-top {middle}-middle and {bottom}-bottom"


def picture(*stripes: str) -> Image.Image:
    """A flag, drawn; 30 x 30."""
    image = Image.new("RGB", (30, 30))
    for row, colour in enumerate(stripes):
        ImageDraw.Draw(image).rectangle((0, 10 * row, 30, 10 * row + 9), fill=COLOURS[colour])
    return image


def add_words(texts: list[str]) -> Tensor:
    """The sum of a fixed random direction per word; ``(n, 64)``."""
    return torch.stack([torch.stack([direction(w) for w in text.split()]).sum(0) for text in texts])


@cache
def direction(word: str) -> Tensor:
    """A random direction that belongs to a word, ``(64,)``."""
    return torch.randn(WIDTH, generator=torch.Generator().manual_seed(zlib.crc32(word.encode())))


def look_at_pixels(images: list[Image.Image]) -> Tensor:
    """Colours on a 6 x 6 grid; ``(n, 108)``."""
    small = [list(image.convert("RGB").resize((6, 6)).tobytes()) for image in images]
    return torch.tensor(small) / 255 + 0.1


TEXTS = align.CallableEncoder(add_words, name="toy words 1", dim=WIDTH)
PICTURES = align.CallableEncoder(look_at_pixels, name="toy pixels 1", dim=108, modality="image")


def fitted() -> tuple[align.Adapter, list[str], list[Image.Image]]:
    """An adapter fitted on 400 flags, and the 112 that it has not seen.

    ``align.fit`` would choose among some fifty maps; one of them, named here, is fitted at once.
    """
    captions, pictures = draw_flags()
    adapter = rcca(TEXTS.encode(captions[:400]), PICTURES.encode(pictures[:400]))
    return adapter, captions[400:], pictures[400:]


def picture_retriever() -> tuple[align.Retriever, list[str], list[Image.Image]]:
    """The pictures that ``fitted`` holds back, found by captions; metadata says where each is."""
    adapter, captions, pictures = fitted()
    # An index is written by `index.save()`, which a toy does not need.
    index = align.Index.create("flags-index", adapter)
    found = align.Retriever(index, source=TEXTS, target=PICTURES)
    rows = range(len(pictures))
    paths = [{"path": f"flags/{row}.png"} for row in rows]
    found.add([f"flag-{row}" for row in rows], pictures, metadata=paths)
    return found, captions, pictures


def share_found(found: Sequence[Sequence[align.Hit]], answers: Sequence[str | int]) -> float:
    """The share of queries whose answer is among their hits."""
    rows = zip(found, answers, strict=True)
    return sum(any(hit.id == own for hit in hits) for hits, own in rows) / len(answers)
