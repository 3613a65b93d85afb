"""One gallery of photos, code, texts, photos with their captions, and clips, asked for in words.

    ISTHMUS_DATA=... python -m experiments.unite_gallery [--n 300] [--draws 3] [--quick]

All items go through one ``align.CompositeEncoder`` (``experiments.mixed_items``), clips in a part
of their own or in that of photos, so that pairs of photos teach the map of clips too. Queries are
texts through MiniLM: captions of photos, docstrings, another caption of the photo of a text or of a
photo with caption, and the captions of the four photos of which each clip is cut. No photo serves
two kinds, or both training and gallery.

``align.fit`` on pairs of all kinds stands beside an adapter for each kind, their scores side by
side: cosines, and scores standardised by kind, as ``Index.search(standardize=True)`` has them. Each
is also asked in a gallery of the right kind alone. Training clips are the same in all draws.
Intervals resample draws and queries, those of a clip together. The record is
``experiments/results/unite_gallery.json``.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from align.data.embeddings import PairedEmbeddings
from align.fitting.model_selection.fit import fit
from align.metrics.estimates import Estimate
from align.metrics.ranks import hits_at_k, rank_scores
from experiments.mixed import draw, rows_of
from experiments.mixed_items import (
    HELD_OUT,
    KINDS,
    alone,
    as_photos,
    counts_of,
    items_of,
    load_items,
)
from experiments.pages import markdown_table
from experiments.record import read_record, write_record
from experiments.tasks import Task
from experiments.trials import intervals

MEAN = "mean"
METRICS = ("recall_at_10", "right_kind_in_top_10", "recall_at_10_within_kind")
OWN, SHARED, EACH = "one adapter", "one adapter, clips as photos", "an adapter for each kind"
SYSTEMS = (OWN, SHARED, EACH)
EVENLY = "{}, standardised"


@dataclass(frozen=True, slots=True)
class Config:
    """One run.

    Attributes:
        n: Training pairs of each kind but clips, of which all are taken.
        draws: Of the training pairs.
    """

    n: int = HELD_OUT
    draws: int = 3


@dataclass(frozen=True, slots=True)
class Line:
    """One system.

    Attributes:
        system: Its name.
        metrics: ``METRICS`` by kind of query, and their ``MEAN`` over kinds; in [0, 1].
    """

    system: str
    metrics: Mapping[str, Mapping[str, Estimate]]


@dataclass(frozen=True, slots=True)
class Result:
    """Everything that was measured.

    Attributes:
        queries: By kind.
        items: Of the gallery, by kind.
        chance: ``METRICS`` of a random order, by kind.
        lines: One a system.
    """

    queries: Mapping[str, int]
    items: Mapping[str, int]
    chance: Mapping[str, Mapping[str, float]]
    lines: tuple[Line, ...]


def systems(
    train: PairedEmbeddings, gallery: PairedEmbeddings
) -> Iterator[tuple[str, Tensor, Tensor]]:
    """The scores of all items for all queries, ``(q, m)``, by each of ``SYSTEMS``.

    First as they are compared across kinds: corrected as the adapter chose where it is one, cosines
    where there are several, since corrections of different adapters have different scales. Then as
    they are compared within a kind: corrected.
    """
    items = items_of(gallery)
    for name, change in ((OWN, replace), (SHARED, as_photos)):
        adapter = fit(change(train), effort="fast")
        scores = adapter.queries(gallery.source) @ adapter.gallery(change(items).target).T
        yield name, scores, scores
    cosines, corrected = torch.empty(2, len(gallery), len(items))
    for kind in KINDS:
        adapter = fit(alone(train, kind), effort="fast")
        target, rows = alone(items, kind).target, rows_of(items, kind)
        cosines[:, rows] = adapter.source(gallery.source) @ adapter.target(target).T
        corrected[:, rows] = adapter.queries(gallery.source) @ adapter.gallery(target).T
    yield EACH, cosines, corrected


def standardised(scores: Tensor, items: PairedEmbeddings) -> Tensor:
    """Scores at mean 0 and deviation 1 for each query and kind of item."""
    found = torch.empty_like(scores)
    for kind in KINDS:
        rows = rows_of(items, kind)
        block = scores[:, rows]
        spread = block.std(dim=1, keepdim=True, correction=0)
        found[:, rows] = (block - block.mean(dim=1, keepdim=True)) / spread
    return found


def measured(scores: Tensor, gallery: PairedEmbeddings) -> Tensor:
    """``METRICS`` of each query, ``(q, 3)`` float64; ties count against the right item."""
    items = items_of(gallery)
    assert gallery.target_modality is not None and items.target_modality is not None
    alike = gallery.target_modality[:, None] == items.target_modality
    codes, held = _codes(gallery), torch.arange(len(items))
    least = torch.finfo(scores.dtype).min
    whole, within = (
        hits_at_k(rank_scores(each, codes, held).first, 10)
        for each in (scores, scores.masked_fill(~alike, least))
    )
    top = scores.topk(10, dim=1).indices
    return torch.stack([whole, alike.gather(1, top).double().mean(dim=1), within], dim=1)


def _codes(gallery: PairedEmbeddings) -> Tensor:
    """The row among the items of each query's own."""
    own = {group: row for row, group in enumerate(items_of(gallery).groups)}
    return torch.tensor([own[group] for group in gallery.groups])


