"""One index of photos, functions and captions, and what the modality mask does there.

    python -m experiments.unite [--n 300 1000] [--draws 3] [--quick]

Adapters are fitted on draws of equally many pairs of each kind (``experiments.mixed``) and judged
on one gallery of held-out items of all kinds. The closed form is that of ``align.fit``; on top of
it come UNITE's two stages, with the mask in the second, without, and with its soft form, and with
instructions. Beside that stand linear heads from a random start, where training does everything,
and one adapter per kind, their scores side by side. Last, heads are trained on an uneven mixture,
drawn at several temperatures.

How long and how fast to train was chosen on pairs of the pool, not on the gallery. The record, with
every interval, goes to ``experiments/results/unite.json``, the figure to ``unite.png``; a quick run
is not written.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from align.data.embeddings import PairedEmbeddings
from align.data.splits import group_codes
from align.metrics.estimates import Estimate
from align.metrics.ranks import hits_at_k, rank_scores, reciprocal_ranks
from experiments.mixed import KINDS, draw, load_mixed, rows_of
from experiments.pages import markdown_table, percent
from experiments.record import RESULTS, read_record, write_record
from experiments.tasks import Task
from experiments.trials import intervals
from experiments.unite_systems import COMPARED, Arena, Training, balanced, uneven

METRICS = (
    "recall_at_1",
    "recall_at_10",
    "mean_reciprocal_rank",
    "right_kind_in_top_10",
    "recall_at_10_within_kind",
)
MEAN = "mean"
UNEVEN = (("image", 2000), ("code", 500), ("text", 200))
QUICK_PAIRS, QUICK_STEPS = 100, 5

Metrics = Mapping[str, Mapping[str, Estimate]]
"""``METRICS`` by kind of query, and their ``MEAN`` over kinds; in [0, 1]."""


@dataclass(frozen=True, slots=True)
class Config:
    """One run.

    Attributes:
        sizes: Training pairs of each kind.
        uneven: Kinds with training pairs of each, of the uneven mixture.
        draws: Training sets of each mixture; set ``s`` is drawn, and heads start, with seed ``s``.
        training: How systems are trained.
    """

    sizes: tuple[int, ...] = (300, 1000)
    uneven: tuple[tuple[str, int], ...] = UNEVEN
    draws: int = 3
    training: Training = field(default_factory=Training)


@dataclass(frozen=True, slots=True)
class Line:
    """One system on one mixture.

    Attributes:
        system: Its name.
        minus: What it is compared with, or ``None`` where the metrics are its own.
        metrics: Means over queries and draws, or of the differences paired by both.
    """

    system: str
    minus: str | None
    metrics: Metrics


@dataclass(frozen=True, slots=True)
class Mixture:
    """What came of training pairs of one composition.

    Attributes:
        counts: Training pairs by kind.
        systems: A line each.
        differences: A line for each of ``COMPARED`` that is there.
        verdicts: What ``align.fit`` said in each draw.
    """

    counts: Mapping[str, int]
    systems: tuple[Line, ...]
    differences: tuple[Line, ...]
    verdicts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Result:
    """Everything that was measured.

    Attributes:
        gallery: Held-out pairs by kind.
        prior: Share of each kind in the gallery: what a random top 10 holds.
        mixtures: One per composition, the uneven one last.
    """

    gallery: Mapping[str, int]
    prior: Mapping[str, float]
    mixtures: tuple[Mixture, ...]


def run(task: Task[PairedEmbeddings], config: Config) -> Result:
    """Fit every system on every draw of every mixture and judge it."""
    counts = {kind: len(rows_of(task.gallery, kind)) for kind in KINDS}
    even = [dict.fromkeys(KINDS, size) for size in config.sizes]
    return Result(
        counts,
        {kind: count / len(task.gallery) for kind, count in counts.items()},
        tuple(mixture(task, each, config) for each in (*even, dict(config.uneven))),
    )


def mixture(task: Task[PairedEmbeddings], counts: Mapping[str, int], config: Config) -> Mixture:
    """The systems that suit a mixture, on each of its draws."""
    found: dict[str, list[Tensor]] = {}
    verdicts: list[str] = []
    systems = balanced if len(set(counts.values())) == 1 else uneven
    for seed in range(config.draws):
        pairs = draw(task.pool, counts, seed=seed)
        arena = Arena(pairs, task.gallery, config.training, seed, verdicts)
        for name, scores in systems(arena):
            found.setdefault(name, []).append(measured(scores, task.gallery))
    values = {name: torch.stack(draws, dim=1) for name, draws in found.items()}
    compared = [(a, b) for a, b in COMPARED if a in values and b in values]
    columns = [*values.values(), *(values[a] - values[b] for a, b in compared)]
    metrics = metrics_of(torch.stack(columns, dim=2), task.gallery)
    own, theirs = metrics[: len(values)], metrics[len(values) :]
    return Mixture(
        counts,
        tuple(Line(name, None, each) for name, each in zip(values, own, strict=True)),
        tuple(Line(a, b, each) for (a, b), each in zip(compared, theirs, strict=True)),
        tuple(verdicts),
    )


def measured(scores: Tensor, gallery: PairedEmbeddings) -> Tensor:
    """``METRICS`` of each query, ``(n, 5)`` float64.

    Args:
        scores: Of every target for every source, ``(n, n)``; ties count against the right one.
        gallery: The pairs; its groups are matches of each other.
    """
    assert gallery.target_modality is not None
    kinds, codes = gallery.target_modality, torch.from_numpy(group_codes(gallery.groups))
    alike = kinds[:, None] == kinds
    ranks = rank_scores(scores, codes, codes).first
    least = torch.finfo(scores.dtype).min
    within = rank_scores(scores.masked_fill(~alike, least), codes, codes).first
    top = scores.topk(10, dim=1).indices
    columns = [
        hits_at_k(ranks, 1),
        hits_at_k(ranks, 10),
        reciprocal_ranks(ranks),
        alike.gather(1, top).double().mean(dim=1),
        hits_at_k(within, 10),
    ]
    return torch.stack(columns, dim=1)


def metrics_of(values: Tensor, gallery: PairedEmbeddings) -> list[Metrics]:
    """Estimates for each of ``s`` systems from ``(n, draws, s, 5)``."""
    draws, systems = values.shape[1:3]
    codes = torch.from_numpy(group_codes(gallery.groups))
    rows = {kind: rows_of(gallery, kind) for kind in KINDS}
    parts = {kind: [rows[kind]] for kind in KINDS} | {MEAN: list(rows.values())}
    found: list[dict[str, dict[str, Estimate]]] = [{} for _ in range(systems)]
    for name, taken in parts.items():
        picked = torch.cat(taken)
        columns = values[picked].reshape(len(picked), draws, -1)
        estimates = intervals(columns, codes[picked], [len(each) for each in taken])
        for number, each in enumerate(found):
            here = estimates[number * len(METRICS) : (number + 1) * len(METRICS)]
            each[name] = dict(zip(METRICS, here, strict=True))
    return list(found)


def tables(found: Mixture, prior: Mapping[str, float]) -> list[Table]:
    """What every system reached, and the differences; per cent."""
    counts = ", ".join(f"{count:,} {kind}" for kind, count in found.counts.items())
    random = ", ".join(f"{100 * share:.0f} {kind}" for kind, share in prior.items())
    shown = Table(
        title=f"trained on {counts}; mean of all draws, per cent",
        # The backslash keeps rich from reading "[low, high]" as a style.
        caption="right kind: share of the top 10 that is of the kind asked for, at random "
        rf"{random}; within: recall at 10 among that kind alone; \[low, high]: 95 %",
    )
    shown.add_column("system", no_wrap=True)
    for name in ("R@1", "R@10", *(f"R@10 {kind}" for kind in KINDS), "right kind",
                 *(f"right {kind}" for kind in KINDS), "within"):  # fmt: skip
        shown.add_column(name, justify="right")
    for line in found.systems:
        mean = line.metrics[MEAN]
        shown.add_row(
            line.system,
            _percent(mean["recall_at_1"].value),
            _bounded(mean["recall_at_10"]),
            *(_percent(line.metrics[kind]["recall_at_10"].value) for kind in KINDS),
            _percent(mean["right_kind_in_top_10"].value),
            *(_percent(line.metrics[kind]["right_kind_in_top_10"].value) for kind in KINDS),
            _percent(mean["recall_at_10_within_kind"].value),
        )
    gains = Table(title="the first minus the second, points")
    gains.add_column("systems")
    for name in ("R@10", *(f"R@10 {kind}" for kind in KINDS), "right kind", "within"):
        gains.add_column(name, justify="right")
    for line in found.differences:
        mean = line.metrics[MEAN]
        gains.add_row(
            f"{line.system} - {line.minus}",
            _bounded(mean["recall_at_10"], "+"),
            *(_bounded(line.metrics[kind]["recall_at_10"], "+") for kind in KINDS),
            _bounded(mean["right_kind_in_top_10"], "+"),
            _bounded(mean["recall_at_10_within_kind"], "+"),
        )
    return [shown, gains]


def _percent(value: float, sign: str = "") -> str:
    return f"{100 * value:{sign}.1f}"


def _bounded(estimate: Estimate, sign: str = "") -> str:
    value, low, high = (
        _percent(each, sign) for each in (estimate.value, estimate.low, estimate.high)
    )
    return rf"{value} \[{low}, {high}]"


def figure(result: Result, path: Path) -> None:
    """Which kinds the top 10 holds, and the differences with their intervals, as PNG."""
    from matplotlib.figure import Figure

    even = [each for each in result.mixtures if len(set(each.counts.values())) == 1]
    drawn = Figure(figsize=(13.5, 6.6), layout="constrained")
    shares, gains = drawn.subplots(1, 2)
    last = even[-1]
    names = [line.system for line in last.systems]
    for kind, mark in zip(KINDS, "os^", strict=True):
        x = [100 * line.metrics[kind]["right_kind_in_top_10"].value for line in last.systems]
        shares.plot(x, range(len(names)), mark, label=f"wanted: {kind}", alpha=0.8)
    shares.axvline(100 * result.prior[KINDS[0]], color="grey", linewidth=1, label="random order")
    shares.set_title(f"{last.counts[KINDS[0]]:,} training pairs of each kind")
    shares.set_xlabel("share of the top 10 that is of the kind wanted, %")
    shares.set_xlim(0, 103)
    shares.legend(loc="upper center", bbox_to_anchor=(0.4, -0.08), ncols=4, fontsize=8)
    for number, found in enumerate(even):
        lines = found.differences
        estimates = [line.metrics[MEAN]["recall_at_10"] for line in lines]
        value = [100 * each.value for each in estimates]
        below = [100 * (each.value - each.low) for each in estimates]
        above = [100 * (each.high - each.value) for each in estimates]
        y = [row + 0.25 * (number - (len(even) - 1) / 2) for row in range(len(lines))]
        gains.errorbar(value, y, xerr=(below, above), fmt="o", markersize=4, capsize=2,
                       label=f"{found.counts[KINDS[0]]:,} pairs of each kind")  # fmt: skip
    gains.axvline(0, color="grey", linewidth=1)
    gains.set_title("the first minus the second, 95 % intervals")
    gains.set_xlabel("recall at 10 in the mixed gallery, points")
    gains.legend(loc="upper center", bbox_to_anchor=(0.4, -0.08), ncols=2, fontsize=8)
    labels = [f"{line.system}\n- {line.minus}" for line in last.differences]
    for axes, ticks in ((shares, names), (gains, labels)):
        axes.set_yticks(range(len(ticks)), ticks, fontsize=8)
        axes.invert_yaxis()
        axes.grid(axis="x", alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    drawn.savefig(path, dpi=130)


def systems() -> str:
    """R@10 and share of the right kind of every system, for a page."""
    found = [
        m for m in read_record("unite")["result"]["mixtures"] if len(set(m["counts"].values())) == 1
    ]
    header = ["system"]
    names = [line["system"] for line in found[0]["systems"]]
    for each in found:
        count = next(iter(each["counts"].values()))
        header += [f"R@10, {count:,} pairs of each kind", "right kind in the top 10"]
    rows = []
    for name in names:
        cells = [name]
        for each in found:
            line = next(line for line in each["systems"] if line["system"] == name)
            recall, kind = (
                line["metrics"][MEAN][key] for key in ("recall_at_10", "right_kind_in_top_10")
            )
            cells += [percent(recall), f"{100 * kind['value']:.0f} %"]
        rows.append(cells)
    return markdown_table(header, rows)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run it from the command line."""
    parser = argparse.ArgumentParser(prog="python -m experiments.unite", description=__doc__)
    parser.add_argument("--n", type=int, nargs="+", default=[300, 1000],
                        help="training pairs of each kind")  # fmt: skip
    parser.add_argument("--draws", type=int, default=3, help="training sets of each mixture")
    parser.add_argument(
        "--quick", action="store_true", help=f"{QUICK_PAIRS} pairs of each kind, one draw"
    )
    given = parser.parse_args(arguments)
    config = Config(tuple(given.n), draws=given.draws)
    if given.quick:
        few = Training(steps=QUICK_STEPS, random_steps=QUICK_STEPS)
        counts = tuple((kind, count // 10) for kind, count in UNEVEN)
        config = Config((QUICK_PAIRS,), counts, 1, few)
    result = run(load_mixed(), config)
    console = Console(width=180)
    for found in result.mixtures:
        for table in tables(found, result.prior):
            console.print(table)
        for verdict in found.verdicts:
            console.print(verdict, markup=False, highlight=False)
    if given.quick:
        return
    figure(result, RESULTS / "unite.png")
    written = write_record("unite", config=asdict(config), result=asdict(result))
    console.print(f"wrote {written} and unite.png")


if __name__ == "__main__":
    main()
