"""Can an instruction name an attribute within one kind of item, here the language of a name?

    python -m experiments.unite_instructions [--draws 3] [--quick]

The query is the picture of an emoji and an instruction, "Name it in French."; the gallery is the
names of all held-out emoji in English, French and Japanese. Right is the name of that emoji, or of
a variant of it, in the language asked for; every other name is wrong, that of the same emoji in
another language too. A name that is spelled alike in two languages is there once, and right for
both. Pictures go through EfficientNet-Lite0, names and instructions through the Universal Sentence
Encoder, which knows all three languages. Three in ten groups of variants are held out.

A draw is pairs of a picture with one name and the instruction for it, a third in each language.
On it are fitted

- ``align.fit`` without instructions, which cannot know the language;
- ``align.instruct`` on top of it, at its defaults;
- ``align.fit`` on pictures with instructions beside them, as two parts of a vector
  (``source_parts``), which it weighs itself;
- the same as one vector, the instruction at a weight chosen on a fifth of the training pairs.

Above them stands ``align.fit`` without instructions on the names of the language asked for alone: a
filter, which needs to know the language of each name of the gallery. Intervals are over groups of
variants and draws. The record is ``experiments/results/unite_instructions.json``.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import fmean
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from align._files.cache import cache_folder
from align.adapters.adapter import Adapter
from align.adapters.instructions import sources_for, with_instructions
from align.data.embeddings import PairedEmbeddings
from align.data.examples.emoji import Emoji, emoji_entries, emoji_pairs
from align.data.pairs import Pairs
from align.data.splits import group_codes
from align.encoders.cache.store import EmbeddingStore
from align.encoders.spec import load_encoder
from align.fitting.instructions.fit import instruct
from align.fitting.model_selection.fit import fit
from align.metrics.chance import RandomOrder
from align.metrics.estimates import MEANS, Estimate, mean_values
from align.metrics.ranks import rank_positives, reciprocal_ranks
from experiments.pages import markdown_table, percent
from experiments.record import read_record, write_record
from experiments.tasks import LITE0, SPLIT_SEED, UNIVERSAL, Task
from experiments.trials import intervals

INSTRUCTIONS: Mapping[str, str] = {
    "en": "Name it in English.",
    "fr": "Name it in French.",
    "ja": "Name it in Japanese.",
}
PLAIN, INSTRUCTED = "no instructions", "`align.instruct`"
PART, WEIGHTED = "instruction as a part", "instruction at a chosen weight"
FILTERED = "no instructions, names of that language alone"
SYSTEMS = (PLAIN, INSTRUCTED, PART, WEIGHTED, FILTERED)
ASKED = "asked_for_at_10"
COLUMNS = (*MEANS, ASKED)
SHOWN = ("recall_at_1", "recall_at_10", "mean_reciprocal_rank")


@dataclass(frozen=True, slots=True)
class Config:
    """One run.

    Attributes:
        n: Training pairs.
        draws: Of the training pairs.
        weights: Of an instruction beside a picture of norm 1, tried on training pairs.
    """

    n: int = 1000
    draws: int = 3
    weights: tuple[float, ...] = (0.25, 1.0, 4.0)


@dataclass(frozen=True, slots=True)
class Line:
    """One system.

    Attributes:
        system: Its name.
        metrics: By name, with intervals over groups and draws; ``ASKED`` is the share of the ten
            best that are in the language asked for.
        gain: The same minus those of ``align.instruct``, paired by query and draw.
    """

    system: str
    metrics: Mapping[str, Estimate]
    gain: Mapping[str, Estimate]


@dataclass(frozen=True, slots=True)
class Result:
    """All lines.

    Attributes:
        pairs: Training pairs of a draw.
        queries: Pictures times instructions.
        gallery: Distinct names.
        chance: Of a random order of the gallery, by name.
        weights: What was chosen in each draw.
        by_weight: Mean reciprocal rank of each weight on held-out training pairs, over draws.
        verdicts: What ``align.instruct`` said in each draw.
        lines: One a system.
    """

    pairs: int
    queries: int
    gallery: int
    chance: Mapping[str, float]
    weights: tuple[float, ...]
    by_weight: Mapping[str, float]
    verdicts: tuple[str, ...]
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Names:
    """What queries are judged by: each distinct name of held-out pairs once.

    Attributes:
        vectors: Of the names, ``(m, d)``.
        right: Which names are right for each query, bool ``(q, m)``.
        asked: Which names are in the language asked for, bool ``(q, m)``.
    """

    vectors: Tensor
    right: Tensor
    asked: Tensor

    @classmethod
    def of(cls, pairs: PairedEmbeddings) -> Names:
        """The names of pairs whose groups are those of ``load``; their queries are the sources."""
        vectors, name = torch.unique(pairs.target, dim=0, return_inverse=True)

        def alike(labels: Sequence[str]) -> Tensor:
            codes = torch.from_numpy(group_codes(labels))
            holds = torch.zeros(int(codes.max()) + 1, len(vectors), dtype=torch.bool)
            holds[codes, name] = True
            return holds[codes]

        return cls(vectors, alike(pairs.groups), alike(list(map(language_of, pairs.groups))))


def language_of(group: str) -> str:
    """The language of a group of ``load``."""
    return group.partition(":")[0]


def named(entries: Sequence[Emoji]) -> Pairs:
    """Each picture with its name in each language, one after the other, and the instructions."""
    every = [(entry, language) for entry in entries for language in INSTRUCTIONS]
    return Pairs.from_lists(
        [entry.image for entry, _ in every],
        [entry.name[language] for entry, language in every],
        ids=[f"{language}:{entry.id}" for entry, language in every],
        groups=[entry.group for entry, _ in every],
        instructions=[INSTRUCTIONS[language] for _, language in every],
        side_names=("picture", "name"),
    )


def load() -> Task[PairedEmbeddings]:
    """The emoji encoded, split as in all experiments.

    Groups are ``"fr:"`` and the group of variants, as only those names answer each other; domains
    are groups of variants, which splits and folds keep together.
    """
    entries = {entry.id: entry for entry in emoji_entries()}
    store = EmbeddingStore(cache_folder() / "store")
    image, text = load_encoder(LITE0), load_encoder(UNIVERSAL)
    parts = []
    for held in emoji_pairs().split(test=0.3, seed=SPLIT_SEED):
        pairs = named([entries[name] for name in held.ids])
        found = pairs.encode(image, text, instruction_encoder=text, store=store, progress=True)
        groups = (
            f"{language_of(name)}:{group}"
            for name, group in zip(found.ids, found.groups, strict=True)
        )
        parts.append(replace(found, groups=tuple(groups), domains=found.groups))
    return Task(*parts)


def draw(pool: PairedEmbeddings, n: int, *, seed: int) -> PairedEmbeddings:
    """``n`` pictures with one name each, languages in turn, out of pairs in the order of ``named``.

    Raises:
        ValueError: The pool has fewer than ``n`` pictures.
    """
    pictures = len(pool) // len(INSTRUCTIONS)
    if not 1 <= n <= pictures:
        raise ValueError(
            f"n must lie in [1, {pictures}], the pictures of the training pool; got {n}. "
            "Ask for a number in that range."
        )
    picked = torch.randperm(pictures, generator=torch.Generator().manual_seed(seed))[:n]
    return pool.take(len(INSTRUCTIONS) * picked + torch.arange(n) % len(INSTRUCTIONS))


def beside(pairs: PairedEmbeddings, weight: float | None = None) -> PairedEmbeddings:
    """Sources of picture and instruction: two parts, or one vector with the instruction weighted.

    With a weight, pictures have norm 1 and instructions that of the weight.
    """
    assert pairs.instructions is not None
    x, e = pairs.source.float(), pairs.instructions.float()
    parts = None
    if weight is None:
        parts = (x.shape[1], e.shape[1])
    else:
        x, e = F.normalize(x, dim=1), weight * F.normalize(e, dim=1)
    source = with_instructions(x, e)
    return replace(
        pairs, source=source, source_parts=parts, instructions=None, source_fingerprint=None
    )


def plain(pairs: PairedEmbeddings) -> PairedEmbeddings:
    """The pairs without their instructions."""
    return replace(pairs, instructions=None)


def by_weight(
    pairs: PairedEmbeddings, weights: Sequence[float], *, seed: int
) -> dict[float, float]:
    """Mean reciprocal rank of each weight on a fifth of the pairs, fitted to the others."""
    rest, held = pairs.split(test=0.2, seed=seed)
    codes = torch.from_numpy(group_codes(held.groups))
    found = {}
    for weight in weights:
        adapter = fit(beside(rest, weight), effort="fast")
        queries = adapter.queries(beside(held, weight).source)
        ranks = rank_positives(queries, adapter.gallery(held.target), codes, codes)
        found[weight] = reciprocal_ranks(ranks).mean().item()
    return found


@dataclass(frozen=True, slots=True, eq=False)
class Draw:
    """One draw: of each system the ``COLUMNS`` of every query, ``(q, 5)``, and what was chosen."""

    values: Mapping[str, Tensor]
    weight: float
    by_weight: Mapping[float, float]
    verdict: str


def on_draw(task: Task[PairedEmbeddings], names: Names, config: Config, seed: int) -> Draw:
    """Every system on one draw of training pairs."""
    train, asking = draw(task.pool, config.n, seed=seed), task.gallery
    base = fit(plain(train))
    told = instruct(base, train)
    tried = by_weight(train, config.weights, seed=seed)
    weight = max(tried, key=lambda each: tried[each])

    def scores(adapter: Adapter, sources: Tensor) -> Tensor:
        return adapter.queries(sources) @ adapter.gallery(names.vectors).T

    untold = scores(base, asking.source)
    found = {
        PLAIN: untold,
        INSTRUCTED: scores(told, sources_for(told, asking.source, asking.instructions)),
        PART: scores(fit(beside(train)), beside(asking).source),
        WEIGHTED: scores(fit(beside(train, weight)), beside(asking, weight).source),
        FILTERED: untold.masked_fill(~names.asked, untold.min() - 1),
    }
    values = {system: values_of(each, names) for system, each in found.items()}
    return Draw(values, weight, tried, told.card.verdict)


def values_of(scores: Tensor, names: Names) -> Tensor:
    """The ``COLUMNS`` of every query, ``(q, 5)``; at ties wrong names come first."""
    best = scores.masked_fill(~names.right, -torch.inf).amax(dim=1, keepdim=True)
    ranks = 1 + ((scores >= best) & ~names.right).sum(dim=1)
    top = scores.topk(10, dim=1).indices
    asked = names.asked.gather(1, top).double().mean(dim=1)
    return torch.cat([mean_values(ranks), asked[:, None]], dim=1)


def summary(task: Task[PairedEmbeddings], names: Names, n: int, draws: Sequence[Draw]) -> Result:
    """All draws with their intervals."""
    assert task.gallery.domains is not None
    codes = torch.from_numpy(group_codes(task.gallery.domains))
    queries = len(codes)
    values = {
        system: torch.stack([each.values[system] for each in draws], dim=1) for system in SYSTEMS
    }

    def estimated(table: Tensor) -> dict[str, Estimate]:
        return dict(zip(COLUMNS, intervals(table, codes, [queries]), strict=True))

    random = RandomOrder.of(names.right.sum(dim=1), len(names.vectors))
    chance = {f"recall_at_{k}": random.recall_at_k(k) for k in (1, 5, 10)}
    chance["mean_reciprocal_rank"] = random.mean_reciprocal_rank
    chance[ASKED] = names.asked.double().mean().item()
    weights = draws[0].by_weight
    return Result(
        n,
        queries,
        len(names.vectors),
        chance,
        tuple(each.weight for each in draws),
        {str(w): fmean(each.by_weight[w] for each in draws) for w in weights},
        tuple(each.verdict for each in draws),
        tuple(
            Line(system, estimated(values[system]), estimated(values[system] - values[INSTRUCTED]))
            for system in SYSTEMS
        ),
    )


def run(config: Config) -> Result:
    """Every system on every draw."""
    task = load()
    names = Names.of(task.gallery)
    draws = [on_draw(task, names, config, seed) for seed in range(config.draws)]
    return summary(task, names, config.n, draws)


def table() -> str:
    """Every line of the record, for a page."""
    try:
        return _table(read_record("unite_instructions")["result"])
    except FileNotFoundError:
        return "Not recorded yet."


def _table(result: Mapping[str, Any]) -> str:
    rows = []
    for line in result["lines"]:
        shown = [percent(line["metrics"][name]) for name in SHOWN]
        gain = percent(line["gain"]["recall_at_10"], sign="+")
        reference = line["system"] == INSTRUCTED
        asked = f"{100 * line['metrics'][ASKED]['value']:.0f} %"
        rows.append([line["system"], *shown, "" if reference else gain, asked])
    chance = result["chance"]
    by_chance = [f"{100 * chance[name]:.1f}" for name in SHOWN]
    rows.append(["random order", *by_chance, "", f"{100 * chance[ASKED]:.0f} %"])
    header = (
        "system",
        "R@1, %",
        "R@10, %",
        "MRR, %",
        "R@10 minus `align.instruct`",
        "language asked for in the top 10",
    )
    return markdown_table(header, rows)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run, print the table, write the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=3, help="training sets drawn")
    parser.add_argument("--quick", action="store_true", help="one draw of 100 pairs, no record")
    told = parser.parse_args(arguments)
    config = Config(100, 1, (1.0,)) if told.quick else Config(draws=told.draws)
    result = asdict(run(config))
    print(_table(result))
    if not told.quick:
        print(write_record("unite_instructions", config=asdict(config), result=result))


if __name__ == "__main__":
    main()
