"""``scout``: which encoders, which layers, which poolings, before anything is fitted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from statistics import NormalDist
from typing import NamedTuple

import torch
from torch import Tensor

from align._checks import check_at_least
from align._display.interruption import saying_what_is_kept
from align._display.progress import staged
from align.data.embeddings import PairedEmbeddings
from align.data.encoding import Encoder
from align.data.pairs import Pairs
from align.data.repeats import warn_of_repeats
from align.data.sides import Side
from align.encoders.cache.store import EmbeddingStore
from align.fitting.model_selection.cross_validation import CrossValidation
from align.fitting.model_selection.fit import check_enough
from align.fitting.model_selection.outcome import Outcome, score_raw
from align.fitting.model_selection.shuffled_pairs import against_chance
from align.fitting.scouting.agreement import ROWS, K, agreements
from align.fitting.scouting.candidates import Candidate, candidates_of, named_encoders
from align.fitting.scouting.encoder_pair import EncoderPair
from align.fitting.scouting.folded_side import FoldedSide, held_out_recall
from align.fitting.scouting.result import Scouting
from align.scoring.neighbourhoods import neighbours
from align.scoring.ties import MEANS, falling_order, first_best

FOLDS = 5
DOUBT = 0.05  # chance that any of several comparisons errs


class _Scored(NamedTuple):
    """A pair of candidates and its held-out results."""

    source: Candidate
    target: Candidate
    outcome: Outcome


@torch.no_grad()
def scout(
    pairs: Pairs,
    *,
    sources: Sequence[str | Encoder],
    targets: Sequence[str | Encoder],
    layers: bool = True,
    most_parts: int = 2,
    most_pairs: int = 2000,
    store: EmbeddingStore | None = None,
    seed: int = 0,
    progress: bool | None = None,
) -> Scouting:
    """Which encoders, layers and poolings find held-out pairs best, what they cost, and how surely.

    Looked at are, one after the other: every source encoder with every target encoder as they are
    named; with the best of these, the other layers and poolings of every source network, then of
    every target network; and what stands beside the best as a further part, likewise. A part is
    kept if it gains more than the best of so many would by luck. Each network sees an item once,
    whatever is read from it.

    The score is the mean reciprocal rank of held-out pairs, in both directions, through the plain
    regularised CCA that ``align.fit`` begins with: one map for all, so that differences are those
    of the encoders. ``fit`` reaches somewhat more. All candidates are judged on the same folds, so
    differences from the best are paired; their intervals are widened for the number of candidates
    (Bonferroni), and a candidate whose interval holds 0 is *within the noise*: more pairs might
    turn the order. The score of the best of many is a little too high, since it was chosen for it:
    evaluate on pairs that were not in ``align.scout``.

    Beside it stands the agreement of nearest neighbours, which needs no map
    (``align.fitting.scouting.agreement``). A maximum over many layers is inflated: what is shown
    is calibrated by the maximum over all candidates in random pairings.

    Args:
        pairs: Pairs to learn from, some hundreds at least. Nothing else is looked at.
        sources: Encoders of the sources, or lines for ``align.load_encoder``.
        targets: Encoders of the targets, likewise.
        layers: Whether to look at other layers and poolings of networks that offer them, which
            ``TextEncoder``, ``CodeEncoder``, ``ImageEncoder`` and EfficientNet-Lite do. An encoder
            that is named with a layer or a pooling is looked at as it is.
        most_parts: Encoders that may stand side by side on one side; 1 for no concatenations.
        most_pairs: Pairs that are looked at, drawn by ``seed`` where there are more: time and
            memory grow with them.
        store: Where vectors are kept, so that a call that was stopped, or one with a further
            encoder, encodes only what is new. Scores are computed anew.
        seed: Seeds the sample, the folds and the random pairings.
        progress: Whether to draw a progress bar; by default in a terminal or notebook.

    Returns:
        Every candidate with its score, its intervals and its cost; ``scouting.best`` and
        ``scouting.cheapest`` hold encoders ready for ``pairs.encode``.

    Raises:
        TypeError: ``pairs`` are no ``Pairs``, or ``sources`` or ``targets`` is one string.
        ValueError: A side has no encoder, an encoder does not suit its items or gives all of them
            one vector, or there are under 20 pairs or fewer than five groups.

    Warns:
        NoBetterThanChance: Not even the best finds held-out pairs more often than chance.
        RepeatedItems: Many pairs share an item and no groups say so.

    Examples:
        >>> import align
        >>> pairs = align.emoji_pairs().take(range(60))
        >>> scouting = align.scout(
        ...     pairs, sources=["text:minilm"], targets=["image:efficientnet-lite0"], layers=False
        ... )
        >>> scouting.best.source.spec, scouting.best.dims
        ('text:minilm', (384, 1280))
    """
    if not isinstance(pairs, Pairs):
        raise TypeError(
            "encoders are compared on items, as align.Pairs holds them; got "
            f"{type(pairs).__name__}. Read them by Pairs.read, or make them by Pairs.from_lists."
        )
    check_at_least("most_parts", most_parts, 1)
    check_at_least("most_pairs", most_pairs, 20)
    named: dict[Side, list[Encoder]] = {
        "source": named_encoders("source", sources),
        "target": named_encoders("target", targets),
    }
    warn_of_repeats((pairs.source, pairs.target), pairs.groups, "scout", stacklevel=3)
    drawn = torch.randperm(len(pairs), generator=torch.Generator().manual_seed(seed))
    some = pairs.take(drawn[:most_pairs].sort().values.numpy())

    def kept() -> str:
        vectors = "Vectors are kept in the store" if store is not None else "Nothing is kept"
        return f"{vectors}; scores are not. Run it again to look at all candidates anew."

    with saying_what_is_kept(kept):
        found: dict[Side, list[Candidate]] = {}
        left_out: list[str] = []
        for side, encoders in named.items():
            found[side] = []
            for encoder in encoders:
                candidates, not_these = candidates_of(
                    some, side, encoder, layers=layers, store=store, progress=progress
                )
                found[side] += candidates
                left_out += not_these
        with staged(progress) as stages:
            search = _Search(
                some, found["source"], found["target"],
                most_parts=most_parts, seed=seed, step=stages.step,
            )  # fmt: skip
            for shown, steps, stage in search.plan():
                stages.begin(shown, steps)
                stage()
            scouting = search.result(len(pairs), tuple(left_out))
    scouting.chance.warn("the best of these pairs of encoders", stacklevel=3)
    return scouting


class _Search:
    """The candidates that were scored on one set of folds, and the best so far."""

    best: _Scored

    def __init__(
        self,
        pairs: Pairs,
        sources: Sequence[Candidate],
        targets: Sequence[Candidate],
        *,
        most_parts: int,
        seed: int,
        step: Callable[[], None],
    ) -> None:
        self.pairs, self.sources, self.targets = pairs, sources, targets
        self.most_parts, self.seed, self.step = most_parts, seed, step
        data = _paired(pairs, sources[0], targets[0])
        check_enough(data, FOLDS, "scout")
        self.cv = CrossValidation(data, folds_wanted=FOLDS, seed=seed)
        generator = torch.Generator().manual_seed(seed)
        self.sample = torch.randperm(len(pairs), generator=generator)[:ROWS].sort().values
        self.codes = torch.unique(self.cv.codes[self.sample], return_inverse=True)[1]
        self.scored: dict[tuple[str, str], _Scored] = {}
        self.neighbours: dict[tuple[Side, str], Tensor] = {}

    def plan(self) -> list[tuple[str, int, Callable[[], None]]]:
        """What is shown of each stage, about how many pairs it scores, and what does it."""
        named = sum(c.as_given for c in self.sources) * sum(c.as_given for c in self.targets)
        stages: list[tuple[str, int, Callable[[], None]]] = [
            ("encoders as named", named, self._as_named),
            ("source layers", len(self.sources), self._sources),
            ("target layers", len(self.targets), self._targets),
        ]
        for _ in range(self.most_parts - 1):
            stages.append(("source parts", len(self.sources), self._source_parts))
            stages.append(("target parts", len(self.targets), self._target_parts))
        return stages

    def _as_named(self) -> None:
        given = [each for each in self.sources if each.as_given]
        scored = [
            pair
            for target in self.targets
            if target.as_given
            for pair in self._with_target(given, target)
        ]
        self.best = _highest(scored)

    def _sources(self) -> None:
        self.best = _highest([self.best, *self._with_target(self.sources, self.best.target)])

    def _targets(self) -> None:
        self.best = _highest([self.best, *self._with_source(self.best.source, self.targets)])

    def _source_parts(self) -> None:
        wider = self._beside(self.best.source, self.sources)
        self._keep_if_wider_is_better(self._with_target(wider, self.best.target))

    def _target_parts(self) -> None:
        wider = self._beside(self.best.target, self.targets)
        self._keep_if_wider_is_better(self._with_source(self.best.source, wider))

    def _beside(self, own: Candidate, others: Iterable[Candidate]) -> list[Candidate]:
        return [own.beside(each) for each in others if own.may_join(each, most=self.most_parts)]

    def _keep_if_wider_is_better(self, wider: Sequence[_Scored]) -> None:
        """Go on from the best of some wider pairs, if it gains more than so many would by luck."""
        if wider:
            first = _highest(wider)
            if first.outcome.improves_on(self.best.outcome, errors=errors_for(len(wider))):
                self.best = first

    def _with_target(self, sources: Iterable[Candidate], target: Candidate) -> list[_Scored]:
        fixed = FoldedSide(target, self.cv.folds)
        return [self._score(FoldedSide(each, self.cv.folds), fixed) for each in sources]

    def _with_source(self, source: Candidate, targets: Iterable[Candidate]) -> list[_Scored]:
        fixed = FoldedSide(source, self.cv.folds)
        return [self._score(fixed, FoldedSide(each, self.cv.folds)) for each in targets]

    def _score(self, x: FoldedSide, y: FoldedSide) -> _Scored:
        """The held-out results of a pair; what was scored before is looked up."""
        source, target = x.candidate, y.candidate
        key = source.encoder.fingerprint, target.encoder.fingerprint
        if key not in self.scored:
            self.scored[key] = _Scored(source, target, held_out_recall(self.cv, x, y))
            sides: tuple[tuple[Side, FoldedSide], ...] = (("source", x), ("target", y))
            for side, folded in sides:
                name = side, folded.candidate.encoder.fingerprint
                if name not in self.neighbours:
                    rows = folded.rows[self.sample]
                    self.neighbours[name] = neighbours(rows, self.codes, K)
        self.step()
        return self.scored[key]

    def result(self, n_given: int, left_out: tuple[str, ...]) -> Scouting:
        """All that was scored, best first."""
        scored = list(self.scored.values())
        sets = [
            (self.neighbours["source", source], self.neighbours["target", target])
            for source, target in self.scored
        ]
        agreed = agreements(sets, self.codes, seed=self.seed)
        scores = torch.tensor([each.outcome.mrr for each in scored], dtype=torch.float64)
        order = falling_order(scores, within=MEANS).tolist()
        best = scored[order[0]]
        errors = errors_for(len(scored) - 1)
        rows = []
        for at in order:
            source, target, outcome = scored[at]
            ahead = best.outcome.gain_over(outcome)
            rows.append(
                EncoderPair(
                    source=source.encoder,
                    target=target.encoder,
                    names=(source.name, target.name),
                    mrr=outcome.mrr,
                    error=outcome.standard_error,
                    recall_at_10=outcome.hits_at_10.mean().item(),
                    behind=ahead.mean,
                    margin=errors * ahead.error,
                    agreement=agreed[at],
                    seconds=(source.seconds, target.seconds),
                    as_named=source.as_given and target.as_given,
                )
            )
        cv = CrossValidation(
            _paired(self.pairs, best.source, best.target), folds_wanted=FOLDS, seed=self.seed
        )
        ranked = best.outcome.held_out
        assert ranked is not None
        return Scouting(
            pairs=tuple(rows),
            n_pairs=len(self.pairs),
            n_given=n_given,
            chance=against_chance(cv, best.outcome, score_raw(cv)),
            chance_mrr=ranked.mean_reciprocal_rank_at_random,
            chance_at_10=ranked.recall_at_random(10),
            left_out=left_out,
        )


def _highest(among: Sequence[_Scored]) -> _Scored:
    return among[first_best([each.outcome.mrr for each in among])]


def errors_for(comparisons: int) -> float:
    """Standard errors beyond which one of so many comparisons lies by luck 5 times in 100."""
    return NormalDist().inv_cdf(1 - DOUBT / (2 * max(1, comparisons)))


def _paired(pairs: Pairs, source: Candidate, target: Candidate) -> PairedEmbeddings:
    return PairedEmbeddings(
        source.vectors,
        target.vectors,
        pairs.ids,
        pairs.groups,
        source.encoder.fingerprint,
        target.encoder.fingerprint,
        source_parts=source.widths,
        target_parts=target.widths,
    )
