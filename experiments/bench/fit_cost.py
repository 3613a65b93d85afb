"""What fitting costs in seconds and memory, and what adapted queries cost beside their product.

    ISTHMUS_DATA=... python -m experiments.bench.fit_cost [--quick]

Pairs are synthetic, each its own group: 384-d and 1280-d as from MiniLM and EfficientNet-Lite0, and
200,000 of 256-d. Of those, what training on top would add is evaluated and left out; it is kept on
captions and photos of Flickr8k, which are fitted too where ISTHMUS_DATA is set. Each fit runs in a
fresh process, so that its peak memory is its own. Written to
``experiments/results/fit_cost.json``; a quick run is not.

A wrapped query goes through ``align.wrap`` to an encoder and a retriever that answer at once: what
is left is what wrapping adds, the adapter included.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from align.adapters.adapter import Adapter
from align.adapters.closed_form.rcca import rcca
from align.adapters.corrections.hubness import NNN
from align.adapters.corrections.reference_set import ReferenceSet
from align.adapters.maps.linear import LinearMap
from align.data.embeddings import PairedEmbeddings
from align.data.sides import Side
from align.fitting.model_selection.fit import Effort, fit
from align.retrieval.wrap import wrap
from experiments.bench.memory import peak_mib
from experiments.pages import markdown_table
from experiments.record import read_record, write_record
from experiments.trials import WARM_UP, call_microseconds

D_SOURCE, D_TARGET = 384, 1280
SHARED = 64  # latent dimensions that both sides see, with noise of their own in all dimensions
QUERY_PAIRS = 1000  # behind the adapter whose queries are timed
TEXT, IMAGE = f"text, {D_SOURCE}-d", f"image, {D_TARGET}-d"


@dataclass(frozen=True, slots=True)
class Case:
    """What is fitted.

    Attributes:
        n: Training pairs.
        effort: Effort of ``align.fit``; its default is ``"best"``.
        widths: Of source and target; where data are real, those of their encoders.
        data: ``"synthetic"``, or ``"flickr8k"``: some of its pairs through MiniLM and
            EfficientNet-Lite0.
        repeats: Fits, each in a process of its own.
    """

    n: int
    effort: Effort
    widths: tuple[int, int] = (D_SOURCE, D_TARGET)
    data: Literal["synthetic", "flickr8k"] = "synthetic"
    repeats: int = 3


CASES = (
    Case(1_000, "best"),
    Case(1_000, "fast"),
    Case(5_000, "best"),
    Case(5_000, "fast"),
    Case(5_000, "best", data="flickr8k"),
    Case(50_000, "best", repeats=1),
    Case(50_000, "fast", repeats=1),
    Case(200_000, "fast", widths=(256, 256), repeats=1),
)


@dataclass(frozen=True, slots=True)
class Config:
    """One run.

    Attributes:
        cases: What is fitted.
        calls: Queries timed per adapter and side.
        seed: Of the synthetic pairs.
    """

    cases: tuple[Case, ...] = CASES
    calls: int = 3000
    seed: int = 0


@dataclass(frozen=True, slots=True)
class FitCost:
    """One fit in a process of its own.

    Attributes:
        seconds: Wall-clock time of ``align.fit``.
        process_seconds: Processor time of it, over all threads.
        peak_mib: Largest resident memory of the process, libraries and data included.
        before_mib: The same just before the fit.
        data_mib: Size of the two matrices.
        chosen: The map that was chosen.
        stages: Wall-clock seconds by stage of the fit.
    """

    seconds: float
    process_seconds: float
    peak_mib: float
    before_mib: float
    data_mib: float
    chosen: str
    stages: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Spread:
    """The 20th, 50th and 80th percentile."""

    p20: float
    p50: float
    p80: float


@dataclass(frozen=True, slots=True)
class CaseCost:
    """Every fit of one case, and the spread of their wall-clock seconds."""

    case: Case
    seconds: Spread
    fits: tuple[FitCost, ...]


@dataclass(frozen=True, slots=True)
class Result:
    """All costs.

    Attributes:
        fits: Those of each case.
        query_microseconds: Spread over calls with a batch of one, by kind of query.
        batch_share: Time of the bare matrix product over that of ``queries``, for a batch of
            ``QUERY_PAIRS``, by kind of query; at most 1, measured in turns.
    """

    fits: tuple[CaseCost, ...]
    query_microseconds: dict[str, Spread]
    batch_share: dict[str, Spread]


def run(config: Config) -> Result:
    """Fit each case in fresh processes, then time queries in this one."""
    # Queries come last: this process must stay small while it starts the others, because Linux
    # counts the memory of the parent, up to the start of the program, as the child's.
    costs = []
    for case in config.cases:
        fits = tuple(_fit_in_fresh_process(case, config.seed) for _ in range(case.repeats))
        costs.append(CaseCost(case, spread([each.seconds for each in fits]), fits))
    return Result(tuple(costs), *query_costs(calls=config.calls, seed=config.seed))


def synthetic_pairs(
    n: int, *, seed: int, widths: tuple[int, int] = (D_SOURCE, D_TARGET)
) -> PairedEmbeddings:
    """Correlated pairs of two ``widths``: linear in a shared latent, and noise.

    The latent's spectrum falls as ``1 / sqrt(i)``, and noise has half of its variance.
    """
    generator = torch.Generator().manual_seed(seed)
    latent = torch.randn(n, SHARED, generator=generator)
    latent /= torch.arange(1, SHARED + 1).sqrt()

    def side(d: int) -> Tensor:
        rows = latent @ torch.randn(SHARED, d, generator=generator)
        noise = rows.std() * 0.5**0.5
        for block in torch.split(rows, 4096):  # views: large noise is never held whole
            block += noise * torch.randn(block.shape, generator=generator)
        return rows

    return PairedEmbeddings.from_arrays(side(widths[0]), side(widths[1]))


def pairs_of(case: Case, *, seed: int) -> PairedEmbeddings:
    """The training pairs of a case."""
    if case.data == "synthetic":
        return synthetic_pairs(case.n, seed=seed, widths=case.widths)
    from experiments.tasks import load_task

    pool = load_task(case.data).pool
    order = torch.randperm(len(pool), generator=torch.Generator().manual_seed(seed))
    return pool.take(order[: case.n].sort().values)


def fit_cost(case: Case, *, seed: int) -> FitCost:
    """Fit once in this process, whose peak memory must not have been set by anything else."""
    pairs = pairs_of(case, seed=seed)
    before = peak_mib()
    start, processed = time.perf_counter(), time.process_time()
    adapter = fit(pairs, effort=case.effort, progress=False)
    seconds, processed = time.perf_counter() - start, time.process_time() - processed
    data, card = (pairs.source.nbytes + pairs.target.nbytes) / 2**20, adapter.card
    stages = dict(card.seconds)
    return FitCost(seconds, processed, peak_mib(), before, data, card.method, stages)


def query_costs(*, calls: int, seed: int) -> tuple[dict[str, Spread], dict[str, Spread]]:
    """``query_microseconds`` and ``batch_share`` of ``Result``, of corrected adapters too."""
    pairs = synthetic_pairs(QUERY_PAIRS, seed=seed)
    plain = rcca(pairs.source, pairs.target)
    projected = plain.source(pairs.source), plain.target(pairs.target)
    reference = ReferenceSet(*projected, expansion=None, hubness=NNN(32, 0.5))
    corrected = Adapter(plain.source_map, plain.target_map, plain.card, reference=reference)
    found: dict[str, Spread] = {}
    shares: dict[str, Spread] = {}
    for name, adapter in (("plain", plain), ("corrected", corrected)):
        text = call_microseconds(adapter, pairs.source, side="source", calls=calls)
        image = call_microseconds(adapter, pairs.target, side="target", calls=calls)
        wrapped = wrapped_microseconds(adapter, pairs.source, calls=calls)
        found |= {f"{TEXT}, {name}": spread(text), f"{IMAGE}, {name}": spread(image)}
        found[f"{TEXT}, {name}, wrapped"] = spread(wrapped)
        batches = max(10, calls // 50)
        for side, kind, rows in (("source", TEXT, pairs.source), ("target", IMAGE, pairs.target)):
            shares[f"{kind}, {name}"] = spread(
                batch_shares(adapter, rows, side=side, batches=batches)
            )
    return found, shares


def batch_shares(adapter: Adapter, rows: Tensor, *, side: Side, batches: int) -> list[float]:
    """Time of the product with the weight of a linear map over that of ``queries``, in turns."""
    side_map = adapter.source_map if side == "source" else adapter.target_map
    assert isinstance(side_map, LinearMap)
    shares = []
    for _ in range(WARM_UP + batches):
        start = time.perf_counter()
        rows @ side_map.weight
        between = time.perf_counter()
        adapter.queries(rows, side=side)
        shares.append((between - start) / (time.perf_counter() - between))
    return shares[WARM_UP:]


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """An encoder whose items are vectors already."""

    dim: int = D_SOURCE
    modality: str = "text"
    fingerprint: str = "prepared"

    def encode(self, items: Sequence[Tensor], *, progress: bool = False) -> Tensor:
        """The one item, ``(1, dim)``."""
        return items[0]


def wrapped_microseconds(adapter: Adapter, rows: Tensor, *, calls: int) -> list[float]:
    """Times of a search for one item through ``wrap``, as ``call_microseconds`` takes them."""
    ids, scores = [list(range(10))], np.linspace(1, 0, 10)[None]
    wrapped = wrap(lambda vectors, k: (ids, scores), adapter, Prepared())

    class Searched:
        def queries(self, x: Tensor, *, side: Side) -> object:
            return wrapped.search([x])

    return call_microseconds(Searched(), rows, side="source", calls=calls)


def costs() -> str:
    """Seconds and memory of every case, for a page."""
    found: dict[tuple[int, str, str], dict[str, Mapping[str, Any]]] = {}
    for each in read_record("fit_cost")["result"]["fits"]:
        case = each["case"]
        widths = ", ".join(map(str, case["widths"]))
        found.setdefault((case["n"], case["data"], widths), {})[case["effort"]] = each
    rows = []
    for (n, data, widths), efforts in found.items():
        cells: list[str] = []
        for effort in ("best", "fast"):
            if effort not in efforts:
                cells += ["", ""]
                continue
            peak = max(fit["peak_mib"] for fit in efforts[effort]["fits"]) / 2**10
            cells += [f"{efforts[effort]['seconds']['p50']:.1f}", f"{peak:.1f} GiB"]
        told = f"{n:,}" if data == "synthetic" else f"{n:,} of {data}"
        rows.append([told, widths, *cells])
    header = ("pairs", "widths", "default, seconds", "default, peak memory", "fast, seconds",
              "fast, peak memory")  # fmt: skip
    return markdown_table(header, rows)


def spread(values: Sequence[float]) -> Spread:
    """Percentiles of a sample, with linear interpolation."""
    levels = torch.tensor([0.2, 0.5, 0.8], dtype=torch.float64)
    return Spread(*torch.tensor(values, dtype=torch.float64).quantile(levels).tolist())


def _fit_in_fresh_process(case: Case, seed: int) -> FitCost:
    told = json.dumps({**asdict(case), "seed": seed})
    command = [sys.executable, "-m", "experiments.bench.fit_cost", "--one", told]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=root)
    return FitCost(**json.loads(done.stdout))


def render(result: Result) -> tuple[Table, ...]:
    """The tables that are printed."""
    fits = Table(title="align.fit")
    fits.add_column("pairs")
    for name in ("s p20", "s p50", "s p80", "peak MiB", "before", "data"):
        fits.add_column(name, justify="right")
    for cost in result.fits:
        case, worst = cost.case, max(cost.fits, key=lambda each: each.peak_mib)
        memory = (worst.peak_mib, worst.before_mib, worst.data_mib)
        source, target = case.widths
        name = f"{case.n:,} {case.data}, {source} x {target}, {case.effort}"
        fits.add_row(name, *_cells(cost.seconds, 2), *(f"{mib:,.0f}" for mib in memory))
    queries = Table(title="one adapted query, microseconds")
    queries.add_column("query")
    for name in ("p20", "p50", "p80"):
        queries.add_column(name, justify="right")
    for name, taken in result.query_microseconds.items():
        queries.add_row(name, *_cells(taken, 1))
    shares = Table(title=f"speed of {QUERY_PAIRS:,} adapted queries over that of their product")
    shares.add_column("queries")
    for name in ("p20", "p50", "p80"):
        shares.add_column(name, justify="right")
    for name, share in result.batch_share.items():
        shares.add_row(name, *_cells(share, 2))
    return fits, queries, shares


def _cells(values: Spread, digits: int) -> list[str]:
    return [f"{each:.{digits}f}" for each in (values.p20, values.p50, values.p80)]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print and write the record; with ``--one``, fit once and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one small fit, no record")
    parser.add_argument("--one", metavar="CASE", help="fit once in this process: a case as JSON")
    told: Any = parser.parse_args(arguments)
    if told.one:
        asked = json.loads(told.one)
        seed, widths = asked.pop("seed"), tuple(asked.pop("widths"))
        print(json.dumps(asdict(fit_cost(Case(**asked, widths=widths), seed=seed))))
        return
    config = Config()
    if told.quick:
        config = Config(cases=(Case(300, "best", repeats=1),), calls=300)
    elif "ISTHMUS_DATA" not in os.environ:
        config = Config(cases=tuple(case for case in CASES if case.data == "synthetic"))
    result = run(config)
    console = Console()
    for table in render(result):
        console.print(table)
    if not told.quick:
        print(write_record("fit_cost", config=asdict(config), result=asdict(result)))


if __name__ == "__main__":
    main()
