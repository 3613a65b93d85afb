"""MaxSim on a CUDA device: ours against PyTorch and, where they are installed, two kernel packages.

``python -m experiments.bench.maxsim_gpu [--quick]``. Not run yet: no machine with a CUDA device has
seen it. It needs one, ends with status 2 without, and writes
``experiments/results/maxsim_gpu-<device>.json``; a quick run writes nothing.

Scores are compared with float64 before anything is timed. Systems take turns, after one turn that
is not timed; the cache is overwritten before each call, and CUDA events measure it. The roofline
of a forward pass is the longer of two times: to read both sides once at the measured bandwidth, and
to multiply all pairs of tokens at the measured rate of a matrix product. The last column is its
share of the time that was taken. Peers get padded documents with lengths or a mask, as they want
them; padding is not timed.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from experiments.bench.maxsim_gpu_systems import CHECKED, PEERS, Case, exact, sides, systems
from experiments.record import write_record

SCRATCH = 2**28  # bytes written between calls: more than any cache holds


CASES = (
    Case("one query", 1, 32, 2_000, (128, 128), 128),
    Case("one query, float32", 1, 32, 2_000, (128, 128), 128, "float32"),
    Case("one query, int8", 1, 32, 2_000, (128, 128), 128, "int8"),
    Case("one query, ragged", 1, 32, 2_000, (20, 300), 128),
    Case("one query, many documents", 1, 32, 200_000, (20, 300), 128),
    Case("32 queries, ragged", 32, 32, 20_000, (20, 300), 128),
    Case("256 queries", 256, 32, 20_000, (128, 128), 128),
    Case("256 queries, int8", 256, 32, 20_000, (128, 128), 128, "int8"),
    Case("256 queries, 64-d", 256, 32, 20_000, (128, 128), 64),
    Case("256 queries, 768-d", 256, 32, 5_000, (128, 128), 768),
    Case("MetaEmbed (1, 1)", 1, 1, 100_000, (1, 1), 3584, "bfloat16"),
    Case("MetaEmbed (8, 16)", 1, 8, 100_000, (16, 16), 3584, "bfloat16"),
    Case("MetaEmbed (16, 64)", 1, 16, 100_000, (64, 64), 3584, "bfloat16"),
    Case("training step", 256, 32, 256, (100, 180), 128, "bfloat16", training=True),
    Case("training step, MetaEmbed", 256, 16, 256, (64, 64), 3584, "bfloat16", training=True),
)  # fmt: skip
QUICK = (CASES[0], CASES[3], Case("training step", 16, 32, 16, (20, 60), 128, training=True))


@dataclass(frozen=True, slots=True)
class Config:
    """One run.

    Attributes:
        cases: The problems.
        k: Documents that top-k finds.
        repeats: Timed turns of each system.
        seed: Of all tokens and lengths.
    """

    cases: tuple[Case, ...] = CASES
    k: int = 10
    repeats: int = 50
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Measured:
    """One system on one case.

    Attributes:
        case: Name of the case.
        system: Who computed it.
        p20_ms: Time that a fifth of the calls did not exceed.
        p50_ms: Median.
        p80_ms: Time that four fifths did not exceed.
        peak_mib: Memory that a call took beyond inputs, at most; its result included.
        error: Largest difference of a score from float64; ``None`` for top-k and gradients.
        roofline_ms: Shortest time that bandwidth and arithmetic allow for a forward pass.
    """

    case: str
    system: str
    p20_ms: float
    p50_ms: float
    p80_ms: float
    peak_mib: float
    error: float | None
    roofline_ms: float


@dataclass(frozen=True, slots=True)
class Result:
    """All measurements, and the device's own limits.

    Attributes:
        gpu: Name of the device.
        packages: Versions of CUDA, triton and the peers that took part.
        read_gb_per_s: Measured read bandwidth, 1e9 bytes per second.
        tflop_per_s: Measured rate of a square matrix product by dtype, 1e12 per second.
        rows: Of each case and system.
    """

    gpu: str
    packages: dict[str, str]
    read_gb_per_s: float
    tflop_per_s: dict[str, float]
    rows: tuple[Measured, ...]


def run(config: Config) -> Result:
    """Measure every case on the current CUDA device."""
    generator = torch.Generator("cuda").manual_seed(config.seed)
    read = read_rate()
    rates = {name: product_rate(name) for name in ("float32", "float16", "bfloat16", "int8")}
    rows = []
    for case in config.cases:
        queries, documents = sides(case, generator)
        arithmetic = 2 * case.q * case.s * len(documents.tokens) * case.d
        moved = queries.nbytes + documents.nbytes
        # Int8 documents against float16 queries are multiplied as float16.
        rate = rates["float16" if case.dtype == "int8" else case.dtype]
        bound = 1e3 * max(moved / (read * 1e9), arithmetic / (rate * 1e12))
        truth = exact(queries, documents)
        calls = dict(systems(case, queries, documents, config.k))
        errors = {
            name: float((call()[:CHECKED, :CHECKED].double() - truth).abs().max())
            for name, call in calls.items()
            if not case.training and "top" not in name
        }
        peaks = {name: peak_mib(call) for name, call in calls.items()}
        for name, times in timed(calls, config.repeats).items():
            p20, p50, p80 = torch.tensor(times).quantile(torch.tensor([0.2, 0.5, 0.8])).tolist()
            error = errors.get(name)
            rows.append(Measured(case.name, name, p20, p50, p80, peaks[name], error, bound))
        calls.clear()
        del queries, documents
        torch.cuda.empty_cache()
    return Result(torch.cuda.get_device_name(), packages(), read, rates, tuple(rows))


def timed(calls: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Milliseconds of each call, in turns; the cache is overwritten before each."""
    scratch = torch.empty(SCRATCH, dtype=torch.int8, device="cuda")
    marks: dict[str, list[tuple[torch.cuda.Event, torch.cuda.Event]]] = {name: [] for name in calls}
    for turn in range(repeats + 1):
        for name, call in calls.items():
            start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            scratch.zero_()
            start.record()
            call()
            stop.record()
            if turn:  # the first compiles and warms up
                marks[name].append((start, stop))
    torch.cuda.synchronize()
    return {
        name: [start.elapsed_time(stop) for start, stop in pairs] for name, pairs in marks.items()
    }


