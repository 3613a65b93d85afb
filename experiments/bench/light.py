"""What it takes to serve an adapter: with torch, by ONNX Runtime, and by NumPy alone.

    python -m experiments.bench.light [--quick]

Adapters are of synthetic pairs, 384-d and 1280-d as from MiniLM and EfficientNet-Lite0, with an
expansion and a hubness correction: one of closed forms, one with a shift of one hidden layer on
top, random here, as ``align.fit`` trains it. Installed sizes are those of the packages here and of
all that they ask for. Each start is a process of its own, from the interpreter to the first query.
Written to ``experiments/results/light.json``; a quick run is not.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from packaging.requirements import Requirement
from rich.console import Console
from rich.table import Table

import align
from align import light
from align.adapters.adapter import Adapter
from align.adapters.closed_form.rcca import rcca
from align.adapters.corrections.hubness import InvertedSoftmax
from align.adapters.corrections.reference_set import Expansion, ReferenceSet
from align.adapters.trainable import residual
from align.encoders.presets.efficientnet_network import quiet_onnxruntime
from experiments.bench.fit_cost import Spread, spread, synthetic_pairs
from experiments.record import write_record

ROOT = Path(__file__).parents[2]
HIDDEN = 1024  # of the shift that align.fit trains
AT_ONCE = 1000  # gallery items that ONNX Runtime is given at a time

Matrix = npt.NDArray[np.float32]
Call = Callable[[Matrix], Any]


@dataclass(frozen=True, slots=True)
class Config:
    """One run.

    Attributes:
        pairs: Behind the adapters, all of them in the reference set.
        gallery: Items of the gallery.
        batches: Queries of one call.
        repeats: Starts, and galleries.
        calls: Queries timed for each size of a batch.
        seed: Of pairs, queries and items.
    """

    pairs: int = 5000
    gallery: int = 5000
    batches: tuple[int, ...] = (1, 1000)
    repeats: int = 5
    calls: int = 10_000
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Way:
    """A way to serve, in words of Python: what is installed, and what a program does first."""

    needs: tuple[str, ...]
    ours: tuple[str, ...]  # files and folders of this repository beside that
    first: str  # in a folder with the adapter, its ONNX files, and x, one query


WAYS = {
    "the interpreter": Way((), (), ""),
    "numpy": Way(
        ("numpy", "safetensors"),
        ("align/light.py",),
        "from align import light\nlight.load(folder).queries(numpy.ones((1, 384)))",
    ),
    "onnxruntime": Way(
        ("onnxruntime",),
        (),
        "import os\nos.environ['ORT_DISABLE_TELEMETRY'] = '1'\nimport onnxruntime\n"
        "session = onnxruntime.InferenceSession(folder + '.onnx')\n"
        "session.run(None, {'embeddings': numpy.ones((1, 384), numpy.float32)})",
    ),
    "torch": Way(
        ("isthmus",),
        ("align", "probes"),
        "import align\nalign.load(folder).queries(numpy.ones((1, 384)))",
    ),
}


@dataclass(frozen=True, slots=True)
class Start:
    """From nothing to a first query.

    Attributes:
        installed_mb: Bytes of all files that are installed for it, in millions, without Python.
        milliseconds: Wall-clock time of the process.
        peak_mib: Largest resident memory of the process, at most.
    """

    installed_mb: float
    milliseconds: Spread
    peak_mib: float


@dataclass(frozen=True, slots=True)
class Speed:
    """One way to map with one adapter.

    Attributes:
        query_microseconds: Of a call, by the queries in it.
        gallery_milliseconds: Of the whole gallery.
        apart: Largest distance of a row to that of torch, as a share of its length.
    """

    query_microseconds: dict[int, Spread]
    gallery_milliseconds: Spread
    apart: float


@dataclass(frozen=True, slots=True)
class Result:
    """All costs.

    Attributes:
        starts: By way, with the adapter of closed forms.
        speeds: By adapter and way.
        files_mb: Bytes in millions, by adapter and file.
    """

    starts: dict[str, Start]
    speeds: dict[str, dict[str, Speed]]
    files_mb: dict[str, dict[str, float]]


def adapters(config: Config) -> dict[str, Adapter]:
    """An adapter of closed forms and one with a shift on top, both with all corrections."""
    pairs = synthetic_pairs(config.pairs, seed=config.seed)
    plain = rcca(pairs.source, pairs.target)
    drawn = torch.Generator().manual_seed(config.seed)
    shifted = residual(plain, kind="mlp", size=HIDDEN, generator=drawn)
    for side_map in (shifted.source_map, shifted.target_map):
        second = side_map.delta.second
        torch.nn.init.normal_(second, std=0.1 * len(second) ** -0.5, generator=drawn)
    made = {"closed form": plain, "with a shift": shifted}
    for adapter in made.values():
        adapter.reference = ReferenceSet(
            adapter.source(pairs.source),
            adapter.target(pairs.target),
            expansion=Expansion(0.3, 20.0),
            hubness=InvertedSoftmax(20.0),
        )
    return made


def run(config: Config) -> Result:
    """Time every way with both adapters, then start each in fresh processes."""
    drawn = np.random.default_rng(config.seed)
    x = drawn.standard_normal((max(config.batches), 384), dtype=np.float32)
    y = drawn.standard_normal((config.gallery, 1280), dtype=np.float32)
    speeds: dict[str, dict[str, Speed]] = {}
    files: dict[str, dict[str, float]] = {}
    with TemporaryDirectory() as scratch:
        for name, adapter in adapters(config).items():
            folder = Path(scratch) / name
            adapter.save(folder)
            exported = adapter.export(folder.with_suffix(".onnx"))
            weights = folder / "model.safetensors"
            written = {"model.safetensors": weights, "queries": exported[0], "gallery": exported[1]}
            files[name] = {each: path.stat().st_size / 1e6 for each, path in written.items()}
            calls = _calls(adapter, folder, exported)
            first, second = calls["torch"][0](x).numpy(), calls["torch"][1](y).numpy()
            speeds[name] = {}
            for way, (queries, gallery) in calls.items():
                apart = max(_apart(queries(x), first), _apart(gallery(y), second))
                speeds[name][way] = Speed(
                    {
                        n: _spread_of(queries, x[:n], max(10, config.calls // n))
                        for n in config.batches
                    },
                    _scaled(_spread_of(gallery, y, config.repeats), 1e-3),
                    apart,
                )
        starts = {name: _start(way, scratch, config.repeats) for name, way in WAYS.items()}
    return Result(starts, speeds, files)


def _calls(
    adapter: Adapter, folder: Path, exported: tuple[Path, Path]
) -> dict[str, tuple[Call, Call]]:
    """Queries and gallery of each way."""
    runtime = quiet_onnxruntime()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    sessions = [runtime.InferenceSession(str(path), options) for path in exported]

    def one(session: Any, rows: Matrix) -> Matrix:
        (found,) = session.run(None, {"embeddings": rows})
        return found

    def blocks(rows: Matrix) -> Matrix:
        starts = range(0, len(rows), AT_ONCE)
        return np.concatenate([one(sessions[1], rows[at : at + AT_ONCE]) for at in starts])

    again, read = align.load(folder), light.load(folder)
    return {
        "torch": (again.queries, again.gallery),
        "onnxruntime": (lambda rows: one(sessions[0], rows), blocks),
        "numpy": (read.queries, read.gallery),
    }


def _spread_of(call: Call, rows: Matrix, calls: int) -> Spread:
    """Microseconds of so many calls, after a tenth that are not counted."""
    taken = []
    for _ in range(-(-calls // 10) + calls):
        start = time.perf_counter_ns()
        call(rows)
        taken.append((time.perf_counter_ns() - start) / 1e3)
    return spread(taken[-calls:])


def _scaled(values: Spread, factor: float) -> Spread:
    return Spread(values.p20 * factor, values.p50 * factor, values.p80 * factor)


def _apart(found: Any, expected: Matrix) -> float:
    distances = np.linalg.norm(np.asarray(found) - expected, axis=1)
    return float((distances / np.linalg.norm(expected, axis=1)).max())


def _start(way: Way, scratch: str, repeats: int) -> Start:
    """Of an adapter that lies in ``scratch``."""
    code = (
        f"folder = {str(Path(scratch) / 'closed form')!r}\n"
        f"{'import numpy' if way.first else ''}\n{way.first}\n"
        "from experiments.bench.memory import peak_mib\nprint(peak_mib())"
    )
    taken, peaks = [], []
    for _ in range(1 + repeats):
        begun = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-c", code], check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        taken.append(1e3 * (time.perf_counter() - begun))
        peaks.append(float(done.stdout))
    return Start(installed_mb(way.needs, way.ours), spread(taken[1:]), max(peaks))


def installed_mb(needs: Iterable[str], ours: Iterable[str]) -> float:
    """Bytes of packages, of all that they ask for, and of files here, in millions."""
    paths = [path for name in _closure(needs) for path in _files_of(name)]
    for each in ours:
        top = ROOT / each
        paths += [top] if top.is_file() else [path for path in top.rglob("*") if path.is_file()]
    return sum(path.stat().st_size for path in paths if "__pycache__" not in path.parts) / 1e6


def _closure(needs: Iterable[str]) -> set[str]:
    """Names of distributions, and of what they ask for without any extra."""
    seen: set[str] = set()
    todo = list(needs)
    while todo:
        name = todo.pop().lower().replace("_", "-")
        if name in seen:
            continue
        try:
            asked = distribution(name).requires or []
        except PackageNotFoundError:
            continue  # of another platform
        seen.add(name)
        wanted = (Requirement(line) for line in asked)
        todo += [
            each.name for each in wanted if not each.marker or each.marker.evaluate({"extra": ""})
        ]
    return seen


def _files_of(name: str) -> list[Path]:
    found = distribution(name)
    paths = (Path(str(found.locate_file(file))) for file in found.files or [])
    return [path for path in paths if path.is_file()]


def render(result: Result) -> tuple[Table, Table]:
    """The two tables that are printed."""
    starts = Table("way", "installed MB", "start ms p20", "p50", "p80", "peak MiB")
    for name, start in result.starts.items():
        numbers = (start.installed_mb, *_values(start.milliseconds), start.peak_mib)
        starts.add_row(name, *(f"{each:,.1f}" for each in numbers))
    batches = next(iter(next(iter(result.speeds.values())).values())).query_microseconds
    heads = (f"{n:,} queries, us" for n in batches)
    speeds = Table("adapter", "way", *heads, "gallery, ms", "apart from torch")
    for name, ways in result.speeds.items():
        for way, speed in ways.items():
            medians = (each.p50 for each in speed.query_microseconds.values())
            cells = (f"{each:,.1f}" for each in (*medians, speed.gallery_milliseconds.p50))
            speeds.add_row(name, way, *cells, f"{speed.apart:.1e}")
    return starts, speeds


def _values(spread: Spread) -> Sequence[float]:
    return (spread.p20, spread.p50, spread.p80)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print and write the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small and few, no record")
    told = parser.parse_args(arguments)
    quick = Config(pairs=1500, gallery=300, repeats=1, calls=100)
    config = quick if told.quick else Config()
    result = run(config)
    console = Console()
    for table in render(result):
        console.print(table)
    console.print(result.files_mb)
    if not told.quick:
        print(write_record("light", config=asdict(config), result=asdict(result)))


if __name__ == "__main__":
    main()
