"""Encoders of any text and any picture, whose vectors are known."""

import zlib

import torch

from align.encoders.callable import CallableEncoder


def letters(texts):
    rows = [
        [zlib.crc32(f"{text} {column}".encode()) % 997 for column in range(12)] for text in texts
    ]
    return torch.tensor(rows) / 997 - 0.4


def pixels(images):
    rows = [list(image.convert("RGB").resize((2, 2)).tobytes())[:9] for image in images]
    return torch.tensor(rows) / 255 - 0.4


TEXTS = CallableEncoder(letters, name="letters 1", dim=12)
PICTURES = CallableEncoder(pixels, name="pixels 1", dim=9, modality="image")