def run(task: Task[PairedEmbeddings], config: Config) -> Result:
    """Every system on every draw."""
    gallery, items = task.gallery, items_of(task.gallery)
    found: dict[str, list[Tensor]] = {}
    for seed in range(config.draws):
        train = draw(task.pool, counts_of(task.pool, config.n), seed=seed)
        for name, across, within in systems(train, gallery):
            even = standardised(within, items)
            for label, scores in ((name, across), (EVENLY.format(name), even)):
                found.setdefault(label, []).append(measured(scores, gallery))
    values = {name: torch.stack(draws, dim=1) for name, draws in found.items()}
    counts = {kind: len(rows_of(items, kind)) for kind in KINDS}
    chance = {
        kind: dict(zip(METRICS, (10 / len(items), n / len(items), min(10 / n, 1.0)), strict=True))
        for kind, n in counts.items()
    }
    return Result(
        {kind: len(rows_of(gallery, kind)) for kind in KINDS},
        counts,
        chance,
        tuple(Line(name, metrics_of(each, gallery)) for name, each in values.items()),
    )


def metrics_of(values: Tensor, gallery: PairedEmbeddings) -> dict[str, dict[str, Estimate]]:
    """Estimates of one system from ``(q, draws, 3)``."""
    codes = _codes(gallery)
    rows = {kind: [rows_of(gallery, kind)] for kind in KINDS}
    found = {}
    for name, parts in {**rows, MEAN: [each for (each,) in rows.values()]}.items():
        picked = torch.cat(parts)
        made = intervals(values[picked], codes[picked], [len(each) for each in parts])
        found[name] = dict(zip(METRICS, made, strict=True))
    return found


def table() -> str:
    """Every system of the record, for a page."""
    try:
        return _table(read_record("unite_gallery")["result"])
    except FileNotFoundError:
        return "Not recorded yet."


def _table(result: Mapping[str, Any]) -> str:
    recall, right, within = METRICS
    chance = result["chance"].values()

    def random(metric: str) -> list[float]:
        values = [each[metric] for each in chance]
        return [*values, sum(values) / len(values)]

    rows = []
    for line in result["lines"]:
        cells = [
            f"{100 * each[recall]['value']:.1f} ({100 * each[right]['value']:.0f} %)"
            for each in line["metrics"].values()
        ]
        rows.append([line["system"], *cells, _bounds(line["metrics"][MEAN][recall])])
    shares = zip(random(recall), random(right), strict=True)
    rows.append(["random order", *(f"{100 * a:.1f} ({100 * b:.0f} %)" for a, b in shares), ""])
    for line in result["lines"]:
        for name in SYSTEMS:
            if line["system"] == EVENLY.format(name):  # the order within a kind as corrected
                cells = [f"{100 * each[within]['value']:.1f}" for each in line["metrics"].values()]
                bounds = _bounds(line["metrics"][MEAN][within])
                rows.append([f"{name}, that kind alone", *cells, bounds])
    rows.append(["random order, that kind alone", *(f"{100 * a:.1f}" for a in random(within)), ""])
    names = [f"{KINDS[kind]}, of {count}" for kind, count in result["items"].items()]
    return markdown_table(
        ("R@10, % (of the right kind in the top ten)", *names, MEAN, "95 % interval"), rows
    )


def _bounds(estimate: Mapping[str, float]) -> str:
    return f"[{100 * estimate['low']:.1f}, {100 * estimate['high']:.1f}]"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run, print the table, write the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=HELD_OUT, help="training pairs of each kind")
    parser.add_argument("--draws", type=int, default=3, help="training sets drawn")
    parser.add_argument("--quick", action="store_true", help="one draw of 50 pairs, no record")
    told = parser.parse_args(arguments)
    config = Config(50, 1) if told.quick else Config(told.n, told.draws)
    result = asdict(run(load_items(), config))
    print(_table(result))
    if not told.quick:
        print(write_record("unite_gallery", config=asdict(config), result=result))


if __name__ == "__main__":
    main()
