"""Trained heads of others beside ours: recall and seconds on the same cached features.

    python -m experiments.heads --data flickr8k --n 1000 [--draws 3] [--quick]

Every system is fitted on the same pairs, drawn without replacement from the training pool, and
judged by ``align.evaluate`` on the same held-out gallery. A peer keeps its published settings, and
those that depend on the number of pairs are chosen from a short list on a fifth of its training
pairs; it is then fitted on all of them. The gallery chooses nothing. Heads of others live in
``experiments/peer_heads``, one in a file. The record goes to
``experiments/results/heads-DATA-N.json``, the figure to ``heads-DATA-N.png``; a quick run, which
shows only that everything works, is not written.

The trainer of sentence-transformers needs ``accelerate`` and ``datasets``, which
``pip install "sentence-transformers[train]"`` brings; without them its rows are left out, and the
table says so.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from align.adapters.adapter import Adapter
from align.data.embeddings import PairedEmbeddings
from align.fitting.model_selection.fit import Effort, fit
from align.metrics.evaluation import Estimate
from experiments.peer_heads import (
    csa,
    dense,
    fusemix,
    info_nce,
    llama_index,
    mind_the_gap,
    sail,
    structure,
)
from experiments.peer_heads.peer import Chosen, Peer, Setting, choose_and_fit, shortened
from experiments.record import RESULTS, write_record
from experiments.tasks import TASKS, Task, load_task
from experiments.trials import Fit, Fitted, Row, Trial, draw, summarise, trial

OURS: Mapping[str, Effort] = {"align.fit, fast": "fast", "align.fit, best": "best"}
REFERENCE = "align.fit, best"
QUICK_PAIRS, QUICK_LENGTH = 300, 2


@dataclass(frozen=True, slots=True)
class Config:
    """One run.

    Attributes:
        data: Name of a task in ``experiments.tasks``.
        n: Training pairs.
        draws: Training sets; set ``s`` is drawn, and heads start, from seed ``s``.
        length: Most steps or epochs of every head, of one setting each, or ``None``.
    """

    data: str
    n: int
    draws: int = 3
    length: int | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """One system.

    Attributes:
        row: Its metrics, and the gain of ``align.fit`` with effort best over them. Its seconds
            hold everything: choosing a setting, and the fit on all pairs.
        note: Whose it is, what is as published and what is not.
        chosen: Its setting in each draw; none for ours.
    """

    row: Row
    note: str
    chosen: tuple[Chosen, ...]


@dataclass(frozen=True, slots=True)
class Result:
    """The table.

    Attributes:
        gallery: Held-out pairs.
        pool: Pairs that training sets were drawn from.
        lines: One per system, ours last.
        missing: Packages without which the rows of sentence-transformers are left out.
        packages: Versions of those that were there.
        verdicts: What ``align.fit`` says of each draw, by system.
    """

    gallery: int
    pool: int
    lines: tuple[Line, ...]
    missing: tuple[str, ...]
    packages: Mapping[str, str]
    verdicts: Mapping[str, tuple[str, ...]]


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
    missing = dense.missing()
    found = peers(with_dense=not missing)
    if config.length is not None:
        found = tuple(shortened(peer, config.length) for peer in found)
    trials: dict[str, list[Trial]] = {}
    chosen: dict[str, list[Chosen]] = {peer.name: [] for peer in found}
    verdicts: dict[str, list[str]] = {name: [] for name in OURS}

    def theirs(train: PairedEmbeddings, seed: int, *, peer: Peer[Any]) -> Fitted:
        fitted, how = choose_and_fit(peer, train, seed)
        chosen[peer.name].append(how)
        return fitted

    def ours(train: PairedEmbeddings, seed: int, *, name: str) -> Adapter:
        adapter = fit(train, effort=OURS[name])
        verdicts[name].append(f"{adapter.card.method}: {adapter.card.verdict}")
        return adapter

    systems: dict[str, Fit] = {peer.name: partial(theirs, peer=peer) for peer in found}
    for name in OURS:
        systems[name] = partial(ours, name=name)
    for seed in range(config.draws):
        train = draw(task.pool, config.n, seed=seed)
        if seed == 0:
            _warm_up(train, found)
        bar = tqdm(systems.items(), desc=f"draw {seed}", unit="system")
        for name, system in bar:
            bar.set_postfix_str(name)
            trials.setdefault(name, []).append(trial(system, train, task.gallery, seed=seed))

    notes = {peer.name: peer.note for peer in found}
    lines = tuple(
        Line(
            summarise(name, each, trials[REFERENCE]),
            notes.get(name, "Ours, chosen by cross-validation on the training pairs."),
            tuple(chosen.get(name, ())),
        )
        for name, each in trials.items()
    )
    packages = {name: version(name) for name in dense.NEEDED if name not in missing}
    told = {name: tuple(each) for name, each in verdicts.items()}
    return Result(len(task.gallery), len(task.pool), lines, missing, packages, told)


def peers(*, with_dense: bool) -> tuple[Peer[Any], ...]:
    """Systems of others in the order of the table.

    Args:
        with_dense: Whether the trainer of sentence-transformers can be used.
    """
    return (
        llama_index.SHIPPED,
        llama_index.TUNED,
        *((dense.SHIPPED, dense.TUNED) if with_dense else ()),
        csa.PEER,
        info_nce.LINEAR,
        info_nce.MLP,
        fusemix.PEER,
        sail.PEER,
        structure.PEER,
        mind_the_gap.PEER,
    )


def _warm_up(train: PairedEmbeddings, found: Sequence[Peer[Any]]) -> None:
    """Fit what first loads modules, for seconds, on a few pairs: no system is charged for that."""
    few = train.take(range(min(20, len(train))))
    for peer in found:
        if isinstance(peer.settings[0], Setting):
            choose_and_fit(shortened(peer, 1), few, 0)


def render(config: Config, result: Result) -> Table:
    """The table as it is printed: metrics in per cent, with 95 % intervals."""
    draws = "1 draw" if config.draws == 1 else f"mean of {config.draws} draws"
    table = Table(
        title=f"{config.data}: {config.n:,} training pairs, {result.gallery:,} in the gallery; "
        f"mean of both directions, {draws}, per cent",
        # The backslash keeps rich from reading "[low, high]" as a style.
        caption=r"\[low, high]: 95 % bootstrap interval over queries and draws; train s: one fit "
        "on all pairs; all s: choosing a setting included",
    )
    table.add_column("system", no_wrap=True)
    gain = f"R@10 of {REFERENCE} minus its"
    for name in ("R@1", "R@10", "MRR", gain, "train s", "all s", "trained"):
        table.add_column(name, justify="right", no_wrap=name != gain)
    for line in result.lines:
        row = line.row
        at_1, _, at_10, mrr = row.metrics.values()
        table.add_row(
            row.system,
            f"{100 * at_1.value:.1f}",
            _bounded(at_10),
            _bounded(mrr),
            "" if row.system == REFERENCE else _bounded(row.gain["recall_at_10"], "+"),
            f"{train_seconds(line):.1f}",
            f"{row.fit_seconds:.1f}",
            f"{row.trained / 1e6:.2f} M" if row.trained else "0",
            style="bold" if row.system in OURS else None,
        )
    return table


def train_seconds(line: Line) -> float:
    """Mean seconds of one fit on all pairs; for ours, which choose as they fit, of everything."""
    taken = [each.fit_seconds for each in line.chosen]
    return sum(taken) / len(taken) if taken else line.row.fit_seconds


def remarks(result: Result) -> list[str]:
    """What to know beside the table: each note with the settings that were chosen."""
    found = []
    for line in result.lines:
        settings = ", ".join(each.setting for each in line.chosen)
        chosen = f" Setting by draw: {settings}." if settings else ""
        found.append(f"{line.row.system}: {line.note}{chosen}")
    for name, verdicts in result.verdicts.items():
        found += [f"{name}, draw {seed}: {verdict}" for seed, verdict in enumerate(verdicts)]
    if result.missing:
        found.append(
            f"sentence-transformers Dense: no rows, since {' and '.join(result.missing)} could "
            'not be found; install "sentence-transformers[train]".'
        )
    return found


def figure(config: Config, result: Result, path: Path) -> None:
    """Recall at 10 with its interval, and seconds on a logarithmic axis, by system, as PNG."""
    from matplotlib.figure import Figure

    lines = sorted(result.lines, key=lambda line: line.row.metrics["recall_at_10"].value)
    at = range(len(lines))
    drawn = Figure(figsize=(9.0, 0.36 * len(lines) + 1.4), layout="constrained")
    recall, seconds = drawn.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    colours = ["tab:red" if line.row.system in OURS else "tab:blue" for line in lines]
    for y, line, colour in zip(at, lines, colours, strict=True):
        found = line.row.metrics["recall_at_10"]
        recall.plot([100 * found.low, 100 * found.high], [y, y], color=colour, linewidth=2)
        recall.plot(100 * found.value, y, "o", color=colour)
        fit_seconds, everything = train_seconds(line), line.row.fit_seconds
        seconds.plot([fit_seconds, everything], [y, y], color=colour, linewidth=1)
        seconds.plot(fit_seconds, y, "o", color=colour)
        if not math.isclose(fit_seconds, everything):
            seconds.plot(everything, y, "|", color=colour, markersize=10)
    recall.set_yticks(list(at), [line.row.system for line in lines])
    recall.set_xlabel("recall at 10, %, with 95 % interval")
    recall.set_xlim(left=0)
    seconds.set_xscale("log")
    seconds.set_xlabel("seconds of a fit; bar: with choosing")
    for axes in (recall, seconds):
        axes.grid(axis="x", color="0.9")
        axes.set_axisbelow(True)
        axes.tick_params(axis="y", length=0)
        axes.spines[["top", "right", "left"]].set_visible(False)
    drawn.suptitle(f"{config.data}, {config.n:,} training pairs, {result.gallery:,} in the gallery")
    drawn.savefig(path, dpi=150)


def _bounded(estimate: Estimate, sign: str = "") -> str:
    value, low, high = (
        f"{100 * each:{sign}.1f}" for each in (estimate.value, estimate.low, estimate.high)
    )
    return f"{value} [{low}, {high}]"


def main(arguments: Sequence[str] | None = None) -> None:
    """Compare, print the table and write the record."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.heads", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--data", choices=tuple(TASKS), default="flickr8k")
    parser.add_argument("--n", type=int, default=1000, help="training pairs")
    parser.add_argument("--draws", type=int, default=3, help="training sets drawn")
    parser.add_argument(
        "--quick", action="store_true", help="few pairs, one draw, hardly any steps, no record"
    )
    told: Any = parser.parse_args(arguments)
    config = Config(told.data, told.n, told.draws)
    if told.quick:
        config = Config(told.data, min(told.n, QUICK_PAIRS), 1, QUICK_LENGTH)
    result = run(config)
    # Wide enough for every column wherever the output goes.
    console = Console(width=150)
    console.print(render(config, result))
    for remark in remarks(result):
        console.print(remark, markup=False, highlight=False)
    if told.quick:
        return
    name = f"heads-{config.data}-{config.n}"
    figure(config, result, RESULTS / f"{name}.png")
    written = write_record(name, config=asdict(config), result=asdict(result))
    console.print(f"wrote {written} and {name}.png")


if __name__ == "__main__":
    main()