def peak_mib(call: Callable[[], object]) -> float:
    """MiB that a call takes beyond what was held before it."""
    call()
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    call()
    torch.cuda.synchronize()
    return (torch.cuda.max_memory_allocated() - before) / 2**20


def read_rate() -> float:
    """Read bandwidth in 1e9 bytes per second: the sum of 2 GiB."""
    numbers = torch.ones(2**29, device="cuda")
    return numbers.nbytes / (min(timed({"sum": numbers.sum}, 20)["sum"]) * 1e6)


def product_rate(dtype: str, size: int = 8192) -> float:
    """Rate of a square matrix product in 1e12 operations per second; float32 without TF32."""
    kind = getattr(torch, dtype)
    left, right = (torch.ones(size, size, device="cuda", dtype=kind) for _ in range(2))
    product = torch._int_mm if dtype == "int8" else torch.matmul
    times = timed({"product": lambda: product(left, right.T)}, 20)["product"]
    return 2 * size**3 / (min(times) * 1e9)


def packages() -> dict[str, str]:
    """Versions that could change a number, beyond those of the record."""
    found = {"cuda": str(torch.version.cuda)}
    for name in ("triton", *PEERS):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue  # a peer that is not installed did not take part
    return found


def render(result: Result) -> Table:
    """The table that is printed."""
    rates = ", ".join(f"{name} {rate:,.0f}" for name, rate in result.tflop_per_s.items())
    table = Table(
        title=f"MaxSim on {result.gpu}",
        caption=f"measured: {result.read_gb_per_s:,.0f} GB/s; TFLOP/s {rates}",
        box=SIMPLE_HEAD,
    )
    for name in ("case", "system"):
        table.add_column(name)
    for name in ("p20 ms", "p50 ms", "p80 ms", "x ours", "MiB", "error", "of roofline"):
        table.add_column(name, justify="right")
    ours = {row.case: row.p50_ms for row in result.rows if row.system == "ours"}
    for row in result.rows:
        table.add_row(
            row.case, row.system, f"{row.p20_ms:.3f}", f"{row.p50_ms:.3f}", f"{row.p80_ms:.3f}",
            f"{row.p50_ms / ours[row.case]:.2f}", f"{row.peak_mib:,.0f}",
            "-" if row.error is None else f"{row.error:.0e}",
            f"{row.roofline_ms / row.p50_ms:.0%}",
        )  # fmt: skip
    return table


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print and write the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="three small cases, no record")
    told: Any = parser.parse_args(arguments)
    if not torch.cuda.is_available():
        print("No CUDA device: the GPU benchmark has not been run here.", file=sys.stderr)
        raise SystemExit(2)
    config = Config(cases=QUICK, repeats=5) if told.quick else Config()
    result = run(config)
    Console().print(render(result))
    if not told.quick:
        device = re.sub(r"[^a-z0-9]+", "-", result.gpu.lower()).strip("-")
        print(write_record(f"maxsim_gpu-{device}", config=asdict(config), result=asdict(result)))


if __name__ == "__main__":
    main()
