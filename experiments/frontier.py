"""What recall can be had at so many pairs, and which step gives it: one table, one figure.

    python -m experiments.frontier [--data flickr8k --n 1000] [--draws 3] [--wide] [--quick]

Every system is fitted on the same pairs, drawn without replacement from the training pool, and
judged by ``align.evaluate`` on the same held-out gallery, in both directions. The rows are what
anyone would try first, then ``align.fit`` at each effort, then, with ``--wide``, what was tried to
go further and is not part of it. Nothing here is chosen on the gallery. The record is
``experiments/results/frontier-DATA-N.json``, with a figure beside it; a quick run is not written.

Without ``--data`` all of ``SETTINGS`` are run, but for those whose record is of this commit, so
that a run that was stopped goes on; at the end the records are shown as one table.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from align.adapters.adapter import Adapter
from align.adapters.closed_form.centering import centering
from align.adapters.closed_form.procrustes import procrustes
from align.adapters.closed_form.rcca import rcca
from align.adapters.corrections.hubness import NNN
from align.adapters.corrections.reference_set import ReferenceSet
from align.adapters.trainable import residual
from align.data.embeddings import PairedEmbeddings
from align.fitting.model_selection.fit import fit
from align.fitting.training.config import TrainConfig
from align.fitting.training.train import train as train_adapter
from experiments.baselines import raw_cosine, tuned_ridge
from experiments.record import RESULTS, is_current, write_record
from experiments.tasks import TASKS, Task, load_task
from experiments.trials import Fit, Row, Trial, on_draws, summarise

BEST = "align.fit"
FAST = 'align.fit, effort="fast"'
QUICK_PAIRS = 300
FEW, MORE, MANY = 300, 1000, 5000
SETTINGS: Mapping[str, tuple[int, ...]] = {
    "flickr8k": (FEW, MORE, MANY),
    "flickr8k_parts": (FEW, MORE, MANY),
    "flickr8k_packaged": (FEW, MORE, MANY),
    "django_pseudocode": (100, FEW, MORE),
    "conala": (100, FEW, MORE),
    "cosqa": (FEW,),
    "stdlib_code": (FEW, MORE),
    "stdlib_code_two": (MORE,),
    "en_fr": (100, FEW, MORE),
    "en_ja": (FEW, MORE),
    "emoji": (FEW, MORE),
}
CORRECTION = NNN(32, 0.5)  # beside RCCA in the table of baselines
STEPS, RATE = 100, 1e-4  # of plain training on top of a closed form
HIDDEN = 1024


@dataclass(frozen=True, slots=True)
class Config:
    """One run.

    Attributes:
        data: Name of a task in ``experiments.tasks``.
        n: Training pairs.
        draws: Training sets; set ``s`` is drawn from seed ``s``.
        wide: Whether to add what was tried and is no part of ``align.fit``.
    """

    data: str
    n: int
    draws: int = 3
    wide: bool = False


@dataclass(frozen=True, slots=True)
class Result:
    """The table.

    Attributes:
        gallery: Held-out pairs.
        pool: Pairs that training sets were drawn from.
        rows: One per system.
        cells: R@1 and R@10 of each system in each draw, mean of both directions, in [0, 1].
        chance: R@1 and R@10 of a random order of the gallery.
        below: By how much R@1 of ``align.fit`` lies below that of the simple method which does
            best in the draw; negative where it is above all of them.
        chosen: What ``align.fit`` chose in each draw, in words.
    """

    gallery: int
    pool: int
    rows: tuple[Row, ...]
    cells: Mapping[str, tuple[tuple[float, float], ...]]
    chance: tuple[float, float]
    below: tuple[float, ...]
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
        known = simple(train) | ours(chosen.append)
        return known | tried(task.pool, fit(train, effort="fast")) if config.wide else known

    trials = on_draws(task, n=config.n, draws=config.draws, systems=compared)
    rows = tuple(summarise(name, found, trials[BEST]) for name, found in trials.items())
    cells = {name: tuple(map(_recalls, found)) for name, found in trials.items()}
    first = trials[BEST][0].evaluation.chance
    chance = first["recall_at_1"], first["recall_at_10"]
    others = simple(task.pool)
    below = tuple(
        max(cells[name][draw][0] for name in others) - cells[BEST][draw][0]
        for draw in range(config.draws)
    )
    return Result(len(task.gallery), len(task.pool), rows, cells, chance, below, tuple(chosen))


def simple(train: PairedEmbeddings) -> dict[str, Fit]:
    """What anyone would try first; the cosines only where the widths of these pairs agree."""
    found: dict[str, Fit] = {}
    if train.source.shape[1] == train.target.shape[1]:
        found["raw cosine"] = raw_cosine
        found["centred cosine"] = lambda pairs, seed: centering(pairs.source, pairs.target)
    return found | {
        "Procrustes": lambda pairs, seed: procrustes(pairs.source, pairs.target),
        "ridge both ways, tuned": lambda pairs, seed: tuned_ridge(
            pairs.source, pairs.target, seed=seed
        ),
        "RCCA, k = 1": lambda pairs, seed: rcca(pairs.source, pairs.target, ridge=(1.0, 1.0)),
        f"RCCA, k = 1, {CORRECTION}": lambda pairs, seed: _corrected(pairs),
    }


def ours(tell: Callable[[str], None]) -> dict[str, Fit]:
    """``align.fit`` at each effort; ``tell`` gets the verdict of the best."""

    def best(pairs: PairedEmbeddings, seed: int) -> Adapter:
        adapter = fit(pairs)
        tell(f"{adapter.card.method}: {adapter.card.verdict}")
        return adapter

    return {FAST: lambda pairs, seed: fit(pairs, effort="fast"), BEST: best}


def _corrected(pairs: PairedEmbeddings) -> Adapter:
    """Plain RCCA with a hubness correction against its training pairs."""
    adapter = rcca(pairs.source, pairs.target, ridge=(1.0, 1.0))
    sides = adapter.source(pairs.source), adapter.target(pairs.target)
    return adapter.replaced(reference=ReferenceSet(*sides, expansion=None, hubness=CORRECTION))


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
    table.add_row("a random order", *(f"{100 * value:.1f}" for value in result.chance))
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


def summary(folder: Path = RESULTS) -> Table:
    """What the records of all settings say, one row each: recall in per cent."""
    table = Table(title=f"R@1 / R@10, per cent; below: R@1 of {BEST} under the best simple method")
    for name in ("data", "pairs", "chance", "best simple", FAST, BEST, "below, worst draw"):
        table.add_column(name, justify="left" if name == "data" else "right")
    for data, sizes in SETTINGS.items():
        for n in sizes:
            path = folder / f"frontier-{data}-{n}.json"
            if not path.exists():
                continue
            found = json.loads(path.read_text(encoding="utf-8"))["result"]
            if "below" in found:
                table.add_row(data, f"{n:,}", *_summarised(found))
    return table


def _summarised(found: Mapping[str, Any]) -> tuple[str, ...]:
    means = {
        row["system"]: [row["metrics"][at]["value"] for at in ("recall_at_1", "recall_at_10")]
        for row in found["rows"]
    }
    names = list(means)
    best = max((means[name] for name in names[: names.index(FAST)]), key=sum)
    each = found["chance"], best, means[FAST], means[BEST]
    recalls = (" / ".join(f"{100 * value:.1f}" for value in pair) for pair in each)
    return *recalls, f"{100 * max(found['below']):+.1f}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Compare, print the table, write the record and the figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", choices=tuple(TASKS), help="one task; without it, all settings")
    parser.add_argument("--n", type=int, default=MORE, help="training pairs, with --data")
    parser.add_argument("--draws", type=int, default=3, help="training sets drawn")
    parser.add_argument("--wide", action="store_true", help="add what is no part of fit")
    parser.add_argument("--quick", action="store_true", help="few pairs, one draw, no record")
    told: Any = parser.parse_args(arguments)
    if told.data is not None:
        settings = [(told.data, told.n)]
    else:
        every = [(data, n) for data, sizes in SETTINGS.items() for n in sizes]
        settings = [each for each in every if told.quick or not _is_current(*each)]
    for data, n in settings:
        config = Config(data, n, told.draws, told.wide)
        if told.quick:
            config = replace(config, n=min(n, QUICK_PAIRS), draws=1)
        _run_one(config, written=not told.quick)
    if told.data is None and not told.quick:
        Console(width=140).print(summary())


def _is_current(data: str, n: int) -> bool:
    return is_current(f"frontier-{data}-{n}", folder=RESULTS)


def _run_one(config: Config, *, written: bool) -> None:
    result = run(config)
    Console(width=140).print(render(config, result))
    for seed, choice in enumerate(result.chosen):
        print(f"draw {seed}: {choice}")
    if written:
        name = f"frontier-{config.data}-{config.n}"
        print(write_record(name, config=asdict(config), result=asdict(result)))
        draw_figure(config, result, RESULTS / f"{name}.png")


if __name__ == "__main__":
    main()
