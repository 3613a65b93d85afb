"""Pairs as functions take them: one ``PairedEmbeddings``, or two sides in a row."""

from __future__ import annotations

from typing import Any

from align.data.embeddings import PairedEmbeddings, Vectors


def as_pairs(pairs: PairedEmbeddings | Vectors, target: Vectors | None = None) -> PairedEmbeddings:
    """The ``PairedEmbeddings`` that was given, or those of two sides, as ``from_arrays`` makes.

    Raises:
        TypeError: There is one side alone, or a target beside pairs; or pairs of raw items.
        ValueError: The sides do not fit together.
    """
    if isinstance(pairs, PairedEmbeddings):
        if target is not None:
            raise TypeError(
                "pairs are one PairedEmbeddings, or a source and a target; got PairedEmbeddings "
                f"and {type(target).__name__}. Leave one of them out."
            )
        return pairs
    if hasattr(pairs, "encode") and hasattr(pairs, "source"):
        raise TypeError(
            f"pairs must be vectors; got {type(pairs).__name__} of raw items. Encode them first, "
            "with pairs.encode(source_encoder, target_encoder)."
        )
    if target is None:
        raise TypeError(
            "pairs are one PairedEmbeddings, or a source and a target; got "
            f"{type(pairs).__name__} alone. Pass the vectors of the other side next, row by row."
        )
    return PairedEmbeddings.from_arrays(pairs, target)


def pairs_and_adapter(
    pairs: PairedEmbeddings | Vectors, target: Any, adapter: Any
) -> tuple[PairedEmbeddings, Any]:
    """What ``f(pairs, adapter)`` and ``f(source, target, adapter)`` were called with.

    The adapter may be ``None``; the rest is as in ``as_pairs``.
    """
    if isinstance(pairs, PairedEmbeddings) and adapter is None:
        return pairs, target
    return as_pairs(pairs, target), adapter
