"""Kinds of item as bits, so that a photo with its caption is both an image and a text."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntFlag

import torch
from torch import Tensor


class Modality(IntFlag):
    """A set of kinds. Two items are of one modality if their sets are equal, not if they overlap.

    Reference:
        Kong et al. 2025, arXiv:2505.19650 (UNITE) compares target modalities as bit masks.
    """

    TEXT = 1
    IMAGE = 2
    CODE = 4
    AUDIO = 8
    VIDEO = 16

    @classmethod
    def parse(cls, text: str) -> Modality:
        """Read ``"text"`` or ``"image|text"``; case and spaces do not count.

        Raises:
            ValueError: A kind is unknown or none is named.
        """
        kinds = cls(0)
        for name in text.split("|"):
            kind = cls.__members__.get(name.strip().upper())
            if kind is None:
                known = ", ".join(cls.__members__).lower()
                raise ValueError(
                    f"a modality is one of {known}, or several joined by |; got {text!r}. "
                    "Name one of those."
                )
            kinds |= kind
        return kinds


def modality_codes(names: Sequence[str]) -> Tensor:
    """Bit masks of modalities given by name, int64 ``(n,)``.

    Raises:
        ValueError: A name is no modality.
    """
    known = {name: int(Modality.parse(name)) for name in set(names)}
    return torch.tensor([known[name] for name in names], dtype=torch.int64)
