"""Photos and captions a second through torch and through ONNX Runtime, and how far vectors differ.

    ISTHMUS_DATA=... python -m experiments.bench.encode [--quick]

Photos of Flickr8k go through EfficientNet-Lite0, which ``EfficientNetLite`` runs by ONNX Runtime
where that is installed; captions go through MiniLM, which ``TextEncoder`` runs by torch, exported
here to see whether another runtime would gain. Reading, resizing and tokenizing are counted.
Runs take turns. Written to ``experiments/results/encode.json``; a quick run is not.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from align.encoders.presets.efficientnet_lite import EfficientNetLite
from align.encoders.presets.efficientnet_network import (
    load_network,
    quiet_onnxruntime,
    torch_runner,
    weights_file,
)
from align.encoders.text import TextEncoder
from experiments.datasets.captions import flickr8k
from experiments.record import write_record

Encode = Callable[[Sequence[Any]], Tensor]


@dataclass(frozen=True, slots=True)
class Config:
    """One run: items of each kind, and how often each runtime encodes them."""

    photos: int = 256
    captions: int = 1024
    repeats: int = 3


@dataclass(frozen=True, slots=True)
class Speed:
    """One kind of item.

    Attributes:
        torch: Items a second, median over the repeats.
        onnxruntime: The same.
        apart: The largest ``1 - cosine`` between the vectors of one item.
    """

    torch: float
    onnxruntime: float
    apart: float


def run(config: Config) -> dict[str, Speed]:
    """``Speed`` of photos and captions."""
    pairs = flickr8k("dev", captions=5)
    photos = list(dict.fromkeys(pairs.target))[: config.photos]
    captions = pairs.source[: config.captions]
    with TemporaryDirectory() as folder:
        runtimes = photo_runtimes(), caption_runtimes(Path(folder) / "minilm.onnx")
        return {
            kind: speed(*both, items, repeats=config.repeats)
            for kind, both, items in zip(
                ("photos", "captions"), runtimes, (photos, captions), strict=True
            )
        }


def speed(by_torch: Encode, by_onnx: Encode, items: Sequence[Any], *, repeats: int) -> Speed:
    """Encode the items in turns, after a batch that is not counted."""
    seconds: tuple[list[float], list[float]] = [], []
    vectors: list[Tensor] = []
    for encode in (by_torch, by_onnx):
        encode(items[:32])
    for _ in range(repeats):
        vectors = []
        for encode, taken in zip((by_torch, by_onnx), seconds, strict=True):
            start = time.perf_counter()
            vectors.append(encode(items))
            taken.append(time.perf_counter() - start)
    apart = 1 - cosine_similarity(vectors[0].double(), vectors[1].double())
    return Speed(*(len(items) / median(taken) for taken in seconds), apart.abs().max().item())


def photo_runtimes() -> tuple[Encode, Encode]:
    """EfficientNet-Lite0 by torch, and as the preset runs it."""
    plain = EfficientNetLite(device="cpu")
    network = load_network("lite0", weights_file("lite0"))
    plain.__dict__["_run"] = torch_runner(network, torch.device("cpu"))
    return plain.encode, EfficientNetLite(device="cpu").encode


class _States(nn.Module):
    def __init__(self, tower: nn.Module) -> None:
        super().__init__()
        self.tower = tower

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        states: Tensor = self.tower(input_ids=ids, attention_mask=mask).last_hidden_state
        return states


def caption_runtimes(path: Path) -> tuple[Encode, Encode]:
    """MiniLM as ``TextEncoder`` runs it, and exported to ``path`` for ONNX Runtime."""
    plain, exported = (TextEncoder("minilm", device="cpu") for _ in range(2))
    exported.encode(["a caption"])  # whatever asks the network of torch has asked it
    example = torch.ones(2, 9, dtype=torch.long)
    axes = {0: "n", 1: "t"}
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # about the exporter's age, and sizes seen in tracing
        torch.onnx.export(
            _States(exported._tower),
            (example, example),
            str(path),
            dynamo=False,
            input_names=["ids", "mask"],
            output_names=["states"],
            dynamic_axes={"ids": axes, "mask": axes, "states": axes},
        )
    onnxruntime = quiet_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def tower(input_ids: Tensor, attention_mask: Tensor, **_: object) -> SimpleNamespace:
        given = {"ids": input_ids.numpy(), "mask": attention_mask.numpy()}
        return SimpleNamespace(last_hidden_state=torch.from_numpy(session.run(None, given)[0]))

    exported.__dict__["_tower"] = tower
    return plain.encode, exported.encode


def render(result: dict[str, Speed]) -> Table:
    """The table that is printed."""
    table = Table(title="encoded a second")
    for name in ("", "torch", "ONNX Runtime", "1 - cosine, at most"):
        table.add_column(name, justify="right")
    for kind, found in result.items():
        table.add_row(kind, f"{found.torch:.0f}", f"{found.onnxruntime:.0f}", f"{found.apart:.1e}")
    return table


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print and write the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few items, no record")
    quick = parser.parse_args(arguments).quick
    config = Config(photos=64, captions=128, repeats=1) if quick else Config()
    result = run(config)
    Console().print(render(result))
    if not quick:
        found = {kind: asdict(each) for kind, each in result.items()}
        print(write_record("encode", config=asdict(config), result=found))


if __name__ == "__main__":
    main()
