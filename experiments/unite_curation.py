"""Does curation pay? Wrong partners, or near copies, planted in training pairs and left out again.

    ISTHMUS_DATA=... python -m experiments.unite_curation [--plant copied] [--draws 3] [--quick]

UNITE (arXiv:2505.19650) puts curation of pairs before training. Here some of a thousand true
pairs exchange their partners (0, 10, 20 or 30 %), and ``align.curation.mismatches`` names suspects;
or some are replaced by near copies of the others (0, 20 or 50 %), both vectors with noise of a
twentieth of their length, and ``near_vectors`` of ``align.curation.duplicates`` finds them at its
own threshold. ``align.fit`` learns from what is left; beside it stand the fit on all pairs, the fit
on as many pairs drawn at random as curation leaves, and the fit on the true or distinct pairs
alone, which nobody could know. The gallery is clean. Records are ``unite_curation.json`` and
``unite_duplicates.json`` of ``experiments/results``, each with a figure.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean

import torch
import torch.nn.functional as F
from torch import Tensor

from align.curation.duplicates import near_vectors
from align.curation.mismatches import mismatches
from align.data.embeddings import PairedEmbeddings
from align.fitting.model_selection.fit import fit
from align.metrics.estimates import Estimate
from align.metrics.evaluation import Evaluation, evaluate
from experiments.pages import markdown_table, percent
from experiments.record import RESULTS, read_record, write_record
from experiments.tasks import Task, load_task
from experiments.trials import draw, over_draws

DATA = ("flickr8k", "en_fr", "stdlib_code")
PAIRS, SHARES, CUT = 1000, (0.0, 0.1, 0.2, 0.3), 0.5
ALL, CURATED, RANDOM = "all pairs", "curated", "as many at random"
TRUE, DISTINCT = "true pairs alone", "distinct pairs alone"
EXCHANGED, COPIED = "exchanged", "copied"
BEST = {EXCHANGED: TRUE, COPIED: DISTINCT}
RECORDS = {EXCHANGED: "unite_curation", COPIED: "unite_duplicates"}
COPIED_SHARES, NOISE = (0.0, 0.2, 0.5), 0.05


@dataclass(frozen=True, slots=True)
class Config:
    """One run.

    Attributes:
        data: Tasks.
        n: Training pairs.
        shares: Of pairs whose partners are exchanged, or that are replaced by copies.
        draws: Training sets; set ``s`` is drawn and spoiled with seed ``s``.
        plant: ``"exchanged"`` or ``"copied"``.
    """

    data: tuple[str, ...] = DATA
    n: int = PAIRS
    shares: tuple[float, ...] = SHARES
    draws: int = 3
    plant: str = EXCHANGED


@dataclass(frozen=True, slots=True, eq=False)
class Training:
    """Pairs of which some were spoiled, and what curation says of them.

    Attributes:
        pairs: All of them.
        sound: Which were not spoiled, ``(n,)`` bool.
        suspects: Which curation leaves out.
        right: Which of those it should: of each true pair and its copies all but one, whichever.
    """

    pairs: PairedEmbeddings
    sound: Tensor
    suspects: Tensor
    right: Tensor


@dataclass(frozen=True, slots=True)
class Line:
    """One data set at one share.

    Attributes:
        data: Its task.
        share: Of planted mismatches or copies.
        gallery: Held-out pairs.
        chance: R@10 of a random order of the gallery.
        recall: R@10 of each way, mean of draws and of both directions.
        gain: The same minus that of all pairs, paired by query and draw.
        found: Share of what was planted that is left out, mean of draws; ``None`` without any.
        lost: Share of true or distinct pairs that are left out.
    """

    data: str
    share: float
    gallery: int
    chance: float
    recall: Mapping[str, Estimate]
    gain: Mapping[str, Estimate]
    found: float | None
    lost: float


def spoiled(pairs: PairedEmbeddings, share: float, *, seed: int) -> tuple[PairedEmbeddings, Tensor]:
    """Pairs of which a share have exchanged partners, and which those are, ``(n,)`` bool.

    Partners move one place around a ring of the chosen pairs, so that every one of them is wrong.
    """
    generator = torch.Generator().manual_seed(seed)
    count = round(share * len(pairs))
    wrong = torch.zeros(len(pairs), dtype=torch.bool)
    if count < 2:
        return pairs, wrong
    rows = torch.randperm(len(pairs), generator=generator)[:count]
    target = pairs.target.clone()
    target[rows] = pairs.target[rows.roll(1)]
    wrong[rows] = True
    return replace(pairs, target=target), wrong


def repeated(
    pairs: PairedEmbeddings, share: float, *, seed: int
) -> tuple[PairedEmbeddings, Tensor]:
    """Pairs of which a share are near copies of others, and of which row each is, ``(n,)`` int64.

    A copy has the vectors of a pair that stays, each with noise of ``NOISE`` times its length. It
    keeps the id and the group of the pair that it replaces, so that only vectors betray it.
    """
    generator = torch.Generator().manual_seed(seed)
    origin = torch.arange(len(pairs))
    count = round(share * len(pairs))
    if count == 0:
        return pairs, origin
    order = torch.randperm(len(pairs), generator=generator)
    rows, kept = order[:count], order[count:]
    origin[rows] = kept[torch.randint(len(kept), (count,), generator=generator)]

    def copied(side: Tensor) -> Tensor:
        made = side[origin]
        noise = F.normalize(torch.randn(count, side.shape[1], generator=generator), dim=1)
        made[rows] += NOISE * made[rows].norm(dim=1, keepdim=True) * noise
        return made

    return replace(pairs, source=copied(pairs.source), target=copied(pairs.target)), origin


def _exchanged(pairs: PairedEmbeddings, share: float, seed: int) -> Training:
    train, wrong = spoiled(pairs, share, seed=seed)
    suspects = torch.zeros(len(train), dtype=torch.bool)
    suspects[mismatches(train, cut=CUT, seed=seed).suspects] = True
    return Training(train, ~wrong, suspects, suspects & wrong)


def _copied(pairs: PairedEmbeddings, share: float, seed: int) -> Training:
    train, origin = repeated(pairs, share, seed=seed)
    found = near_vectors(train.source, train.target)
    rows = torch.arange(len(train))
    suspects = found.stands_in != rows
    return Training(train, origin == rows, suspects, suspects & (origin[found.stands_in] == origin))


PLANT: Mapping[str, Callable[[PairedEmbeddings, float, int], Training]] = {
    EXCHANGED: _exchanged,
    COPIED: _copied,
}


def run(config: Config) -> tuple[Line, ...]:
    """Every share on every data set."""
    lines = []
    for name in config.data:
        task = load_task(name)
        lines += [measured(task, name, share, config) for share in config.shares]
    return tuple(lines)


def measured(task: Task[PairedEmbeddings], name: str, share: float, config: Config) -> Line:
    """One share: each way to choose training pairs, on the same draws."""
    best = BEST[config.plant]
    found: dict[str, list[Evaluation]] = {way: [] for way in (ALL, CURATED, RANDOM, best)}
    caught: list[float] = []
    lost: list[float] = []
    for seed in range(config.draws):
        made = PLANT[config.plant](draw(task.pool, config.n, seed=seed), share, seed)
        train, sound, suspects = made.pairs, made.sound, made.suspects
        if not sound.all():
            caught.append(int(made.right.sum()) / int((~sound).sum()))
        lost.append(int((suspects & ~made.right).sum()) / int(sound.sum()))
        kept = int((~suspects).sum())
        shuffled = torch.randperm(len(train), generator=torch.Generator().manual_seed(seed + 1000))
        rows = {
            ALL: torch.arange(len(train)),
            CURATED: (~suspects).nonzero()[:, 0],
            RANDOM: shuffled[:kept].sort().values,
            best: sound.nonzero()[:, 0],
        }
        for way, picked in rows.items():
            adapter = fit(train.take(picked), effort="fast")
            found[way].append(evaluate(task.gallery, adapter))
    base = found[ALL]
    return Line(
        name,
        share,
        len(task.gallery),
        base[0].chance["recall_at_10"],
        {way: over_draws(each)["recall_at_10"] for way, each in found.items()},
        {way: over_draws(each, minus=base)["recall_at_10"] for way, each in found.items()},
        fmean(caught) if caught else None,
        fmean(lost),
    )


def curation() -> str:
    """Every line with exchanged partners, for a page."""
    return _page(EXCHANGED)


def duplicates() -> str:
    """Every line with near copies, for a page."""
    return _page(COPIED)


def _page(plant: str) -> str:
    try:
        lines = read_record(RECORDS[plant])["result"]
    except FileNotFoundError:
        return "Not recorded yet."
    ways = (ALL, RANDOM, CURATED, BEST[plant])
    rows = []
    for line in lines:
        gain = line["gain"][CURATED]
        recalls = [line["recall"][way]["value"] for way in ways]
        caught = "" if line["found"] is None else f"{100 * line['found']:.0f} %"
        rows.append(
            (
                f"`{line['data']}`, {100 * line['share']:.0f} % {plant}",
                *(f"{100 * each:.1f}" for each in recalls),
                percent(gain, sign="+"),
                caught,
                f"{100 * line['lost']:.0f} %",
            )
        )
    planted, sound = ("exchanged", "true") if plant == EXCHANGED else ("copied", "distinct")
    header = ("R@10, per cent", *ways, "curated minus all", f"{planted} pairs left out",
              f"{sound} pairs left out")  # fmt: skip
    return markdown_table(header, rows)


def figure(lines: Sequence[Line], path: Path) -> None:
    """R@10 of each way against the share that is spoiled, one panel a data set, as PNG."""
    from matplotlib.figure import Figure

    data = list(dict.fromkeys(line.data for line in lines))
    drawn = Figure(figsize=(3.4 * len(data), 3.2), layout="constrained")
    for axes, name in zip(drawn.subplots(1, len(data), squeeze=False)[0], data, strict=True):
        own = [line for line in lines if line.data == name]
        best = next(way for way in own[0].recall if way in BEST.values())
        for way, mark in zip((ALL, RANDOM, CURATED, best), ("o-", "x:", "s-", "^--"), strict=True):
            x = [100 * line.share for line in own]
            axes.plot(x, [100 * line.recall[way].value for line in own], mark, label=way)
        axes.set_title(name, fontsize=10)
        spoiling = "pairs with exchanged partners" if best == TRUE else "pairs that copy others"
        axes.set_xlabel(f"{spoiling}, %")
        axes.spines[["top", "right"]].set_visible(False)
    drawn.axes[0].set_ylabel("R@10, %")
    drawn.axes[0].legend(fontsize=8)
    drawn.savefig(path, dpi=130)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, write the record and the figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--plant", nargs="+", choices=tuple(PLANT), default=list(PLANT),
                        help="what is spoiled")  # fmt: skip
    parser.add_argument("--draws", type=int, default=3, help="training sets drawn")
    parser.add_argument("--quick", action="store_true", help="200 pairs of one data set, no record")
    told = parser.parse_args(arguments)
    for plant in told.plant:
        shares = SHARES if plant == EXCHANGED else COPIED_SHARES
        config = Config(shares=shares, draws=told.draws, plant=plant)
        if told.quick:
            config = Config(("en_fr",), 200, (0.2,), 1, plant)
        lines = run(config)
        for line in lines:
            recalls = {way: round(100 * each.value, 1) for way, each in line.recall.items()}
            print(line.data, line.share, recalls, line.found, round(line.lost, 3))
        if not told.quick:
            figure(lines, RESULTS / f"{RECORDS[plant]}.png")
            result = [asdict(each) for each in lines]
            print(write_record(RECORDS[plant], config=asdict(config), result=result))


if __name__ == "__main__":
    main()
