"""What recall can be had at so many pairs, and which step gives it: one table, one figure.

    python -m experiments.frontier --data flickr8k --n 1000 [--draws 3] [--brief] [--quick]

Every system is fitted on the same pairs, drawn without replacement from the training pool, and
judged by ``align.evaluate`` on the same held-out gallery, in both directions. The rows are what
anyone would try first, then ``align.fit`` at each effort, then what was tried to go further and is
not part of it, which ``--brief`` leaves out. Nothing here is chosen on the gallery. The record is
``experiments/results/frontier-DATA-N.json``, with a figure beside it; a quick run is not written.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from align.adapters.adapter import Adapter
from align.adapters.closed_form.procrustes import procrustes
from align.adapters.closed_form.rcca import rcca
from align.adapters.trainable import residual
from align.data.embeddings import PairedEmbeddings
from align.fitting.model_selection.fit import fit
from align.fitting.training.config import TrainConfig
from align.fitting.training.train import train as train_adapter
from experiments.baselines import raw_cosine, tuned_ridge
from experiments.record import RESULTS, write_record
from experiments.tasks import TASKS, Task, load_task
from experiments.trials import Fit, Fitted, Row, Trial, on_draws, summarise

BEST = "align.fit"
QUICK_PAIRS = 300
STEPS, RATE = 100, 1e-4  # of plain training on top of a closed form
HIDDEN = 1024


@dataclass(frozen=True, slots=True)
class Config:
    """One run.

    Attributes:
        data: Name of a task in ``experiments.tasks``.
        n: Training pairs.
        draws: Training sets; set ``s`` is drawn from seed ``s``.
        brief: Whether to leave out what was tried and is no part of ``align.fit``.
    """

    data: str
    n: int
    draws: int = 3
    brief: bool = False


@dataclass(frozen=True, slots=True)
class Result:
    """The table.

    Attributes:
        gallery: Held-out pairs.
        pool: Pairs that training sets were drawn from.
        rows: One per system.
        cells: R@1 and R@10 of each system in each draw, mean of both directions, in [0, 1].
        chosen: What ``align.fit`` chose in each draw, in words.
    """

    gallery: int
    pool: int
    rows: tuple[Row, ...]
    cells: Mapping[str, tuple[tuple[float, float], ...]]
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

    def compared(train: PairedEmbeddings) -> dict[str, Fit]:
        known = systems(train, chosen.append)
        return known if config.brief else known | tried(task.pool, fit(train, effort="fast"))

    trials = on_draws(task, n=config.n, draws=config.draws, systems=compared)
    rows = tuple(summarise(name, found, trials[BEST]) for name, found in trials.items())
    cells = {name: tuple(map(_recalls, found)) for name, found in trials.items()}
    return Result(len(task.gallery), len(task.pool), rows, cells, tuple(chosen))


def systems(train: PairedEmbeddings, tell: Callable[[str], None]) -> dict[str, Fit]:
    """What anyone would try first, then ``align.fit``; ``tell`` gets its verdict."""

    def best(pairs: PairedEmbeddings, seed: int) -> Fitted:
        adapter = fit(pairs)
        tell(f"{adapter.card.method}: {adapter.card.verdict}")
        return adapter

    found: dict[str, Fit] = {}
    if train.source.shape[1] == train.target.shape[1]:
        found["raw cosine"] = raw_cosine
    return found | {
        "Procrustes": lambda pairs, seed: procrustes(pairs.source, pairs.target),
        "ridge both ways, tuned": lambda pairs, seed: tuned_ridge(
            pairs.source, pairs.target, seed=seed
        ),
        "RCCA, k = 1": lambda pairs, seed: rcca(pairs.source, pairs.target, ridge=(1.0, 1.0)),
        'align.fit, effort="fast"': lambda pairs, seed: fit(pairs, effort="fast"),
        BEST: best,
    }


def tried(pool: PairedEmbeddings, closed: Adapter) -> dict[str, Fit]:
    """What was tried to go further and is no part of ``align.fit``.

    Args:
        pool: Its other items go without a partner into means and covariances.
        closed: ``align.fit`` at effort ``"fast"``, from which plain training starts.
    """
    return {
        "fast + unpaired rest of the pool": partial(_with_unpaired, pool),
        "fast, then linear residual": partial(_trained, closed, "linear"),
        "fast, then MLP residual": partial(_trained, closed, "mlp"),
    }


def _with_unpaired(pool: PairedEmbeddings, pairs: PairedEmbeddings, seed: int) -> Adapter:
    """The pool's other items as if nobody knew who belongs to whom."""
    known = set(pairs.ids)
    rest = [row for row, name in enumerate(pool.ids) if name not in known]
    if not rest:
        return fit(pairs, effort="fast")
    others = pool.take(rest)
    return fit(pairs, effort="fast", unpaired_source=others.source, unpaired_target=others.target)


