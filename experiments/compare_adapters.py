"""Our adapter beside what people use today: one table for one data set and one number of pairs.

    python -m experiments.compare_adapters --data flickr8k --n 1000 [--draws 3] [--quick]

Every system is fitted on the same pairs, drawn without replacement from the training pool, and
judged by ``align.evaluate`` on the same held-out gallery. Captions, or words, are the source;
pictures, or code, the target. The table is printed and written, with every interval, to
``experiments/results/compare_adapters-DATA-N.json``; a quick run, which shows only that everything
works, is not written.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from rich.console import Console
from rich.table import Table
from torch import Tensor

from align.adapters.adapter import Adapter
from align.adapters.closed_form.asif import asif
from align.adapters.closed_form.csa import csa
from align.adapters.closed_form.procrustes import procrustes
from align.adapters.closed_form.rcca import cca, rcca
from align.adapters.corrections.hubness import NNN
from align.adapters.corrections.reference_set import ReferenceSet
from align.data.embeddings import PairedEmbeddings
from align.fitting.model_selection.fit import fit
from align.metrics.evaluation import Estimate
from experiments import baselines
from experiments.record import write_record
from experiments.tasks import TASKS, Task, load_task
from experiments.trials import Fit, Fitted, Row, on_draws, summarise

OURS = "align.fit"
QUICK_PAIRS, QUICK_STEPS = 300, 5
ANCHORS = 800  # of ASIF, as published


@dataclass(frozen=True, slots=True)
class Config:
    """One run.

    Attributes:
        data: Name of a task in ``experiments.tasks``.
        n: Training pairs.
        draws: Training sets; set ``s`` is drawn, and baselines start, from seed ``s``.
        steps: Updates of every trained baseline instead of its own number, or ``None``.
    """

    data: str
    n: int
    draws: int = 3
    steps: int | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """The table.

    Attributes:
        gallery: Held-out pairs.
        pool: Pairs that training sets were drawn from.
        rows: One per system.
        chosen: What ``align.fit`` chose in each draw, in words.
    """

    gallery: int
    pool: int
    rows: tuple[Row, ...]
    chosen: tuple[str, ...]


def run(config: Config) -> Result:
    """Load the task and compare on it.

    Raises:
        ValueError: The task does not exist, or has fewer than ``n`` training pairs.
        FileNotFoundError: The data of the task are not there.
    """
    return compare_on(load_task(config.data), config)


def compare_on(task: Task[PairedEmbeddings], config: Config) -> Result:
    """Fit every system on draws from the pool of a task and evaluate each on its gallery.

    Raises:
        ValueError: The pool has fewer than ``n`` pairs.
    """
    chosen: list[str] = []

    def ours(train: PairedEmbeddings, seed: int) -> Adapter:
        adapter = fit(train)
        chosen.append(f"{adapter.card.method}: {adapter.card.verdict}")
        return adapter

    # The first optimiser of a process loads modules for seconds; no system should be charged.
    baselines.linear_info_nce(task.pool.source[:2], task.pool.target[:2], seed=0, steps=1)
    trials = on_draws(
        task,
        n=config.n,
        draws=config.draws,
        systems=lambda train: systems(config, train) | {OURS: ours},
    )
    rows = tuple(summarise(name, found, trials[OURS]) for name, found in trials.items())
    return Result(len(task.gallery), len(task.pool), rows, tuple(chosen))


def systems(config: Config, train: PairedEmbeddings) -> dict[str, Fit]:
    """The alternatives in the order of the table; the raw cosine only where widths agree."""
    trained: dict[str, Callable[..., baselines.Heads]] = {
        "linear heads, InfoNCE": baselines.linear_info_nce,
        "MLP heads, InfoNCE": baselines.mlp_info_nce,
        "MLP heads, FuseMix": baselines.mlp_fusemix,
        "ReLU projection, N-pairs": baselines.projection_n_pairs,
    }
    steps = {} if config.steps is None else {"steps": config.steps}
    found: dict[str, Fit] = {}
    if train.source.shape[1] == train.target.shape[1]:
        found["raw cosine"] = baselines.raw_cosine
    found |= {
        "plain CCA": _closed(cca),
        "CSA": _closed(csa),
        "ASIF": _closed(partial(asif, k=min(ANCHORS, config.n))),
    }
    found |= {name: _seeded(partial(each, **steps)) for name, each in trained.items()}
    return found | {
        "Procrustes": _closed(procrustes),
        "ridge both ways, tuned": _seeded(baselines.tuned_ridge),
        "RCCA, k = 3": _closed(partial(rcca, ridge=(3.0, 3.0))),
        "RCCA, k = 1": _closed(partial(rcca, ridge=(1.0, 1.0))),
        "RCCA, k = 1, NNN(32, 0.5)": _corrected_rcca,
    }


def _closed(method: Callable[[Tensor, Tensor], Adapter]) -> Fit:
    return lambda train, seed: method(train.source, train.target)


def _seeded(method: Callable[..., Fitted]) -> Fit:
    return lambda train, seed: method(train.source, train.target, seed=seed)


def _corrected_rcca(train: PairedEmbeddings, seed: int) -> Adapter:
    plain = rcca(train.source, train.target, ridge=(1.0, 1.0))
    projected = plain.source(train.source), plain.target(train.target)
    reference = ReferenceSet(*projected, expansion=None, hubness=NNN(32, 0.5))
    return Adapter(plain.source_map, plain.target_map, plain.card, reference=reference)


def render(config: Config, result: Result) -> Table:
    """The table as it is printed: metrics in per cent, each with its 95 % interval or without."""
    draws = "1 draw" if config.draws == 1 else f"mean of {config.draws} draws"
    table = Table(
        title=f"{config.data}: {config.n:,} training pairs, {result.gallery:,} in the gallery; "
        f"mean of both directions, {draws}, per cent",
        # The backslash keeps rich from reading "[low, high]" as a style.
        caption=r"\[low, high]: 95 % bootstrap interval over queries and draws; us: one source "
        "query; trained: by gradient descent; stored: kept for use",
    )
    table.add_column("system", no_wrap=True)
    gain = f"MRR of {OURS} minus its"
    for name in ("R@1", "R@5", "R@10", "MRR", gain, "fit s", "us", "trained", "stored"):
        table.add_column(name, justify="right", no_wrap=name != gain)
    for row in result.rows:
        at_1, at_5, at_10, mrr = row.metrics.values()
        table.add_row(
            row.system,
            f"{100 * at_1.value:.1f}",
            f"{100 * at_5.value:.1f}",
            _bounded(at_10),
            _bounded(mrr),
            "" if row.system == OURS else _bounded(row.gain["mean_reciprocal_rank"], "+"),
            f"{row.fit_seconds:.2f}",
            f"{row.query_microseconds['source']:.0f}",
            _short(row.trained),
            _short(row.stored),
            style="bold" if row.system == OURS else None,
        )
    return table


def _bounded(estimate: Estimate, sign: str = "") -> str:
    value, low, high = (
        f"{100 * each:{sign}.1f}" for each in (estimate.value, estimate.low, estimate.high)
    )
    return f"{value} [{low}, {high}]"


def _short(count: int) -> str:
    return f"{count / 1e6:.2f} M" if count else "0"


def main(arguments: Sequence[str] | None = None) -> None:
    """Compare, print the table and write the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", choices=tuple(TASKS), default="flickr8k")
    parser.add_argument("--n", type=int, default=1000, help="training pairs")
    parser.add_argument("--draws", type=int, default=3, help="training sets drawn")
    parser.add_argument(
        "--quick", action="store_true", help="few pairs, one draw, hardly any steps, no record"
    )
    told: Any = parser.parse_args(arguments)
    config = Config(told.data, told.n, told.draws)
    if told.quick:
        config = Config(told.data, min(told.n, QUICK_PAIRS), 1, QUICK_STEPS)
    result = run(config)
    # Wide enough for every column wherever the output goes.
    Console(width=170).print(render(config, result))
    for seed, choice in enumerate(result.chosen):
        print(f"draw {seed}: {choice}")
    if not told.quick:
        name = f"compare_adapters-{config.data}-{config.n}"
        print(write_record(name, config=asdict(config), result=asdict(result)))


if __name__ == "__main__":
    main()
