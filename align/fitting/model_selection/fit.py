"""``fit``: the automatic recipe: cross-validated, refitted on every pair, doing no harm."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Literal

import torch

from align._checks import check_matrix, check_no_zero_rows
from align.adapters.adapter import Adapter
from align.adapters.card import Card, installed_versions
from align.adapters.closed_form.moments import check_pairs
from align.adapters.corrections.reference_set import ReferenceSet
from align.adapters.maps.linear import IdentityMap
from align.adapters.training_items import TrainingItems
from align.data.embeddings import Embeddings, PairedEmbeddings, Vectors, as_tensor
from align.data.repeats import warn_of_repeats
from align.fitting.model_selection.cross_validation import (
    CrossValidation,
    Outcome,
    Unpaired,
    pooled,
    score,
)
from align.fitting.model_selection.gallery_correction import (
    GalleryChoice,
    Step,
    choose_gallery,
    projections,
)
from align.fitting.model_selection.map_search import Choice, Maps, MapSearch, Search
from align.fitting.model_selection.part_weights import SidesParts, choose_parts
from align.fitting.model_selection.shuffled_pairs import against_chance
from align.fitting.model_selection.stacked_residual import ENOUGH, HIDDEN, can_judge, judged
from align.fitting.model_selection.stacked_residual import refine as refine_maps
from align.scoring.ties import MEANS

Effort = Literal["fast", "best"]

log = logging.getLogger(__name__)

MIN_PAIRS = 20
MIN_STANDARD_ERRORS = 2.0  # standard errors by which the best of many must beat the raw cosine


@dataclass(slots=True)
class _Clock:
    """Seconds per stage, logged as they pass."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        log.info("%s ...", name)
        start = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - start, 3)


