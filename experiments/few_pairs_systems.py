"""What ``experiments.few_pairs`` compares: semi-supervised and kernel methods, one small search.

Every method ends in regularised CCA and a hubness correction, both chosen by cross-validation on
the training pairs, the method's own settings with them. So what differs is the method alone. The
control is the same search on the encoders' vectors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from align.adapters.adapter import Adapter
from align.adapters.card import Card
from align.adapters.corrections.reference_set import ReferenceSet
from align.adapters.maps.linear import centred
from align.adapters.recipes.formulas import canonical, power_weights, rcca_maps
from align.adapters.recipes.moments import Paired, Spectrum, paired_moments, prepare, second_moment
from align.data.embeddings import PairedEmbeddings
from align.fitting.model_selection.cross_validation import (
    MAP_REFERENCE,
    CrossValidation,
    Fold,
    Projected,
    Projection,
    Unpaired,
)
from align.fitting.model_selection.gallery_correction import choose_gallery
from align.fitting.model_selection.outcome import Outcome, screen
from experiments.few_pairs_features import Beside, Kernel, RandomFeatures, Spectral, Through
from experiments.optimal_transport import sinkhorn_plan

FOLDS = 5
QUERIES, MOST_FOLDS = 300, 10  # held out in all, in as many folds as that takes
RIDGES = (3.0, 10.0, 30.0, 100.0)
STEP = 3.0  # by which the ridge of one side alone is then raised and lowered
POWERS = (0.5, 1.0, 1.5)
KEPT = 256  # directions of most variance kept of a covariance over the whole pool
SOFT_ITEMS = 600  # unpaired items of each side that a plan is made between
SOFT_WEIGHTS = (0.3, 1.0, 3.0, 10.0)  # of soft pairs together, beside all pairs together
EPSILON = 0.05  # of the plan, in units of the cosine
NEIGHBOURS = (10, 30)
EIGENVECTORS = (32, 128)
WIDTHS = (512, 2048)
BANDWIDTHS = (0.7, 1.5)
SHARE = 0.3  # of the norm, of spectral features beside vectors


@dataclass(frozen=True, slots=True, eq=False)
class Variant:
    """One setting of a method, or several that share their work.

    Attributes:
        source: What the map takes of the training pairs, ``(n, r_source)``.
        target: Likewise, ``(n, r_target)``.
        moments: Moments of some rows of the training pairs, one for each setting.
        settings: What the settings are called.
        features: From raw vectors to what the map takes, or ``None`` for the vectors themselves.
    """

    source: Tensor
    target: Tensor
    moments: Callable[[Tensor], list[Paired]]
    settings: tuple[str, ...] = ("",)
    features: tuple[nn.Module, nn.Module] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class _Tried:
    variant: Variant
    setting: int
    ridge: tuple[float, float]
    power: float
    outcome: Outcome


@dataclass(frozen=True, slots=True, eq=False)
class Pool:
    """What all items of both sides say while nobody knows who belongs to whom.

    Attributes:
        pairs: The pool that training pairs are drawn from; its pairing is not looked at.
        means: Mean direction of each side.
        spectra: Of the covariance of each side, its ``KEPT`` first directions.
        walks: Spectral features of both sides, by number of neighbours.
    """

    pairs: PairedEmbeddings
    means: tuple[Tensor, Tensor]
    spectra: tuple[Spectrum, Spectrum]
    walks: dict[int, tuple[Spectral, Spectral]]

    def others(self, known: PairedEmbeddings, seed: int) -> tuple[Tensor, Tensor]:
        """At most ``SOFT_ITEMS`` raw items of each side that are in no known pair.

        They are items of the same pairs, in orders of their own: a plan between them has a right
        answer, which is kinder than most collections are.
        """
        names = set(known.ids)
        rest = torch.tensor([row for row, name in enumerate(self.pairs.ids) if name not in names])
        generator = torch.Generator().manual_seed(seed)
        rest = rest[torch.randperm(len(rest), generator=generator)[:SOFT_ITEMS]]
        shuffled = rest[torch.randperm(len(rest), generator=generator)]
        return self.pairs.source[rest].float(), self.pairs.target[shuffled].float()


def survey(pairs: PairedEmbeddings) -> Pool:
    """Means, covariances and graphs over all items of a pool of pairs."""
    source_mean, x = prepare(pairs.source.float())
    target_mean, y = prepare(pairs.target.float())
    dims = min(max(EIGENVECTORS), len(pairs) // 2)
    walks = {
        k: (Spectral(pairs.source, k=k, dim=dims), Spectral(pairs.target, k=k, dim=dims))
        for k in NEIGHBOURS
    }
    return Pool(pairs, (source_mean, target_mean), (_spectrum(x), _spectrum(y)), walks)


def _spectrum(rows: Tensor) -> Spectrum:
    whole = Spectrum.of_covariance(second_moment(rows, rows) / len(rows))
    return _single(Spectrum(whole.values[-KEPT:], whole.vectors[:, -KEPT:], whole.mean))


def _single(spectrum: Spectrum) -> Spectrum:
    """In float32, which is enough to compare settings and twice as fast."""
    return Spectrum(spectrum.values.float(), spectrum.vectors.float(), spectrum.mean.float())


def plain(pairs: PairedEmbeddings) -> Variant:
    """The encoders' vectors: the control."""
    return _paired(pairs.source.float(), pairs.target.float())


