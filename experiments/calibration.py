"""How far the confidence, the sets and the flags of a fitted adapter can be trusted.

    python -m experiments.calibration --data flickr8k --n 1000 [--draws 3]
    python -m experiments.calibration --figure

``align.fit`` calibrates from pairs that it holds out; the gallery of a task is asked whether that
is right, with one pair of each group, in both directions and for each draw of training pairs:

- *confidence* of the first hit: expected calibration error over 15 bins of equally many queries, of
  all draws and directions together, beside what it would be by chance if every confidence were
  right; Brier score beside that of always saying the share that is right;
- *sets*: how often they hold the right item, how large they are and how often empty;
- *abstention*: the share of wrong first hits among the surest half and over all shares (area under
  the risk-coverage curve), with the right item in the gallery for all queries and for every other;
- *transfer*: the same confidence in galleries of 200 items and with up to 5,000 unseen others;
- *out of domain*: how many queries of the gallery are flagged, and of other tasks by this encoder.

The form (a softmax of one sharpness a direction, and a line on the score of right items) was chosen
on ``flickr8k`` at 1,000, ``emoji``, ``conala`` and ``stdlib_code``. ``flickr8k`` at other sizes and
``django_pseudocode`` were seen while it was looked for; ``en_fr`` and ``en_ja`` were not.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

from align.adapters.adapter import Adapter
from align.adapters.calibration.confidence import CONSIDERED, Confidence
from align.data.embeddings import PairedEmbeddings
from align.data.sides import Side, other_side
from align.fitting.model_selection.fit import fit
from experiments.pages import markdown_table
from experiments.record import RESULTS, read_record, write_record
from experiments.tasks import TASKS, load_task

CELLS = (
    ("flickr8k", 300), ("flickr8k", 1000), ("flickr8k", 5000), ("emoji", 1000),
    ("django_pseudocode", 300), ("conala", 300), ("stdlib_code", 1000),
    ("en_fr", 1000), ("en_ja", 1000),
)  # fmt: skip
CHOSEN_ON = {("flickr8k", 1000), ("emoji", 1000), ("conala", 300), ("stdlib_code", 1000)}
MINILM = ("flickr8k", "emoji", "django_pseudocode", "conala", "stdlib_code")
"""Tasks whose sources go through one encoder, and are of different domains."""

COVERAGES = (0.8, 0.9, 0.95)
SMALL, MOST = 200, 5000
BINS = 15
SIDES: tuple[Side, Side] = ("source", "target")


@dataclass(frozen=True, slots=True)
class Config:
    """One run.

    Attributes:
        data: A task of ``experiments.tasks``.
        n: Training pairs.
        draws: Training sets; set ``s`` is drawn from seed ``s``.
    """

    data: str
    n: int
    draws: int = 3


@dataclass(frozen=True, eq=False)
class Asked:
    """Queries asked of a gallery, and what became of each.

    Attributes:
        confidence: Of the first hit, ``(q,)`` float64.
        right: Whether it is the right item, ``(q,)`` bool.
    """

    confidence: np.ndarray[Any, Any]
    right: np.ndarray[Any, Any]

    @classmethod
    def of(cls, scores: Tensor, right: Tensor, known: Confidence) -> Asked:
        """Of scores ``(q, m)`` and the column of each right item, ``(q,)``."""
        m = scores.shape[1]
        best = scores.topk(min(m, CONSIDERED), dim=1)
        sure = [known.probabilities(row, m)[0] for row in best.values.tolist()]
        return cls(np.array(sure), (best.indices[:, 0] == right).numpy())

    @classmethod
    def joined(cls, parts: Sequence[Asked]) -> Asked:
        """Those of several draws and directions as one."""
        return cls(
            np.concatenate([part.confidence for part in parts]),
            np.concatenate([part.right for part in parts]),
        )

    def summary(self) -> dict[str, float]:
        """Numbers of the record."""
        share = float(self.right.mean())
        rng = np.random.default_rng(0)
        drawn = [rng.random(len(self.right)) < self.confidence for _ in range(100)]
        risk = self._risk()
        return {
            "right": share,
            "mean confidence": float(self.confidence.mean()),
            "calibration error": _calibration_error(self.confidence, self.right),
            "calibration error by chance": fmean(
                _calibration_error(self.confidence, each) for each in drawn
            ),
            "Brier": float(np.square(self.confidence - self.right).mean()),
            "Brier of the share": share * (1 - share),
            "risk-coverage area": float(risk.mean()),
            "risk-coverage area at random": 1 - share,
            "error of the surest half": float(risk[len(risk) // 2 - 1]),
        }

    def _risk(self) -> np.ndarray[Any, Any]:
        """Share of wrong first hits among the surest 1, 2, ... queries."""
        order = np.argsort(-self.confidence, kind="stable")
        wrong = np.cumsum(~self.right[order])
        risk: np.ndarray[Any, Any] = wrong / np.arange(1, len(wrong) + 1)
        return risk

    def bins(self) -> list[tuple[float, float]]:
        """Mean confidence and share of right hits of each bin, for the figure."""
        order = np.argsort(self.confidence, kind="stable")
        return [
            (float(self.confidence[part].mean()), float(self.right[part].mean()))
            for part in np.array_split(order, BINS)
        ]


def _calibration_error(confidence: np.ndarray[Any, Any], right: np.ndarray[Any, Any]) -> float:
    order = np.argsort(confidence, kind="stable")
    parts = np.array_split(order, BINS)
    apart = [len(p) * abs(confidence[p].mean() - right[p].mean()) for p in parts]
    return float(sum(apart) / len(order))


def one_of_each(pairs: PairedEmbeddings) -> PairedEmbeddings:
    """The first pair of each group, since others of it would be right too."""
    first: dict[str, int] = {}
    for row, group in enumerate(pairs.groups):
        first.setdefault(group, row)
    return pairs.take(list(first.values()))


def directions(
    adapter: Adapter, pairs: PairedEmbeddings, others: PairedEmbeddings | None
) -> Iterator[tuple[Side, Tensor]]:
    """Scores of each side asking the other, right items on the diagonal, others behind."""
    for side in SIDES:
        held = {"source": pairs.source, "target": pairs.target}
        queries, items = held[side], held[other_side(side)]
        if others is not None:
            more = others.target if side == "source" else others.source
            items = torch.cat([items, more])
        yield (
            side,
            adapter.queries(queries, side=side) @ adapter.gallery(items, side=other_side(side)).T,
        )


def run(config: Config) -> dict[str, Any]:
    """What is measured for one task and number of training pairs."""
    task = load_task(config.data)
    test = one_of_each(task.gallery)
    asked: dict[str, list[Asked]] = {}
    sets: dict[float, list[tuple[float, float, float]]] = {each: [] for each in COVERAGES}
    absent: list[float] = []
    flags: dict[str, list[tuple[float, float]]] = {}
    chosen = []
    for seed in range(config.draws):
        order = torch.randperm(len(task.pool), generator=torch.Generator().manual_seed(seed))
        adapter = fit(task.pool.take(order[: config.n].tolist()), progress=False)
        assert adapter.calibration is not None
        chosen.append(adapter.card.method)
        rest = task.pool.take(order[config.n : config.n + MOST - len(test)].tolist())
        for size, scores_of in (
            ("own", directions(adapter, test, None)),
            ("200", _of_200(adapter, test, seed)),
            ("with unseen others", directions(adapter, test, rest)),
        ):
            for side, scores in scores_of:
                known = adapter.calibration.confidence(side)
                rows = torch.arange(len(scores))
                asked.setdefault(size, []).append(Asked.of(scores, rows % scores.shape[1], known))
                if size != "own":
                    continue
                for coverage, found in sets.items():
                    inside = scores >= known.line(coverage)
                    sizes = inside.sum(dim=1).double()
                    found.append(
                        (
                            float(inside.diagonal().double().mean()),
                            float(sizes.mean()),
                            float((sizes == 0).double().mean()),
                        )
                    )
                half = scores.clone()
                half[rows[::2], rows[::2]] = -10.0  # the right item of every other is not there
                asked.setdefault("half absent", []).append(
                    Asked.of(half, torch.where(rows % 2 == 0, -1, rows), known)
                )
                inside = half[::2] >= known.line(0.95)
                absent.append(float((~inside.any(dim=1)).double().mean()))
        for name, x in _strangers(config.data).items():
            p = adapter.typicality(x)
            own = adapter.typicality(test.source)
            truth = [1] * len(own) + [0] * len(p)
            area = roc_auc_score(truth, torch.cat([own, p]).numpy())
            flags.setdefault(name, []).append((float(area), float((p <= 0.05).double().mean())))
        for side in SIDES:
            own = adapter.typicality(getattr(test, side), side=side)
            flags.setdefault(f"own {side}", []).append((0.5, float((own <= 0.05).double().mean())))
        inside = one_of_each(rest) if len(rest) >= SMALL else None
        if inside is not None:  # the same law as the training pairs; a split need not have it
            share = float(adapter.out_of_domain(inside.source).double().mean())
            flags.setdefault("unseen of the pool", []).append((0.5, share))
    joined = {size: Asked.joined(parts) for size, parts in asked.items()}
    return {
        "chosen on": (config.data, config.n) in CHOSEN_ON,
        "methods": chosen,
        "gallery": len(test),
        "with unseen others": len(test) + len(rest),
        "confidence": {size: each.summary() for size, each in joined.items()},
        "bins": {size: each.bins() for size, each in joined.items()},
        "sets": {
            str(coverage): {
                "held": fmean(each[0] for each in found),
                "held, by draw and direction": [each[0] for each in found],
                "mean size": fmean(each[1] for each in found),
                "empty": fmean(each[2] for each in found),
            }
            for coverage, found in sets.items()
        },
        "empty at 0.95 where the right item is absent": fmean(absent),
        "out of domain": {
            name: {"AUC": fmean(a for a, _ in found), "flagged": fmean(f for _, f in found)}
            for name, found in flags.items()
        },
    }


def _of_200(adapter: Adapter, test: PairedEmbeddings, seed: int) -> Iterator[tuple[Side, Tensor]]:
    """The same queries among 200 items, 200 at a time."""
    order = torch.randperm(len(test), generator=torch.Generator().manual_seed(seed)).tolist()
    for start in range(0, max(1, len(test) - SMALL + 1), SMALL):
        yield from directions(adapter, test.take(order[start : start + SMALL]), None)


def _strangers(data: str) -> dict[str, Tensor]:
    """Sources of other tasks by the encoder of this one's."""
    if data not in MINILM:
        return {}
    return {name: load_task(name).gallery.source for name in MINILM if name != data}


