"""Expansion, hubness correction and preference as nodes of an ONNX graph."""

from __future__ import annotations

import math

from align.adapters.corrections.hubness import Hubness, InvertedSoftmax
from align.adapters.corrections.preference import Preference
from align.adapters.corrections.reference_set import ReferenceSet
from align.adapters.export.graph import Graph


def expanded_and_corrected(graph: Graph, reference: ReferenceSet, z: str, side: str) -> list[str]:
    """Columns of the gallery vectors of items ``z`` of a side: themselves, and minus the bias."""
    names = ["source_reference", "target_reference"]
    own, other = names if side == "source" else names[::-1]

    def similarities(name: str) -> str:
        rows = getattr(reference, name)
        return graph.product(z, graph.tensor(f"reference.{name}.T", rows.T))

    if (expansion := reference.expansion) is not None:
        weights = graph.add("Softmax", graph.scaled(similarities(own), expansion.sharpness), axis=1)
        partners = graph.tensor(f"reference.{other}", getattr(reference, other))
        partner = graph.unit(graph.product(weights, partners))
        z = graph.unit(graph.add("Add", z, graph.scaled(partner, expansion.weight)))
    if reference.hubness is None:
        return [z]
    bias = _bias(graph, reference.hubness, similarities(other), reference.rows)
    return [z, graph.add("Neg", bias)]


def _bias(graph: Graph, hubness: Hubness, similarities: str, rows: int) -> str:
    """``(m, 1)``."""
    if isinstance(hubness, InvertedSoftmax):
        scaled = graph.scaled(similarities, hubness.sharpness)
        total = graph.add("ReduceLogSumExp", scaled, graph.whole(1))
        mean = graph.add("Sub", total, graph.number(math.log(rows)))
        return graph.scaled(mean, 1 / hubness.sharpness)
    alpha = getattr(hubness, "alpha", 0.5)  # CSLS takes half
    k = graph.whole(min(hubness.k, rows))
    nearest, _ = graph.add("TopK", similarities, k, outputs=2, axis=1)
    return graph.scaled(graph.add("ReduceMean", nearest, graph.whole(1)), alpha)


def preferred_kinds(graph: Graph, preference: Preference, x: str, d_in: int) -> str:
    """What the instructions at the end of sources ``x`` ``(n, d_in)`` prefer, ``(n, kinds)``."""
    width = preference.d_instruction
    _, instruction = graph.split(x, (d_in - width, width))
    return graph.product(
        graph.unit(instruction), graph.tensor("preference.weight", preference.weight)
    )


def kinds(graph: Graph, preference: Preference, y: str) -> str:
    """1 where a target ``y`` is of a kind and 0 elsewhere, ``(m, kinds)``."""
    one, zero = graph.number(1.0), graph.number(0.0)
    parts = graph.split(y, preference.widths)
    return graph.beside(
        [
            graph.add("Where", graph.add("Greater", graph.largest(part), zero), one, zero)
            for part in parts
        ]
    )