@torch.no_grad()
def fit(
    train: PairedEmbeddings,
    *,
    side: Literal["both", "source"] = "both",
    effort: Effort = "best",
    refine: bool | Literal["auto"] = "auto",
    unpaired_source: Vectors | None = None,
    unpaired_target: Vectors | None = None,
    folds: int = 5,
    seed: int = 0,
) -> Adapter:
    """An adapter for these pairs, with every setting chosen by cross-validation among them.

    Closed-form maps (regularised CCA with power weights, ridge both ways, PLS, Procrustes, and the
    raw and centred cosine where the widths agree) and blends of two are compared on folds that keep
    groups whole. The best is refitted on all pairs; a hubness correction and a gallery expansion
    are added where they gain more than a standard error, and a shift trained on top
    (``align.fitting.model_selection.stacked_residual``) where it gains two. If nothing beats the
    raw cosine of encoders of equal width by two, the identity comes back and the card says so.

    The gallery of a fold holds at most 1,000 held-out pairs, one per group. Nothing outside
    ``train`` is looked at. The same data and seed give the same adapter.

    Args:
        train: Pairs to learn from; some hundreds at least.
        side: ``"both"``, or ``"source"`` for a query-only adapter that leaves target vectors as
            they are, so that an index of them needs no change; it has no gallery correction.
        effort: ``"fast"`` for closed forms with even shares of parts; ``"best"`` also weighs the
            parts and tries ``refine``.
        refine: Whether to try a trained shift on top of the closed form, kept only if it gains two
            standard errors on held-out folds. ``"auto"`` tries from 2,000 pairs on with the best
            effort. Needs two groups or more outside every fold.
        unpaired_source: More source embeddings, ``(u, d_source)``, for means and covariances;
            kept only if cross-validation is better with them.
        unpaired_target: More target embeddings, ``(v, d_target)``, likewise.
        folds: Parts that the groups are dealt into, >= 2. Below 1,000 pairs they are redrawn
            several times.
        seed: Seeds folds and samples.

    Returns:
        The adapter, its maps in float32; ``adapter.card`` tells what was tried, how it scored, and
        whether that is better than chance.

    Warns:
        NoBetterThanChance: Held-out pairs were not found more often than a random order finds
            them: rows may not be matched. The adapter comes back all the same.
        RepeatedItems: Many pairs share an item and no groups say so.

    Raises:
        ValueError: There are under 20 pairs or fewer groups than folds, a row is zero or not
            finite, or the unpaired widths do not fit.
    """
    _check(train, side, effort, refine, folds)
    warn_of_repeats((train.source, train.target), train.group_key, "fit", stacklevel=3)
    unpaired = Unpaired(
        _unpaired("source", unpaired_source, train.source, train.source_fingerprint),
        _unpaired("target", unpaired_target, train.target, train.target_fingerprint),
    )
    clock = _Clock()
    query_only = side == "source"
    with clock.stage("parts"):
        parts, shares = choose_parts(train, folds=folds, seed=seed, weigh=effort == "best")
    with clock.stage("map"):
        cv, search = _search(train, folds, seed, Unpaired(), parts, query_only)
        if unpaired:
            helped = _search(train, folds, seed, unpaired, parts, query_only)
            if helped[1].best.outcome.mrr > search.best.outcome.mrr + MEANS:
                cv, search = helped
    with clock.stage("gallery"):
        gallery = choose_gallery(cv, projections(cv, search.best), query_only=query_only)
    with clock.stage("refit"):
        maps = search.best.build(cv.moments(search.best.roots))
    base, refinement = search.best, None
    wanted = effort == "best" and len(train) >= ENOUGH if refine == "auto" else refine
    if wanted and can_judge(cv):
        with clock.stage("refine"):
            # A blend has twice the coordinates, and takes several times as long to train.
            refinement = _refined(cv, search.single, gallery, query_only)
            if refinement.pays:
                base, gallery = search.single, refinement.gallery
                maps = refine_maps(cv, base, base.build(cv.moments(base.roots)))
    built = _guarded(cv, search, maps, gallery, refinement)
    kept = (
        gallery.outcome if refinement is None or not refinement.pays else refinement.gallery.outcome
    )
    kept = built.identity if built.harmful and built.identity is not None else kept
    steps: list[Step] = [("shares", *weighed) for weighed in shares]
    steps += [(c.stage, c.name, c.outcome, c is base) for c in search.tried]
    steps += gallery.tried
    if refinement is not None:
        step = f"residual of {HIDDEN} hidden units", refinement.gallery.outcome, refinement.pays
        steps.append(("refine", *step))
    candidates = [tried.candidate(stage, name, chosen=yes) for stage, name, tried, yes in steps]
    if built.identity is not None:
        if built.harmful:
            candidates = [replace(candidate, chosen=False) for candidate in candidates]
        raw = built.identity.candidate("identity", "raw cosine", chosen=built.harmful)
        candidates.append(raw)
    with clock.stage("chance"):
        found = against_chance(cv, kept, built.identity)
    verdict = f"{found}; {built.verdict}"
    card = Card(
        method="identity" if built.harmful else _method(base, refinement),
        n_pairs=len(train),
        d_source=train.source.shape[1],
        d_target=train.target.shape[1],
        n_groups=cv.n_groups,
        n_unpaired=cv.unpaired.counts,
        source_fingerprint=train.source_fingerprint,
        target_fingerprint=train.target_fingerprint,
        encoders=train.encoders,
        seed=seed,
        folds=(cv.k, cv.repeats),
        fold_gallery=len(cv.folds[0].held_out),
        seconds=clock.seconds,
        candidates=tuple(candidates),
        verdict=verdict,
        better_than_chance=found.better,
        versions=installed_versions(),
    )
    log.info("%s", verdict)
    found.warn("this adapter", stacklevel=3)
    items = TrainingItems.of(train.source, train.target)
    return Adapter(*built.maps, card, reference=built.reference, training_items=items)


def _search(
    train: PairedEmbeddings,
    folds: int,
    seed: int,
    unpaired: Unpaired,
    parts: SidesParts,
    query_only: bool,
) -> tuple[CrossValidation, Search]:
    cv = CrossValidation(train, folds_wanted=folds, seed=seed, unpaired=unpaired, parts=parts)
    return cv, MapSearch(cv, query_only=query_only).run()