def _trained(closed: Adapter, kind: Any, pairs: PairedEmbeddings, seed: int) -> Adapter:
    """Plain training beside what the closed form makes of the pairs that it was fitted on."""
    drawn: dict[str, Any] = {}
    if kind == "mlp":
        drawn = {"size": HIDDEN, "generator": torch.Generator().manual_seed(seed)}
    start = residual(closed, kind=kind, **drawn)
    config = TrainConfig(
        steps=STEPS, learning_rate=RATE, batch_size=min(1000, len(pairs)), seed=seed
    )
    return train_adapter(start, pairs, config=config)


def _recalls(found: Trial) -> tuple[float, float]:
    both = found.evaluation.source_to_target.metrics, found.evaluation.target_to_source.metrics
    at_1, at_10 = (
        sum(metrics[name].value for metrics in both) / 2 for name in ("recall_at_1", "recall_at_10")
    )
    return at_1, at_10


def render(config: Config, result: Result) -> Table:
    """The table as it is printed: per cent, with 95 % intervals."""
    draws = "1 draw" if config.draws == 1 else f"mean of {config.draws} draws"
    table = Table(
        title=f"{config.data}: {config.n:,} training pairs, {result.gallery:,} in the gallery; "
        f"mean of both directions, {draws}, per cent",
        caption=r"\[low, high]: 95 % bootstrap interval over queries and draws",
    )
    table.add_column("system", no_wrap=True)
    for name in ("R@1", "R@10", f"R@10 of {BEST} minus its", "fit s"):
        table.add_column(name, justify="right")
    for row in result.rows:
        at_1, at_10 = row.metrics["recall_at_1"], row.metrics["recall_at_10"]
        gain = row.gain["recall_at_10"]
        table.add_row(
            row.system,
            f"{100 * at_1.value:.1f}",
            rf"{100 * at_10.value:.1f} \[{100 * at_10.low:.1f}, {100 * at_10.high:.1f}]",
            ""
            if row.system == BEST
            else rf"{100 * gain.value:+.1f} \[{100 * gain.low:+.1f}, {100 * gain.high:+.1f}]",
            f"{row.fit_seconds:.1f}",
            style="bold" if row.system == BEST else None,
        )
    return table


def draw_figure(config: Config, result: Result, path: Path) -> None:
    """Recall at 1 and 10 of each system, every draw a dot, as a PNG."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    names = list(result.cells)
    figure, axes = pyplot.subplots(
        1, 2, figsize=(9, 0.35 * len(names) + 1.4), sharey=True, layout="constrained"
    )
    for panel, (axis, label) in enumerate(zip(axes, ("recall at 1", "recall at 10"), strict=True)):
        for at, name in enumerate(names):
            colour = "tab:orange" if name == BEST else "tab:blue"
            values = [100 * cell[panel] for cell in result.cells[name]]
            axis.plot(values, [at] * len(values), "o", color=colour, alpha=0.6)
        axis.set_xlabel(f"{label}, per cent")
        axis.set_yticks(range(len(names)), names)
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(axis="y", alpha=0.3)
    axes[0].invert_yaxis()
    figure.suptitle(f"{config.data}, {config.n:,} pairs: one dot per draw of training pairs")
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def main(arguments: Sequence[str] | None = None) -> None:
    """Compare, print the table, write the record and the figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", choices=tuple(TASKS), default="flickr8k")
    parser.add_argument("--n", type=int, default=1000, help="training pairs")
    parser.add_argument("--draws", type=int, default=3, help="training sets drawn")
    parser.add_argument("--brief", action="store_true", help="leave out what is no part of fit")
    parser.add_argument("--quick", action="store_true", help="few pairs, one draw, no record")
    told: Any = parser.parse_args(arguments)
    config = Config(told.data, told.n, told.draws, told.brief)
    if told.quick:
        config = replace(config, n=min(told.n, QUICK_PAIRS), draws=1)
    result = run(config)
    Console(width=140).print(render(config, result))
    for seed, choice in enumerate(result.chosen):
        print(f"draw {seed}: {choice}")
    if not told.quick:
        name = f"frontier-{config.data}-{config.n}"
        print(write_record(name, config=asdict(config), result=asdict(result)))
        draw_figure(config, result, RESULTS / f"{name}.png")


if __name__ == "__main__":
    main()
