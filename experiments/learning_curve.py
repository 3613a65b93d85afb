"""Does a learning curve of few pairs say what more of them give? Coverage of its intervals.

    python -m experiments.learning_curve --data flickr8k [--draws 1] [--pairs 1000 500 250]

A tenth to a fifth of the pool, whole groups, is held out. ``align.learning_curve`` of the first n
other pairs predicts recall at n and more; the same recipe is fitted on the first N of them and
judged on the held-out pairs, in many galleries of the size that the curve used. A prediction covers
if what was found lies in its interval, which is widened by the standard error of what was found.
Constants of the curve were set on draws of other seeds of these data, with a closed form of fixed
settings in place of the recipe, and the width of its intervals once more after a draw of ``en_fr``
had shown them too narrow near the ends; so other data may be covered less often. The record is
``experiments/results/learning_curve-DATA.json``; what was measured is kept in the cache folder, so
that a run goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from align._files.cache import cache_folder
from align._files.codec import Schema
from align._files.tensors import read_tensors, write_tensors
from align.data.embeddings import PairedEmbeddings
from align.data.splits import group_codes
from align.fitting.learning_curve.curve import LearningCurve
from align.fitting.learning_curve.extrapolation import LEVEL, Predicted
from align.fitting.learning_curve.measure import learning_curve
from align.fitting.learning_curve.point import METRICS
from align.fitting.model_selection.cross_validation import first_of_each
from align.fitting.model_selection.fit import fit
from align.metrics.bootstrap import resamples, weighted_mean
from align.metrics.ranks import ranks_of_partners
from experiments.pages import markdown_table
from experiments.record import RESULTS, read_record, write_record
from experiments.tasks import TASKS, load_task

GALLERIES = 40
SEEDS = 200
FOUND_AT = (250, 500, 1000, 2000, 5000)
Z = 1.645  # standard errors of a 90 % interval
Scores = tuple[Tensor, Tensor]
_SCHEMA = Schema("learning-curve-scores", 1)


@dataclass(frozen=True, slots=True)
class Config:
    """One run.

    Attributes:
        data: Name of a task in ``experiments.tasks``.
        pairs: Numbers of pairs to predict from.
        draws: How often the pool is dealt; draw ``s`` is of seed ``SEEDS + s``.
    """

    data: str
    pairs: tuple[int, ...] = (1000, 500, 250)
    draws: int = 1


@dataclass(frozen=True, slots=True)
class Case:
    """One metric, predicted from a few pairs and found with more.

    Attributes:
        draw: Number of the draw.
        n_from: Pairs that the curve had.
        n_to: Pairs that were fitted on.
        metric: Which.
        gallery: Items of each gallery, in both.
        predicted: With its 90 % prediction interval.
        found: What the fit gave.
        error: Its standard error over groups of held-out pairs.
        covered: Whether it lies in the interval, widened by that error.
    """

    draw: int
    n_from: int
    n_to: int
    metric: str
    gallery: int
    predicted: Predicted
    found: float
    error: float
    covered: bool


@dataclass(frozen=True, slots=True)
class Result:
    """The cases, and the curves that they are of, as ``LearningCurve.to_dict`` gives them."""

    cases: tuple[Case, ...]
    curves: tuple[dict[str, Any], ...]


def run(config: Config) -> Result:
    """Curves, fits and comparisons.

    Raises:
        ValueError: The task does not exist.
        FileNotFoundError: Its data are not there.
    """
    pool = load_task(config.data).pool
    cases: list[Case] = []
    curves: list[dict[str, Any]] = []
    for number in range(config.draws):
        seed = SEEDS + number
        rest, test = pool.split(test=min(0.2, 1000 / len(pool)), seed=seed)
        order = torch.randperm(len(rest), generator=torch.Generator().manual_seed(seed))
        keys = torch.from_numpy(group_codes(test.groups))
        test = test.take(first_of_each(keys, torch.arange(len(test))))
        for n in config.pairs:
            if n > len(rest):
                continue
            name = f"{config.data}-{seed}"
            curve = learning_curve(rest.take(order[:n]), resume=_kept(f"{name}-{n}"))
            curves.append({"draw": number, **curve.to_dict()})
            for more in FOUND_AT:
                if n <= more <= len(rest):
                    scores = _scores(f"{name}-found-{more}", rest.take(order[:more]), test)
                    cases += _cases(curve, number, more, scores, test)
    return Result(tuple(cases), tuple(curves))


def coverage(cases: Sequence[Case]) -> list[dict[str, float]]:
    """Share of cases that are covered, by how many times as many pairs were fitted on.

    Beside it the mean width of intervals, and mean and mean absolute error of predictions, in
    points.
    """
    rows = []
    for times in sorted({case.n_to // case.n_from for case in cases}):
        some = [case for case in cases if case.n_to // case.n_from == times]
        misses = [100 * (case.predicted.value - case.found) for case in some]
        widths = [100 * (case.predicted.high - case.predicted.low) for case in some]
        rows.append(
            {
                "times": times,
                "cases": len(some),
                "covered": sum(case.covered for case in some) / len(some),
                "width": sum(widths) / len(some),
                "bias": sum(misses) / len(some),
                "error": sum(map(abs, misses)) / len(some),
            }
        )
    return rows


def _cases(
    curve: LearningCurve,
    draw: int,
    more: int,
    scores: tuple[Tensor, Tensor],
    test: PairedEmbeddings,
) -> list[Case]:
    values = _found(scores, curve.gallery_size)
    units = torch.from_numpy(group_codes(test.group_key))
    generator = torch.Generator().manual_seed(0)
    drawn = torch.cat([weighted_mean(values, w) for w in resamples(units, 500, generator)])
    predicted = curve.at(more)
    cases = []
    for at, metric in enumerate(METRICS):
        each, found, error = (
            predicted[metric],
            values[:, at].mean().item(),
            drawn[:, at].std().item(),
        )
        low, high = each.value - each.low, each.high - each.value
        half = math.hypot(high if found > each.value else low, Z * error)
        covered = abs(found - each.value) <= half
        cases.append(
            Case(draw, curve.n_pairs, more, metric, curve.gallery_size, each, found, error, covered)
        )
    return cases


def _found(scores: Scores, gallery: int) -> Tensor:
    """``METRICS`` of each held-out pair, the mean over random galleries around it, ``(q, 3)``."""
    q = len(scores[0])
    generator = torch.Generator().manual_seed(0)
    total, times = torch.zeros(q, 3, dtype=torch.float64), torch.zeros(q, 1, dtype=torch.float64)
    while times.min() < GALLERIES:
        order = torch.randperm(q, generator=generator)
        for rows in torch.split(order, gallery):
            if len(rows) < gallery:
                rows = torch.cat([rows, order[: gallery - len(rows)]])
            both = [ranks_of_partners(each[rows][:, rows]) for each in scores]
            ranks = torch.stack(both, dim=1).double()
            columns = (ranks <= 1).double(), (ranks <= 10).double(), ranks.reciprocal()
            total[rows] += torch.stack([column.mean(dim=1) for column in columns], dim=1)
            times[rows] += 1
    return total / times


def _scores(name: str, train: PairedEmbeddings, test: PairedEmbeddings) -> Scores:
    """Scores of held-out pairs in both directions by the recipe on ``train``, ``(q, q)`` each."""
    path = _kept(name)
    if not path.exists():
        adapter = fit(train, effort="fast")
        x, y = test.source, test.target
        tensors = {
            "there": adapter.queries(x, side="source") @ adapter.gallery(y, side="target").T,
            "back": adapter.queries(y, side="target") @ adapter.gallery(x, side="source").T,
        }
        write_tensors(path, tensors, schema=_SCHEMA, words={})
    kept, _, _ = read_tensors(path, schema=_SCHEMA, again="Delete it.")
    return kept["there"], kept["back"]


def _kept(name: str) -> Any:
    folder = cache_folder() / "learning_curve"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{name}.safetensors"


def table(result: Result) -> Table:
    """Coverage and width by how many times as many pairs were predicted for."""
    grid = Table(title=f"{100 * LEVEL:.0f} % intervals; points of per cent")
    columns = ("times the pairs", "cases", "covered, %", "width", "bias", "mean error")
    for column in columns:
        grid.add_column(column, justify="right")
    for row in coverage(result.cases):
        numbers = (100 * row["covered"], row["width"], row["bias"], row["error"])
        grid.add_row(
            f"{row['times']:.0f}", f"{row['cases']:.0f}", *(f"{each:.1f}" for each in numbers)
        )
    return grid


SPANS = {
    "as many pairs": (1, 1),
    "2 times": (2, 2),
    "4 or 5 times": (4, 5),
    "8 to 20 times": (8, 20),
}


def held(folder: Path = RESULTS) -> str:
    """How often the interval of a prediction held, and how wide it was, for a page."""
    rows = []
    for path in sorted(folder.glob("learning_curve-*.json")):
        found = read_record(path.stem, folder=folder)["result"]["coverage"]
        cells = []
        for low, high in SPANS.values():
            own = [each for each in found if low <= each["times"] <= high]
            cases = sum(each["cases"] for each in own)
            if not cases:
                cells.append("")
                continue
            covered = sum(each["cases"] * each["covered"] for each in own)
            width = sum(each["cases"] * each["width"] for each in own) / cases
            cells.append(f"{covered:.0f} of {cases}, {width:.0f} wide")
        rows.append([f"`{path.stem.removeprefix('learning_curve-')}`", *cells])
    return markdown_table(("data", *SPANS), rows)


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, run, show the table and write the record."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", choices=tuple(TASKS), default="conala")
    parser.add_argument("--pairs", type=int, nargs="+", default=[1000, 500, 250])
    parser.add_argument("--draws", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="100 pairs, no record")
    options = parser.parse_args(arguments)
    config = Config(options.data, tuple(options.pairs), options.draws)
    if options.quick:
        config = Config(options.data, (100,))
    result = run(config)
    Console(width=100).print(table(result))
    if options.quick:
        return
    record = {"coverage": coverage(result.cases), **asdict(result)}
    path = write_record(f"learning_curve-{config.data}", config=asdict(config), result=record)
    print(f"Written to {path}")  # where the record is


if __name__ == "__main__":
    main()
