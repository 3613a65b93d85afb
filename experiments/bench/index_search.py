"""How fast an index answers and opens, beside the exact index of faiss on the same threads.

    python -m experiments.bench.index_search [--quick]

Vectors are random and of unit norm. Systems take turns, so that what else the machine does meets
all of them. Without faiss (``pip install faiss-cpu``) its part is left out, and the record says so.
Written to ``experiments/results/index_search.json``; a quick run is not.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table
from torch import Tensor

from align.data.multi_vector import MultiVector
from align.retrieval.index.index import Index
from experiments.bench.fit_cost import Spread, spread
from experiments.record import write_record

OURS, FAISS = "isthmus", "faiss IndexFlatIP"


@dataclass(frozen=True, slots=True)
class Config:
    """One run.

    Attributes:
        items: Items of one vector that are searched exactly.
        dim: Their width.
        batches: Queries asked at a time.
        k: Hits per query.
        repeats: Timed searches of each system and batch.
        documents: Items of several vectors that are searched coarse to fine.
        vectors: Vectors of each of them.
        width: Width of those vectors.
        asking: Vectors of a query for them.
        candidates: Documents per query that are scored exactly, chosen by the first vector.
        opened: Items of width ``dim`` in the index that is opened.
        seed: Of all vectors.
    """

    items: int = 100_000
    dim: int = 256
    batches: tuple[int, ...] = (1, 64)
    k: int = 10
    repeats: int = 25
    documents: int = 100_000
    vectors: int = 8
    width: int = 128
    asking: int = 4
    candidates: int = 200
    opened: int = 1_000_000
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Exact:
    """Exact searches of one batch size.

    Attributes:
        queries: Queries asked at a time.
        milliseconds: Spread over repeats, by system.
        ratio: Ours over faiss in the same turn; ``None`` without faiss.
        same: Share of hits that both name; ``None`` without faiss.
    """

    queries: int
    milliseconds: dict[str, Spread]
    ratio: Spread | None
    same: float | None


@dataclass(frozen=True, slots=True)
class Result:
    """All times.

    Attributes:
        faiss: Its version, or ``None`` where it is not installed.
        threads: Threads of both systems.
        exact: Exact search, by batch size.
        cascade_milliseconds: One query at a time, coarse to fine.
        open_seconds: Opening the large index and finding one id.
        open_bytes: Size of its folder.
    """

    faiss: str | None
    threads: int
    exact: tuple[Exact, ...]
    cascade_milliseconds: Spread
    open_seconds: Spread
    open_bytes: int


def run(config: Config) -> Result:
    """Measure exact search, the cascade and opening, one after the other."""
    generator = torch.Generator().manual_seed(config.seed)
    faiss = _faiss()
    with TemporaryDirectory() as folder:
        home = Path(folder)
        exact = _exact(config, home / "exact", faiss, generator)
        cascade = _cascade(config, home / "cascade", generator)
        opened, size = _open(config, home / "large", generator)
    version = None if faiss is None else str(faiss.__version__)
    return Result(version, torch.get_num_threads(), exact, cascade, opened, size)


def in_turns(calls: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Seconds of each call, the calls taking turns; each is made once before."""
    found: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(repeats + 1):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if turn:
                found[name].append(time.perf_counter() - start)
    return found


def _faiss() -> Any:
    try:
        return import_module("faiss")
    except ImportError:
        return None


def _unit(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return F.normalize(torch.randn(shape, generator=generator), dim=-1)


def _names(count: int) -> list[str]:
    return [f"item {row}" for row in range(count)]


def _milliseconds(seconds: Sequence[float]) -> Spread:
    return spread([1e3 * each for each in seconds])


def _exact(
    config: Config, folder: Path, faiss: Any, generator: torch.Generator
) -> tuple[Exact, ...]:
    items = _unit((config.items, config.dim), generator)
    made = Index.create(folder)
    made.add(_names(config.items), items)
    made.save()
    index = Index.open(folder)
    flat = None
    if faiss is not None:
        faiss.omp_set_num_threads(torch.get_num_threads())
        flat = faiss.IndexFlatIP(config.dim)
        flat.add(items.numpy())
    return tuple(
        _batch(config, index, flat, _unit((q, config.dim), generator)) for q in config.batches
    )


def _batch(config: Config, index: Index, flat: Any, queries: Tensor) -> Exact:
    calls: dict[str, Callable[[], Any]] = {OURS: lambda: index.search(queries, k=config.k)}
    if flat is not None:
        calls[FAISS] = lambda: flat.search(queries.numpy(), config.k)
    seconds = in_turns(calls, config.repeats)
    ratio = same = None
    if flat is not None:
        ratio = spread([a / b for a, b in zip(seconds[OURS], seconds[FAISS], strict=True)])
        theirs = [{f"item {row}" for row in rows} for rows in calls[FAISS]()[1].tolist()]
        ours = [{hit.id for hit in hits} for hits in calls[OURS]()]
        shared = [len(a & b) for a, b in zip(ours, theirs, strict=True)]
        same = sum(shared) / (config.k * len(shared))
    times = {name: _milliseconds(each) for name, each in seconds.items()}
    return Exact(len(queries), times, ratio, same)


def _cascade(config: Config, folder: Path, generator: torch.Generator) -> Spread:
    items = _unit((config.documents, config.vectors, config.width), generator)
    made = Index.create(folder)
    made.add(_names(config.documents), MultiVector.from_equal(items))
    made.save()
    index = Index.open(folder)
    queries = MultiVector.from_equal(
        _unit((config.repeats + 1, config.asking, config.width), generator)
    )
    turns = iter(range(len(queries)))

    def ask() -> None:
        at = next(turns)
        index.search(queries[at : at + 1], k=config.k, candidates=config.candidates)

    return _milliseconds(in_turns({OURS: ask}, config.repeats)[OURS])


def _open(config: Config, folder: Path, generator: torch.Generator) -> tuple[Spread, int]:
    made = Index.create(folder)
    made.add(_names(config.opened), _unit((config.opened, config.dim), generator))
    made.save()
    last = f"item {config.opened - 1}"
    seconds = in_turns({OURS: lambda: last in Index.open(folder)}, config.repeats)[OURS]
    return spread(seconds), sum(file.stat().st_size for file in folder.rglob("*.*"))


def render(result: Result) -> Table:
    """The table that is printed."""
    table = Table(title=f"search on {result.threads} threads, faiss {result.faiss or 'absent'}")
    for name in ("what", "system", "p20", "p50", "p80"):
        table.add_column(name, justify="left" if name in ("what", "system") else "right")
    for exact in result.exact:
        for system, times in exact.milliseconds.items():
            table.add_row(f"{exact.queries} queries, ms", system, *_cells(times))
        if exact.ratio is not None:
            table.add_row("", "ratio", *_cells(exact.ratio))
    table.add_row("coarse to fine, ms a query", OURS, *_cells(result.cascade_milliseconds))
    table.add_row("open, s", OURS, *_cells(result.open_seconds))
    return table


def _cells(values: Spread) -> list[str]:
    return [f"{each:.3g}" for each in (values.p20, values.p50, values.p80)]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print and write the record."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small sizes, no record")
    told = parser.parse_args(arguments)
    quick = Config(items=5000, repeats=3, documents=500, candidates=50, opened=2000)
    config = quick if told.quick else Config()
    result = run(config)
    Console().print(render(result))
    if not told.quick:
        print(write_record("index_search", config=asdict(config), result=asdict(result)))


if __name__ == "__main__":
    main()
