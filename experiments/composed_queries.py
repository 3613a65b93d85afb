"""Does "this picture, but a woman" find the picture, without training for it?

    python -m experiments.composed_queries [--draws 3] [--quick]

Composed image retrieval on emoji. A triple is two variants of one emoji and the words of the name
that the second has and the first lacks: a man running, "woman", a woman running; a red heart,
"blue", a blue heart. The query is the weighted sum of picture and words in the shared space
(``Retriever.search_like``); its own picture is left out of the gallery of all held-out emoji, and
the one right answer is the picture of the second.

Half of the groups of variants are held out, anew in each draw. ``align.fit`` learns from names with
keywords and pictures of the others. The weight is chosen by ``align.fit_query_weight`` on triples
of other held-out groups. Beside it stand the picture alone, the words alone, the even weight, the
whole name of the wanted emoji, which the query does not have, and a fit that needs triples: on
``Composite`` sources of picture and words, from the triples of the training groups. At most so many
triples of a group count, drawn once. Intervals resample groups. The record is
``experiments/results/composed_queries.json``, with a figure.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor

from align._files.cache import cache_folder
from align.data.composite import Composite
from align.data.examples.emoji import Emoji, emoji_entries, emoji_pairs
from align.data.pairs import Pairs
from align.data.splits import group_codes
from align.encoders.cache.store import EmbeddingStore
from align.encoders.composite import CompositeEncoder
from align.encoders.spec import load_encoder
from align.fitting.model_selection.fit import fit
from align.fitting.query_weight import fit_query_weight
from align.metrics.estimates import MEANS, Estimate, estimates
from align.retrieval.examples import EVEN
from align.retrieval.hits import Hit
from align.retrieval.index.index import Index
from align.retrieval.retriever import Retriever
from align.scoring.ties import PRODUCTS
from experiments.pages import markdown_table, percent
from experiments.record import RESULTS, read_record, write_record
from experiments.tasks import LITE0, MINILM

WHO = {"man", "men", "woman", "women", "person", "people", "boy", "girl", "boys", "girls"}
COLOURS = {"red", "pink", "orange", "yellow", "green", "blue", "light", "purple", "brown", "black",
           "grey", "gray", "white"}  # fmt: skip
KINDS = ("who", "colour", "other")
PICTURE, WORDS, EVENLY = "picture alone", "words alone", "both at even weight"
CHOSEN, LEARNED, NAME = "both, weight chosen", "learned from triples", "name of the wanted emoji"
SYSTEMS = (PICTURE, WORDS, EVENLY, CHOSEN, LEARNED, NAME)


@dataclass(frozen=True, slots=True)
class Config:
    """One run.

    Attributes:
        draws: Of the groups that are held out.
        most: Triples of a group.
        held_out: Share of the groups.
    """

    draws: int = 3
    most: int = 30
    held_out: float = 0.5


@dataclass(frozen=True, slots=True)
class Triple:
    """An emoji, what is different, and the emoji meant."""

    example: Emoji
    words: str
    right: Emoji

    @property
    def kind(self) -> str:
        """Whether it is about who is shown, about colour, or about something else."""
        said = set(self.words.split())
        return "who" if said <= WHO else "colour" if said <= COLOURS else "other"


@dataclass(frozen=True, slots=True)
class Line:
    """One system.

    Attributes:
        system: Its name.
        metrics: Over all triples of all draws, by name.
        by_kind: Recall at 1 of each kind.
    """

    system: str
    metrics: Mapping[str, Estimate]
    by_kind: Mapping[str, Estimate]


@dataclass(frozen=True, slots=True)
class Result:
    """All lines.

    Attributes:
        triples: By kind, over all draws.
        gallery: Held-out emoji, mean over draws.
        weights: What was chosen on all triples of each draw.
        by_weight: Mean reciprocal rank of each weight, mean over draws.
        chance: Of a random order of the gallery, by name.
        lines: One a system.
    """

    triples: Mapping[str, int]
    gallery: float
    weights: tuple[float, ...]
    by_weight: Mapping[str, float]
    chance: Mapping[str, float]
    lines: tuple[Line, ...]


def triples_of(entries: Sequence[Emoji], *, most: int) -> list[Triple]:
    """At most ``most`` of each group, drawn from all pairs that one or two words tell apart."""
    groups: dict[str, list[Emoji]] = {}
    for entry in entries:
        groups.setdefault(entry.group, []).append(entry)
    found = []
    for group, members in groups.items():
        own = [
            Triple(a, words, b)
            for a in members
            for b in members
            if a is not b and (words := difference(a.name["en"], b.name["en"]))
        ]
        seed = sum(group.encode())
        order = np.random.default_rng(seed).permutation(len(own))[:most]
        found += [own[row] for row in sorted(order)]
    return found


def difference(example: str, right: str) -> str:
    """The one or two words of a name that another lacks, or nothing where more differs."""
    a, b = example.lower().split(), right.lower().split()
    new, lost = [word for word in b if word not in a], [word for word in a if word not in b]
    close = len(new) in (1, 2) and len(lost) <= 2 and len(new) < len(b)
    return " ".join(new) if close else ""


@dataclass(frozen=True, slots=True, eq=False)
class Draw:
    """Ranks of the right items in one draw, ``(n,)`` for each system, and what else was seen."""

    triples: list[Triple]
    ranks: Mapping[str, Tensor]
    weight: float
    by_weight: Mapping[float, float]
    gallery: int


def on_draw(config: Config, seed: int) -> Draw:
    """Fit on half of the groups, and search the others."""
    entries = {entry.id: entry for entry in emoji_entries()}
    pool, gallery = emoji_pairs().split(test=config.held_out, seed=seed)
    text, image = load_encoder(MINILM), load_encoder(LITE0)
    store = EmbeddingStore(cache_folder() / "store")
    adapter = fit(pool.encode(text, image, store=store, progress=True))
    training = triples_of([entries[id] for id in pool.ids], most=config.most)
    asked = triples_of([entries[id] for id in gallery.ids], most=config.most)
    examples = [Hit(each.example.id, 0.0) for each in asked]
    right = [each.right.id for each in asked]
    with TemporaryDirectory() as folder:
        index = Index.create(Path(folder) / "index", adapter)
        retriever = Retriever(index, source=text, target=image, store=store)
        retriever.add(gallery.ids, gallery.target)
        found = fit_query_weight(
            retriever, examples, [each.words for each in asked], right,
            groups=[each.right.group for each in asked],
        )  # fmt: skip
        names = retriever.embedder.queries([each.right.caption("en") for each in asked])
        items = index.get(gallery.ids).vectors.tokens.float()
    place = {id: row for row, id in enumerate(gallery.ids)}
    ranks = {
        PICTURE: found.ranks[0.0],
        WORDS: found.ranks[1.0],
        EVENLY: found.ranks[EVEN],
        CHOSEN: found.held_out_ranks,
        NAME: ranks_of(names @ items.T, asked, place),
        LEARNED: ranks_of(learned(training, asked, gallery, store), asked, place),
    }
    by_weight = {weight: each.value for weight, each in found.by_weight.items()}
    return Draw(asked, ranks, found.weight, by_weight, len(gallery))


def learned(
    training: Sequence[Triple], asked: Sequence[Triple], gallery: Pairs, store: EmbeddingStore
) -> Tensor:
    """Scores of a fit on composite sources of training triples, ``(n, m)``."""
    image = load_encoder(LITE0)
    encoder = CompositeEncoder({"photo": image, "words": load_encoder(MINILM)})

    def sources(triples: Sequence[Triple]) -> list[Composite]:
        return [Composite({"photo": each.example.image, "words": each.words}) for each in triples]

    pairs = Pairs.from_lists(
        sources(training),
        [each.right.image for each in training],
        groups=[each.right.group for each in training],
    )
    encoded = pairs.encode(encoder, image, store=store, progress=True)
    # Two triples of one group have other answers, so groups are kept together and are no matches.
    apart = replace(encoded, groups=encoded.ids, domains=encoded.groups)
    adapter = fit(apart)
    queries = adapter.queries(store.encode(encoder, sources(asked)))
    return queries @ adapter.gallery(store.encode(image, list(gallery.target))).T


def ranks_of(scores: Tensor, asked: Sequence[Triple], place: Mapping[str, int]) -> Tensor:
    """Rank of the right item of each row, its example left out; ties count against it."""
    rows = torch.arange(len(asked))
    right = torch.tensor([place[each.right.id] for each in asked])
    own = torch.tensor([place[each.example.id] for each in asked])
    line = scores[rows, right]
    ahead = scores >= line[:, None] - PRODUCTS
    ahead[rows, own] = False
    ahead[rows, right] = True
    return ahead.sum(dim=1)


def run(config: Config) -> Result:
    """All draws together."""
    draws = [on_draw(config, seed) for seed in range(config.draws)]
    asked = [triple for each in draws for triple in each.triples]
    codes = torch.from_numpy(group_codes([triple.right.group for triple in asked]))
    kinds = [triple.kind for triple in asked]
    size = sum(each.gallery for each in draws) / len(draws)
    lines = []
    for system in SYSTEMS:
        ranks = torch.cat([each.ranks[system] for each in draws])
        by_kind = {}
        for kind in KINDS:
            rows = torch.tensor([row for row, each in enumerate(kinds) if each == kind])
            if len(rows):
                found = estimates(ranks[rows], codes[rows], [len(rows)], 0)
                by_kind[kind] = found["recall_at_1"]
        whole = estimates(ranks, codes, [len(ranks)], 0)
        lines.append(Line(system, {name: whole[name] for name in MEANS}, by_kind))
    others = size - 1
    chance = {f"recall_at_{k}": k / others for k in (1, 5, 10)}
    chance["mean_reciprocal_rank"] = sum(1 / rank for rank in range(1, round(others) + 1)) / others
    weights = draws[0].by_weight
    return Result(
        {kind: kinds.count(kind) for kind in KINDS},
        size,
        tuple(each.weight for each in draws),
        {f"{w:g}": sum(each.by_weight[w] for each in draws) / len(draws) for w in weights},
        chance,
        tuple(lines),
    )


def table() -> str:
    """Every system of the record, for a page."""
    try:
        return _table(read_record("composed_queries")["result"])
    except FileNotFoundError:
        return "Not recorded yet."


def _table(result: Mapping[str, Any]) -> str:
    kinds = [f"R@1, {kind} ({result['triples'][kind]:,})" for kind in KINDS]
    header = ("query", "R@1, %", "R@10, %", "MRR, %", *kinds)
    names = ("recall_at_1", "recall_at_10", "mean_reciprocal_rank")
    rows = [["chance", *(f"{100 * result['chance'][name]:.1f}" for name in names), "", "", ""]]
    for line in result["lines"]:
        of_kinds = [percent(line["by_kind"].get(kind)) for kind in KINDS]
        rows.append(
            [line["system"], *(percent(line["metrics"][name]) for name in names), *of_kinds]
        )
    return markdown_table(header, rows)


def figure(result: Result, path: Path) -> None:
    """Reciprocal rank against the weight of the words, as PNG."""
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(5.4, 3.6), layout="constrained")
    axes = drawn.add_subplot()
    weights = [float(weight) for weight in result.by_weight]
    axes.plot(
        weights, [100 * each for each in result.by_weight.values()], "o-", label="weighted sum"
    )
    shown = {line.system: line.metrics["mean_reciprocal_rank"] for line in result.lines}
    for name, style in ((LEARNED, "--"), (NAME, ":")):
        axes.axhline(
            100 * shown[name].value, color="black", linestyle=style, linewidth=1, label=name
        )
    chance = 100 * result.chance["mean_reciprocal_rank"]
    axes.axhline(chance, color="grey", linewidth=1, label="chance")
    axes.set_xlabel("weight of the words; the picture has the rest")
    axes.set_ylabel("mean reciprocal rank, %")
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    drawn.savefig(path, dpi=150)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run, print the table, write the record and the figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=3, help="divisions into seen and held out")
    parser.add_argument("--quick", action="store_true", help="one draw, few triples, no record")
    told = parser.parse_args(arguments)
    config = Config(1, most=2) if told.quick else Config(told.draws)
    result = run(config)
    print(_table(asdict(result)))
    print(result.weights, result.by_weight)
    if not told.quick:
        figure(result, RESULTS / "composed_queries.png")
        print(write_record("composed_queries", config=asdict(config), result=asdict(result)))


if __name__ == "__main__":
    main()
