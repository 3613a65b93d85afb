"""Align two frozen encoders from a few thousand pairs, and search across them.

The public names load on first use, so that ``import align`` stays light.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from align.adapters.adapter import Adapter as Adapter
    from align.adapters.artifact import load as load
    from align.embeddings import Embeddings as Embeddings
    from align.embeddings import Encoder as Encoder
    from align.embeddings import PairedEmbeddings as PairedEmbeddings
    from align.embeddings import TokenEncoder as TokenEncoder
    from align.encoders.callable import CallableEncoder as CallableEncoder
    from align.encoders.image import ImageEncoder as ImageEncoder
    from align.encoders.text import CodeEncoder as CodeEncoder
    from align.encoders.text import TextEncoder as TextEncoder
    from align.evaluation import evaluate as evaluate
    from align.multivector import MultiVector as MultiVector
    from align.pairs import Pairs as Pairs
    from align.retrieval.index import Index as Index
    from align.selection import fit as fit
    from align.store import EmbeddingStore as EmbeddingStore

_HOME = {
    "Pairs": "align.pairs",
    "Encoder": "align.embeddings",
    "TokenEncoder": "align.embeddings",
    "TextEncoder": "align.encoders.text",
    "CodeEncoder": "align.encoders.text",
    "ImageEncoder": "align.encoders.image",
    "CallableEncoder": "align.encoders.callable",
    "EmbeddingStore": "align.store",
    "Embeddings": "align.embeddings",
    "MultiVector": "align.multivector",
    "PairedEmbeddings": "align.embeddings",
    "fit": "align.selection",
    "Adapter": "align.adapters.adapter",
    "load": "align.adapters.artifact",
    "evaluate": "align.evaluation",
    "Index": "align.retrieval.index",
}

__all__ = ["__version__", *_HOME]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'align' has no attribute {name!r}; it has {sorted(_HOME)}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(_HOME))
