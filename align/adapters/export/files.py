"""An adapter as two ONNX files, compared with torch before they are written."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from align._files.atomic import atomic_file
from align._files.codec import Schema
from align._version import __version__
from align.adapters.card import Card
from align.adapters.components import Components
from align.adapters.digest import adapter_digest
from align.adapters.maps.residual import device_of
from align.data.sides import Side

SCHEMA = Schema("isthmus-onnx", 1)
INPUT = "embeddings"
TOLERANCE = 1e-5  # of the length of a row
SHARP = 100.0  # sharpness of an expansion from which on rounding of similarities is seen in rows
PROBED = 64  # random rows on which the two runtimes are compared

Expected = tuple[Side, Callable[[Tensor], Tensor]]


def export(
    components: Components,
    card: Card,
    path: str | Path,
    *,
    queries: Expected,
    gallery: Expected,
) -> tuple[Path, Path]:
    """Write both parts of an adapter; ``Adapter.export`` says what of.

    Args:
        components: Of the adapter, on any device.
        card: Names its encoders.
        path: The file of the queries.
        queries: The side that asks, and what gives its query vectors in torch.
        gallery: The side that is searched, and what gives its gallery vectors.
    """
    file = Path(path).expanduser()
    if file.suffix != ".onnx":
        raise ValueError(
            f"an adapter is exported to a file that ends in .onnx; got {str(path)!r}. Name it so: "
            "the gallery is written beside it, to NAME.gallery.onnx."
        )
    runtime = _packages()
    digest = adapter_digest(components)
    models = {}
    for place, part, (side, in_torch) in (
        (file, "queries", queries),
        (file.with_suffix(".gallery.onnx"), "gallery", gallery),
    ):
        side_map = components.source_map if side == "source" else components.target_map
        rows = torch.randn(PROBED, side_map.d_in, generator=torch.Generator().manual_seed(0))
        expected = in_torch(rows.to(device_of(side_map))).cpu()
        fingerprint = card.source_fingerprint if side == "source" else card.target_fingerprint
        words = {
            "schema": str(SCHEMA),
            "isthmus": __version__,
            "adapter": digest,
            "side": side,
            **({} if fingerprint is None else {"encoder": fingerprint}),
        }
        graph, columns = _columns(components, part, side)
        given, made = (INPUT, side_map.d_in), (part, expected.shape[1])
        models[place] = graph.model(graph.beside(columns), given, made, words)
        _check(runtime, models[place], part, rows, expected, _tolerance(components))
    for place, model in models.items():
        with atomic_file(place) as scratch:
            scratch.write_bytes(model)
    first, second = models
    return first, second


def _packages() -> Any:
    """The module ``onnxruntime``, where ``onnx`` is installed too."""
    try:
        from align.encoders.presets.efficientnet_network import quiet_onnxruntime

        import_module("onnx")  # which the graph is made with
        return quiet_onnxruntime()
    except ImportError as missing:
        raise ImportError(
            "an export needs the packages onnx and onnxruntime; importing them failed with: "
            f"no module named {missing.name!r}. Install them by: pip install 'isthmus[onnx]'.",
            name=missing.name,
        ) from missing


def _columns(components: Components, part: str, side: Side) -> tuple[Any, list[str]]:
    """A graph, and the values in it that stand side by side in the vectors of this part."""
    from align.adapters.export.corrections import (
        gallery_columns,
        kinds,
        preferred_kinds,
        query_columns,
    )
    from align.adapters.export.graph import Graph
    from align.adapters.export.maps import mapped

    graph = Graph()
    side_map = components.source_map if side == "source" else components.target_map
    reference, preference = components.reference, components.preference
    z = mapped(graph, side_map, INPUT, f"{side}_map")
    columns = [z]
    if reference is not None:
        columns_of = gallery_columns if part == "gallery" else query_columns
        columns = columns_of(graph, reference, z, side)
    if preference is not None and (part, side) == ("queries", "source"):
        columns.append(preferred_kinds(graph, preference, INPUT, side_map.d_in))
    elif preference is not None and (part, side) == ("gallery", "target"):
        columns.append(kinds(graph, preference, INPUT))
    return graph, columns


def _tolerance(components: Components) -> float:
    """How far rows may lie apart: sharpness multiplies the rounding of similarities."""
    reference = components.reference
    both = () if reference is None else (reference.expansion, reference.query_expansion)
    sharpness = max((each.sharpness for each in both if each is not None), default=0.0)
    return TOLERANCE * max(1.0, sharpness / SHARP)


def _check(
    runtime: Any, model: bytes, part: str, rows: Tensor, expected: Tensor, tolerance: float
) -> None:
    """Raise ``RuntimeError`` unless ONNX Runtime gives what torch gives."""
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    found = torch.from_numpy(session.run([part], {INPUT: rows.numpy()})[0])
    apart = float(((found - expected).norm(dim=1) / expected.norm(dim=1)).max())
    if not apart <= tolerance:
        raise RuntimeError(
            f"{part} of ONNX Runtime must be within {tolerance} of those of torch; they are "
            f"{apart:.1e} apart. Nothing was written: please report it with the versions of both."
        )
