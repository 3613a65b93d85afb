"""All systems on one data set at one number of pairs."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from align.data.embeddings import PairedEmbeddings
from align.metrics.bootstrap import randomisation_test
from align.metrics.chance import NoBetterThanChance
from align.metrics.comparison.holm import holm
from align.metrics.estimates import MEANS, Estimate, mean_values
from align.metrics.evaluation import DistinctItems, evaluate_ranks
from experiments.league.cells import Cell, cell, measure
from experiments.league.systems.ours import BEST_NAME, OURS
from experiments.league.systems.peer import Chosen, Peer, Setting, shortened
from experiments.tasks import Task, load_task
from experiments.trials import draw, intervals


@dataclass(frozen=True, slots=True)
class Config:
    """One run.

    Attributes:
        data: Name of a task in ``experiments.tasks``.
        n: Training pairs.
        draws: Training sets; set ``s`` is drawn, and heads start, from seed ``s``.
    """

    data: str
    n: int
    draws: int = 3


@dataclass(frozen=True, slots=True)
class Entry:
    """One system over all draws; metrics are means of both directions, in [0, 1].

    Attributes:
        system: Its name.
        note: Whose it is, what is as published and what is not.
        metrics: With its setting and correction, each with a 95 % interval over queries and draws.
        plain: Without a correction, likewise.
        behind: The metrics of ``align.fit`` minus these, paired by query and draw.
        p: That such a difference of reciprocal ranks would come of swaps, queries in whole groups.
        p_holm: The same adjusted for all systems of the setting.
        setting: By draw, in words.
        correction: Likewise.
        tried: Settings times corrections that were compared; 0 where it chooses by itself.
        held_out: What they were compared by; see ``Chosen``.
        fit_seconds: Mean of one fit on all pairs.
        tuning_seconds: Of the choice.
        trained: Parameters learned by gradient descent.
        stored: Numbers kept for use.
        query_microseconds: Time to adapt one source query, mean of medians.
    """

    system: str
    note: str
    metrics: Mapping[str, Estimate]
    plain: Mapping[str, Estimate]
    behind: Mapping[str, Estimate]
    p: float
    p_holm: float
    setting: tuple[str, ...]
    correction: tuple[str, ...]
    tried: int
    held_out: Mapping[str, tuple[float, ...]]
    fit_seconds: float
    tuning_seconds: float
    trained: int
    stored: int
    query_microseconds: float


@dataclass(frozen=True, slots=True)
class Result:
    """The table.

    Attributes:
        gallery: Held-out pairs.
        pool: Pairs that training sets were drawn from.
        chance: The metrics of a random order of the gallery.
        entries: One per system that is defined here.
    """

    gallery: int
    pool: int
    chance: Mapping[str, float]
    entries: tuple[Entry, ...]

    def __str__(self) -> str:
        lines = [
            f"gallery of {self.gallery:,}, chance R@10 {100 * self.chance['recall_at_10']:.1f}"
        ]
        for each in sorted(self.entries, key=lambda e: -e.metrics["mean_reciprocal_rank"].value):
            at_1, _, at_10, mrr = (100 * each.metrics[name].value for name in MEANS)
            lines.append(
                f"{each.system:32} R@1 {at_1:5.1f}  R@10 {at_10:5.1f}  MRR {mrr:5.1f}  "
                f"plain {100 * each.plain['mean_reciprocal_rank'].value:5.1f}  "
                f"p {each.p_holm:.3f}  fit {each.fit_seconds:6.1f} s  "
                f"tuning {each.tuning_seconds:6.1f} s  {each.setting[0]}, {each.correction[0]}"
            )
        return "\n".join(lines)


def run(config: Config, peers: Sequence[Peer[Any]], folder: Path | None) -> Result:
    """Load the task and run every system on it.

    Args:
        config: What to run.
        peers: The systems; ``align.fit`` must be among them.
        folder: Where cells are kept; ``None`` keeps nothing.

    Raises:
        ValueError: The task does not exist, or has fewer than ``n`` training pairs.
        FileNotFoundError: The data of the task are not there.
    """
    return on_task(load_task(config.data), config, peers, folder)


def on_task(
    task: Task[PairedEmbeddings], config: Config, peers: Sequence[Peer[Any]], folder: Path | None
) -> Result:
    """The same on a task that is loaded."""
    widths = task.pool.source.shape[1], task.pool.target.shape[1]
    suited = [peer for peer in peers if peer.suits(*widths)]
    cells: dict[str, list[Cell]] = {peer.name: [] for peer in suited}
    started = time.perf_counter()
    for seed in range(config.draws):
        train = draw(task.pool, config.n, seed=seed)
        if seed == 0:
            _warm_up(train, suited)
        bar = tqdm(suited, desc=f"{config.data} {config.n} draw {seed}", unit="system")
        for peer in bar:
            bar.set_postfix_str(peer.name)
            known: Chosen | None = cells[peer.name][0].chosen if seed else None
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", NoBetterThanChance)
                if folder is None:
                    found = measure(peer, train, task.gallery, seed=seed, chosen=known)
                else:
                    found = cell(folder, peer, train, task.gallery, seed=seed, chosen=known)
            cells[peer.name].append(found)
    print(f"{config.data}, {config.n}: {time.perf_counter() - started:.0f} s", flush=True)
    return summarised(task, suited, cells)


def summarised(
    task: Task[PairedEmbeddings], peers: Sequence[Peer[Any]], cells: Mapping[str, Sequence[Cell]]
) -> Result:
    """Every system beside ``align.fit``, from the ranks of its cells."""
    judged = evaluate_ranks(task.gallery, _no_order)
    both = judged.source_to_target, judged.target_to_source
    groups = torch.cat([direction.groups for direction in both])
    sizes = [len(direction.ranks) for direction in both]
    corrected, plain = (
        {name: _values(each, kind) for name, each in cells.items()}
        for kind in ("corrected", "plain")
    )
    ours = corrected[BEST_NAME]
    p = [_p(ours, corrected[peer.name], groups, sizes) for peer in peers]
    others = [at for at, peer in enumerate(peers) if peer.name not in OURS]
    adjusted = dict(zip(others, holm([p[at] for at in others]), strict=True))

    def estimated(values: Tensor) -> dict[str, Estimate]:
        return dict(zip(MEANS, intervals(values, groups, sizes), strict=True))

    entries = []
    for at, peer in enumerate(peers):
        own = cells[peer.name]
        how = own[0].chosen
        values = corrected[peer.name]
        entries.append(
            Entry(
                peer.name,
                peer.note,
                estimated(values),
                estimated(plain[peer.name]),
                estimated(ours - values),
                p[at],
                adjusted.get(at, 1.0),
                tuple(each.setting for each in own),
                tuple(each.correction for each in own),
                0 if how is None else sum(map(len, how.held_out.values())),
                {} if how is None else how.held_out,
                fmean(each.fit_seconds for each in own),
                own[0].tuning_seconds,
                own[0].trained,
                own[0].stored,
                fmean(each.query_microseconds for each in own),
            )
        )
    chance = {name: judged.chance[name] for name in MEANS}
    return Result(len(task.gallery), len(task.pool), chance, tuple(entries))


def _values(cells: Sequence[Cell], kind: str) -> Tensor:
    """``MEANS`` of every query in every draw, ``(q, draws, 4)`` float64."""
    by_draw = [mean_values(torch.tensor(each.ranks[kind])).double() for each in cells]
    return torch.stack(by_draw, dim=1)


def _p(ours: Tensor, theirs: Tensor, groups: Tensor, sizes: Sequence[int]) -> float:
    """Of the difference of reciprocal ranks, mean of draws; both directions weigh the same."""
    weight = torch.cat([torch.full((size,), 1 / size, dtype=torch.float64) for size in sizes])
    a, b = (each[:, :, -1].mean(dim=1) * weight for each in (ours, theirs))
    generator = torch.Generator().manual_seed(0)
    return float(randomisation_test(a, b, groups=groups, draws=2000, generator=generator))


def _no_order(queries: DistinctItems, gallery: DistinctItems) -> Tensor:
    """A rank for every query: only groups and chance are asked for."""
    return torch.ones(len(queries.rows), dtype=torch.int64)


def _warm_up(train: PairedEmbeddings, peers: Sequence[Peer[Any]]) -> None:
    """Fit what first loads modules, for seconds, on a few pairs: no system is charged for that."""
    few = train.take(range(min(20, len(train))))
    for peer in peers:
        if isinstance(peer.settings[0], Setting):
            short = shortened(peer, 1)
            short.fit(few, short.settings[0], 0)
