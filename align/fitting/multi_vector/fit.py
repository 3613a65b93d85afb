"""``fit_meta_tokens``: several vectors per item, kept where cross-validation says they help."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from align._checks import check_at_least
from align.adapters.adapter import Adapter
from align.adapters.multi_vector.aspects import check_tokens
from align.adapters.multi_vector.meta_tokens import MetaTokens
from align.adapters.training_items import remember_pairs
from align.data.embeddings import PairedEmbeddings
from align.data.repeats import warn_of_repeats
from align.data.splits import folds as fold_numbers
from align.data.splits import group_codes
from align.data.token_pairs import TokenPairs
from align.fitting.losses.matryoshka import Group, check_groups
from align.fitting.model_selection.cross_validation import Outcome, first_of_each, pooled
from align.fitting.model_selection.fit import MIN_STANDARD_ERRORS, fit
from align.fitting.multi_vector.initialization import Kind, Reduced, Start, aspects, reduced
from align.fitting.multi_vector.training import (
    Firsts,
    best_aspects,
    drawn,
    late_scores,
    parts,
    train,
)
from align.metrics.chance import AgainstChance, without_chance_warnings
from align.metrics.ranks import rank_scores
from align.scoring.ties import MEANS, first_best

log = logging.getLogger(__name__)

FitAdapter = Callable[[PairedEmbeddings], Adapter]

SHARPNESS = (5.0, 10.0)
MIXES = (0.1, 0.2, 0.35, 0.5, 0.65, 0.8)
TRAINED_MIX = 0.5  # where training starts
FOLDS = 3  # each costs one more fit of the adapter
WIDTH = 128  # principal axes of token states: a bound on cost, not a tuned number
CLEAR = 5.0  # standard errors above a random order, where the adapter's fit tells nothing of it
JUDGED = 1000  # held-out pairs per fold, one per group, as in ``fit``


def budgets_of(asking: int, vectors: int) -> tuple[Group, ...]:
    """Nested budgets from (1, 1) to ``(asking, vectors)``: queries double, documents have twice.

    ``(4, 16)`` gives (1, 1), (2, 4), (4, 16); ``(16, 64)`` gives the five groups of the paper.
    """
    sizes, queries = [(1, 1)], 2
    while queries < asking and 2 * queries < vectors:
        sizes.append((queries, 2 * queries))
        queries *= 2
    if (asking, vectors) != (1, 1):
        sizes.append((asking, vectors))
    return tuple(Group(*size) for size in sizes)


@torch.no_grad()
def _judge(head: MetaTokens, data: Reduced, fold: _Fold, mixes: Sequence[float]) -> list[Outcome]:
    """What a head retrieves among a fold's judged pairs at its full budget, for each mix."""
    each = [drawn(part, data, side, fold.judged) for side, part in enumerate(parts(head))]
    ranks: list[list[Tensor]] = [[] for _ in mixes]
    for asking, first in enumerate(fold.scores):
        best = best_aspects(each[asking][:, : head.asking - 1], each[1 - asking])
        for found, mix in zip(ranks, mixes, strict=True):
            found.append(_ranks(late_scores(torch.tensor(mix), first, best)))
    return [_outcome(found) for found in ranks]


@dataclass(frozen=True, slots=True, eq=False)
class _Fold:
    """Pairs that are held out, and what the adapter of all others makes of them.

    Attributes:
        rest: The other pairs.
        adapter: Fitted on ``rest``.
        firsts: First vectors of all held-out pairs.
        judged: One held-out pair of each group, at most ``JUDGED``.
        scores: The adapter's scores among them, source asking and target asking.
    """

    rest: Tensor
    adapter: Adapter
    firsts: Firsts
    judged: Tensor
    scores: tuple[Tensor, Tensor]


