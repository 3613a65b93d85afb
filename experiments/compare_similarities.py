"""Which similarity finds the match best: four standard and two learned ones, on one data set.

    python -m experiments.compare_similarities --data flickr8k --n 1000 [--draws 3]

The similarities need a common space, which an adapter makes of ``n`` training pairs, and two of
them need pairs to learn from. Pairs that the adapter was fitted on are poor ones to learn from: it
has matched them almost perfectly, so that they show little of what is left to learn and nothing to
choose by. Cross-fitted projections would not help, since each fold has a space of its own. So
there are three tables, all over the same gallery, which nothing was fitted on:

- **same pairs**: the adapter is fitted on all pairs, and the similarities learn from them again;
- **other pairs**: the adapter is fitted on half of the pairs, and the similarities learn from the
  other half. Here learning and its choices are sound, but what is learned has used twice as many
  pairs as the cosine beside it;
- **equal pairs**: the cosine behind the adapter that was fitted on all pairs, against everything
  learned from the same pairs, and against a bilinear form of the encoders' own vectors, centred
  and at unit norm, which needs no adapter. This is the table that decides.

Vectors are those of ``adapter.source`` and ``adapter.target``: the gallery correction is left out,
as it belongs to the cosine. Metrics are means over several draws of the training pairs; intervals
are over the gallery and hold for those draws. The tables, and how every learned similarity was
chosen, are written to ``experiments/results/compare_similarities-DATA-N.json``.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from align.adapters.adapter import Adapter
from align.adapters.maps.linear import centred
from align.adapters.recipes.moments import prepare
from align.data.embeddings import PairedEmbeddings
from align.data.splits import group_codes
from align.fitting.model_selection.fit import fit
from experiments.record import write_record
from experiments.tasks import TASKS, Task, load_task
from experiments.trials import draw
from probes.similarity.comparison import (
    BILINEAR,
    COSINE,
    NETWORK,
    SimilarityComparison,
    compare_ranks,
    compare_similarities,
)
from probes.similarity.standard import match_ranks
from probes.similarity.training import LearnedSimilarity, bilinear_plans, learn

SAME, OTHER, EQUAL = "same pairs", "other pairs", "equal pairs"
UNMAPPED = f"{BILINEAR}, no adapter"

Ranks = Mapping[str, Tensor]  # of the gallery by each similarity, (n, 2)


@dataclass(frozen=True, slots=True)
class Config:
    """One run.

    Attributes:
        data: Name of a task in ``experiments.tasks``.
        n: Training pairs.
        draws: Training sets; set ``s`` is drawn, halved and learned from with seed ``s``.
    """

    data: str
    n: int
    draws: int = 3


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """What one training set came to.

    Attributes:
        ranks: For each table, the ranks of the gallery by each similarity.
        adapters: What ``align.fit`` chose on all and on half of the pairs, in words.
        learned: For each table, how its learned similarities were chosen.
    """

    ranks: Mapping[str, Ranks]
    adapters: tuple[str, str]
    learned: Mapping[str, Mapping[str, LearnedSimilarity]]

    def to_dict(self) -> dict[str, Any]:
        """How everything was chosen, ready for JSON."""
        return {
            "adapters": list(self.adapters),
            "learned": {
                table: {name: each.to_dict() for name, each in found.items()}
                for table, found in self.learned.items()
            },
        }


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """The three tables; see the top of this file.

    Attributes:
        tables: Means over all draws, by name.
        drawn: One per draw.
    """

    tables: Mapping[str, SimilarityComparison]
    drawn: tuple[Drawn, ...]

    def to_dict(self) -> dict[str, Any]:
        """Everything that is written down, ready for JSON."""
        return {
            "tables": {name: table.to_dict() for name, table in self.tables.items()},
            "drawn": [each.to_dict() for each in self.drawn],
        }


def run(config: Config) -> Result:
    """Load the task and compare on it.

    Raises:
        ValueError: The task does not exist, or has fewer than ``n`` training pairs.
        FileNotFoundError: The data of the task are not there.
    """
    return compare_on(load_task(config.data), config)


def compare_on(task: Task[PairedEmbeddings], config: Config) -> Result:
    """Compare on training sets drawn from the pool of a task.

    Raises:
        ValueError: The pool has fewer than ``n`` pairs.
    """
    drawn = tuple(one_draw(task, config.n, seed=seed) for seed in range(config.draws))
    tables = {
        table: compare_ranks(
            {
                name: torch.cat([each.ranks[table][name] for each in drawn], dim=1)
                for name in drawn[0].ranks[table]
            },
            task.gallery.groups,
        )
        for table in (SAME, OTHER, EQUAL)
    }
    return Result(tables, drawn)


def one_draw(task: Task[PairedEmbeddings], n: int, *, seed: int) -> Drawn:
    """Fit both adapters and learn all similarities from ``n`` pairs of the pool."""
    train = draw(task.pool, n, seed=seed)
    for_adapter, for_learning = train.split(test=0.5, seed=seed)
    whole, half = fit(train, seed=seed), fit(for_adapter, seed=seed)
    same = compare_similarities(mapped(whole, train), mapped(whole, task.gallery), seed=seed)
    other = compare_similarities(mapped(half, for_learning), mapped(half, task.gallery), seed=seed)
    unmapped, learned = without_adapter(train, task.gallery, seed=seed)
    equal = {
        COSINE: same.ranks[COSINE],
        f"{NETWORK}, same pairs": same.ranks[NETWORK],
        f"{BILINEAR}, same pairs": same.ranks[BILINEAR],
        f"{NETWORK}, other half": other.ranks[NETWORK],
        f"{BILINEAR}, other half": other.ranks[BILINEAR],
        UNMAPPED: unmapped,
    }
    return Drawn(
        {SAME: same.ranks, OTHER: other.ranks, EQUAL: equal},
        (whole.card.verdict, half.card.verdict),
        {SAME: same.learned, OTHER: other.learned, EQUAL: {UNMAPPED: learned}},
    )


def mapped(adapter: Adapter, paired: PairedEmbeddings) -> PairedEmbeddings:
    """The pairs in the shared space, without any correction of the gallery."""
    source, target = adapter.source(paired.source), adapter.target(paired.target)
    return replace(paired, source=source, target=target)


def without_adapter(
    train: PairedEmbeddings, gallery: PairedEmbeddings, *, seed: int
) -> tuple[Tensor, LearnedSimilarity]:
    """Ranks of the gallery by a bilinear form of the encoders' own vectors, and the form."""
    source_mean, source = prepare(train.source.float())
    target_mean, target = prepare(train.target.float())
    plans = bilinear_plans(source.shape[1], target.shape[1])
    learned = learn(replace(train, source=source, target=target), plans, seed=seed)
    ranks = match_ranks(
        learned.similarity.scores,
        centred(gallery.source.float(), source_mean),
        centred(gallery.target.float(), target_mean),
        torch.from_numpy(group_codes(gallery.groups)),
    )
    return ranks, learned


def main(arguments: Sequence[str] | None = None) -> None:
    """Compare, print the tables and write the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", choices=tuple(TASKS), default="emoji")
    parser.add_argument("--n", type=int, default=1000, help="training pairs")
    parser.add_argument("--draws", type=int, default=3, help="training sets drawn")
    parser.add_argument("--quick", action="store_true", help="100 pairs, one draw, no record")
    told: Any = parser.parse_args(arguments)
    config = Config(told.data, told.n, told.draws)
    if told.quick:
        config = Config(told.data, 100, 1)
    result = run(config)
    for name, table in result.tables.items():
        print(f"{config.data}, {config.n:,} training pairs, {name}\n\n{table}\n")
    if told.quick:
        return
    name = f"compare_similarities-{config.data}-{config.n}"
    print(write_record(name, config=asdict(config), result=result.to_dict()))


if __name__ == "__main__":
    main()
