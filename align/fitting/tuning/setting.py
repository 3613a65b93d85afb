"""One setting of a map and its gallery: its name, its cost, and its held-out score."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Self

import torch

from align.adapters.corrections.hubness import NNN, Hubness, InvertedSoftmax
from align.adapters.corrections.reference_set import Expansion, ReferenceSet
from align.adapters.maps.linear import BlendMap, LinearMap
from align.adapters.maps.parts import Parts
from align.adapters.recipes.formulas import rcca_maps
from align.adapters.recipes.moments import Paired
from align.adapters.recipes.recipe import MapPair
from align.data.embeddings import PairedEmbeddings
from align.fitting.model_selection.cross_validation import CrossValidation, Fold
from align.fitting.model_selection.fit import check_enough
from align.fitting.model_selection.map_search import NO_ROOTS
from align.fitting.model_selection.outcome import Outcome, score
from align.fitting.model_selection.part_weights import are_views

BYTES = 4  # of a float32
STEP = 3.0  # a part weighs this to a whole power, beside 1 for the first part

Params = Mapping[str, Any]
"""What Optuna knows of a setting: plain numbers, words and truth values by name."""


@dataclass(frozen=True, slots=True)
class Setting:
    """Maps of some width, and what is done to gallery vectors before they are indexed.

    ``centred`` is the share of the cosine of centred vectors, in their ``dim`` directions in which
    pairs agree most: 0 for canonical directions alone, 1 for none of these. Between the two both
    stand side by side. Only where the sides are of one width.
    """

    ridge: tuple[float, float] | None  # (k_x, k_y) of align.adapters.closed_form.rcca.rcca
    power: float | None  # of the weights of canonical directions
    dim: int  # directions of each map
    centred: float
    roots: tuple[bool, bool]  # which sides go through the signed square root
    weights: tuple[tuple[float, ...], tuple[float, ...]]  # of parts beside the first of a side
    hubness: Hubness | None
    expansion: Expansion | None

    @classmethod
    def of(cls, params: Params) -> Self:
        """The setting that parameters of ``align.fitting.tuning.study`` stand for."""
        kind = params.get("map", "rcca")
        plain = kind == "centred"
        return cls(
            None if plain else (params["source_ridge"], params["target_ridge"]),
            None if plain else params["power"],
            params["dim"],
            1.0 if plain else params["centred_share"] if kind == "both" else 0.0,
            (params["source_root"], params["target_root"]),
            (_weights(params, "source"), _weights(params, "target")),
            _hubness(params),
            Expansion(params["expansion_weight"], params["expansion_sharpness"])
            if params["expansion"]
            else None,
        )

    @property
    def width(self) -> int:
        """Width of the shared space."""
        return self.dim * (2 if 0 < self.centred < 1 else 1)

    @property
    def bytes_per_item(self) -> int:
        """Bytes of a gallery vector in float32: 4 a dimension, with one more for a correction."""
        return BYTES * (self.width + (self.hubness is not None))

    def __str__(self) -> str:
        words = []
        if self.ridge is not None:
            ridge = ", ".join(f"{each:.3g}" for each in self.ridge)
            share = f"{1 - self.centred:.2g} " if self.centred else ""
            words.append(f"{share}rcca(ridge=({ridge}), power={self.power:.3g}, dim={self.dim})")
        if self.centred:
            share = f"{self.centred:.2g} " if self.centred < 1 else ""
            words.append(f"{share}centering(dim={self.dim})")
        sides = ("source", "target")
        for side, root, weights in zip(sides, self.roots, self.weights, strict=True):
            if root:
                words.append(f"root of {side}")
            if weights:
                words.append(f"{side} parts at 1:{':'.join(f'{each:.2g}' for each in weights)}")
        match self.hubness:
            case NNN(k, alpha):
                words.append(f"NNN(k={k}, alpha={alpha:.2g})")
            case InvertedSoftmax(sharpness):
                words.append(f"InvertedSoftmax({sharpness:.3g})")
        if self.expansion is not None:
            weight, sharpness = self.expansion.weight, self.expansion.sharpness
            words.append(f"Expansion({weight:.2g}, {sharpness:.3g})")
        return " + ".join(words)


class SettingScorer:
    """Scores settings on folds of the training pairs, and fits one on all of them."""

    def __init__(self, pairs: PairedEmbeddings, *, folds: int, seed: int) -> None:
        check_enough(pairs, folds, "tuning")
        self.pairs, self.folds, self.seed = pairs, folds, seed
        # Part weights go into every moment: the folds of a few of them are remembered.
        self._cv = lru_cache(maxsize=3)(self._new)

    def cv(self, setting: Setting | None = None) -> CrossValidation:
        """The folds, with the parts of both sides at the weights of a setting, or even."""
        return self._cv(((), ()) if setting is None else setting.weights)

    def _new(self, weights: tuple[tuple[float, ...], tuple[float, ...]]) -> CrossValidation:
        widths = (self.pairs.source_parts, self.pairs.target_parts)
        parts = _parts(widths[0], weights[0]), _parts(widths[1], weights[1])
        return CrossValidation(self.pairs, folds_wanted=self.folds, seed=self.seed, parts=parts)

    @property
    def widest(self) -> int:
        """Directions that the moments of every fold have."""
        cv = self.cv()
        return min(min(cv.moments(NO_ROOTS, fold).cross.shape) for fold in cv.folds)

    @property
    def weighed(self) -> tuple[int, int]:
        """How many parts each side has whose weights can be chosen; 0 where there is no choice."""
        sides = enumerate((self.pairs.source_parts, self.pairs.target_parts))
        source, target = (len(w) if w and are_views(self.pairs, side) else 0 for side, w in sides)
        return source, target

    def outcomes(self, setting: Setting) -> Iterator[Outcome]:
        """Held-out results of a setting, fold by fold."""
        cv = self.cv(setting)
        for fold in cv.folds:
            yield self.on_fold(cv, setting, fold)

    def on_fold(self, cv: CrossValidation, setting: Setting, fold: Fold) -> Outcome:
        """Held-out results of a setting on one fold."""
        maps, reference = _maps(setting, cv.moments(setting.roots, fold)), None
        if setting.hubness is not None or setting.expansion is not None:
            reference = ReferenceSet(
                *cv.project(maps, fold.reference),
                hubness=setting.hubness,
                expansion=setting.expansion,
            )
        return score(cv.project(maps, fold.held_out), reference)

    def fit(self, setting: Setting) -> MapPair:
        """The maps of a setting, fitted on all pairs."""
        return _maps(setting, self.cv(setting).moments(setting.roots))


def _maps(setting: Setting, moments: Paired) -> MapPair:
    share, pairs = setting.centred, []
    if setting.ridge is not None and setting.power is not None:
        pairs.append(rcca_maps(moments, setting.ridge, setting.power, dim=setting.dim))
    if share:
        pairs.append(_centred_maps(moments, setting.dim))
    if len(pairs) == 1:
        return pairs[0]
    source, target = (BlendMap(side, (1 - share, share)) for side in zip(*pairs, strict=True))
    return source, target


def _centred_maps(moments: Paired, dim: int) -> tuple[LinearMap, LinearMap]:
    """The same projection of both sides, on the directions in which pairs agree most.

    Of all orthonormal ``P`` ``(d, dim)`` it has the largest mean ``<P.T x, P.T y>`` over pairs: the
    first eigenvectors of the symmetric part of their cross-covariance.
    """
    cross = moments.source.vectors @ moments.cross @ moments.target.vectors.T
    _, vectors = torch.linalg.eigh(cross + cross.T)  # rising
    projection = vectors[:, -dim:].flip(1)
    return moments.maps(projection, projection)


def _weights(params: Params, side: str) -> tuple[float, ...]:
    weights: list[float] = []
    while (name := f"{side}_part_{len(weights) + 2}") in params:
        weights.append(STEP ** params[name])
    return tuple(weights)


def _parts(widths: tuple[int, ...] | None, weights: tuple[float, ...]) -> Parts | None:
    if widths is None:
        return None
    if not weights:
        return Parts.even(widths)
    total = 1 + sum(weights)
    return Parts(widths, tuple(weight / total for weight in (1.0, *weights)))


def _hubness(params: Params) -> Hubness | None:
    if params["correction"] == "nnn":
        return NNN(params["nnn_k"], params["nnn_alpha"])
    return InvertedSoftmax(params["sharpness"]) if params["correction"] != "none" else None