def fit_meta_tokens(
    data: TokenPairs,
    *,
    asking: int = 4,
    vectors: int = 16,
    groups: Sequence[Group] | None = None,
    epochs: int = 5,
    seed: int = 0,
    do_no_harm: bool = True,
    fit_adapter: FitAdapter = fit,
    progress: bool = False,
) -> MetaTokens:
    """Several vectors per item, each step kept only where held-out pairs say that it helps.

    1. The adapter is fitted on all pairs, and once more outside each of three folds, so that the
       rest is learned beside scores of pairs that the adapter has not seen.
    2. Token states are reduced to principal axes, and meta tokens start as centres of clusters of
       states. Ways to start, and the share of the aspects, are compared on the folds.
    3. Matryoshka training (MetaEmbed) moves meta tokens and maps; the number of epochs is the best
       on held-out folds, and 0 unless that gains more than a standard error.
    4. If the best of all this beats the adapter alone by less than two standard errors, the head
       has one vector per item, the adapter's.

    Args:
        data: Pairs with token states; a side without gets linear heads on its pooled vector.
        asking: Vectors of a query, >= 2 for late interaction.
        vectors: Vectors of an item in a gallery, at least ``asking``.
        groups: Budgets to train at, nested; ``budgets_of(asking, vectors)`` if left out. A single
            one, the full budget, trains without Matryoshka.
        epochs: Most passes over the pairs, >= 0.
        seed: Seeds folds, clusters and batches. The same data and seed give the same head.
        do_no_harm: Whether step 4 may drop the further vectors.
        fit_adapter: How the adapter is fitted to pairs; called four times.
        progress: Show a bar over adapters and epochs.

    Returns:
        The head; ``head.card`` tells what was tried, and how it scored.

    Raises:
        ValueError: ``asking``, ``vectors``, ``groups`` or ``epochs`` do not fit together, token
            states are not finite, or the adapter refuses the pairs.

    Warns:
        NoBetterThanChance: Held-out pairs were not found more often than by chance.
        RepeatedItems: Many pairs share an item and no groups say so.

    Reference:
        Xiao et al. 2025, arXiv:2509.18095 (MetaEmbed).
    """
    budgets = tuple(groups) if groups is not None else budgets_of(asking, vectors)
    _check(data, asking, vectors, budgets, epochs)
    whole = data.pooled
    sides = whole.source, whole.target
    warn_of_repeats(sides, whole.group_key, "fit_meta_tokens", stacklevel=2)
    began = time.perf_counter()
    with tqdm(total=FOLDS + 1, disable=not progress, unit="step") as bar:
        with without_chance_warnings():
            adapter = _remembering(fit_adapter(whole), whole)
        bar.update()
        generator = torch.Generator().manual_seed(seed)
        search = _Search(
            reduced(data, width=WIDTH, generator=generator), budgets, asking, vectors, seed, bar
        )
        search.cut_folds(fit_adapter)
        alone = search.judge_adapter()
        choice = _best([search.choose(kind, epochs) for kind in search.data.kinds()])
        start, chosen = choice.start, choice.epochs
        gain, error = choice.outcome.gain_over(alone)
        verdict = f"further vectors gained {gain:+.4f} ± {error:.4f} MRR over the first alone"
        card = {
            "start": asdict(start), "epochs": chosen, "groups": [asdict(each) for each in budgets],
            "seed": seed, "tried": search.tried,
        }  # fmt: skip
        kept = choice.outcome
        if do_no_harm and gain <= MIN_STANDARD_ERRORS * error:
            kept = alone
            verdict += ": less than two standard errors, so they are left out"
            head = MetaTokens(adapter, None, None, mix=start.mix, asking=1, card=card)
        else:
            verdict += f"; {chosen} epochs of training"
            bar.total += chosen
            head = search.head(start, torch.arange(len(data)), adapter, card)
            search.train(head, search.folds, chosen, lambda _: None)
    found = _against_chance(kept, adapter)
    verdict = f"{found}; {verdict}"
    card["verdict"] = verdict
    card["better_than_chance"] = found.better
    card["seconds"] = round(time.perf_counter() - began, 1)
    log.info("%s", verdict)
    found.warn("this head", stacklevel=2)
    return head.eval()


