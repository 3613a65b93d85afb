"""What mixture of kinds to train on: a fixed budget of pairs, shared out in ten ways.

    ISTHMUS_DATA=... python -m experiments.unite_mixing [--draws 3] [--quick]

UNITE (arXiv:2505.19650) trains on a mixture of modalities and does not vary it. Here 1,200 pairs go
to photos, code and captions in proportions from equal to three quarters of one kind, and recall is
taken in one gallery of all kinds (``experiments.mixed``), for the closed form and for linear heads
from a random start with MAMCL. Each mixture stands beside the even one of the same draws, with the
interval of the difference. The record is ``experiments/results/unite_mixing.json``.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import permutations
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from align.data.embeddings import PairedEmbeddings
from align.fitting.model_selection.fit import fit
from align.metrics.estimates import Estimate
from experiments.mixed import KINDS, draw, load_mixed
from experiments.pages import markdown_table, percent
from experiments.record import RESULTS, read_record, write_record
from experiments.tasks import Task
from experiments.unite import MEAN, METRICS, measured, metrics_of
from experiments.unite_systems import CLOSED, RANDOM, Arena, Training, from_random, scores

BUDGET, QUICK_BUDGET = 1200, 120
MASKED = f"{RANDOM}, mask"
EVEN = (1 / 3, 1 / 3, 1 / 3)
_UNEVEN = ((1 / 2, 1 / 4, 1 / 4), (3 / 4, 1 / 8, 1 / 8), (9 / 20, 9 / 20, 1 / 10))
MIXTURES = (EVEN, *(each for shares in _UNEVEN for each in dict.fromkeys(permutations(shares))))
"""Shares of photos, code and captions."""


@dataclass(frozen=True, slots=True)
class Config:
    """One run.

    Attributes:
        budget: Training pairs in all.
        mixtures: Shares of each kind in it, in the order of ``KINDS``, even ones first.
        draws: Training sets of each mixture; set ``s`` is drawn, and heads start, from seed ``s``.
        training: How heads are trained.
    """

    budget: int = BUDGET
    mixtures: tuple[tuple[float, ...], ...] = MIXTURES
    draws: int = 3
    training: Training = field(default_factory=Training)


@dataclass(frozen=True, slots=True)
class Line:
    """One mixture.

    Attributes:
        counts: Training pairs by kind; they sum to the budget.
        recall: R@10 in the mixed gallery, by system and by kind of query, and the mean of kinds.
        gain: The same minus that of the even mixture, paired by query and draw.
    """

    counts: Mapping[str, int]
    recall: Mapping[str, Mapping[str, Estimate]]
    gain: Mapping[str, Mapping[str, Estimate]]


@dataclass(frozen=True, slots=True)
class Result:
    """Every mixture.

    Attributes:
        gallery: Held-out pairs of all kinds.
        chance: R@10 of a random order of the gallery.
        lines: The even mixture first.
    """

    gallery: int
    chance: float
    lines: tuple[Line, ...]


def counts_of(shares: Sequence[float], budget: int) -> dict[str, int]:
    """Whole numbers of pairs in these shares; what rounding leaves goes to the first kinds."""
    counts = [int(budget * share) for share in shares]
    for at in range(budget - sum(counts)):
        counts[at % len(counts)] += 1
    return dict(zip(KINDS, counts, strict=True))


def run(task: Task[PairedEmbeddings], config: Config) -> Result:
    """Fit both systems on every draw of every mixture and judge them on the gallery."""
    found: list[dict[str, list[Tensor]]] = []
    for shares in tqdm(config.mixtures, desc="mixtures"):
        by_system: dict[str, list[Tensor]] = {CLOSED: [], MASKED: []}
        for seed in range(config.draws):
            pairs = draw(task.pool, counts_of(shares, config.budget), seed=seed)
            closed = fit(pairs, effort="fast")
            by_system[CLOSED].append(measured(scores(closed, task.gallery), task.gallery))
            arena = Arena(pairs, task.gallery, config.training, seed)
            heads = from_random(arena, "mask")
            by_system[MASKED].append(measured(scores(heads, task.gallery), task.gallery))
        found.append(by_system)
    values = [{name: torch.stack(draws, dim=1) for name, draws in each.items()} for each in found]
    systems = (CLOSED, MASKED)
    columns = [each[name] for each in values for name in systems]
    columns += [each[name] - values[0][name] for each in values for name in systems]
    metrics = metrics_of(torch.stack(columns, dim=2), task.gallery)
    lines = []
    for at, shares in enumerate(config.mixtures):
        own = metrics[2 * at : 2 * at + 2]
        gains = metrics[2 * (len(values) + at) : 2 * (len(values) + at) + 2]
        lines.append(
            Line(
                counts_of(shares, config.budget),
                *(
                    {
                        name: {kind: each["recall_at_10"] for kind, each in kinds.items()}
                        for name, kinds in zip(systems, found_here, strict=True)
                    }
                    for found_here in (own, gains)
                ),
            )
        )
    assert METRICS[1] == "recall_at_10"
    return Result(len(task.gallery), 10 / len(task.gallery), tuple(lines))


def mixtures() -> str:
    """Recall of every mixture, for a page."""
    result = read_record("unite_mixing")["result"]
    rows = []
    for line in result["lines"]:
        told = " / ".join(str(line["counts"][kind]) for kind in KINDS)
        cells = [told]
        for name in (CLOSED, MASKED):
            recall, gain = line["recall"][name], line["gain"][name][MEAN]
            by_kind = " / ".join(f"{100 * recall[kind]['value']:.0f}" for kind in KINDS)
            mean = f"{100 * recall[MEAN]['value']:.1f}"
            cells += [by_kind, mean, percent(gain, sign="+")]
        rows.append(cells)
    header = ("pairs: " + " / ".join(KINDS), f"{CLOSED}, R@10 by kind", "mean", "minus even",
              f"{MASKED}, R@10 by kind", "mean", "minus even")  # fmt: skip
    return markdown_table(header, rows)


def figure(result: Result, path: Path) -> None:
    """R@10 of each kind against its share of the pairs, as PNG."""
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(9.0, 3.6), layout="constrained")
    for axes, name in zip(drawn.subplots(1, 2, sharey=True), (CLOSED, MASKED), strict=True):
        for kind, mark in zip((*KINDS, MEAN), "os^x", strict=True):
            x = [
                100 * line.counts.get(kind, max(line.counts.values())) / sum(line.counts.values())
                for line in result.lines
            ]
            y = [100 * line.recall[name][kind].value for line in result.lines]
            axes.plot(x, y, mark, label=kind if kind != MEAN else "mean, at the largest share")
        axes.set_title(name, fontsize=10)
        axes.set_xlabel("share of the training pairs, %")
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.3)
    drawn.axes[0].set_ylabel("R@10 in the mixed gallery, %")
    drawn.axes[0].legend(fontsize=8)
    drawn.savefig(path, dpi=130)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the table, write the record and the figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=3, help="training sets of each mixture")
    parser.add_argument("--quick", action="store_true", help="few pairs, two mixtures, no record")
    told = parser.parse_args(arguments)
    config = Config(draws=told.draws)
    if told.quick:
        config = Config(QUICK_BUDGET, MIXTURES[:2], 1, Training(random_steps=5))
    result = run(load_mixed(), config)
    for line in result.lines:
        means = {name: round(100 * each[MEAN].value, 1) for name, each in line.recall.items()}
        print(line.counts, means)
    if told.quick:
        return
    figure(result, RESULTS / "unite_mixing.png")
    print(write_record("unite_mixing", config=asdict(config), result=asdict(result)))


if __name__ == "__main__":
    main()
