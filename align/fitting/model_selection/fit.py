"""``fit``: the automatic recipe: cross-validated, refitted on every pair, doing no harm."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Literal

import torch

from align._advice import Advised
from align._checks import check_at_least, check_matrix, check_no_zero_rows, check_one_of
from align._display.interruption import saying_what_is_kept
from align._display.progress import Stages, staged
from align.adapters.adapter import Adapter
from align.adapters.card import Candidate, Card, installed_versions
from align.adapters.corrections.reference_set import ReferenceSet
from align.adapters.recipes.moments import check_pairs
from align.adapters.training_items import TrainingItems
from align.data.embeddings import Embeddings, PairedEmbeddings, Vectors, as_tensor
from align.data.paired_arguments import as_pairs
from align.data.repeats import warn_of_repeats
from align.fitting.model_selection.cross_validation import CrossValidation, Unpaired
from align.fitting.model_selection.gallery_correction import (
    GalleryChoice,
    Step,
    choose_gallery,
)
from align.fitting.model_selection.held_out_scores import calibrate_on_folds
from align.fitting.model_selection.map_search import (
    MAPS_TRIED,
    MapSearch,
    MapSearchResult,
    identity_maps,
)
from align.fitting.model_selection.outcome import HeldOutGain, score_raw
from align.fitting.model_selection.part_weights import choose_parts
from align.fitting.model_selection.shuffled_pairs import against_chance
from align.fitting.model_selection.stacked_residual import (
    ENOUGH,
    FEWEST_FOLDS,
    HIDDEN,
    Refinement,
    judge,
    refinement_steps,
)
from align.fitting.model_selection.stacked_residual import refine as refine_maps
from align.metrics.chance import AgainstChance
from align.scoring.ties import MEANS

Effort = Literal["fast", "best"]
FitAdapter = Callable[[PairedEmbeddings], Adapter]

log = logging.getLogger(__name__)

MIN_PAIRS = 20
WORTH = 0.5  # standard errors of gain over the raw cosine


class _Timed:
    """Stages of a fit: how many seconds each took, and what is shown while it lasts."""

    def __init__(self, stages: Stages) -> None:
        self.seconds: dict[str, float] = {}
        self.stages = stages

    @contextmanager
    def stage(self, key: str, shown: str, steps: int = 1) -> Iterator[Callable[[], None]]:
        """Note the seconds of a stage by its key; gives what counts one of some ``steps``."""
        log.info("%s ...", key)
        self.stages.begin(shown, steps)
        start = time.perf_counter()
        yield self.stages.step
        self.seconds[key] = round(time.perf_counter() - start, 3)


@torch.no_grad()
def fit(
    train: PairedEmbeddings | Vectors,
    target: Vectors | None = None,
    *,
    side: Literal["both", "source"] = "both",
    effort: Effort = "best",
    refine: bool | Literal["auto"] = "auto",
    unpaired_source: Vectors | None = None,
    unpaired_target: Vectors | None = None,
    updatable: bool = False,
    folds: int = 5,
    seed: int = 0,
    progress: bool | None = None,
) -> Adapter:
    """An adapter for these pairs, with every setting chosen by cross-validation among them.

    Call it as ``fit(pairs)``, or as ``fit(source, target)`` with two sides in any form that
    ``PairedEmbeddings.from_arrays`` takes: arrays, tensors, data frames, series or lists of
    vectors, ``Embeddings``. Where captions share an image, say so as ``groups`` there.

    Closed-form maps (regularised CCA with power weights, ridge both ways, PLS, Procrustes, and the
    raw and centred cosine where the widths agree) and averages of two are compared on folds that
    keep groups whole. The best is refitted on all pairs; a hubness correction is added where it
    gains anything, a gallery expansion where it gains more than a standard error; an expansion of
    the queries, which costs time at each of them, and a shift trained on top
    (``align.fitting.model_selection.stacked_residual``) where they gain two. If nothing beats the
    raw cosine of encoders of equal width by half of one, or held-out pairs are found no more often
    than by chance, the identity comes back and the card says so.

    The gallery of a fold holds at most 1,000 held-out pairs, one per group. Nothing outside
    ``train`` is looked at. The same data and seed give the same adapter.

    Args:
        train: Pairs to learn from, some hundreds at least; or their sources, ``(n, d_source)``.
        target: Their targets, ``(n, d_target)``, unless ``train`` holds both sides.
        side: ``"both"``, or ``"source"`` for a query-only adapter that leaves target vectors as
            they are, so that an index of them needs no change; it has no gallery correction.
        effort: ``"fast"`` for closed forms with even part weights; ``"best"`` also weighs the
            parts, and tries ``refine`` and an expansion of the queries.
        refine: Whether to try a trained shift on top of the closed form, used only if it gains two
            standard errors on held-out folds. ``"auto"`` tries from 2,000 pairs on with the best
            effort and three folds or more, which it needs.
        unpaired_source: More source embeddings, ``(u, d_source)``, for means and covariances;
            used only if cross-validation is better with them.
        unpaired_target: More target embeddings, ``(v, d_target)``, likewise.
        updatable: Whether to keep what ``Adapter.update`` needs to add pairs later: second moments,
            at most ``(d_source + d_target)`` squared numbers of 8 bytes, and the raw vectors of up
            to 8,192 pairs where the gallery is corrected. What is trained cannot be updated, so
            ``refine`` is not tried; and where the identity comes back nothing is kept.
        folds: Parts that the groups are dealt into, >= 2. Below 1,000 pairs they are redrawn
            several times.
        seed: Seeds folds and samples.
        progress: Whether to draw a progress bar; by default in a terminal or notebook.

    Returns:
        The adapter, its maps in float32; ``adapter.card`` says what was tried, how it scored, and
        whether that is better than chance.

    Warns:
        NoBetterThanChance: Held-out pairs were not found more often than a random order finds
            them: rows may not be matched. The adapter comes back all the same.
        RepeatedItems: Many pairs share an item and no groups say so.

    Raises:
        TypeError: There is one side alone, or a side does not hold numbers.
        ValueError: The sides do not fit together, there are under 20 pairs or fewer groups
            than folds, a row is zero or not finite, the unpaired widths do not fit, or ``refine``
            is true with two folds or with ``updatable``.

    Examples:
        >>> import numpy as np, align
        >>> rng = np.random.default_rng(0)
        >>> captions = rng.standard_normal((300, 8))
        >>> photos = captions @ rng.standard_normal((8, 12)) + rng.standard_normal((300, 12))
        >>> adapter = align.fit(captions, photos)
        >>> adapter.source(captions[:2]).shape, adapter.card.better_than_chance
        (torch.Size([2, 8]), True)
    """
    train = as_pairs(train, target)
    check_one_of(
        "side", side, ("both", "source"), 'Use "source" to leave target vectors as they are.'
    )
    check_one_of("effort", effort, ("fast", "best"), 'Use "fast" for closed forms alone.')
    check_one_of("refine", refine, (True, False, "auto"), 'Use "auto" to go by the effort.')
    check_enough(train, folds, "fit")
    if refine is True and folds < FEWEST_FOLDS:
        raise ValueError(
            f"a refinement needs at least {FEWEST_FOLDS} folds, to be evaluated on one and learned "
            f"on maps without another; got {folds}. Raise folds, or leave refine out."
        )
    if refine is True and updatable:
        raise ValueError(
            "an adapter that can be updated is a closed form, since what is trained cannot be; got "
            "refine=True and updatable=True. Leave one of them out."
        )
    warn_of_repeats((train.source, train.target), train.group_key, "fit", stacklevel=3)
    unpaired = Unpaired(
        _unpaired("source", unpaired_source, train.source, train.source_fingerprint),
        _unpaired("target", unpaired_target, train.target, train.target_fingerprint),
    )
    query_only = side == "source"
    expand_queries = effort == "best" and not query_only
    with (
        saying_what_is_kept(
            lambda: (
                "Nothing of the fit is kept; what was encoded into a store is. "
                "Run it again to start the fit anew."
            )
        ),
        staged(progress) as stages,
    ):
        timed = _Timed(stages)
        with timed.stage("parts", "part weights") as step:
            weigh = effort == "best"
            parts, tried_shares = choose_parts(
                train, folds=folds, seed=seed, weigh=weigh, step=step
            )

        def searched(unpaired: Unpaired) -> tuple[CrossValidation, MapSearchResult]:
            cv = CrossValidation(
                train, folds_wanted=folds, seed=seed, unpaired=unpaired, parts=parts
            )
            return cv, MapSearch(cv, query_only=query_only, step=step).run()

        with timed.stage("map", "maps", MAPS_TRIED * (1 + bool(unpaired))) as step:
            cv, search = searched(Unpaired())
            if unpaired:
                helped = searched(unpaired)
                if helped[1].best.outcome.mrr > search.best.outcome.mrr + MEANS:
                    cv, search = helped
        with timed.stage("gallery", "gallery correction"):
            gallery = choose_gallery(
                cv, search.projections, query_only=query_only, expand_queries=expand_queries
            )
        with timed.stage("refit", "refit on all pairs"):
            maps = search.best.build(cv.moments(search.best.roots))
        base, refinement = search.best, None
        wanted = refine is True
        if refine == "auto":
            wanted = effort == "best" and len(train) >= ENOUGH and folds >= FEWEST_FOLDS
            wanted = wanted and not updatable
        if wanted:
            with timed.stage("refine", "refinement", refinement_steps(cv)) as step:
                refinement = judge(cv, search.best, gallery, step=step)
            if refinement.improves:
                gallery = refinement.gallery
                with timed.stage("refined", "final refinement", cv.k + 1) as step:
                    maps = refine_maps(cv, base, maps, step=step)
        steps = [
            *tried_shares,
            *(Step(c.stage, c.name, c.outcome, c is base) for c in search.tried),
            *gallery.tried,
        ]
        if refinement is not None:
            name = f"residual of {HIDDEN} hidden units"
            steps.append(Step("refine", name, refinement.gallery.outcome, refinement.improves))
        outcome, raw = gallery.outcome, score_raw(cv)
        with timed.stage("chance", "comparison with chance"):
            chance = against_chance(cv, outcome, raw)
        gain = None if raw is None else outcome.gain_over(raw.first(len(outcome.reciprocal_ranks)))
        why_not = None if gain is None else _why_not(gain, chance)
        if why_not is not None:
            assert raw is not None
            method, maps, reference, verdict = "identity", identity_maps(*cv.widths), None, why_not
            steps, chance = [s._replace(chosen=False) for s in steps], against_chance(cv, raw, raw)
        else:
            method, reference = base.name, gallery.reference(cv, maps)
            if refinement is not None and refinement.improves:
                method += " + mlp residual"
            verdict = _verdict(search, gallery, gain, refinement, reference)
        if raw is not None:
            steps.append(Step("identity", "raw cosine", raw, why_not is not None))
        with timed.stage("calibration", "calibration"):
            projected = search.projections
            if refinement is not None and refinement.improves:
                projected = refinement.projected
            calibration = calibrate_on_folds(cv, None if why_not else projected, gallery)
    candidates = [s.outcome.candidate(s.stage, s.name, chosen=s.chosen) for s in steps]
    card = card_of(cv, method, verdict, chance, candidates, timed.seconds)
    log.info("%s", card.verdict)
    chance.warn("this adapter", stacklevel=3)
    items = TrainingItems.of(train.source, train.target)
    statistics = None
    if updatable and why_not is None:
        statistics = cv.statistics(base.build, base.roots, sampled=reference is not None)
    return Adapter(
        *maps,
        card,
        reference=reference,
        training_items=items,
        calibration=calibration,
        statistics=statistics,
    )


def check_enough(pairs: PairedEmbeddings, folds: int, what: str) -> None:
    """Raise ``ValueError`` unless there are pairs enough to cross-validate, and two folds."""
    if len(pairs) < MIN_PAIRS:
        raise ValueError(
            Advised(
                f"{what} needs at least {MIN_PAIRS} pairs to cross-validate, and better 300; "
                f"got {len(pairs)}. Add pairs",
                python="or call align.adapters.closed_form.procrustes.procrustes yourself.",
                command="to the table.",
            )
        )
    check_pairs(pairs.source.float(), pairs.target.float())
    check_at_least("folds", folds, 2)


def card_of(
    cv: CrossValidation,
    method: str,
    verdict: str,
    chance: AgainstChance,
    candidates: Sequence[Candidate],
    seconds: Mapping[str, float],
) -> Card:
    """The card of an adapter that was chosen on the folds of ``cv``."""
    train = cv.data
    return Card(
        method=method,
        n_pairs=len(train),
        d_source=train.source.shape[1],
        d_target=train.target.shape[1],
        n_groups=cv.n_groups,
        n_unpaired=cv.unpaired.counts,
        source_fingerprint=train.source_fingerprint,
        target_fingerprint=train.target_fingerprint,
        encoders=train.encoders,
        side_names=train.side_names,
        seed=cv.seed,
        folds=(cv.k, cv.repeats),
        fold_gallery=len(cv.folds[0].held_out),
        seconds=seconds,
        candidates=tuple(candidates),
        verdict=f"{chance}; {verdict}",
        better_than_chance=chance.better,
        versions=installed_versions(),
    )


def _why_not(gain: HeldOutGain, chance: AgainstChance) -> str | None:
    """Why encoders of equal width are better left as they are, or ``None`` if they are not.

    A gain over the raw cosine need not be more than a standard error: averages with the centred
    cosine lie so near to it that little is lost where the gain was luck, and much is where a real
    gain cannot be told in a small gallery. What nothing was learned for is another matter.
    """
    if not chance.better:
        return "nothing was learned from these pairs, so the encoders are left as they are"
    if not gain.exceeds(WORTH):
        return f"nothing beat the raw cosine by half a standard error ({gain})"
    return None


def _verdict(
    search: MapSearchResult,
    gallery: GalleryChoice,
    gain: HeldOutGain | None,
    refinement: Refinement | None,
    reference: ReferenceSet | None,
) -> str:
    verdict = f"{search.best.name} scored best of {len(search.tried)} maps"
    if gain is not None:
        verdict += f" and gained {gain} MRR over the raw cosine"
    steps = [str(step) for step in (gallery.hubness, gallery.expansion) if step is not None]
    if steps:
        verdict += f"; gallery: {' and '.join(steps)}"
    if reference is not None and gallery.query_expansion is not None:
        size = " x ".join(f"{each:,}" for each in reference.source_reference.shape)
        verdict += f"; each query: {gallery.query_expansion}, two products with {size} numbers"
    if refinement is not None:
        kept = "is" if refinement.improves else "was not"
        seen = "" if refinement.whole else " on the first fold"
        verdict += f"; training on top of it gained {refinement.gain} MRR{seen} and {kept} kept"
    return verdict


def _unpaired(
    side: str, x: Vectors | None, paired: torch.Tensor, fingerprint: str | None
) -> torch.Tensor | None:
    if x is None:
        return None
    theirs = x.fingerprint if isinstance(x, Embeddings) else None
    if theirs is not None and fingerprint is not None and theirs != fingerprint:
        raise ValueError(
            f"unpaired_{side} must come from the encoder of the pairs, {fingerprint}; "
            f"got vectors of {theirs}. Encode them with the first."
        )
    rows = as_tensor(x).float()
    check_matrix(f"unpaired_{side}", rows, d=paired.shape[1])
    check_no_zero_rows(f"unpaired_{side}", rows)
    return rows
