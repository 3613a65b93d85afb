"""``fit_meta_tokens``: several vectors per item, used where cross-validation says they help."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from align._checks import check_at_least
from align._display.interruption import saying_what_is_kept
from align._display.progress import progress_bar
from align.adapters.adapter import Adapter
from align.adapters.multi_vector.aspects import check_tokens
from align.adapters.multi_vector.meta_tokens import MetaTokens
from align.adapters.training_items import remember_pairs
from align.data.embeddings import PairedEmbeddings
from align.data.repeats import warn_of_repeats
from align.data.splits import deal, group_codes
from align.data.token_pairs import TokenPairs
from align.fitting.losses.matryoshka import Group, check_groups
from align.fitting.model_selection.cross_validation import first_of_each
from align.fitting.model_selection.fit import FitAdapter, fit
from align.fitting.model_selection.outcome import Outcome
from align.fitting.multi_vector.initialization import Kind, Reduced, Start, aspects, reduced
from align.fitting.multi_vector.training import (
    Firsts,
    aspects_of,
    best_aspects,
    late_scores,
    parts,
    train,
)
from align.metrics.chance import without_chance_warnings
from align.metrics.ranks import rank_scores
from align.scoring.ties import MEANS, first_best

if TYPE_CHECKING:
    from tqdm import tqdm

log = logging.getLogger(__name__)

SHARPNESS = (5.0, 10.0)
MIXES = (0.1, 0.2, 0.35, 0.5, 0.65, 0.8)
TRAINED_MIX = 0.5  # where training starts
FOLDS = 3  # each costs one more fit of the adapter
WIDTH = 128  # principal axes of token states: a bound on cost, not a tuned number
CLEAR = 5.0  # standard errors above a random order, where the adapter's fit says nothing of it
EVALUATED = 1000  # held-out pairs per fold, one per group, as in ``fit``


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


@dataclass(frozen=True, slots=True, eq=False)
class _HeadFold:
    """Pairs that are held out, as the adapter of all others maps them."""

    rest: Tensor  # rows of the other pairs
    adapter: Adapter  # fitted on those
    firsts: Firsts  # first vectors of all held-out pairs
    evaluated: Tensor  # one held-out pair of each group, at most EVALUATED
    scores: tuple[Tensor, Tensor]  # the adapter's among them, of source and of target queries


@torch.no_grad()
def _evaluate(
    head: MetaTokens, data: Reduced, fold: _HeadFold, mixes: Sequence[float]
) -> list[Outcome]:
    """What a head retrieves among a fold's held-out pairs at its full budget, for each mix."""
    each = [aspects_of(part, data, side, fold.evaluated) for side, part in enumerate(parts(head))]
    ranks: list[list[Tensor]] = [[] for _ in mixes]
    for asking, first in enumerate(fold.scores):
        best = best_aspects(each[asking][:, : head.asking - 1], each[1 - asking])
        for by_side, mix in zip(ranks, mixes, strict=True):
            by_side.append(_ranks(late_scores(torch.tensor(mix), first, best)))
    return [Outcome.of_ranks(by_side) for by_side in ranks]


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
    progress: bool | None = None,
) -> MetaTokens:
    """Several vectors per item, each step used only where held-out pairs say that it helps.

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
        progress: Whether to draw a bar over adapters and epochs; by default in a terminal or
            notebook.

    Returns:
        The head; ``head.card`` says what was tried, and how it scored.

    Raises:
        ValueError: ``asking``, ``vectors``, ``groups`` or ``epochs`` do not fit together, token
            states are not finite, or the adapter refuses the pairs.

    Warns:
        NoBetterThanChance: Held-out pairs were not found more often than by chance.
        RepeatedItems: Many pairs share an item and no groups say so.

    Reference:
        Xiao et al. 2025, arXiv:2509.18095 (MetaEmbed).

    Examples:
        >>> import torch, align
        >>> rng = torch.Generator().manual_seed(0)
        >>> states = [torch.randn(6, 8, generator=rng) for _ in range(60)]
        >>> tokens = align.MultiVector.pack(states)
        >>> means = torch.stack([each.mean(dim=0) for each in states])
        >>> pooled = align.PairedEmbeddings.from_arrays(means, means)
        >>> data = align.TokenPairs(pooled, tokens, tokens)
        >>> from align.adapters.closed_form.rcca import rcca
        >>> head = align.fit_meta_tokens(
        ...     data, vectors=2, asking=2, epochs=1,
        ...     fit_adapter=lambda pairs: rcca(pairs.source, pairs.target),  # align.fit if left out
        ... )
        >>> head.gallery(data.pooled.target, data.target).tokens.shape[1]
        8
    """
    budgets = tuple(groups) if groups is not None else budgets_of(asking, vectors)
    _check(data, asking, vectors, budgets, epochs)
    whole = data.pooled
    sides = whole.source, whole.target
    warn_of_repeats(sides, whole.group_key, "fit_meta_tokens", stacklevel=2)
    began = time.perf_counter()
    with (
        saying_what_is_kept(lambda: "Nothing of the head is kept; run it again to start anew."),
        progress_bar(progress, total=FOLDS + 1, unit="step") as bar,
    ):
        with without_chance_warnings():
            adapter = _remembering(fit_adapter(whole), whole)
        bar.update()
        generator = torch.Generator().manual_seed(seed)
        search = _HeadSearch(
            reduced(data, width=WIDTH, generator=generator), budgets, asking, vectors, seed, bar
        )
        search.deal_folds(fit_adapter)
        alone = search.evaluate_adapter()
        choice = _best([search.choose(kind, epochs) for kind in search.data.kinds()])
        start, outcome = choice.start, choice.outcome
        verdict = f"further vectors gained {outcome.gain_over(alone)} MRR over the first alone"
        card = {
            "start": asdict(start), "epochs": choice.epochs,
            "groups": [asdict(each) for each in budgets], "seed": seed, "tried": search.tried,
        }  # fmt: skip
        if do_no_harm and not outcome.improves_on(alone):
            outcome = alone
            verdict += ": less than two standard errors, so they are left out"
            head = MetaTokens(adapter, None, None, mix=start.mix, asking=1, card=card)
        else:
            verdict += f"; {choice.epochs} epochs of training"
            bar.total += choice.epochs
            head = search.head(start, torch.arange(len(data)), adapter, card)
            search.train(head, search.folds, choice.epochs, lambda _: None)
    ranked = outcome.held_out
    assert ranked is not None
    better = bool(adapter.card.better_than_chance)  # as the adapter's own fit has shown
    chance = ranked.against_chance(better=better or ranked.standard_errors(outcome.rounds) > CLEAR)
    card["verdict"] = f"{chance}; {verdict}"
    card["better_than_chance"] = chance.better
    card["seconds"] = round(time.perf_counter() - began, 1)
    log.info("%s", card["verdict"])
    chance.warn("this head", stacklevel=2)
    return head.eval()


