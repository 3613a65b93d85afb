"""An encoder whose vectors are known exactly and whose calls are counted."""

from __future__ import annotations

import hashlib

import torch

from align.data.multi_vector import MultiVector


def vector(item):
    """Four numbers that depend on the whole item and survive float16 exactly."""
    digest = hashlib.sha256(str(item).encode()).digest()
    return torch.tensor([float(byte) for byte in digest[:4]])


class CountingEncoder:
    """Notes the items it is given, so that a test can say what was encoded and what was not."""

    def __init__(self, fingerprint="counting", modality="text"):
        self.fingerprint = fingerprint
        self.modality = modality
        self.dim = 4
        self.token_dim = 4
        self.batches = []

    @property
    def items(self):
        return [item for batch in self.batches for item in batch]

    def encode(self, items, *, progress=False):
        self.batches.append(list(items))
        return torch.stack([vector(item) for item in items])

    def encode_tokens(self, items, *, progress=False):
        """As many tokens as the item has characters, each told apart by its place."""
        self.batches.append(list(items))
        return MultiVector.pack(
            [torch.stack([vector(f"{item}@{at}") for at in range(len(item))]) for item in items]
        )


def vectors(items):
    """What a store must return for ``items``."""
    return torch.stack([vector(item) for item in items])
