"""Recall against cost: one head of meta tokens at several budgets, beside the closed form.

    python -m experiments.budgets --data flickr8k [--n 1000] [--draws 3] [--quick]

On each draw of training pairs ``align.fit_meta_tokens`` makes a head whose gate is off, so that the
table shows what further vectors do whether or not they help; the verdict of the gate stands below
it. Two ablations are trained in the same way on the first draw: at the full budget alone (no
Matryoshka), and with one aspect instead of many, which is one vector of the same width. Every
budget of one head is judged on the same held-out gallery, both directions. The table and, with
every interval, the record go to ``experiments/results/budgets-DATA.json``, the figure to
``budgets-DATA.png``; a quick run is not written.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import torch
from rich.console import Console
from rich.table import Table

from align.adapters.adapter import Adapter
from align.adapters.multi_vector.meta_tokens import MetaTokens
from align.data.embeddings import PairedEmbeddings, Vectors
from align.data.multi_vector import MultiVector
from align.data.token_pairs import TokenPairs
from align.fitting.losses.matryoshka import Group
from align.fitting.model_selection.fit import fit
from align.fitting.multi_vector.fit import fit_meta_tokens
from align.metrics.comparison.compare import compare
from align.metrics.evaluation import Estimate, Evaluation, Side
from align.metrics.multi_vector import MultiMaps, evaluate_meta_tokens
from align.retrieval.first_stages import maxsim_flops
from align.scoring.late_interaction import topk
from experiments.record import RESULTS, write_record
from experiments.tasks import TOKEN_TASKS, Task, load_token_task
from experiments.trials import over_draws

OURS, CLOSED_FORM = "meta tokens", "closed form"
ASKING, VECTORS = 4, 16
BUDGETS = ((1, 1), (1, 4), (2, 4), (2, 8), (4, 8), (4, 16))
FULL = BUDGETS[-1]
QUICK_PAIRS = 300
TIMED = 50  # queries searched one after another


@dataclass(frozen=True, slots=True)
class Config:
    """One run.

    Attributes:
        data: Name of one of ``experiments.tasks.TOKEN_TASKS``.
        n: Training pairs, at most those of the pool.
        draws: Training sets; set ``s`` is drawn, and heads are seeded, with ``s``.
        epochs: Most passes of Matryoshka training.
    """

    data: str
    n: int
    draws: int = 3
    epochs: int = 3


@dataclass(frozen=True, slots=True)
class Cost:
    """What one budget costs, in the first draw; it does not depend on the pairs.

    Attributes:
        flops_per_query: Multiplications and additions to score one query with the gallery.
        ms_per_query: Exact top 10 of the gallery for one query after another, median, in ms.
        bytes_per_item: Of an index in float32.
        bytes_per_item_int8: Of the same in int8, scale included.
    """

    flops_per_query: float
    ms_per_query: float
    bytes_per_item: float
    bytes_per_item_int8: float


@dataclass(frozen=True, slots=True)
class Gain(Estimate):
    """A metric of one system minus that of another, with its interval and the p of a swap test."""

    p: float


@dataclass(frozen=True, slots=True)
class Line:
    """One row of the table.

    Attributes:
        system: What was measured.
        budget: ``(r_q, r_c)``.
        metrics: Means of both directions over draws, in [0, 1].
        gain: The same minus those of the closed form, paired by draw and query.
        forward: Gain in recall at 10 of source queries alone, draw by draw.
        cost: What it costs, or ``None`` where that is another row's.
    """

    system: str
    budget: tuple[int, int]
    metrics: Mapping[str, Estimate]
    gain: Mapping[str, Estimate]
    forward: tuple[Gain, ...]
    cost: Cost | None


@dataclass(frozen=True, slots=True)
class Result:
    """The table.

    Attributes:
        gallery: Held-out pairs.
        pool: Pairs that training sets were drawn from.
        lines: One per system and budget, the closed form first.
        verdicts: What the gate said in each draw.
        seconds: Of each fit of a head, adapters included.
    """

    gallery: int
    pool: int
    lines: tuple[Line, ...]
    verdicts: tuple[str, ...]
    seconds: tuple[float, ...]


def run(config: Config) -> Result:
    """Fit the heads on every draw and judge them at every budget."""
    task = load_token_task(config.data)
    evaluations: dict[tuple[str, tuple[int, int]], list[Evaluation]] = {}
    costs: dict[tuple[int, int], Cost] = {}
    verdicts, seconds = [], []
    for seed in range(config.draws):
        train = draw(task, config.n, seed=seed)
        fit_adapter = remember_pairs(fit)
        began = time.perf_counter()
        head = _fitted(train, config, seed, fit_adapter)
        seconds.append(round(time.perf_counter() - began, 1))
        verdicts.append(str(head.card["verdict"]))
        found: dict[tuple[str, tuple[int, int]], tuple[MultiMaps, tuple[int, int]]] = {
            (CLOSED_FORM, (1, 1)): (head, (1, 1)),
            **{(OURS, budget): (head, budget) for budget in BUDGETS},
            (f"{OURS}, int8 index", FULL): (_Int8(head), FULL),
        }
        if seed == 0:
            flat = _fitted(train, config, seed, fit_adapter, groups=(Group(*FULL),))
            single = _fitted(train, config, seed, fit_adapter, asking=2, vectors=2)
            found |= {("no Matryoshka", budget): (flat, budget) for budget in BUDGETS}
            found["one aspect", (2, 2)] = single, (2, 2)
        for key, (maps, budget) in found.items():
            judged = evaluate_meta_tokens(task.gallery, maps, budget=budget)
            evaluations.setdefault(key, []).append(judged)
        if seed == 0:
            costs = {budget: cost(head, task.gallery, budget) for budget in BUDGETS}
    base = evaluations[CLOSED_FORM, (1, 1)]
    lines = tuple(
        Line(
            system,
            budget,
            over_draws(judged),
            over_draws(judged, minus=base[: len(judged)]),
            tuple(_forward_gain(one, other) for one, other in zip(judged, base, strict=False)),
            costs[budget] if system == OURS else None,
        )
        for (system, budget), judged in evaluations.items()
    )
    return Result(len(task.gallery), len(task.pool), lines, tuple(verdicts), tuple(seconds))


def _forward_gain(ours: Evaluation, theirs: Evaluation) -> Gain:
    row = compare({"theirs": theirs, "ours": ours}).row("recall_at_10", "source_to_target")
    gain = row.differences["ours"]
    assert gain.low is not None and gain.high is not None and gain.p is not None
    return Gain(gain.value, gain.low, gain.high, gain.p)


def _fitted(
    train: TokenPairs,
    config: Config,
    seed: int,
    fit_adapter: Callable[[PairedEmbeddings], Adapter],
    *,
    asking: int = ASKING,
    vectors: int = VECTORS,
    groups: Sequence[Group] | None = None,
) -> MetaTokens:
    return fit_meta_tokens(
        train, asking=asking, vectors=vectors, groups=groups, epochs=config.epochs, seed=seed,
        do_no_harm=False, fit_adapter=fit_adapter, progress=True,
    )  # fmt: skip


def remember_pairs(
    fit_adapter: Callable[[PairedEmbeddings], Adapter],
) -> Callable[[PairedEmbeddings], Adapter]:
    """``fit_adapter`` that keeps what it gave for the same pairs: heads of one draw share those."""
    known: dict[tuple[str, ...], Adapter] = {}

    def fitted(pairs: PairedEmbeddings) -> Adapter:
        if pairs.ids not in known:
            known[pairs.ids] = fit_adapter(pairs)
        return known[pairs.ids]

    return fitted


class _Int8:
    """A head whose gallery is kept in int8, as an index would."""

    def __init__(self, head: MetaTokens) -> None:
        self._head = head
        self.queries = head.queries

    def gallery(self, x: Vectors, tokens: MultiVector | None, *, side: Side) -> MultiVector:
        return self._head.gallery(x, tokens, side=side).quantized()


def draw(task: Task[TokenPairs], n: int, *, seed: int) -> TokenPairs:
    """``n`` pairs of the pool without replacement, the same as ``experiments.trials.draw``."""
    order = torch.randperm(len(task.pool), generator=torch.Generator().manual_seed(seed))
    return task.pool.take(order[:n])


def cost(head: MetaTokens, gallery: TokenPairs, budget: tuple[int, int]) -> Cost:
    """What searching the targets with the sources costs at one budget."""
    queries = head.queries(gallery.pooled.source, gallery.source).prefix(budget[0])
    items = head.gallery(gallery.pooled.target, gallery.target).prefix(budget[1])
    taken = []
    for at in range(min(len(queries) - 1, TIMED) + 1):
        began = time.perf_counter()
        topk(queries[at : at + 1], items, 10)
        taken.append((time.perf_counter() - began) * 1e3)
    return Cost(
        maxsim_flops(queries, items) / len(queries),
        median(taken[1:]),
        items.nbytes / len(items),
        items.quantized().nbytes / len(items),
    )


def table(result: Result) -> Table:
    """The result to be printed; metrics in per cent, gains over the closed form."""
    shown = Table(title=f"gallery of {result.gallery}, mean of both directions")
    for column in ("system", "r_q", "r_c", "MFLOP/query", "ms/query", "bytes/item", "int8",
                   "R@1", "R@10", "gain in R@10", "source to target"):  # fmt: skip
        shown.add_column(column, justify="left" if column == "system" else "right")
    for line in result.lines:
        spent = ("", "", "", "")
        if line.cost is not None:
            spent = (
                f"{line.cost.flops_per_query / 1e6:.1f}",
                f"{line.cost.ms_per_query:.2f}",
                f"{line.cost.bytes_per_item:,.0f}",
                f"{line.cost.bytes_per_item_int8:,.0f}",
            )
        gain = line.gain["recall_at_10"]
        shown.add_row(
            line.system,
            *map(str, line.budget),
            *spent,
            f"{100 * line.metrics['recall_at_1'].value:.1f}",
            f"{100 * line.metrics['recall_at_10'].value:.1f}",
            f"{100 * gain.value:+.1f} [{100 * gain.low:+.1f}, {100 * gain.high:+.1f}]",
            ", ".join(f"{100 * each.value:+.1f}" for each in line.forward),
        )
    return shown


def figure(result: Result, path: Path) -> None:
    """Recall at 10 against the cost of a query, with intervals of the gain, as PNG."""
    from matplotlib.figure import Figure

    ours = [line for line in result.lines if line.cost is not None]
    cost_of = {line.budget: line.cost.flops_per_query / 1e6 for line in ours if line.cost}
    drawn = Figure(figsize=(6.4, 4.0), layout="constrained")
    axes = drawn.add_subplot()
    base = result.lines[0].metrics["recall_at_10"].value
    for system, mark in ((OURS, "o-"), ("no Matryoshka", "s--")):
        lines = [line for line in result.lines if line.system == system]
        x = [cost_of[line.budget] for line in lines]
        # Draws differ, so the first alone stands where its gain puts it.
        y = [100 * (base + line.gain["recall_at_10"].value) for line in lines]
        low = [100 * (base + line.gain["recall_at_10"].low) for line in lines]
        high = [100 * (base + line.gain["recall_at_10"].high) for line in lines]
        (curve,) = axes.plot(x, y, mark, label=system)
        axes.fill_between(x, low, high, alpha=0.15, color=curve.get_color())
        if system == OURS:
            for line, at, up in zip(lines, x, y, strict=True):
                axes.annotate(str(line.budget), (at, up), (0, 6), textcoords="offset points",
                              ha="center", fontsize=8)  # fmt: skip
    axes.axhline(100 * base, color="grey", linewidth=1, label="closed form, one vector")
    axes.set_xscale("log", base=2)
    axes.set_xlabel("million operations per query (log scale)")
    axes.set_ylabel("recall at 10, %")
    axes.legend(loc="upper left")
    axes.spines[["top", "right"]].set_visible(False)
    drawn.savefig(path, dpi=150)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run it from the command line."""
    parser = argparse.ArgumentParser(prog="python -m experiments.budgets", description=__doc__)
    parser.add_argument("--data", choices=sorted(TOKEN_TASKS), required=True)
    parser.add_argument("--n", type=int, default=1000, help="training pairs; at most the pool's")
    parser.add_argument("--draws", type=int, default=3, help="training sets")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_PAIRS} pairs, one draw")
    given = parser.parse_args(arguments)
    config = Config(given.data, given.n, given.draws)
    if given.quick:
        config = Config(given.data, QUICK_PAIRS, 1, epochs=1)
    result = run(config)
    console = Console(width=132)
    console.print(table(result))
    for verdict, spent in zip(result.verdicts, result.seconds, strict=True):
        console.print(f"gate: {verdict} ({spent} s)")
    if given.quick:
        return
    name = f"budgets-{config.data}"
    figure(result, RESULTS / f"{name}.png")
    written = write_record(name, config=asdict(config), result=asdict(result))
    console.print(f"wrote {written} and {name}.png")


if __name__ == "__main__":
    main()