@dataclass(frozen=True, slots=True, eq=False)
class _HeadChoice:
    """A start, how long it is trained, and what that retrieved on held-out folds."""

    start: Start
    epochs: int
    outcome: Outcome


def _best(choices: Sequence[_HeadChoice]) -> _HeadChoice:
    return choices[first_best([each.outcome.mrr for each in choices])]


@dataclass(slots=True, eq=False)
class _HeadSearch:
    """The folds of one data set, and the choices made on them; ``tried`` is for the card."""

    data: Reduced
    budgets: tuple[Group, ...]
    asking: int
    vectors: int
    seed: int
    bar: tqdm[Any]
    folds: list[_HeadFold] = field(default_factory=list)
    tried: list[dict[str, Any]] = field(default_factory=list)

    def deal_folds(self, fit_adapter: FitAdapter) -> None:
        """Hold out each fold and fit the adapter on the others."""
        pairs = self.data.pairs.pooled
        codes = torch.from_numpy(group_codes(pairs.groups))
        for rest, held_out in deal(pairs.group_key, FOLDS, seed=self.seed):
            with without_chance_warnings():
                adapter = fit_adapter(pairs.take(rest))
            evaluated = first_of_each(codes, held_out)[:EVALUATED]
            firsts, here = Firsts.of(adapter, self.data, evaluated), torch.arange(len(evaluated))
            scores = firsts.scores(0, here, here), firsts.scores(1, here, here)
            firsts = Firsts.of(adapter, self.data, held_out)
            self.folds.append(_HeadFold(rest, adapter, firsts, evaluated, scores))
            self.bar.update()

    def evaluate_adapter(self) -> Outcome:
        """What the first vectors retrieve by themselves."""
        each = [Outcome.of_ranks([_ranks(scores) for scores in fold.scores]) for fold in self.folds]
        return self._noted("adapter", "first vector alone", each)

    def choose(self, kind: Kind, epochs: int) -> _HeadChoice:
        """The best start of one kind, trained for as long as it gains a standard error."""
        choices: list[_HeadChoice] = []
        ways: list[tuple[float, tuple[int, ...]]] = [(sharpness, ()) for sharpness in SHARPNESS]
        ways += [(SHARPNESS[0], select) for select in self.data.selections() if select]
        for sharpness, select in ways:
            halfway = Start(kind, sharpness, TRAINED_MIX, select)
            each = [
                _evaluate(self.head(halfway, fold.rest, fold.adapter), self.data, fold, MIXES)
                for fold in self.folds
            ]
            for mix, by_fold in zip(MIXES, zip(*each, strict=True), strict=True):
                start = replace(halfway, mix=mix)
                choices.append(_HeadChoice(start, 0, self._noted("start", str(start), by_fold)))
        best = _best(choices)
        self.bar.total += FOLDS * epochs
        # From a small share nothing would be learned: training finds the share by itself.
        start = replace(best.start, mix=TRAINED_MIX)
        after: list[list[Outcome]] = [[] for _ in range(epochs)]
        for fold in self.folds:
            head = self.head(start, fold.rest, fold.adapter)

            def evaluate(done: int, head: MetaTokens = head, fold: _HeadFold = fold) -> None:
                after[done - 1] += _evaluate(head, self.data, fold, [head.mix.item()])

            self.train(head, [other for other in self.folds if other is not fold], epochs, evaluate)
        untrained = best.outcome
        for done, outcomes in enumerate(after, start=1):
            outcome = self._noted("trained", f"{start}, {done} epochs", outcomes)
            gains = outcome.improves_on(untrained, errors=1)
            if gains and outcome.mrr > best.outcome.mrr + MEANS:
                best = _HeadChoice(start, done, outcome)
        return best

    def head(
        self, start: Start, rows: Tensor, adapter: Adapter, card: dict[str, Any] | None = None
    ) -> MetaTokens:
        """An untrained head whose aspects start from ``rows``."""
        generator = torch.Generator().manual_seed(self.seed)
        counts = _counts(self.budgets, self.vectors)
        sides = aspects(self.data, rows, start, counts, generator)
        return MetaTokens(adapter, *sides, mix=start.mix, asking=self.asking, card=card or {})

    def train(
        self,
        head: MetaTokens,
        folds: Sequence[_HeadFold],
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
        """The outcomes of all folds as one, noted for the card."""
        outcome = Outcome.pooled(outcomes, k=FOLDS)
        ranked = outcome.held_out
        assert ranked is not None
        log.info("%s, %s: MRR %.4f ± %.4f", stage, name, outcome.mrr, outcome.standard_error)
        self.tried.append(
            {
                "stage": stage, "name": name, "mrr": outcome.mrr,
                "standard_error": outcome.standard_error,
                "recall_at_10": outcome.hits_at_10.mean().item(),
                "chance_mrr": ranked.mean_reciprocal_rank_at_random,
                "chance_at_10": ranked.recall_at_random(10),
            }
        )  # fmt: skip
        return outcome


def _remembering(adapter: Adapter, pairs: PairedEmbeddings) -> Adapter:
    """The adapter, which may be of other pairs, as one that remembers these too."""
    items, card = remember_pairs(adapter.training_items, pairs), adapter.card.of_encoders(pairs)
    if items is adapter.training_items and card == adapter.card:
        return adapter
    return adapter.replaced(card=card, training_items=items)


def _ranks(scores: Tensor) -> Tensor:
    codes = torch.arange(len(scores))
    return rank_scores(scores, codes, codes).first


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
