"""What a store costs that gets one item a call: time, size, opening it again, memory of the writer.

    python -m experiments.bench.embedding_store [--quick]

Vectors are random. The machine may do other things meanwhile, and the disk too, so that medians say
what a call takes and means what all of them took. Written to
``experiments/results/embedding_store.json``; a quick run is not.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, median
from tempfile import TemporaryDirectory
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from align.encoders.cache.store import EmbeddingStore
from experiments.bench.memory import peak_mib
from experiments.record import write_record


@dataclass(frozen=True, slots=True)
class Config:
    """One run: items, width of their vectors, how often to look, and lookups each time."""

    items: int = 1_000_000
    width: int = 64
    marks: int = 10
    lookups: int = 500


class RandomEncoder:
    """Vectors that are random numbers, and how many were made."""

    modality, fingerprint = "text", "random@1"

    def __init__(self, dim: int) -> None:
        self.dim, self.encoded = dim, 0
        self._generator = torch.Generator().manual_seed(0)

    def encode(self, items: Sequence[Any], *, progress: bool = False) -> Tensor:
        """``(n, dim)``."""
        self.encoded += len(items)
        return torch.randn(len(items), self.dim, generator=self._generator)


def run(config: Config, root: Path) -> dict[str, Any]:
    """Milliseconds per call, megabytes on disk and MiB of memory as the store grows."""
    store, encoder, drawn = EmbeddingStore(root), RandomEncoder(config.width), random.Random(0)
    rows = []
    for mark in range(config.marks):
        step = config.items // config.marks
        writes = [_ms(store, encoder, number) for number in range(mark * step, (mark + 1) * step)]
        known = drawn.sample(range((mark + 1) * step), min(config.lookups, step))
        lookups = [_ms(store, encoder, number) for number in known]
        rows.append(
            {
                "items": (mark + 1) * step,
                "write_ms": {"median": median(writes), "mean": mean(writes)},
                "lookup_ms": {"median": median(lookups), "mean": mean(lookups)},
                "megabytes": sum(path.stat().st_size for path in root.iterdir()) / 1e6,
                "peak_mib": peak_mib(),
            }
        )
    assert encoder.encoded == config.items // config.marks * config.marks
    start = time.perf_counter()
    store.stat()
    return {
        "growth": rows,
        "stat_seconds": time.perf_counter() - start,
        "open_and_first_lookup_ms": float(
            subprocess.run(
                [sys.executable, "-m", __spec__.name, "--open", str(root), str(config.width)],
                capture_output=True,
                text=True,
                check=True,
            ).stdout
        ),
    }


def _ms(store: EmbeddingStore, encoder: RandomEncoder, number: int) -> float:
    start = time.perf_counter()
    store.encode(encoder, [f"line {number}"])
    return 1e3 * (time.perf_counter() - start)


def main() -> None:
    """Run, print and record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few items, not recorded")
    parser.add_argument("--open", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.open:
        root, width = options.open
        encoder = RandomEncoder(int(width))
        print(_ms(EmbeddingStore(root), encoder, 1))  # read by the parent process
        assert encoder.encoded == 0
        return
    config = Config(items=2000) if options.quick else Config()
    with TemporaryDirectory() as folder:
        result = run(config, Path(folder) / "store")
    table = Table("items", "write ms", "lookup ms", "MB", "peak MiB")
    for row in result["growth"]:
        times = (f"{row[key]['median']:.3f}" for key in ("write_ms", "lookup_ms"))
        table.add_row(
            f"{row['items']:,}", *times, *(f"{row[key]:.0f}" for key in ("megabytes", "peak_mib"))
        )
    Console().print(
        table, {key: result[key] for key in ("stat_seconds", "open_and_first_lookup_ms")}
    )
    if not options.quick:
        write_record("embedding_store", config=asdict(config), result=result)


if __name__ == "__main__":
    main()
