"""The maps of ``align.adapters.maps`` as nodes of an ONNX graph; what each means is said there."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from align.adapters.export.graph import SHORTEST, Graph
from align.adapters.maps.instructed import InstructedMap
from align.adapters.maps.linear import (
    AffineMap,
    BlendMap,
    IdentityMap,
    LinearMap,
    RelativeMap,
    SideMap,
    WeightedMap,
)
from align.adapters.maps.networks import LinearHead, ProjectionMap
from align.adapters.maps.parts import Parts
from align.adapters.maps.residual import Delta, LinearDelta, LowRankDelta, ResidualMap


def mapped(graph: Graph, side_map: SideMap, x: str, at: str) -> str:
    """Unit-norm rows of ``x`` in the shared space.

    Args:
        graph: Gets the nodes.
        side_map: One of the maps in ``align.adapters.maps``.
        x: Name of finite rows ``(n, d_in)``, none of them zero.
        at: Where the map stands in the adapter; names its tensors.

    Raises:
        TypeError: It is another module.
    """

    def held(name: str) -> str:
        return graph.tensor(f"{at}.{name}", getattr(side_map, name))

    match side_map:
        case IdentityMap():
            return directions(graph, x)
        case LinearMap() | LinearHead():
            root, parts = getattr(side_map, "root", False), getattr(side_map, "parts", None)
            if parts is not None:
                prepared = centred(graph, x, side_map.mean, at, root, parts)
            else:
                prepared = graph.add("Sub", directions(graph, x, root=root), held("mean"))
            return graph.unit(graph.product(prepared, held("weight")))
        case AffineMap():
            prepared = graph.add("Sub", directions(graph, x), held("mean"))
            moved = graph.add("Add", graph.product(prepared, held("weight")), held("offset"))
            return graph.unit(moved)
        case RelativeMap():
            return _relative(graph, side_map, x, at)
        case WeightedMap():
            return _weighted(graph, side_map, x, at)
        case BlendMap():
            columns = []
            for number, weight in enumerate(side_map.weights):
                inner: Any = side_map.maps[number]
                z = mapped(graph, inner, x, f"{at}.maps.{number}")
                columns.append(graph.scaled(z, math.sqrt(weight)))
            return graph.beside(columns)
        case ProjectionMap():
            prepared = graph.add("Sub", directions(graph, x), held("mean"))
            hidden = graph.add("Add", graph.product(prepared, held("first")), held("first_bias"))
            moved = graph.product(graph.add("Relu", hidden), held("second"))
            return graph.unit(graph.add("Add", moved, held("second_bias")))
        case ResidualMap():
            before = mapped(graph, side_map.inner, x, f"{at}.inner")
            seen = centred(graph, x, side_map.mean, at, side_map.root, side_map.parts)
            shift = _shift(graph, side_map.delta, seen, f"{at}.delta")
            return _at_length_of(graph, before, graph.add("Add", before, shift))
        case InstructedMap():
            return _instructed(graph, side_map, x, at)
    raise TypeError(
        "an exported adapter must be made of the maps in align.adapters.maps; "
        f"got a {type(side_map).__name__}. Export it yourself, or use one of those."
    )


def directions(graph: Graph, x: str, *, root: bool = False) -> str:
    """Unit-norm rows of ``x``, or of its signed square root."""
    x = graph.add("Div", x, graph.largest(x))
    x = graph.signed_roots(x) if root else x
    return str(graph.add("Div", x, graph.norms(x)))


def centred(graph: Graph, x: str, mean: Tensor, at: str, root: bool, parts: Parts | None) -> str:
    """Unit-norm rows of ``directions(x) - mean``, part by part if there are several."""
    if parts is None:
        moved = graph.add("Sub", directions(graph, x, root=root), graph.tensor(f"{at}.mean", mean))
        return graph.unit(moved)
    prepared, shares = [], []
    centres = torch.split(mean, list(parts.widths))
    for number, part in enumerate(graph.split(x, parts.widths)):
        scale = graph.largest(part)
        there = graph.add("Greater", scale, graph.number(0.0))
        part = graph.add("Div", part, graph.add("Where", there, scale, graph.number(1.0)))
        part = graph.unit(graph.signed_roots(part) if root else part)
        centre = graph.tensor(f"{at}.mean.{number}", centres[number])
        moved = graph.add("Where", there, graph.add("Sub", part, centre), graph.number(0.0))
        share = parts.shares[number]
        prepared.append(graph.scaled(graph.unit(moved), math.sqrt(share)))
        shares.append(graph.add("Where", there, graph.number(share), graph.number(0.0)))
    total = shares[0] if len(shares) == 1 else graph.add("Sum", *shares)
    return str(graph.add("Div", graph.beside(prepared), graph.add("Sqrt", total)))


def _relative(graph: Graph, side_map: RelativeMap, x: str, at: str) -> str:
    seen = centred(graph, x, side_map.mean, at, False, None)
    near = graph.product(seen, graph.tensor(f"{at}.anchors", side_map.anchors.T))
    # Of equal values TopK takes the first, as the map does.
    values, places = graph.add("TopK", near, graph.whole(side_map.k), outputs=2, axis=1)
    power = graph.add("Pow", graph.add("Abs", values), graph.number(side_map.power))
    sharp = graph.add("Mul", graph.add("Sign", values), power)
    zeros = graph.scaled(near, 0.0)
    return graph.unit(graph.add("ScatterElements", zeros, places, sharp, axis=1))


def _weighted(graph: Graph, side_map: WeightedMap, x: str, at: str) -> str:
    inner = mapped(graph, side_map.inner, x, f"{at}.inner")
    z = graph.add("Mul", inner, graph.tensor(f"{at}.weight", side_map.weight.sqrt()))
    left = graph.add("Sub", graph.number(1.0), graph.add("ReduceSumSquare", z, graph.whole(1)))
    rest = graph.add("Sqrt", graph.add("Max", left, graph.number(0.0)))
    both = [rest, graph.scaled(rest, 0.0)]
    return graph.beside([z, *(both if side_map.slot == 0 else both[::-1])])


def _shift(graph: Graph, delta: Delta, x: str, at: str) -> str:
    def held(name: str) -> str:
        return graph.tensor(f"{at}.{name}", getattr(delta, name))

    if isinstance(delta, LinearDelta):
        return graph.product(x, held("weight"))
    if isinstance(delta, LowRankDelta):
        return graph.product(graph.product(x, held("down")), held("up"))
    hidden = graph.add("Add", graph.product(x, held("first")), held("bias"))
    # GELU is no operator of this version.
    bent = graph.add("Erf", graph.scaled(hidden, math.sqrt(0.5)))
    share = graph.scaled(graph.add("Add", bent, graph.number(1.0)), 0.5)
    return graph.product(graph.add("Mul", hidden, share), held("second"))


def _instructed(graph: Graph, side_map: InstructedMap, x: str, at: str) -> str:
    item, instruction = graph.split(x, side_map.parts)
    inner, e = mapped(graph, side_map.inner, item, f"{at}.inner"), graph.unit(instruction)
    moved = inner
    if side_map.scale is not None:
        scale = graph.product(e, graph.tensor(f"{at}.scale", side_map.scale))
        moved = graph.add("Add", inner, graph.add("Mul", inner, scale))
    shift = graph.product(e, graph.tensor(f"{at}.shift", side_map.shift))
    return _at_length_of(graph, inner, graph.add("Add", moved, shift))


def _at_length_of(graph: Graph, before: str, moved: str) -> str:
    lengths = graph.add("Max", graph.norms(moved), graph.number(SHORTEST))
    return str(graph.add("Mul", moved, graph.add("Div", graph.norms(before), lengths)))