def draw_figure(records: dict[tuple[str, int], Any], path: Path) -> None:
    """Confidence against the share of right hits of every cell, at three sizes, as a PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 10), layout="constrained")
    cells = figure.subplots(3, 3, sharex=True, sharey=True).flat
    for ((data, n), result), axes in zip(records.items(), cells, strict=False):
        for size in ("200", "own", "with unseen others"):
            each = np.array(result["bins"][size])
            count = result["gallery"] if size == "own" else size
            count = result[size] if size == "with unseen others" else count
            axes.plot(*each.T, "o-", markersize=3, label=f"{int(count):,} items")
        axes.plot([0, 1], [0, 1], color="grey", linewidth=0.8)
        axes.set_title(f"{data}, {n:,} pairs")
        axes.legend(frameon=False, fontsize="small")
    for axes in cells:
        axes.set_visible(False)
    figure.supxlabel("confidence of the first hit")
    figure.supylabel("share that is right")
    figure.savefig(path, dpi=110)


def errors() -> str:
    """How far confidence is off, and how often a conformal set holds, for a page."""
    rows = []
    for data, n in sorted(CELLS):
        try:
            found = read_record(f"calibration-{data}-{n}")["result"]
        except FileNotFoundError:
            continue
        own, sets = found["confidence"]["own"], found["sets"]["0.9"]
        rows.append(
            [
                f"`{data}`",
                f"{n:,}",
                f"{own['calibration error']:.3f}",
                f"{100 * sets['held']:.1f} %",
                f"{sets['mean size']:.0f}",
                f"{found['gallery']:,}",
            ]
        )
    header = ("data", "pairs", "error", "set of 90 % holds", "its mean size", "gallery")
    return markdown_table(header, rows)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure one cell and write its record, or draw the figure of all records."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", choices=tuple(TASKS))
    parser.add_argument("--n", type=int, help="training pairs")
    parser.add_argument("--draws", type=int, default=3, help="training sets drawn")
    parser.add_argument("--figure", action="store_true", help="draw the figure of all records")
    parser.add_argument("--quick", action="store_true", help="100 pairs, no record")
    told = parser.parse_args(arguments)
    if told.quick:
        print(run(Config("conala", 100, 1))["confidence"])
        return
    if told.figure:
        paths = {cell: RESULTS / f"calibration-{cell[0]}-{cell[1]}.json" for cell in CELLS}
        records = {
            cell: json.loads(path.read_text(encoding="utf-8"))["result"]
            for cell, path in paths.items()
            if path.exists()
        }
        draw_figure(records, RESULTS / "calibration.png")
        return
    if told.data is None or told.n is None:
        parser.error("--data and --n say what to measure")
    config = Config(told.data, told.n, told.draws)
    result = run(config)
    name = f"calibration-{config.data}-{config.n}"
    write_record(name, config=asdict(config), result=result)
    print(json.dumps({key: each for key, each in result.items() if key != "bins"}, indent=1))


if __name__ == "__main__":
    main()
