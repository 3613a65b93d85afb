"""MetaEmbed: can the budget of late interaction be chosen when a query is asked?

    ISTHMUS_DATA=... python -m experiments.meta_embed [--data stdlib_classes] [--draws 3] [--quick]

On each draw of training pairs ``align.fit_meta_tokens`` makes a head whose gate is off, so that the
table shows what further vectors do whether or not they help; the verdict of the gate stands below
it. The same head is trained at the full budget alone (no Matryoshka). Every budget of one head is
judged on the same held-out gallery, both directions, and the full one also from an int8 index and
from codes of 4, 2 and 1 bit. Beside the heads stands what needs no training: one vector a query,
and the best of the parts that an item has (``experiments.untrained_maximum``).

Documents that say several things: the classes of the standard library (their functions), photos as
queries for all captions of a photo, and emoji as products (name and keywords in three languages).
Records are ``experiments/results/meta_embed-DATA.json`` with a figure each; data whose record is of
this commit are not run again, and a quick run is not written.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch

from align.adapters.adapter import Adapter
from align.adapters.multi_vector.meta_tokens import MetaTokens
from align.data.embeddings import PairedEmbeddings, Vectors
from align.data.multi_vector import MultiVector
from align.data.token_pairs import TokenPairs
from align.fitting.losses.matryoshka import Group
from align.fitting.model_selection.fit import fit
from align.fitting.multi_vector.fit import budgets_of, fit_meta_tokens
from align.metrics.comparison.compare import compare
from align.metrics.estimates import Estimate
from align.metrics.evaluation import Evaluation, Side
from align.metrics.multi_vector import MultiMaps, evaluate_meta_tokens
from align.retrieval.first_stages import maxsim_flops
from align.scoring.late_interaction import topk
from experiments.code_ranks import evaluate_codes
from experiments.pages import markdown_table, percent
from experiments.record import RESULTS, is_current, read_record, write_record
from experiments.tasks import Task, load_token_task
from experiments.trials import over_draws
from experiments.untrained_maximum import BEST_PART, untrained

OURS, CLOSED_FORM = "meta tokens", "closed form"
FLAT = "no Matryoshka"
SETTINGS: Mapping[str, tuple[int, int, int]] = {
    "stdlib_classes": (2000, 4, 16),
    "flickr8k_albums": (1000, 4, 16),
    "emoji_products": (1000, 4, 16),
    "flickr8k": (1000, 16, 64),
}
"""Training pairs, and the full budget (r_q, r_c), by data set."""
BITS = (4, 2, 1)
QUICK_PAIRS = 300
TIMED = 50  # queries searched one after another


@dataclass(frozen=True, slots=True)
class Config:
    """One run.

    Attributes:
        data: Name of one of ``experiments.tasks.TOKEN_TASKS``.
        n: Training pairs, at most those of the pool.
        full: The largest budget, ``(r_q, r_c)``.
        draws: Training sets; set ``s`` is drawn, and heads are seeded, with ``s``.
        epochs: Most passes of Matryoshka training.
    """

    data: str
    n: int
    full: tuple[int, int] = (4, 16)
    draws: int = 3
    epochs: int = 3

    @property
    def budgets(self) -> tuple[tuple[int, int], ...]:
        """Nested budgets from one vector a side to the full one."""
        return tuple((group.queries, group.documents) for group in budgets_of(*self.full))


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
        heads: Recall at 10 of the heads at the full budget minus that of this row, paired in the
            same way; of what needs no training alone, else ``None``.
    """

    system: str
    budget: tuple[int, int]
    metrics: Mapping[str, Estimate]
    gain: Mapping[str, Estimate]
    forward: tuple[Gain, ...]
    cost: Cost | None
    heads: Estimate | None


@dataclass(frozen=True, slots=True)
class Result:
    """The table.

    Attributes:
        gallery: Held-out pairs.
        pool: Pairs that training sets were drawn from.
        chance: Recall at 10 of a random order of the gallery.
        lines: One per system and budget, the closed form first.
        verdicts: What the gate said in each draw.
        seconds: Of each fit of a head, adapters included.
    """

    gallery: int
    pool: int
    chance: float
    lines: tuple[Line, ...]
    verdicts: tuple[str, ...]
    seconds: tuple[float, ...]


