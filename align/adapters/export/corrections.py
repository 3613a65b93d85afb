"""Expansion, hubness correction and preference as nodes of an ONNX graph."""

from __future__ import annotations

import math

from align.adapters.corrections.hubness import BalancedSoftmax, Hubness, InvertedSoftmax
from align.adapters.corrections.preference import Preference
from align.adapters.corrections.reference_set import Expansion, ReferenceSet
from align.adapters.export.graph import Graph
from align.data.sides import Side, other_side


def gallery_columns(graph: Graph, reference: ReferenceSet, z: str, side: Side) -> list[str]:
    """Columns of the gallery vectors of items ``z`` of a side: themselves, and minus the bias."""
    if reference.expansion is not None:
        z = _expanded(graph, reference, z, side, reference.expansion)
    if reference.hubness is None:
        return [z]
    asking = other_side(side)
    similarities = _similarities(graph, reference, z, asking)
    handicaps = getattr(reference, f"{asking}_handicaps")
    if handicaps is not None:
        held = graph.tensor(f"reference.{asking}_handicaps", handicaps)
        similarities = str(graph.add("Sub", similarities, held))
    return [z, graph.add("Neg", _bias(graph, reference.hubness, similarities, reference.rows))]


def query_columns(graph: Graph, reference: ReferenceSet, z: str, side: Side) -> list[str]:
    """Columns of the query vectors of items ``z`` of a side: themselves, and ones for the bias."""
    if reference.query_expansion is not None:
        z = _expanded(graph, reference, z, side, reference.query_expansion)
    return [z] if reference.hubness is None else [z, graph.ones(z)]


def _expanded(
    graph: Graph, reference: ReferenceSet, z: str, side: Side, expansion: Expansion
) -> str:
    near = graph.scaled(_similarities(graph, reference, z, side), expansion.sharpness)
    partners, name = reference.pairs_of(side)[1], f"reference.{other_side(side)}_reference"
    weights = graph.add("Softmax", near, axis=1)
    partner = graph.unit(graph.product(weights, graph.tensor(name, partners)))
    return graph.unit(graph.add("Add", z, graph.scaled(partner, expansion.weight)))


def _similarities(graph: Graph, reference: ReferenceSet, z: str, side: Side) -> str:
    """Of items ``z`` with the reference items of a side, ``(m, rows)``."""
    rows = reference.pairs_of(side)[0]
    return graph.product(z, graph.tensor(f"reference.{side}_reference.T", rows.T))


def _bias(graph: Graph, hubness: Hubness, similarities: str, rows: int) -> str:
    """``(m, 1)``."""
    if isinstance(hubness, InvertedSoftmax | BalancedSoftmax):
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