@dataclass(frozen=True, slots=True, eq=False)
class _Choice:
    """A start, how long it is trained, and what that retrieved on held-out folds."""

    start: Start
    epochs: int
    outcome: Outcome


def _best(choices: Sequence[_Choice]) -> _Choice:
    return choices[first_best([each.outcome.mrr for each in choices])]


@dataclass(slots=True, eq=False)
class _Search:
    """The folds of one data set, and the choices made on them in turn.

    Attributes:
        data: All pairs, reduced.
        budgets: Nested budgets to train at.
        asking: Vectors of a query.
        vectors: Vectors of an item.
        seed: Seeds folds, clusters and batches.
        bar: Counts adapters and epochs.
        folds: Filled by ``cut_folds``.
        tried: What was tried, for the card.
    """

    data: Reduced
    budgets: tuple[Group, ...]
    asking: int
    vectors: int
    seed: int
    bar: tqdm[Any]
    folds: list[_Fold] = field(default_factory=list)
    tried: list[dict[str, Any]] = field(default_factory=list)

    def cut_folds(self, fit_adapter: FitAdapter) -> None:
        """Hold out each fold and fit the adapter on the others."""
        for fold in _folds(self.data, self.seed, fit_adapter):
            self.folds.append(fold)
            self.bar.update()

    def judge_adapter(self) -> Outcome:
        """What the first vectors retrieve by themselves."""
        each = [_outcome([_ranks(scores) for scores in fold.scores]) for fold in self.folds]
        return self._noted("adapter", "first vector alone", each)

    def choose(self, kind: Kind, epochs: int) -> _Choice:
        """The best start of one kind, trained for as long as it gains a standard error."""
        found: list[_Choice] = []
        ways: list[tuple[float, tuple[int, ...]]] = [(sharpness, ()) for sharpness in SHARPNESS]
        ways += [(SHARPNESS[0], select) for select in self.data.selections() if select]
        for sharpness, select in ways:
            halfway = Start(kind, sharpness, TRAINED_MIX, select)
            judged = [
                _judge(self.head(halfway, fold.rest, fold.adapter), self.data, fold, MIXES)
                for fold in self.folds
            ]
            for mix, by_fold in zip(MIXES, zip(*judged, strict=True), strict=True):
                start = replace(halfway, mix=mix)
                found.append(_Choice(start, 0, self._noted("start", str(start), by_fold)))
        best = _best(found)
        self.bar.total += FOLDS * epochs
        # From a small share nothing would be learned: training finds the share by itself.
        start = replace(best.start, mix=TRAINED_MIX)
        after: list[list[Outcome]] = [[] for _ in range(epochs)]
        for fold in self.folds:
            head = self.head(start, fold.rest, fold.adapter)

            def judge(done: int, head: MetaTokens = head, fold: _Fold = fold) -> None:
                after[done - 1] += _judge(head, self.data, fold, [head.mix.item()])

            self.train(head, [other for other in self.folds if other is not fold], epochs, judge)
        untrained = best.outcome
        for done, outcomes in enumerate(after, start=1):
            outcome = self._noted("trained", f"{start}, {done} epochs", outcomes)
            if outcome.gains(untrained) and outcome.mrr > best.outcome.mrr + MEANS:
                best = _Choice(start, done, outcome)
        return best

    def head(
        self, start: Start, rows: Tensor, adapter: Adapter, card: dict[str, Any] | None = None
    ) -> MetaTokens:
        """An untrained head whose aspects start from ``rows``."""
        generator = torch.Generator().manual_seed(self.seed)
        counts = _counts(self.budgets, self.vectors)
        made = aspects(self.data, rows, start, counts, generator)
        return MetaTokens(adapter, *made, mix=start.mix, asking=self.asking, card=card or {})

    def train(
        self,
        head: MetaTokens,
        folds: Sequence[_Fold],
        epochs: int,
        after_epoch: Callable[[int], None],
    ) -> None:
        """Train ``head`` on the held-out pairs of ``folds``."""

        def done(number: int) -> None:
            after_epoch(number)
            self.bar.update()

        train(
            head,
            self.data,
            [fold.firsts for fold in folds],
            self.budgets,
            epochs=epochs,
            generator=torch.Generator().manual_seed(self.seed),
            after_epoch=done,
        )

    def _noted(self, stage: str, name: str, outcomes: Sequence[Outcome]) -> Outcome:
        """The outcomes of all folds as one, written down for the card."""
        found = pooled(outcomes, k=FOLDS)
        ranked = found.held_out
        assert ranked is not None
        log.info("%s, %s: MRR %.4f ± %.4f", stage, name, found.mrr, found.standard_error)
        self.tried.append(
            {
                "stage": stage, "name": name, "mrr": found.mrr,
                "standard_error": found.standard_error,
                "recall_at_10": found.hits_at_10.mean().item(),
                "chance_mrr": ranked.mean_reciprocal_rank_at_random,
                "chance_at_10": ranked.recall_at_random(10),
            }
        )  # fmt: skip
        return found


