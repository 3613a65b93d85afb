"""Do items of a title and a photo find more than either part, and what if parts are missing?

    python -m experiments.composite_items [--draws 3] [--quick]

Emoji stand for products: the title is the English name through MiniLM, the photo the picture
through EfficientNet-Lite0, and queries are French names with keywords through the Universal
Sentence Encoder. Three in ten groups of variants are the gallery. Where parts are missing, a third
of the items, in training as in the gallery, has no title, a third no photo.

One adapter of ``align.CompositeEncoder`` stands beside an adapter of each part, and beside the mean
of their scores over the parts that an item has (late fusion: two adapters, two searches). All are
``align.fit`` on the same pairs. Queries ask for items; a variant of the right emoji is right too.
The record is ``experiments/results/composite_items.json``.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from align._files.cache import cache_folder
from align.adapters.maps.parts import present
from align.data.composite import Composite
from align.data.embeddings import PairedEmbeddings
from align.data.examples.emoji import emoji_entries
from align.data.pairs import Pairs
from align.data.splits import group_codes
from align.encoders.cache.store import EmbeddingStore
from align.encoders.composite import CompositeEncoder
from align.encoders.spec import load_encoder
from align.fitting.model_selection.fit import fit
from align.metrics.chance import RandomOrder
from align.metrics.estimates import MEANS, Estimate, mean_values
from align.metrics.ranks import rank_scores
from experiments.pages import markdown_table, percent
from experiments.record import read_record, write_record
from experiments.tasks import LITE0, MINILM, SPLIT_SEED, UNIVERSAL, Task
from experiments.trials import draw, intervals

PARTS = ("title", "photo")
BOTH, FUSED = "title and photo", "mean of both scores"
SHOWN = ("recall_at_1", "recall_at_10", "mean_reciprocal_rank")


@dataclass(frozen=True, slots=True)
class Config:
    """One run.

    Attributes:
        sizes: Training pairs.
        draws: Of the training pairs.
        seed: Which items lack a part.
    """

    sizes: tuple[int, ...] = (300, 1000)
    draws: int = 3
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Line:
    """One system under one number of pairs.

    Attributes:
        missing: Whether two thirds of the items lack a part.
        n: Training pairs.
        system: ``"title"``, ``"photo"``, both, or their scores fused.
        metrics: By name, with intervals over groups and draws.
        chance: The same of a random order.
    """

    missing: bool
    n: int
    system: str
    metrics: Mapping[str, Estimate]
    chance: Mapping[str, float]


def products(*, missing: bool, seed: int) -> Pairs:
    """French captions and composite emoji; with ``missing``, two thirds lack one of the parts."""
    entries = emoji_entries()
    lacks = torch.zeros(len(entries), dtype=torch.int64)
    if missing:
        lacks = torch.randint(3, (len(entries),), generator=torch.Generator().manual_seed(seed))
    items = [
        Composite({
            "title": None if lack == 1 else entry.name["en"],
            "photo": None if lack == 2 else entry.image,
        })
        for entry, lack in zip(entries, lacks.tolist(), strict=True)
    ]  # fmt: skip
    return Pairs.from_lists(
        [entry.caption("fr") for entry in entries],
        items,
        ids=[entry.id for entry in entries],
        groups=[entry.group for entry in entries],
        side_names=("caption", "product"),
    )


def load(*, missing: bool, seed: int) -> Task[PairedEmbeddings]:
    """The products encoded, split as the emoji of all experiments."""
    encoder = CompositeEncoder({"title": load_encoder(MINILM), "photo": load_encoder(LITE0)})
    store = EmbeddingStore(cache_folder() / "store")
    pool, gallery = products(missing=missing, seed=seed).split(test=0.3, seed=SPLIT_SEED)
    text = load_encoder(UNIVERSAL)
    return Task(
        *(each.encode(text, encoder, store=store, progress=True) for each in (pool, gallery))
    )


def part_of(pairs: PairedEmbeddings, part: int) -> tuple[PairedEmbeddings, Tensor]:
    """The pairs whose target has a part, with that part alone; and the rows that have it."""
    assert pairs.target_parts is not None
    rows = torch.split(pairs.target, list(pairs.target_parts), dim=1)[part]
    has = present(rows)
    kept = pairs.take(has.nonzero()[:, 0])
    alone = PairedEmbeddings.from_arrays(kept.source, rows[has], ids=kept.ids, groups=kept.groups)
    return alone, has


def scores_of(train: PairedEmbeddings, gallery: PairedEmbeddings) -> dict[str, Tensor]:
    """Scores of all queries with all items by each system, ``(q, m)``; zero without the part."""
    whole = fit(train)
    found, counts = {}, torch.zeros(len(gallery))
    for part, name in enumerate(PARTS):
        alone, _ = part_of(train, part)
        items, has = part_of(gallery, part)
        adapter = fit(alone)
        scores = torch.zeros(len(gallery), len(gallery))
        scores[:, has] = adapter.queries(gallery.source) @ adapter.gallery(items.target).T
        found[name] = scores
        counts += has
    found[BOTH] = whole.queries(gallery.source) @ whole.gallery(gallery.target).T
    found[FUSED] = (found["title"] + found["photo"]) / counts
    return found


def measured(task: Task[PairedEmbeddings], config: Config, *, missing: bool) -> list[Line]:
    """Every system on every number of pairs."""
    codes = torch.from_numpy(group_codes(task.gallery.groups))
    lines = []
    for n in config.sizes:
        values: dict[str, list[Tensor]] = {}
        for seed in range(config.draws):
            for name, scores in scores_of(draw(task.pool, n, seed=seed), task.gallery).items():
                ranks = rank_scores(scores, codes, codes)
                values.setdefault(name, []).append(mean_values(ranks.first))
        random = RandomOrder.of(ranks.positives, len(codes))
        recalls = {f"recall_at_{k}": random.recall_at_k(k) for k in (1, 5, 10)}
        chance = {**recalls, "mean_reciprocal_rank": random.mean_reciprocal_rank}
        shown = [name for name in values if not missing or name not in PARTS]
        for name in shown:
            found = intervals(torch.stack(values[name], dim=1), codes, [len(codes)])
            lines.append(Line(missing, n, name, dict(zip(MEANS, found, strict=True)), chance))
    return lines


def run(config: Config) -> list[Line]:
    """With every part, then with parts missing."""
    return [
        line
        for missing in (False, True)
        for line in measured(load(missing=missing, seed=config.seed), config, missing=missing)
    ]


def table() -> str:
    """Every line of the record, for a page."""
    try:
        return _table(read_record("composite_items")["result"])
    except FileNotFoundError:
        return "Not recorded yet."


def _table(lines: Sequence[Mapping[str, Any]]) -> str:
    rows = []
    for line in lines:
        cells = [percent(line["metrics"][name]) for name in SHOWN]
        chance = f"{100 * line['chance']['recall_at_10']:.1f}"
        parts = "two thirds lack one" if line["missing"] else "all there"
        rows.append([parts, str(line["system"]), str(line["n"]), *cells, chance])
    header = (
        "parts",
        "items searched by",
        "pairs",
        "R@1, %",
        "R@10, %",
        "MRR, %",
        "R@10 by chance, %",
    )
    return markdown_table(header, rows, words=2)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run, print the table, write the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=3, help="training sets drawn")
    parser.add_argument("--quick", action="store_true", help="one draw of 100 pairs, no record")
    told = parser.parse_args(arguments)
    config = Config((100,), 1) if told.quick else Config(draws=told.draws)
    lines = [asdict(line) for line in run(config)]
    print(_table(lines))
    if not told.quick:
        print(write_record("composite_items", config=asdict(config), result=lines))


if __name__ == "__main__":
    main()