def run(config: Config) -> Result:
    """Fit the heads on every draw and judge them at every budget."""
    task = load_token_task(config.data)
    evaluations: dict[tuple[str, tuple[int, int]], list[Evaluation]] = {}
    costs: dict[tuple[str, tuple[int, int]], Cost] = {}
    verdicts, seconds = [], []
    for seed in range(config.draws):
        train = draw(task, config.n, seed=seed)
        fit_adapter = remember_pairs(fit)
        began = time.perf_counter()
        head = _fitted(train, config, seed, fit_adapter)
        seconds.append(round(time.perf_counter() - began, 1))
        verdicts.append(str(head.card["verdict"]))
        flat = _fitted(train, config, seed, fit_adapter, groups=(Group(*config.full),))
        found: dict[tuple[str, tuple[int, int]], tuple[MultiMaps, tuple[int, int]]] = {
            (CLOSED_FORM, (1, 1)): (head, (1, 1)),
            **{(OURS, budget): (head, budget) for budget in config.budgets},
            **{(FLAT, budget): (flat, budget) for budget in config.budgets},
            (f"{OURS}, int8 index", config.full): (_Int8(head), config.full),
        }
        for key, (maps, budget) in found.items():
            judged = evaluate_meta_tokens(task.gallery, maps, budget=budget)
            evaluations.setdefault(key, []).append(judged)
        for bits in BITS:
            key = f"{OURS}, {bits}-bit codes", config.full
            evaluations.setdefault(key, []).append(evaluate_codes(task.gallery, head, bits=bits))
        parts = task.gallery.target
        if parts is not None and parts.tokens.shape[1] == task.gallery.pooled.target.shape[1]:
            kept = untrained(train, task.gallery, head.adapter)
            for (score, corrected), judged in kept.items():
                name = f"{score}, {BEST_PART}{', corrected' if corrected else ''}"
                evaluations.setdefault((name, (1, 0)), []).append(judged)
        if seed == 0:
            costs = {(OURS, each): cost(head, task.gallery, each) for each in config.budgets}
    base, full = evaluations[CLOSED_FORM, (1, 1)], evaluations[OURS, config.full]
    lines = tuple(
        Line(
            system,
            budget,
            over_draws(judged),
            over_draws(judged, minus=base),
            tuple(_forward_gain(one, other) for one, other in zip(judged, base, strict=True)),
            costs.get((system, budget)),
            over_draws(full, minus=judged)["recall_at_10"] if BEST_PART in system else None,
        )
        for (system, budget), judged in evaluations.items()
    )
    return Result(
        len(task.gallery), len(task.pool), base[0].chance["recall_at_10"], lines, tuple(verdicts),
        tuple(seconds),
    )  # fmt: skip


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
    groups: Sequence[Group] | None = None,
) -> MetaTokens:
    return fit_meta_tokens(
        train, asking=config.full[0], vectors=config.full[1], groups=groups, epochs=config.epochs,
        seed=seed, do_no_harm=False, fit_adapter=fit_adapter, progress=True,
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


def figure(result: Result, path: Path) -> None:
    """Recall at 10 against the cost of a query, with intervals of the gain, as PNG."""
    from matplotlib.figure import Figure

    ours = [line for line in result.lines if line.cost is not None]
    cost_of = {line.budget: line.cost.flops_per_query / 1e6 for line in ours if line.cost}
    drawn = Figure(figsize=(6.4, 4.0), layout="constrained")
    axes = drawn.add_subplot()
    base = result.lines[0].metrics["recall_at_10"].value
    for system, mark in ((OURS, "o-"), (FLAT, "s--")):
        lines = [line for line in result.lines if line.system == system]
        x = [cost_of[line.budget] for line in lines]
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


def budgets() -> str:
    """Recall and cost at every budget, all data, for a page."""
    rows = []
    for data, found in _records():
        title = f"**`{data}`**, gallery of {found['gallery']:,}, chance {100 * found['chance']:.1f}"
        rows.append([title, *[""] * (len(HEADER) - 1)])
        rows += map(_cells, found["lines"])
    return markdown_table(HEADER, rows)


HEADER = ("system", "(r_q, r_c)", "GFLOP a query", "ms a query", "bytes an item", "R@1 / R@10, %",
          "R@10 minus one vector", "R@10 of the heads minus this")  # fmt: skip


def _cells(line: Mapping[str, Any]) -> list[str]:
    asking, asked = line["budget"]
    spent = ["", "", ""]
    if line["cost"] is not None:
        flops, ms, size = (
            line["cost"][name] for name in ("flops_per_query", "ms_per_query", "bytes_per_item")
        )
        spent = [f"{flops / 1e9:.4f}", f"{ms:.2f}", f"{size:,.0f}"]
    at_1, at_10 = (100 * line["metrics"][f"recall_at_{k}"]["value"] for k in (1, 10))
    gain, heads = line["gain"]["recall_at_10"], line["heads"]
    budget = f"({asking}, {asked or 'parts'})"
    shown = [percent(gain, sign="+"), percent(heads, sign="+")]
    return [line["system"], budget, *spent, f"{at_1:.1f} / {at_10:.1f}", *shown]


def _records() -> Iterator[tuple[str, dict[str, Any]]]:
    for data in SETTINGS:
        try:
            yield data, read_record(f"meta_embed-{data}")["result"]
        except FileNotFoundError:
            continue


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is left, write records and figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", choices=tuple(SETTINGS), help="one data set alone")
    parser.add_argument("--draws", type=int, default=3, help="training sets")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_PAIRS} pairs, one draw")
    given = parser.parse_args(arguments)
    for data, (n, *full) in SETTINGS.items():
        if given.data not in (None, data):
            continue
        name = f"meta_embed-{data}"
        if not given.quick and is_current(name):
            continue
        config = Config(data, n, (full[0], full[1]), given.draws)
        if given.quick:
            config = Config(data, QUICK_PAIRS, (2, 4), 1, epochs=1)
        result = run(config)
        print(markdown_table(HEADER, [_cells(line) for line in asdict(result)["lines"]]))
        for verdict, spent in zip(result.verdicts, result.seconds, strict=True):
            print(f"gate: {verdict} ({spent} s)")
        if given.quick:
            break
        figure(result, RESULTS / f"{name}.png")
        print(write_record(name, config=asdict(config), result=asdict(result)))


if __name__ == "__main__":
    main()
