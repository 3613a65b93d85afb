"""Whether the scores of a search are those that an adapter was calibrated on."""

from __future__ import annotations

from collections.abc import Sequence

from align.adapters.adapter import Adapter
from align.adapters.calibration.confidence import Confidence
from align.data.multi_vector import MultiVector
from align.data.sides import Side, other_side
from align.retrieval.storage.adapter_files import AnyAdapter
from align.retrieval.storage.segments import LiveSegment


def confidence_in(
    segments: Sequence[LiveSegment], queries: object, adapter: AnyAdapter | None, side: Side
) -> Confidence | None:
    """How far hits of ``queries`` among items of ``side`` can be trusted; ``None`` if not known.

    Queries that are packed come from anywhere in the space of an index, and MaxSim has other
    scores.
    """
    if isinstance(queries, MultiVector) or not isinstance(adapter, Adapter):
        return None
    if adapter.calibration is None:
        return None
    stored = (each.segment.vectors for each in segments)
    if any(len(vectors.tokens) != len(vectors) for vectors in stored):
        return None
    return adapter.calibration.confidence(other_side(side))


def check_calibrated(known: Confidence | None) -> Confidence:
    """Raise ``ValueError`` where nothing is known of scores."""
    if known is None:
        raise ValueError(
            "a set that holds the right item needs embeddings as queries, items of one vector "
            "each, and an adapter that was calibrated; one of these is missing. Fit with "
            "align.fit, or call adapter.calibrated(held_out) before the index is created."
        )
    return known
