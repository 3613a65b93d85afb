"""Does curation pay? Wrong partners planted among training pairs, found, and left out.

    ISTHMUS_DATA=... python -m experiments.unite_curation [--draws 3] [--quick]

UNITE (arXiv:2505.19650) puts curation of pairs before training. Here some of a thousand true
pairs exchange their partners (0, 10, 20 or 30 %), ``align.curation.mismatches`` names suspects, and
``align.fit`` learns from what is left; beside it stand the fit on all pairs, the fit on as many
pairs drawn at random as curation leaves, and the fit on the true pairs alone, which nobody could
know. The gallery is clean. The record is ``experiments/results/unite_curation.json``.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean

import torch
from torch import Tensor

from align.curation.mismatches import mismatches
from align.data.embeddings import PairedEmbeddings
from align.fitting.model_selection.fit import fit
from align.metrics.estimates import Estimate
from align.metrics.evaluation import Evaluation, evaluate
from experiments.pages import markdown_table
from experiments.record import RESULTS, read_record, write_record
from experiments.tasks import Task, load_task
from experiments.trials import draw, over_draws

DATA = ("flickr8k", "en_fr", "stdlib_code")
PAIRS, SHARES, CUT = 1000, (0.0, 0.1, 0.2, 0.3), 0.5
ALL, CURATED, RANDOM, TRUE = "all pairs", "curated", "as many at random", "true pairs alone"


@dataclass(frozen=True, slots=True)
class Config:
    """One run.

    Attributes:
        data: Tasks.
        n: Training pairs.
        shares: Of pairs whose partners are exchanged among themselves.
        draws: Training sets; set ``s`` is drawn and spoiled with seed ``s``.
    """

    data: tuple[str, ...] = DATA
    n: int = PAIRS
    shares: tuple[float, ...] = SHARES
    draws: int = 3


@dataclass(frozen=True, slots=True)
class Line:
    """One data set at one share.

    Attributes:
        data: Its task.
        share: Of planted mismatches.
        gallery: Held-out pairs.
        chance: R@10 of a random order of the gallery.
        recall: R@10 of each way, mean of draws and of both directions.
        gain: The same minus that of all pairs, paired by query and draw.
        found: Share of planted mismatches that are suspects, mean of draws; ``None`` without any.
        lost: Share of true pairs that are suspects.
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


def run(config: Config) -> tuple[Line, ...]:
    """Every share on every data set."""
    lines = []
    for name in config.data:
        task = load_task(name)
        lines += [measured(task, name, share, config) for share in config.shares]
    return tuple(lines)


def measured(task: Task[PairedEmbeddings], name: str, share: float, config: Config) -> Line:
    """One share: each way to choose training pairs, on the same draws."""
    found: dict[str, list[Evaluation]] = {way: [] for way in (ALL, CURATED, RANDOM, TRUE)}
    caught: list[float] = []
    lost: list[float] = []
    for seed in range(config.draws):
        train, wrong = spoiled(draw(task.pool, config.n, seed=seed), share, seed=seed)
        suspects = torch.zeros(len(train), dtype=torch.bool)
        suspects[mismatches(train, cut=CUT, seed=seed).suspects] = True
        if wrong.any():
            caught.append(float(suspects[wrong].double().mean()))
        lost.append(float(suspects[~wrong].double().mean()))
        kept = int((~suspects).sum())
        shuffled = torch.randperm(len(train), generator=torch.Generator().manual_seed(seed + 1000))
        rows = {
            ALL: torch.arange(len(train)),
            CURATED: (~suspects).nonzero()[:, 0],
            RANDOM: shuffled[:kept].sort().values,
            TRUE: (~wrong).nonzero()[:, 0],
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
    """Every line, for a page."""
    rows = []
    for line in read_record("unite_curation")["result"]:
        gain = line["gain"][CURATED]
        recalls = [line["recall"][way]["value"] for way in (ALL, RANDOM, CURATED, TRUE)]
        caught = "" if line["found"] is None else f"{100 * line['found']:.0f} %"
        rows.append(
            (
                f"`{line['data']}`, {100 * line['share']:.0f} % exchanged",
                *(f"{100 * each:.1f}" for each in recalls),
                f"{100 * gain['value']:+.1f} [{100 * gain['low']:+.1f}, {100 * gain['high']:+.1f}]",
                caught,
                f"{100 * line['lost']:.0f} %",
            )
        )
    header = ("R@10, per cent", ALL, RANDOM, CURATED, TRUE, "curated minus all",
              "exchanged pairs left out", "true pairs left out")  # fmt: skip
    return markdown_table(header, rows)


def figure(lines: Sequence[Line], path: Path) -> None:
    """R@10 of each way against the share of wrong pairs, one panel a data set, as PNG."""
    from matplotlib.figure import Figure

    data = list(dict.fromkeys(line.data for line in lines))
    drawn = Figure(figsize=(3.4 * len(data), 3.2), layout="constrained")
    for axes, name in zip(drawn.subplots(1, len(data), squeeze=False)[0], data, strict=True):
        own = [line for line in lines if line.data == name]
        for way, mark in zip((ALL, RANDOM, CURATED, TRUE), ("o-", "x:", "s-", "^--"), strict=True):
            x = [100 * line.share for line in own]
            axes.plot(x, [100 * line.recall[way].value for line in own], mark, label=way)
        axes.set_title(name, fontsize=10)
        axes.set_xlabel("pairs with exchanged partners, %")
        axes.spines[["top", "right"]].set_visible(False)
    drawn.axes[0].set_ylabel("R@10, %")
    drawn.axes[0].legend(fontsize=8)
    drawn.savefig(path, dpi=130)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, write the record and the figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=3, help="training sets drawn")
    parser.add_argument("--quick", action="store_true", help="200 pairs of one data set, no record")
    told = parser.parse_args(arguments)
    config = Config(draws=told.draws)
    if told.quick:
        config = Config(("en_fr",), 200, (0.2,), 1)
    lines = run(config)
    for line in lines:
        recalls = {way: round(100 * each.value, 1) for way, each in line.recall.items()}
        print(line.data, line.share, recalls, line.found, round(line.lost, 3))
    if told.quick:
        return
    figure(lines, RESULTS / "unite_curation.png")
    written = write_record(
        "unite_curation", config=asdict(config), result=[asdict(each) for each in lines]
    )
    print(written)


if __name__ == "__main__":
    main()