@dataclass(frozen=True, slots=True)
class _Refinement:
    """What training on top gave on held-out folds, and whether it pays for itself.

    Attributes:
        gallery: The gallery correction that suits the refined maps, and their results with it.
        gain: Mean gain in reciprocal rank over the closed form on the same pairs.
        error: Its standard error.
    """

    gallery: GalleryChoice
    gain: float
    error: float

    @property
    def pays(self) -> bool:
        """Whether the gain is clear."""
        return self.gain > MIN_STANDARD_ERRORS * self.error


def _refined(
    cv: CrossValidation, best: Choice, gallery: GalleryChoice, query_only: bool
) -> _Refinement:
    refined = choose_gallery(cv, judged(cv, best), query_only=query_only)
    closed = gallery.outcome.first(len(refined.outcome.reciprocal_ranks))
    return _Refinement(refined, *refined.outcome.gain_over(closed))


@dataclass(frozen=True, slots=True)
class _Built:
    """The final maps, and whether the raw cosine had to come back instead."""

    maps: Maps
    reference: ReferenceSet | None
    verdict: str
    identity: Outcome | None = None
    harmful: bool = False


def _guarded(
    cv: CrossValidation,
    search: Search,
    maps: Maps,
    gallery: GalleryChoice,
    refinement: _Refinement | None,
) -> _Built:
    """The maps and their gallery, unless the raw cosine is defined and not clearly beaten."""
    best = search.best
    verdict = f"{best.name} scored best of {len(search.tried)} maps"
    raw = None
    if cv.raw[0].shape[1] == cv.raw[1].shape[1]:
        found = [score(cv.identity(fold.held_out), None) for fold in cv.folds]
        raw = pooled(found, k=cv.k)
        gain, error = gallery.outcome.gain_over(raw.first(len(gallery.outcome.reciprocal_ranks)))
        if gain <= MIN_STANDARD_ERRORS * error:
            identity = IdentityMap(cv.raw[0].shape[1]), IdentityMap(cv.raw[1].shape[1])
            verdict = (
                f"nothing beat the raw cosine by two standard errors ({gain:+.4f} ± {error:.4f})"
            )
            return _Built(identity, None, verdict, raw, harmful=True)
        verdict += f" and gained {gain:+.4f} ± {error:.4f} MRR over the raw cosine"
    steps = [str(step) for step in (gallery.hubness, gallery.expansion) if step is not None]
    if steps:
        verdict += f"; gallery: {' and '.join(steps)}"
    if refinement is not None:
        verdict += (
            f"; training on top of {'it' if best is search.single else search.single.name} gained "
            f"{refinement.gain:+.4f} ± {refinement.error:.4f} MRR and "
            f"{'is' if refinement.pays else 'was not'} kept"
        )
    return _Built(maps, gallery.reference(cv, maps), verdict, raw)


def _method(base: Choice, refinement: _Refinement | None) -> str:
    refined = refinement is not None and refinement.pays
    return f"{base.name} + mlp residual" if refined else base.name


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


def _check(train: PairedEmbeddings, side: str, effort: str, refine: object, folds: int) -> None:
    check_pairs(train.source.float(), train.target.float())
    if len(train) < MIN_PAIRS:
        raise ValueError(
            f"fit needs at least {MIN_PAIRS} pairs to cross-validate, and better 300; "
            f"got {len(train)}. Add pairs, or call "
            "align.adapters.closed_form.procrustes.procrustes yourself."
        )
    if side not in ("both", "source"):
        raise ValueError(
            f'side must be "both" or "source"; got {side!r}. '
            'Use "source" for an adapter that leaves target vectors as they are.'
        )
    if effort not in ("fast", "best"):
        raise ValueError(
            f'effort must be "fast" or "best"; got {effort!r}. Use "fast" for closed forms alone.'
        )
    if refine not in (True, False, "auto"):
        raise ValueError(
            f'refine must be True, False or "auto"; got {refine!r}. Use "auto" to go by the effort.'
        )
    if folds < 2:
        raise ValueError(
            f"folds must be at least 2; got {folds}. Use 5 unless fitting takes too long."
        )