def unpaired_covariances(pool: Pool, pairs: PairedEmbeddings) -> Variant:
    """Means and covariances of RCCA over all items, the cross-covariance over the pairs."""
    return Variant(
        pairs.source.float(), pairs.target.float(), lambda rows: [_informed(pool, pairs, rows)]
    )


def soft_pairs(
    pool: Pool, pairs: PairedEmbeddings, seed: int, teacher: tuple[tuple[float, float], float]
) -> Variant:
    """RCCA with unpaired covariances on pairs and on what a linear teacher's plan pairs softly.

    The teacher is the map of ``unpaired_covariances``, fitted without the held-out pairs; its plan
    joins unpaired items of both sides. KLOT trains a student to have the teacher's plan; here its
    cross-covariance is added to that of the pairs, and the closed form solved again.

    Args:
        pool: All items.
        pairs: Training pairs.
        seed: Draws the unpaired items.
        teacher: Its ridges and its power.

    Reference:
        Roschmann et al. 2026, arXiv:2602.23353 (SOTAlign).
    """
    others = pool.others(pairs, seed)
    return Variant(
        pairs.source.float(),
        pairs.target.float(),
        lambda rows: _softened(_informed(pool, pairs, rows), others, teacher),
        tuple(f", weight {weight:g}" for weight in SOFT_WEIGHTS),
    )


def spectral(pool: Pool, pairs: PairedEmbeddings) -> Iterator[Variant]:
    """Spectral features of both sides in place of the vectors."""
    for name, *sides in _walks(pool):
        yield through(tuple(sides), pairs, name)


def spectral_beside(pool: Pool, pairs: PairedEmbeddings) -> Iterator[Variant]:
    """Spectral features of both sides beside the vectors."""
    for name, source, target in _walks(pool):
        beside = (
            Beside(source, pairs.source, share=SHARE),
            Beside(target, pairs.target, share=SHARE),
        )
        yield through(beside, pairs, name)


def kernel(pairs: PairedEmbeddings, seed: int, *, kind: Kernel) -> Iterator[Variant]:
    """Random features of a kernel of both sides in place of the vectors."""
    for width, bandwidth in product(WIDTHS, BANDWIDTHS if kind == "fourier" else (1.0,)):
        generator = torch.Generator().manual_seed(seed)
        source, target = (
            RandomFeatures(rows, kernel=kind, width=width, bandwidth=bandwidth, generator=generator)
            for rows in (pairs.source, pairs.target)
        )
        yield through((source, target), pairs, f", width {width}, bandwidth {bandwidth:g}")


def captions(pairs: PairedEmbeddings, several: Tensor) -> Variant:
    """Training sources replaced by the mean direction of several texts each, ``(n, c, d)``."""
    return _paired(F.normalize(several.float(), dim=2).mean(dim=1), pairs.target.float())


def through(
    features: tuple[nn.Module, nn.Module], pairs: PairedEmbeddings, name: str = ""
) -> Variant:
    """Features of both sides in place of the vectors, under a name of their settings."""
    made = _paired(features[0](pairs.source), features[1](pairs.target))
    return replace(made, features=features, settings=(name,))


