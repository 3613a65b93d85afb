"""What measuring costs: our probes against the calls that people make today, and whole reports.

    python -m experiments.bench.probes [--quick]

Four tables: the value of each quantity once, by ours and by the naive call; a row of a report,
that is the value with 1,000 bootstrap draws and its null, against calling the naive function again
on resamples, of which a few are timed and the rest extrapolated; the standard report, each in
a fresh process, so that its peak memory is its own; and what its dearest probes take of the
processor. Pairs are synthetic. Ours and naive take turns
and use the threads that the machine gives. Written to ``experiments/results/probes.json``; a quick
run is not.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from statistics import median
from typing import Any

import torch
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from torch import Tensor

from align.metrics.bootstrap import resamples
from experiments.bench.quantities import GROMOV_PAIRS, QUANTITIES, Quantity
from experiments.bench.report_cost import ReportCost, in_fresh_process, synthetic_pairs
from experiments.pages import markdown_table
from experiments.record import read_record, write_record
from probes.inputs import UnreliableEstimate
from probes.space import Probe, Space

_SHOWN = 20  # probes in the profile that is printed


@dataclass(frozen=True, slots=True)
class Config:
    """One run.

    Attributes:
        n: Pairs behind the values and the rows.
        d: Width of both sides there.
        repeats: Timed turns of each value, after one that is not.
        draws: Bootstrap draws of a row.
        resamples: Resamples on which the naive call is timed.
        reports: Pairs, width of the source and width of the target, for each whole report.
        seed: Of the synthetic pairs and of the draws.
    """

    n: int = 1_000
    d: int = 384
    repeats: int = 3
    draws: int = 1_000
    resamples: int = 5
    reports: tuple[tuple[int, int, int], ...] = (
        (1_000, 384, 1280),
        (5_000, 384, 1280),
        (1_000, 384, 384),
        (100_000, 384, 384),
    )
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Value:
    """One quantity, once by ours and once by the naive call.

    Attributes:
        name: The quantity.
        calls: What the naive way calls.
        ours: Our value.
        naive: Theirs.
        difference: Of the two, relative to theirs.
        tolerance: Up to which they count as equal; ``None`` where definitions differ.
        equal: Whether they are; ``None`` where definitions differ.
        ours_seconds: Median over turns.
        naive_seconds: Median over turns.
        ratio: Theirs over ours.
    """

    name: str
    calls: str
    ours: float
    naive: float
    difference: float
    tolerance: float | None
    equal: bool | None
    ours_seconds: float
    naive_seconds: float
    ratio: float


@dataclass(frozen=True, slots=True)
class RowCost:
    """One row of a report against the naive call on resamples.

    Attributes:
        name: The quantity.
        ours_seconds: Our value, its null and all draws, nothing shared with other rows.
        naive_seconds: One naive call on one resample, median; without a null.
        extrapolated_seconds: The same times the number of draws: not measured.
        ratio: Extrapolated over ours.
    """

    name: str
    ours_seconds: float
    naive_seconds: float
    extrapolated_seconds: float
    ratio: float


@dataclass(frozen=True, slots=True)
class Result:
    """All costs.

    Attributes:
        values: Of each quantity.
        rows: Of each quantity whose naive value is that of a row.
        reports: Of each size.
    """

    values: tuple[Value, ...]
    rows: tuple[RowCost, ...]
    reports: tuple[ReportCost, ...]


def run(config: Config) -> Result:
    """Reports in fresh processes, then values and rows in this one."""
    # Reports come first: this process must stay small while it starts the others, because Linux
    # counts the memory of the parent, up to the start of the program, as the child's.
    reports = tuple(in_fresh_process(*each, seed=config.seed) for each in config.reports)
    widths = config.d, config.d
    source, target = synthetic_pairs(config.n, widths, seed=config.seed, one_space=True)
    values = tuple(value_of(each, source, target, repeats=config.repeats) for each in QUANTITIES)
    rows = tuple(
        row_cost(each, each.probe, source, target, config)
        for each in QUANTITIES
        if each.probe is not None
    )
    return Result(values, rows, reports)


def value_of(quantity: Quantity, source: Tensor, target: Tensor, *, repeats: int) -> Value:
    """Both ways of measuring one quantity, in turns after a first one that is not timed."""
    x, y = source.numpy(), target.numpy()
    turns = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnreliableEstimate)  # the cost is asked for, not the value
        ours, theirs = quantity.ours(source, target), quantity.naive(x, y)
        for _ in range(repeats):
            turn = (
                _seconds(lambda: quantity.ours(source, target)),
                _seconds(lambda: quantity.naive(x, y)),
            )
            turns.append(turn)
    ours_seconds, naive_seconds = (median(each) for each in zip(*turns, strict=True))
    difference = abs(ours - theirs) / abs(theirs)
    tolerance = quantity.tolerance
    return Value(
        quantity.name, quantity.calls, ours, theirs, difference,
        tolerance, None if tolerance is None else difference <= tolerance,
        ours_seconds, naive_seconds, naive_seconds / ours_seconds,
    )  # fmt: skip


def row_cost(
    quantity: Quantity, probe: Probe, source: Tensor, target: Tensor, config: Config
) -> RowCost:
    """A row of a report, and the naive call on the first few of the same resamples."""
    generator = torch.Generator().manual_seed(config.seed)
    weights = torch.cat(list(resamples(torch.arange(len(source)), config.draws, generator)))
    ours = _seconds(lambda: reading(probe, source, target, weights))
    calls = []
    for drawn in weights[: config.resamples]:
        again = torch.arange(len(source)).repeat_interleave(drawn.long())
        x, y = source[again].numpy(), target[again].numpy()
        calls.append(_seconds(partial(quantity.naive, x, y)))
    naive_seconds = median(calls)
    extrapolated = naive_seconds * config.draws
    return RowCost(quantity.name, ours, naive_seconds, extrapolated, extrapolated / ours)


def reading(
    probe: Probe, source: Tensor, target: Tensor, weights: Tensor
) -> tuple[float, Tensor | None]:
    """The value of a row and of each of its draws, if it has any, from a space without a past."""
    codes = torch.arange(len(source))
    # What trustworthiness compares with: the target stands for the source before some map.
    space = Space(source, target, codes, before=Space(target, source, codes))
    measured = probe.measure(space)
    if measured.replicate is None:
        return measured.value, None
    drawn = weights if measured.rows is None else weights[:, measured.rows]
    return measured.value, measured.replicate(drawn)


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def render(config: Config, result: Result) -> tuple[Table, ...]:
    """The tables that are printed."""
    return _values(config, result), _rows(config, result), _reports(result), _profile(result)


def _values(config: Config, result: Result) -> Table:
    table = Table(
        title=f"one value, {config.n:,} pairs, {config.d}-d",
        caption=f"-: defined differently, only time is compared. Gromov-Wasserstein on the first "
        f"{GROMOV_PAIRS} pairs.",
        box=SIMPLE_HEAD,
    )
    for name in ("quantity", "naive call"):
        table.add_column(name)
    for name in ("ours ms", "naive ms", "ratio", "differ", "equal"):
        table.add_column(name, justify="right")
    for each in result.values:
        said = "-" if each.equal is None else "yes" if each.equal else "NO"
        table.add_row(
            each.name, each.calls, f"{each.ours_seconds * 1e3:,.1f}",
            f"{each.naive_seconds * 1e3:,.1f}", f"{each.ratio:,.1f}",
            f"{each.difference:.0e}", said,
        )  # fmt: skip
    once = {each.name for each in result.rows}
    same = [each for each in result.values if each.equal and each.name in once]
    ours = sum(each.ours_seconds for each in same)
    theirs = sum(each.naive_seconds for each in same)
    table.add_section()
    table.add_row(
        f"{len(same)} rows of a report, equal", "", f"{ours * 1e3:,.1f}",
        f"{theirs * 1e3:,.1f}", f"{theirs / ours:,.1f}",
    )  # fmt: skip
    return table


def _rows(config: Config, result: Result) -> Table:
    table = Table(
        title=f"one row of a report: value, null and {config.draws:,} draws",
        caption=f"naive: median of {config.resamples} calls on resamples, without a null; "
        f"times {config.draws:,} is extrapolated, not measured",
        box=SIMPLE_HEAD,
    )
    table.add_column("quantity")
    for name in ("ours s", "naive call s", f"x {config.draws:,}, extrapolated s", "ratio"):
        table.add_column(name, justify="right")
    for each in result.rows:
        table.add_row(
            each.name, f"{each.ours_seconds:.3f}", f"{each.naive_seconds:.3f}",
            f"{each.extrapolated_seconds:,.0f}", f"{each.ratio:,.0f}",
        )  # fmt: skip
    return table


def _reports(result: Result) -> Table:
    table = Table(
        title="probes.report, standard probes, with an adapter; each in a fresh process",
        box=SIMPLE_HEAD,
    )
    for name in (
        "pairs", "widths", "measured", "rows", "undefined before", "imports s", "s", "processor s",
        "peak MiB", "before MiB",
    ):  # fmt: skip
        table.add_column(name, justify="right")
    for each in result.reports:
        table.add_row(
            f"{each.n:,}", f"{each.d_source}, {each.d_target}", f"{each.measured:,}",
            str(each.rows), str(each.undefined), f"{each.imports_seconds:.1f}",
            f"{each.seconds:.1f}", f"{each.processor_seconds:.1f}",
            f"{each.peak_mib:,.0f}", f"{each.before_mib:,.0f}",
        )  # fmt: skip
    rules = {rule for each in result.reports for rule in each.rules}
    table.caption = " ".join(sorted(rules)) or None
    return table


def _profile(result: Result) -> Table:
    table = Table(
        title="the dearest probes of a report, all states together: value and null, and draws",
        caption="seconds of the processor; what several probes share counts where it came first",
        box=SIMPLE_HEAD,
    )
    table.add_column("")
    for each in result.reports:
        table.add_column(f"{each.n:,} pairs, {each.d_source}, {each.d_target}")
    for place in range(_SHOWN if result.reports else 0):
        row = (each.probes[place] for each in result.reports)
        table.add_row(
            str(place + 1),
            *(f"{p.name} {p.measure_seconds:.2f} + {p.draws_seconds:.2f}" for p in row),
        )
    return table


QUICK = Config(n=200, d=32, repeats=1, resamples=1, reports=((100, 16, 24),))


def costs() -> str:
    """Seconds and memory of a report by size, for a page."""
    rows = []
    for each in read_record("probes")["result"]["reports"]:
        sample = "" if each["measured"] == each["n"] else f", a sample of {each['measured']:,}"
        rows.append(
            [
                f"{each['n']:,}{sample}",
                f"{each['d_source']}, {each['d_target']}",
                f"{each['seconds']:.1f}",
                f"{each['peak_mib'] / 2**10:.1f} GiB",
            ]
        )
    return markdown_table(("pairs", "widths", "seconds", "peak memory"), rows)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print and write the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small sizes, no record")
    told: Any = parser.parse_args(arguments)
    config = QUICK if told.quick else Config()
    result = run(config)
    console = Console()
    for table in render(config, result):
        console.print(table)
    if not told.quick:
        print(write_record("probes", config=asdict(config), result=asdict(result)))


if __name__ == "__main__":
    main()