def _against_chance(kept: Outcome, adapter: Adapter) -> AgainstChance:
    """What was kept against chance: the adapter's own fit may have shown it to be better."""
    assert kept.held_out is not None
    shown = bool(adapter.card.better_than_chance)
    return kept.held_out.against_chance(
        better=shown or kept.held_out.standard_errors(kept.rounds) > CLEAR
    )


def _remembering(adapter: Adapter, pairs: PairedEmbeddings) -> Adapter:
    """The adapter, which may be of other pairs, as one that remembers these too."""
    items, card = remember_pairs(adapter.training_items, pairs), adapter.card.of_encoders(pairs)
    if items is adapter.training_items and card == adapter.card:
        return adapter
    maps = adapter.source_map, adapter.target_map
    return Adapter(
        *maps,
        card,
        reference=adapter.reference,
        preference=adapter.preference,
        training_items=items,
    )


def _folds(data: Reduced, seed: int, fit_adapter: FitAdapter) -> Iterator[_Fold]:
    pairs = data.pairs.pooled
    numbers = torch.from_numpy(fold_numbers(pairs.group_key, FOLDS, seed=seed))
    codes = torch.from_numpy(group_codes(pairs.groups))
    for number in range(FOLDS):
        rest = (numbers != number).nonzero().flatten()
        held = (numbers == number).nonzero().flatten()
        with without_chance_warnings():
            adapter = fit_adapter(pairs.take(rest))
        judged = first_of_each(codes[held], held)[:JUDGED]
        found = Firsts.of(adapter, data, judged)
        here = torch.arange(len(judged))
        scores = found.scores(0, here, here), found.scores(1, here, here)
        yield _Fold(rest, adapter, Firsts.of(adapter, data, held), judged, scores)


def _ranks(scores: Tensor) -> Tensor:
    codes = torch.arange(len(scores))
    return rank_scores(scores, codes, codes).first


def _outcome(both: Sequence[Tensor]) -> Outcome:
    first = torch.stack(list(both))
    return Outcome.of_ranks(first, first.shape[1])


def _counts(budgets: Sequence[Group], vectors: int) -> list[int]:
    """Meta tokens that each budget adds, the first vector not counted."""
    ends = [1, *(group.documents for group in budgets), vectors]
    return [high - low for low, high in itertools.pairwise(ends) if high > low]


def _check(
    data: TokenPairs, asking: int, vectors: int, groups: Sequence[Group], epochs: int
) -> None:
    if not 2 <= asking <= vectors:
        raise ValueError(
            "a query asks with at least 2 vectors and at most as many as an item has; got "
            f"asking={asking} and vectors={vectors}. Use align.fit for one vector per item."
        )
    check_groups(groups, queries=asking, documents=vectors)
    check_at_least("epochs", epochs, 0)
    for side, tokens in (("source", data.source), ("target", data.target)):
        if tokens is not None:
            check_tokens(f"{side} tokens", tokens, d=tokens.dim)