def best_of(
    variants: Sequence[Variant], pairs: PairedEmbeddings, seed: int
) -> tuple[Adapter, tuple[tuple[float, float], float]]:
    """The best variant by cross-validation, refitted on all pairs, with its gallery correction.

    Args:
        variants: Settings of one method.
        pairs: Training pairs, raw.
        seed: Of the folds.

    Returns:
        The adapter, and the ridges and the power that were chosen.
    """
    cv = CrossValidation(pairs, folds_wanted=FOLDS, seed=seed, unpaired=Unpaired())
    folds = cv.folds[: min(MOST_FOLDS, -(-QUERIES // len(cv.folds[0].held_out)))]
    tried = [each for variant in variants for each in _search(variant, folds, cv.k)]
    best = max(tried, key=lambda each: each.outcome.mrr)
    variant, setting = best.variant, best.setting

    def maps(rows: Tensor) -> tuple[nn.Module, nn.Module]:
        return rcca_maps(variant.moments(rows)[setting], best.ridge, best.power)

    def project(sides: tuple[nn.Module, nn.Module], rows: Tensor) -> Projected:
        return sides[0](variant.source[rows]), sides[1](variant.target[rows])

    projections = []
    for fold in folds:
        fitted = maps(fold.train)
        projections.append(
            Projection(project(fitted, fold.held_out), project(fitted, fold.reference))
        )
    gallery = choose_gallery(cv, projections, query_only=False, expand_queries=False)
    every = torch.arange(len(pairs))
    fitted = maps(every)
    reference = ReferenceSet(
        *project(fitted, every), expansion=gallery.expansion, hubness=gallery.hubness
    )
    widths = pairs.source.shape[1], pairs.target.shape[1]
    if variant.features is not None:
        sides = zip(variant.features, fitted, widths, strict=True)
        fitted = tuple(Through(made, inner, d_in=d) for made, inner, d in sides)  # type: ignore[assignment]
    ridges = f"({best.ridge[0]:g}, {best.ridge[1]:g})"
    name = f"rcca(ridge={ridges}, power={best.power:g}){variant.settings[setting]}"
    card = Card(name, len(pairs), *widths)
    return Adapter(*fitted, card, reference=reference), (best.ridge, best.power)


def _paired(source: Tensor, target: Tensor) -> Variant:
    def moments(rows: Tensor) -> list[Paired]:
        found = paired_moments(source[rows], target[rows])
        sides = _single(found.source), _single(found.target)
        return [replace(found, source=sides[0], target=sides[1], cross=found.cross.float())]

    return Variant(source, target, moments)


def _informed(pool: Pool, pairs: PairedEmbeddings, rows: Tensor) -> Paired:
    """Moments of ``rows`` whose means and covariances are those of the pool."""
    x, y = (
        _rotated(side[rows], mean, spectrum)
        for side, mean, spectrum in zip(
            (pairs.source, pairs.target), pool.means, pool.spectra, strict=True
        )
    )
    return Paired(pool.means, (False, False), *pool.spectra, x.T @ y / len(rows), len(rows))


def _softened(
    moments: Paired, others: tuple[Tensor, Tensor], teacher: tuple[tuple[float, float], float]
) -> list[Paired]:
    """The moments with the cross-covariance of soft pairs added, by weight."""
    source, target = rcca_maps(moments, *teacher)
    plan = sinkhorn_plan(-(source(others[0]) @ target(others[1]).T), epsilon=EPSILON)
    x, y = (
        _rotated(side, mean, spectrum)
        for side, mean, spectrum in zip(
            others, moments.means, (moments.source, moments.target), strict=True
        )
    )
    soft = x.T @ plan @ y
    return [
        replace(moments, cross=(moments.cross + weight * soft) / (1 + weight))
        for weight in SOFT_WEIGHTS
    ]


def _rotated(rows: Tensor, mean: Tensor, spectrum: Spectrum) -> Tensor:
    """Prepared raw rows in the eigenvectors of a spectrum, ``(n, KEPT)``."""
    return centred(rows.float(), mean) @ spectrum.vectors


def _walks(pool: Pool) -> list[tuple[str, Spectral, Spectral]]:
    return [
        (f", {k} neighbours, {dim} eigenvectors", source.first(dim), target.first(dim))
        for k, (source, target) in pool.walks.items()
        for dim in EIGENVECTORS
    ]


def _search(variant: Variant, folds: Sequence[Fold], parts: int) -> list[_Tried]:
    """Even ridges first, then one side raised or lowered; every power with each."""
    by_fold = [variant.moments(fold.train) for fold in folds]
    found = []
    for setting in range(len(by_fold[0])):
        moments = [each[setting] for each in by_fold]
        score = partial(_scored, variant, setting, list(zip(folds, moments, strict=True)), parts)
        even = [each for k in RIDGES for each in score((k, k))]
        k = max(even, key=lambda each: each.outcome.mrr).ridge[0]
        sides = ((k * STEP, k), (k, k * STEP), (k / STEP, k), (k, k / STEP))
        found += even + [each for ridge in sides for each in score(ridge)]
    return found


def _scored(
    variant: Variant,
    setting: int,
    folds: Sequence[tuple[Fold, Paired]],
    k: int,
    ridge: tuple[float, float],
) -> list[_Tried]:
    """Held-out results of one pair of ridges with every power; the projections serve them all."""
    outcomes: dict[float, list[Outcome]] = {power: [] for power in POWERS}
    for fold, moments in folds:
        a, s, b = canonical(moments, ridge)
        source, target = moments.maps(a, b)
        held_out, reference = (
            (source(variant.source[rows]), target(variant.target[rows]))
            for rows in (fold.held_out, fold.reference[:MAP_REFERENCE])
        )
        for power, found in outcomes.items():
            weight = power_weights(s, power).float()
            found.append(screen(_weighted(held_out, weight), _weighted(reference, weight)))
    return [
        _Tried(variant, setting, ridge, power, Outcome.pooled(found, k=k))
        for power, found in outcomes.items()
    ]


def _weighted(sides: Projected, weight: Tensor) -> Projected:
    return F.normalize(sides[0] * weight, dim=1), F.normalize(sides[1] * weight, dim=1)
