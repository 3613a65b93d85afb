"""How fast MaxSim is on the CPU: ours against what people install today, and against the machine.

    python -m experiments.bench.maxsim [--quick]

Documents of one length and of many, one query token and many, one query and many, two widths;
systems take turns, after a call that is not timed, on the threads that torch uses, and once more
while another process keeps a core busy. Also, how long the best documents of many queries take. A
system that would be slow is given fewer documents, or queries if it takes one per call, and its
time is scaled up to all; the table says to how many. Before that, each
system's scores are compared with the reference in float64, also where every similarity is below
zero, so that a padded zero would win; who is wrong is marked, and not timed if it could end the
process. ``of limit`` is the share that is reached of what bounds any
scorer here: reading its documents once, or multiplying all pairs of tokens, whichever takes longer
by speeds measured in the same run. Tokens are synthetic: see ``clustered_tokens``. Written to
``experiments/results/maxsim.json``; a quick run is not.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from torch import Tensor

from align.data.multi_vector import MultiVector
from align.scoring.late_interaction import maxsim, topk
from experiments.bench.fit_cost import Spread, spread
from experiments.bench.maxsim_machine import (
    BYTES,
    Limits,
    Memory,
    limits,
    lower_bound,
    memory_in_fresh_process,
)
from experiments.bench.maxsim_parity import Parity, parity, worst
from experiments.bench.maxsim_systems import (
    SYSTEMS,
    System,
    clustered_tokens,
    installed,
    ours,
)
from experiments.record import write_record

PROBED = 20  # documents of the call that says how many documents a system is given


@dataclass(frozen=True, slots=True)
class Config:
    """One run.

    Attributes:
        documents: Their number.
        t: Tokens of each where all have as many.
        ragged: Fewest and most tokens where they differ, drawn evenly.
        queries: Numbers of queries scored in one call, and tokens of each.
        widths: Dimensions.
        call_seconds: A call that would take longer scores fewer documents, or fewer queries.
        fewest: Documents it scores at least, so that their lengths are as varied as those of all.
        case_seconds: Spent on the timed calls of a case, about.
        rounds: Fewest and most turns of each system.
        memory: Numbers of queries, and widths, of the calls whose memory is measured.
        recall_width: Where the recall of int8 is measured, and time beside a busy process.
        k: Documents that a search asks for.
        seed: Of the tokens.
    """

    documents: int = 2_000
    t: int = 128
    ragged: tuple[int, int] = (20, 300)
    queries: tuple[tuple[int, int], ...] = ((1, 1), (1, 32), (256, 32))
    widths: tuple[int, ...] = (128, 768)
    call_seconds: float = 0.5
    fewest: int = 100
    case_seconds: float = 6.0
    rounds: tuple[int, int] = (3, 25)
    memory: tuple[tuple[int, int], ...] = ((1, 128), (256, 128))
    recall_width: int = 128
    k: int = 10
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Cell:
    """One system in one case.

    Attributes:
        system: Its name.
        scored: Documents it scored; times are scaled from these to all.
        asked: Queries it scored them with; likewise.
        rounds: Timed calls.
        milliseconds: Of all documents.
        ratio: Its median over that of ours in float32.
        bound: What no scorer of its storage can be faster than: "read" its documents once, or
            a "GEMM" of all pairs of tokens; the slower of the two on this machine.
        share: Of that bound that is reached, in [0, 1]; more where documents fit in a cache.
    """

    system: str
    scored: int
    asked: int
    rounds: int
    milliseconds: Spread
    ratio: float
    bound: str
    share: float


@dataclass(frozen=True, slots=True)
class Case:
    """All systems on the same queries and documents.

    Attributes:
        shape: "equal" or "ragged".
        q: Queries.
        s: Tokens of each.
        d: Width.
        tokens: Of all documents.
        busy: Whether another process kept one core busy.
        cells: One per system.
    """

    shape: str
    q: int
    s: int
    d: int
    tokens: int
    busy: bool
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class Search:
    """The best documents of many queries.

    Attributes:
        shape: "equal" or "ragged".
        q: Queries.
        d: Width.
        scored: Milliseconds of all scores in float32, and the best of them.
        found: Milliseconds of ``align.topk``.
        ratio: Of the medians.
        same: Whether both find the same documents.
    """

    shape: str
    q: int
    d: int
    scored: Spread
    found: Spread
    ratio: float
    same: bool


@dataclass(frozen=True, slots=True)
class Result:
    """Everything that is measured.

    Attributes:
        limits: Of the machine.
        peers: Versions of the other systems, or "absent".
        parity: Of each system at each width.
        cases: Of each shape, width and number of queries.
        searches: Of each shape and width, with the most queries.
        memory: Of ours.
        int8_recall_at_10: Share of the ten best documents by float32 that are among the ten best
            by int8, in [0, 1], by shape.
    """

    limits: Limits
    peers: dict[str, str]
    parity: tuple[Parity, ...]
    cases: tuple[Case, ...]
    searches: tuple[Search, ...]
    memory: tuple[Memory, ...]
    int8_recall_at_10: dict[str, float]


def run(config: Config) -> Result:
    """Memory in fresh processes, then parity and times in this one."""
    shapes = _shapes(config)
    most, s = max(config.queries)
    taken = [
        memory_in_fresh_process(shape, lengths, storage, q, s, d, seed=config.seed)
        for shape, lengths in shapes.items()
        for q, d in config.memory
        for storage in BYTES
    ]
    systems, peers = installed(SYSTEMS)
    machine = limits(repeats=config.rounds[1])
    checks: list[Parity] = []
    cases: list[Case] = []
    searches: list[Search] = []
    recalls: dict[str, float] = {}
    for d in config.widths:
        at_width = [
            worst([parity(each, some, d=d, s=s, seed=config.seed) for some in shapes.values()])
            for each in systems
        ]
        checks += at_width
        fit = [
            each
            for each, check in zip(systems, at_width, strict=True)
            if check.right or not each.fragile
        ]
        for shape, lengths in shapes.items():
            queries, documents = clustered_tokens(lengths, d=d, queries=most, s=s, seed=config.seed)
            total = len(documents.tokens)
            for q, each in config.queries:
                cells = timed(fit, queries[:q, :each], documents, machine, config)
                cases.append(Case(shape, q, each, d, total, False, cells))
            searches.append(searched(shape, queries, documents, config))
            if d == config.recall_width:
                recalls[shape] = int8_recall(queries, documents, k=10)
                with busy_core():
                    cells = timed(fit, queries[:1], documents, machine, config)
                cases.append(Case(shape, 1, s, d, total, True, cells))
    memory = tuple(each for each in taken if each is not None)
    return Result(machine, peers, tuple(checks), tuple(cases), tuple(searches), memory, recalls)


def searched(shape: str, queries: Tensor, documents: MultiVector, config: Config) -> Search:
    """Time both ways to the best documents in turns."""
    asked, k = MultiVector.from_equal(queries), min(config.k, len(documents))
    calls = (lambda: maxsim(asked, documents).topk(k), lambda: topk(asked, documents, k))
    same = torch.equal(*(call().indices for call in calls))
    fewest = config.rounds[0]
    taken = [[_seconds(call) * 1e3 for call in calls] for _ in range(fewest)]
    scored, found = (spread(each) for each in zip(*taken, strict=True))
    return Search(shape, len(queries), documents.dim, scored, found, scored.p50 / found.p50, same)


@contextmanager
def busy_core() -> Iterator[None]:
    """Another process computes meanwhile."""
    other = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        other.kill()
        other.wait()


def timed(
    systems: Sequence[System],
    queries: Tensor,
    documents: MultiVector,
    machine: Limits,
    config: Config,
) -> tuple[Cell, ...]:
    """Time all systems in turns, each on as many documents as its time allows."""
    given = [_given(each, queries, documents, config) for each in systems]
    calls = [
        partial(each.prepare(some), asked)
        for each, (asked, some) in zip(systems, given, strict=True)
    ]
    once = [_seconds(call) for call in calls]  # not counted: the first of each
    fewest, most = config.rounds
    rounds = max(fewest, min(most, int(config.case_seconds / sum(once))))
    taken = [[_seconds(call) for call in calls] for _ in range(rounds)]
    cells: list[Cell] = []
    for system, (asked, some), seconds in zip(
        systems, given, zip(*taken, strict=True), strict=True
    ):
        bound, least = lower_bound(system.storage, queries, documents, machine)
        scale = len(documents) / len(some) * len(queries) / len(asked)
        times = spread([each * scale * 1e3 for each in seconds])
        ratio = times.p50 / (cells[0].milliseconds if cells else times).p50  # ours is the first
        share = least * 1e3 / times.p50
        counts = len(some), len(asked), rounds
        cells.append(Cell(system.name, *counts, times, ratio, bound, share))
    return tuple(cells)


def int8_recall(queries: Tensor, documents: MultiVector, *, k: int) -> float:
    """Share of the ``k`` best documents by float32 that are among the ``k`` best by int8."""
    k = min(k, len(documents))
    best, close = (
        ours(storage)(documents)(queries).topk(k).indices for storage in ("float32", "int8")
    )
    return float((best[:, :, None] == close[:, None, :]).any(2).double().mean())


def _given(
    system: System, queries: Tensor, documents: MultiVector, config: Config
) -> tuple[Tensor, MultiVector]:
    """The first queries and documents, as many as a call may take.

    What loops over queries is given fewer of them, so that scaling its time up is exact; what
    does not is given fewer documents.
    """
    few = documents[:PROBED]
    asked = queries[:1] if system.looped else queries
    probe = partial(system.prepare(few), asked)
    probe()
    each = _seconds(probe) / len(few)
    count = max(config.fewest, int(config.call_seconds / each))
    some = documents[: count if system.most is None else min(count, system.most)]
    if system.looped:
        asked = queries[: max(1, int(config.call_seconds / (each * len(some))))]
    return asked, some


def _shapes(config: Config) -> dict[str, list[int]]:
    generator = torch.Generator().manual_seed(config.seed)
    low, high = config.ragged
    drawn = torch.randint(low, high + 1, (config.documents,), generator=generator)
    return {"equal": [config.t] * config.documents, "ragged": drawn.tolist()}


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def render(config: Config, result: Result) -> list[Table]:
    """The tables that are printed: parity, one per case, memory."""
    tables = [_parity(result)]
    tables += [_case(config, case, result) for case in result.cases]
    return [*tables, _searches(config, result), _memory(result)]


def _parity(result: Result) -> Table:
    table = Table(
        title="scores against the reference in float64: largest difference",
        caption="negative: no similarity above zero. "
        + "; ".join(f"{name} {each}" for name, each in result.peers.items()),
        box=SIMPLE_HEAD,
    )
    table.add_column("system", no_wrap=True)
    for name in ("d", "as timed", "negative", "storage explains", "right"):
        table.add_column(name, justify="right", no_wrap=True)
    for each in result.parity:
        differences = (each.difference, each.negative)
        table.add_row(
            each.system, str(each.d),
            *("crash" if value is None else f"{value:.1e}" for value in differences),
            f"{each.tolerance:.0e}", "yes" if each.right else "NO",
        )  # fmt: skip
    return table


def _case(config: Config, case: Case, result: Result) -> Table:
    lengths = f"{config.t}" if case.shape == "equal" else "{} to {}".format(*config.ragged)
    wrong = {each.system for each in result.parity if each.d == case.d and not each.right}
    timed_ones = {each.system for each in case.cells}
    table = Table(
        title=f"{case.shape}: {config.documents:,} documents of {lengths} tokens, "
        f"q = {case.q} of {case.s}, d = {case.d}" + (", one core busy" if case.busy else ""),
        caption="q x m: what is timed; times are scaled to all."
        + "".join(f" Not timed, wrong: {name}." for name in sorted(wrong - timed_ones)),
        box=SIMPLE_HEAD,
    )
    table.add_column("system", no_wrap=True)
    for name in ("ms p20", "p50", "p80", "ratio", "of limit", "q x m"):
        table.add_column(name, justify="right", no_wrap=True)
    for each in case.cells:
        taken = each.milliseconds
        table.add_row(
            each.system + (" WRONG" if each.system in wrong else ""),
            *(_digits(value) for value in (taken.p20, taken.p50, taken.p80)),
            _digits(each.ratio), f"{each.share:.0%} {each.bound}",
            f"{each.asked} x {each.scored:,}",
        )  # fmt: skip
    return table


def _searches(config: Config, result: Result) -> Table:
    table = Table(
        title=f"the best {config.k} documents of each query, float32: all scores, and align.topk",
        box=SIMPLE_HEAD,
    )
    table.add_column("documents")
    for name in ("q", "d", "scores ms", "topk ms", "ratio", "same documents"):
        table.add_column(name, justify="right")
    for each in result.searches:
        table.add_row(
            each.shape, str(each.q), str(each.d), _digits(each.scored.p50),
            _digits(each.found.p50), _digits(each.ratio), "yes" if each.same else "NO",
        )  # fmt: skip
    return table


def _digits(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def _memory(result: Result) -> Table:
    table = Table(title="peak memory of ours beyond inputs and result", box=SIMPLE_HEAD)
    table.add_column("documents")
    table.add_column("storage")
    for name in ("q", "d", "MiB"):
        table.add_column(name, justify="right")
    for each in result.memory:
        table.add_row(each.shape, each.storage, str(each.q), str(each.d), f"{each.extra_mib:,.1f}")
    return table


def notes(result: Result) -> str:
    """What is no table: the machine, and what int8 costs."""
    machine = result.limits
    peaks = ", ".join(f"{name} {each / 1e9:,.0f}" for name, each in machine.products.items())
    recalls = ", ".join(f"{name} {each:.4f}" for name, each in result.int8_recall_at_10.items())
    return (
        f"reads {machine.read / 1e9:,.1f} GB/s; multiplies, Gop/s: {peaks}\n"
        f"recall@10 of int8 against float32, before rescoring: {recalls}"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print and write the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few documents, no record")
    quick = Config(
        documents=200, queries=((1, 1), (1, 32), (32, 32)), widths=(64,),
        call_seconds=0.05, fewest=20, case_seconds=0.5, rounds=(3, 5),
        memory=((1, 64),), recall_width=64,
    )  # fmt: skip
    told: Any = parser.parse_args(arguments)
    config = quick if told.quick else Config()
    result = run(config)
    console = Console()
    for table in render(config, result):
        console.print(table)
    print(notes(result))
    if not told.quick:
        print(write_record("maxsim", config=asdict(config), result=asdict(result)))


if __name__ == "__main__":
    main()
