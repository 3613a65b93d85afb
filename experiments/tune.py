"""The front of recall and cost that Optuna finds, and what of it holds on a gallery.

    ISTHMUS_DATA=... python -m experiments.tune [--data flickr8k --n 1000] [--trials 80] [--quick]

``align.tune`` looks for settings of a closed form that trade held-out recall against the bytes of
a gallery vector; it sees the training pairs alone. Each trial of the front is then refitted on all
of them and judged once on the gallery, beside ``align.fit``. The best of many trials was chosen
for its score, so what it promises on held-out folds is a little too much: the table shows both.
Folds and gallery differ in size, so the two columns are compared by their order and not by their
level. Records ``experiments/results/tune-DATA-N.json`` with a figure each; a quick run is not
written. Without ``--data`` all settings are run, but for those whose record is of this commit.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.table import Table

from align.data.embeddings import PairedEmbeddings
from align.fitting.model_selection.fit import fit
from align.fitting.tuning.study import tune
from align.metrics.estimates import Estimate
from align.metrics.evaluation import Evaluation, evaluate
from experiments.pages import markdown_table
from experiments.record import RESULTS, is_current, read_record, write_record
from experiments.tasks import TASKS, Task, load_task
from experiments.trials import draw

SETTINGS = (("flickr8k", 1000), ("en_fr", 1000), ("stdlib_code", 1000))
BYTES = 4  # of a number in float32
QUICK_PAIRS, QUICK_TRIALS = 200, 6


@dataclass(frozen=True, slots=True)
class Config:
    """One run.

    Attributes:
        data: Name of a task in ``experiments.tasks``.
        n: Training pairs.
        trials: Settings that Optuna tries.
        seed: Of the draw of pairs and of the search.
    """

    data: str
    n: int
    trials: int = 80
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Point:
    """One adapter.

    Attributes:
        setting: In words.
        bytes_per_item: Of a gallery vector in float32.
        held_out: Mean reciprocal rank on held-out folds of the training pairs; ``None`` where the
            adapter was not made by the search.
        recall_at_10: On the gallery, mean of both directions.
        mean_reciprocal_rank: Likewise.
    """

    setting: str
    bytes_per_item: int
    held_out: float | None
    recall_at_10: Estimate
    mean_reciprocal_rank: Estimate


@dataclass(frozen=True, slots=True)
class Result:
    """The front, and ``align.fit`` beside it.

    Attributes:
        gallery: Held-out pairs.
        front: Cheapest first.
        fit: ``align.fit``, which does not look at cost.
        chance: Recall at 10 of a random order of the gallery.
        pruned: Trials that were stopped after one fold.
        seconds: Of the whole search.
        importance: Share of the variance of the score that each parameter explains.
    """

    gallery: int
    front: tuple[Point, ...]
    fit: Point
    chance: float
    pruned: int
    seconds: float
    importance: dict[str, float]


def run(config: Config) -> Result:
    """Load the task and search on it.

    Raises:
        ValueError: The task does not exist, or has fewer than ``n`` training pairs.
        FileNotFoundError: The data of the task are not there.
    """
    return search_on(load_task(config.data), config)


def search_on(task: Task[PairedEmbeddings], config: Config) -> Result:
    """Search on a draw from the pool, then judge the front on the gallery."""
    train = draw(task.pool, config.n, seed=config.seed)
    with TemporaryDirectory() as folder:
        tuning = tune(
            train, study=Path(folder) / "study.journal", trials=config.trials, seed=config.seed
        )
        front = []
        for trial in tuning.front:
            found = evaluate(task.gallery, tuning.fit(trial.number))
            front.append(_point(str(trial.setting), trial.cost, trial.mrr, found))
        pruned = len(tuning.trials) - len(tuning.whole)
        seconds, importance = tuning.seconds, dict(tuning.importance)
    adapter = fit(train, seed=config.seed)
    judged = evaluate(task.gallery, adapter)
    width = adapter.gallery(task.gallery.target[:1], side="target").shape[1]
    own = _point(adapter.card.method, BYTES * width, None, judged)
    chance = judged.chance["recall_at_10"]
    return Result(len(task.gallery), tuple(front), own, chance, pruned, seconds, importance)


def _point(setting: str, cost: int, held_out: float | None, found: Evaluation) -> Point:
    recall, mrr = found.mean["recall_at_10"], found.mean["mean_reciprocal_rank"]
    return Point(setting, cost, held_out, recall, mrr)


def render(config: Config, result: Result) -> Table:
    """The front as it is printed; per cent, with 95 % intervals over queries."""
    table = Table(
        title=f"{config.data}: {config.n:,} training pairs, {config.trials} trials, "
        f"{result.pruned} pruned; gallery of {result.gallery:,}, chance {100 * result.chance:.1f}"
    )
    for name in ("setting", "bytes", "MRR, folds", "MRR, gallery", "R@10, gallery"):
        table.add_column(name, justify="left" if name == "setting" else "right")
    for point in (*result.front, result.fit):
        recall = point.recall_at_10
        table.add_row(
            point.setting,
            f"{point.bytes_per_item:,}",
            "" if point.held_out is None else f"{100 * point.held_out:.1f}",
            f"{100 * point.mean_reciprocal_rank.value:.1f}",
            rf"{100 * recall.value:.1f} \[{100 * recall.low:.1f}, {100 * recall.high:.1f}]",
            style="bold" if point is result.fit else None,
        )
    return table


def front() -> str:
    """The fronts of all records, for a page: recall at 10 on the gallery, at most so many bytes."""
    budgets = (64, 128, 256, 512, 1024, 2048, 4096)
    rows = []
    for data, n in SETTINGS:
        record = read_record(f"tune-{data}-{n}")
        found, config = record["result"], record["config"]
        points = found["front"]
        cells = []
        for budget in budgets:
            inside = [point for point in points if point["bytes_per_item"] <= budget]
            cells.append(f"{100 * inside[-1]['recall_at_10']['value']:.1f}" if inside else "")
        own = found["fit"]
        last = f"{100 * own['recall_at_10']['value']:.1f} at {own['bytes_per_item']:,}"
        name = f"`{data}`, {n:,} pairs, {config['trials']} trials"
        rows.append((name, f"{100 * found['chance']:.1f}", *cells, last))
    header = ("R@10, per cent", "chance", *(f"{b:,} bytes" for b in budgets), "`align.fit`")
    return markdown_table(header, rows)


def figure(config: Config, result: Result, path: Path) -> None:
    """Recall at 10 on the gallery against bytes of a gallery vector, as PNG."""
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(6.4, 4.0), layout="constrained")
    axes = drawn.add_subplot()
    for points, colour, label in (
        (result.front, "tab:blue", "front of align.tune"),
        ((result.fit,), "tab:orange", "align.fit"),
    ):
        recalls = [100 * point.recall_at_10.value for point in points]
        errors = (
            [100 * (p.recall_at_10.value - p.recall_at_10.low) for p in points],
            [100 * (p.recall_at_10.high - p.recall_at_10.value) for p in points],
        )
        axes.errorbar(
            [p.bytes_per_item for p in points], recalls, yerr=errors, fmt="o-", color=colour,
            capsize=2, label=label,
        )  # fmt: skip
    axes.axhline(100 * result.chance, color="grey", linewidth=1, label="a random order")
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.set_ylim(bottom=0)
    axes.set(xlabel="bytes per gallery vector, float32", ylabel="recall at 10, per cent")
    axes.set_title(f"{config.data}, {config.n:,} pairs, {config.trials} trials", fontsize=10)
    axes.legend(loc="lower right")
    axes.spines[["top", "right"]].set_visible(False)
    drawn.savefig(path, dpi=130)


def main(arguments: Sequence[str] | None = None) -> None:
    """Search, print, write records and figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", choices=tuple(TASKS), help="one task; without it, all settings")
    parser.add_argument("--n", type=int, default=1000, help="training pairs, with --data")
    parser.add_argument("--trials", type=int, default=80, help="settings that are tried")
    parser.add_argument("--quick", action="store_true", help="few pairs and trials, no record")
    told = parser.parse_args(arguments)
    settings = SETTINGS if told.data is None else ((told.data, told.n),)
    if told.quick:
        settings = ((told.data or "emoji", QUICK_PAIRS),)
    for data, n in settings:
        name = f"tune-{data}-{n}"
        if told.data is None and not told.quick and is_current(name):
            continue
        config = Config(data, n, QUICK_TRIALS if told.quick else told.trials)
        result = run(config)
        Console(width=140).print(render(config, result))
        if not told.quick:
            figure(config, result, RESULTS / f"{name}.png")
            print(write_record(name, config=asdict(config), result=asdict(result)))


if __name__ == "__main__":
    main()
