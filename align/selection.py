"""``fit``: the automatic recipe: cross-validated, refitted on every pair, doing no harm."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Literal

import torch

from align._checks import check_matrix, check_no_zero_rows
from align.adapters.adapter import Adapter
from align.adapters.bank import Bank, Expansion
from align.adapters.maps import IdentityMap
from align.adapters.moments import check_pairs
from align.card import Candidate, Card, installed_versions
from align.choosing import Choice, Maps, MapSearch, Search
from align.crossval import (
    CrossValidation,
    Outcome,
    Projected,
    Unpaired,
    over,
    pooled,
    score,
    score_each,
)
from align.embeddings import PairedEmbeddings, Vectors, as_tensor
from align.hubness import CSLS, NNN, Hubness, InvertedSoftmax

log = logging.getLogger(__name__)

MIN_PAIRS = 20
BANK = 8192  # training pairs kept for hubness and expansion; more cost memory and bring nothing
CORRECTIONS: tuple[Hubness, ...] = (
    NNN(16, 0.5),
    NNN(32, 0.75),
    NNN(128, 0.75),
    CSLS(10),
    InvertedSoftmax(5.0),
    InvertedSoftmax(10.0),
    InvertedSoftmax(20.0),
)
EXPANSIONS = (Expansion(0.15, 20.0), Expansion(0.3, 20.0), Expansion(0.3, 40.0))


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
    unpaired_source: Vectors | None = None,
    unpaired_target: Vectors | None = None,
    folds: int = 5,
    seed: int = 0,
) -> Adapter:
    """An adapter for these pairs, with every setting chosen by cross-validation among them.

    Closed-form maps (regularised CCA with power weights, ridge both ways, PLS, Procrustes, and the
    raw and centred cosine where the widths agree) and blends of two are compared on folds that keep
    groups whole. The best is refitted on all pairs; a hubness correction and a gallery expansion
    are added where they gain more than a standard error. If nothing beats the raw cosine of
    encoders of equal width by two, the identity comes back and the card says so.

    The gallery of a fold holds at most 1,000 held-out pairs, one per group. Nothing outside
    ``train`` is looked at. The same data and seed give the same adapter.

    Args:
        train: Pairs to learn from; some hundreds at least.
        side: ``"both"``, or ``"source"`` for a query-only adapter that leaves target vectors as
            they are, so that an index of them needs no change; it has no gallery correction.
        unpaired_source: More source embeddings, ``(u, d_source)``, for means and covariances;
            kept only if cross-validation is better with them.
        unpaired_target: More target embeddings, ``(v, d_target)``, likewise.
        folds: Parts that the groups are dealt into, >= 2. Below 1,000 pairs they are redrawn
            several times.
        seed: Seeds folds and samples.

    Returns:
        The adapter, its maps in float32; ``adapter.card`` tells what was tried, and how it scored.

    Raises:
        ValueError: There are under 20 pairs or fewer groups than folds, a row is zero or not
            finite, or the unpaired widths do not fit.
    """
    _check(train, side, folds)
    unpaired = Unpaired(
        _unpaired("unpaired_source", unpaired_source, train.source.shape[1]),
        _unpaired("unpaired_target", unpaired_target, train.target.shape[1]),
    )
    clock = _Clock()
    query_only = side == "source"
    with clock.stage("map"):
        cv, search = _search(train, folds, seed, Unpaired(), query_only)
        if unpaired:
            helped = _search(train, folds, seed, unpaired, query_only)
            if helped[1].best.outcome.mrr > search.best.outcome.mrr:
                cv, search = helped
    best = search.best
    tried = [_candidate(c.stage, c.name, c.outcome, chosen=c is best) for c in search.tried]
    with clock.stage("gallery"):
        projected = _project_folds(cv, best)
        plain = _over(projected, lambda p: score(p.held_out, None))
        hubness, expansion, final = None, None, plain
        if not query_only:
            hubness, expansion, final, found = _choose_gallery(projected, plain)
            tried += found
    with clock.stage("refit"):
        harmless = cv.raw[0].shape[1] == cv.raw[1].shape[1]
        verdict = f"{best.name} scored best of {len(search.tried)} maps"
        maps, bank = best.build(cv.moments(best.roots)), None
        if harmless:
            raw = over(cv.folds, lambda fold: score(cv.identity(fold.held_out), None))
            gain, error = final.gain_over(raw)
            # Folds drawn again hold the same pairs: they are no further evidence.
            error *= cv.repeats**0.5
            harmful = gain <= 2 * error
            if harmful:
                maps = IdentityMap(cv.raw[0].shape[1]), IdentityMap(cv.raw[1].shape[1])
                hubness = expansion = None
                tried = [_unchosen(candidate) for candidate in tried]
            tried.append(_candidate("identity", "raw cosine", raw, chosen=harmful))
            verdict = (
                "nothing beat the raw cosine by two standard errors "
                f"({gain:+.4f} +- {error:.4f} MRR)"
                if harmful
                else f"{verdict} and gained {gain:+.4f} +- {error:.4f} MRR over the raw cosine"
            )
        if hubness is not None or expansion is not None:
            verdict += f"; gallery: {' and '.join(str(s) for s in (hubness, expansion) if s)}"
            bank = _bank(cv, maps, hubness, expansion, seed)
    identity = isinstance(maps[0], IdentityMap)
    card = Card(
        method="identity" if identity else best.name,
        n_pairs=len(train),
        d_source=train.source.shape[1],
        d_target=train.target.shape[1],
        n_groups=cv.n_groups,
        n_unpaired=cv.unpaired.counts,
        source_fingerprint=train.source_fingerprint,
        target_fingerprint=train.target_fingerprint,
        seed=seed,
        folds=(cv.k, cv.repeats),
        fold_gallery=len(cv.folds[0].held_out),
        seconds=clock.seconds,
        candidates=tuple(tried),
        verdict=verdict,
        versions=installed_versions(),
    )
    log.info("%s", verdict)
    return Adapter(*maps, card, bank=bank)


@dataclass(frozen=True, slots=True)
class _FoldProjection:
    """One fold seen through its own maps: held-out pairs, and the bank of its training pairs."""

    held_out: Projected
    bank: Projected


def _search(
    train: PairedEmbeddings, folds: int, seed: int, unpaired: Unpaired, query_only: bool
) -> tuple[CrossValidation, Search]:
    cv = CrossValidation(train, folds_wanted=folds, seed=seed, unpaired=unpaired)
    return cv, MapSearch(cv, query_only=query_only).run()


def _project_folds(cv: CrossValidation, best: Choice) -> list[_FoldProjection]:
    found = []
    for fold in cv.folds:
        maps = best.build(cv.moments(best.roots, fold))
        bank = cv.project(maps, fold.train[:BANK])
        found.append(_FoldProjection(cv.project(maps, fold.held_out), bank))
    return found


def _choose_gallery(
    projected: list[_FoldProjection], plain: Outcome
) -> tuple[Hubness | None, Expansion | None, Outcome, list[Candidate]]:
    """The hubness correction and the expansion that each gain more than a standard error."""
    tried: list[Candidate] = []
    hubness, current = None, plain
    by_fold = [score_each(p.held_out, p.bank, CORRECTIONS) for p in projected]
    outcomes = list(zip(CORRECTIONS, map(pooled, zip(*by_fold, strict=True)), strict=True))
    best, outcome = max(outcomes, key=lambda pair: pair[1].mrr)
    gain, error = outcome.gain_over(plain)
    if gain > error:
        hubness, current = best, outcome
    tried.append(_candidate("hubness", "none", plain, chosen=hubness is None))
    tried += [_candidate("hubness", str(h), o, chosen=h is hubness) for h, o in outcomes]
    widened = [(e, _corrected(projected, hubness, e)) for e in EXPANSIONS]
    top, outcome = max(widened, key=lambda pair: pair[1].mrr)
    gain, error = outcome.gain_over(current)
    expansion, final = (top, outcome) if gain > error else (None, current)
    tried += [_candidate("expansion", str(e), o, chosen=e is expansion) for e, o in widened]
    return hubness, expansion, final, tried


def _corrected(
    projected: list[_FoldProjection], hubness: Hubness | None, expansion: Expansion | None
) -> Outcome:
    def outcome(p: _FoldProjection) -> Outcome:
        return score(p.held_out, Bank(*p.bank, hubness=hubness, expansion=expansion))

    return _over(projected, outcome)


def _over(
    projected: list[_FoldProjection], outcome_of: Callable[[_FoldProjection], Outcome]
) -> Outcome:
    return pooled([outcome_of(p) for p in projected])


def _bank(
    cv: CrossValidation,
    maps: Maps,
    hubness: Hubness | None,
    expansion: Expansion | None,
    seed: int,
) -> Bank:
    """All training pairs through the final maps, or a sample of them."""
    rows = torch.randperm(len(cv.data), generator=torch.Generator().manual_seed(seed))[:BANK]
    source, target = cv.project(maps, rows.sort().values)
    return Bank(source, target, hubness=hubness, expansion=expansion)


def _candidate(stage: str, name: str, outcome: Outcome, *, chosen: bool) -> Candidate:
    half = 1.96 * outcome.standard_error
    mrr, hits = outcome.mrr, outcome.hits_at_10.mean().item()
    return Candidate(stage, name, mrr, mrr - half, mrr + half, hits, chosen)


def _unchosen(candidate: Candidate) -> Candidate:
    return replace(candidate, chosen=False)


def _unpaired(name: str, x: Vectors | None, d: int) -> torch.Tensor | None:
    if x is None:
        return None
    rows = as_tensor(x).float()
    check_matrix(name, rows, d=d)
    check_no_zero_rows(name, rows)
    return rows


def _check(train: PairedEmbeddings, side: str, folds: int) -> None:
    check_pairs(train.source, train.target)
    if len(train) < MIN_PAIRS:
        raise ValueError(
            f"fit needs at least {MIN_PAIRS} pairs to cross-validate, and better 300; "
            f"got {len(train)}. Add pairs, or call align.adapters.procrustes.procrustes yourself."
        )
    if side not in ("both", "source"):
        raise ValueError(
            f'side must be "both" or "source"; got {side!r}. '
            'Use "source" for an adapter that leaves target vectors as they are.'
        )
    if folds < 2:
        raise ValueError(
            f"folds must be at least 2; got {folds}. Use 5 unless fitting takes too long."
        )
