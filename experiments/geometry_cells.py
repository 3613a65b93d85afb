"""One cell of the study of probes: two encoders, one data set, n pairs; before and after a fit."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

import probes
from align._files.atomic import atomic_file
from align.data.embeddings import PairedEmbeddings
from align.fitting.model_selection.fit import fit
from align.metrics.evaluation import evaluate
from experiments.encoder_pairs import EncoderPair
from experiments.trials import draw

MOST, K = 1000, 10  # pairs that a probe before training looks at; neighbours, and k of recall
SIZES = (300, 1000, 3000)

Measure = Callable[[Tensor, Tensor], float]


def _mutual_knn(x: Tensor, y: Tensor) -> float:
    """Above what unrelated spaces give, which falls with n."""
    return probes.mutual_knn(x, y, k=K) - K / (len(x) - 1)


def _canonical_energy(x: Tensor, y: Tensor) -> float:
    """Sum of squared held-out canonical correlations, those below 0 left out."""
    return float(probes.canonical_spectrum(x, y).held_out.clamp(min=0).square().sum())


def _centred_wasserstein(x: Tensor, y: Tensor) -> float:
    return probes.exact_wasserstein(*probes.centred(x, y))


ANYWHERE: Mapping[str, Measure] = {
    "mutual kNN above chance": _mutual_knn,
    "CKA, unbiased": probes.linear_cka,
    "RSA": probes.rsa,
    "Gromov-Wasserstein": probes.gromov_wasserstein,
    "Procrustes distance": probes.procrustes_distance,
    "held-out canonical energy": _canonical_energy,
}
ONE_SPACE: Mapping[str, Measure] = {
    "centroid gap": probes.modality_gap,
    "Wasserstein, exact": probes.exact_wasserstein,
    "Wasserstein, centred": _centred_wasserstein,
    "Wasserstein, Gaussian": probes.gaussian_wasserstein,
    "energy distance": probes.energy_distance,
    "modality mixing": probes.modality_mixing,
    "margin of cosines": probes.mean_margin,
    "FOSCTTM": probes.foscttm,
    "hubness": probes.hubness_skewness,
}
PAIRED = frozenset({"mutual kNN above chance", "CKA, unbiased", "RSA", "Procrustes distance",
                    "held-out canonical energy", "margin of cosines", "FOSCTTM"})  # fmt: skip
"""Probes that look at which item belongs to which."""
HELD_OUT = "held-out reciprocal rank of the fit"  # by cross-validation on the training pairs


@dataclass(frozen=True, slots=True)
class Cell:
    """One pair of encoders on one data set with n training pairs.

    Attributes:
        data: Name of the data set.
        encoders: Both, in words.
        n: Training pairs.
        recall: At 10, on the gallery, mean of both directions, in [0, 1].
        raw: The same before alignment, where both sides are of one width.
        before: Probes of raw training vectors, and the fit's own held-out reciprocal rank.
        after: Probes of the gallery as the adapter maps it.
    """

    data: str
    encoders: str
    n: int
    recall: float
    raw: float | None
    before: Mapping[str, float]
    after: Mapping[str, float]


def kept(
    path: Path | None, pair: EncoderPair, gallery: PairedEmbeddings, n: int, seed: int
) -> Cell:
    """The cell of a file, or measured and written there."""
    if path is not None and path.exists():
        return Cell(**json.loads(path.read_text(encoding="utf-8")))
    found = measured(pair, gallery, draw(pair.pool, n, seed=seed))
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(path) as scratch:
            scratch.write_text(json.dumps(asdict(found)), encoding="utf-8")
    return found


def measured(pair: EncoderPair, gallery: PairedEmbeddings, train: PairedEmbeddings) -> Cell:
    """Probes before, the fit, recall, probes after."""
    one_width = train.source.shape[1] == train.target.shape[1]
    anywhere = {**ANYWHERE, **ONE_SPACE}
    few = train.take(range(min(MOST, len(train))))
    before = _probed(anywhere if one_width else ANYWHERE, *_units(few.source, few.target))
    adapter = fit(train, effort="fast")
    held_out = adapter.card.held_out
    if held_out is not None:
        before[HELD_OUT] = held_out.mrr
    after = _probed(anywhere, adapter.source(gallery.source), adapter.target(gallery.target))
    raw = probes.recall_at_k(*_units(gallery.source, gallery.target), k=K) if one_width else None
    recall = evaluate(gallery, adapter).mean["recall_at_10"].value
    return Cell(pair.data, pair.name, len(train), recall, raw, before, after)


def _probed(measures: Mapping[str, Measure], source: Tensor, target: Tensor) -> dict[str, float]:
    with warnings.catch_warnings():
        # 450 pairs are few for a covariance; its bias is the same in all cells.
        warnings.simplefilter("ignore", probes.UnreliableEstimate)
        return {name: each(source, target) for name, each in measures.items()}


def _units(source: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    unit = torch.nn.functional.normalize
    return unit(source.float(), dim=1), unit(target.float(), dim=1)


def one_of_each_group(pairs: PairedEmbeddings, n: int, *, seed: int) -> PairedEmbeddings:
    """``n`` pairs of different groups, or as many as there are."""
    order = torch.randperm(len(pairs), generator=torch.Generator().manual_seed(seed)).tolist()
    first: dict[str, int] = {}
    for row in order:
        first.setdefault(pairs.groups[row], row)
    return pairs.take(list(first.values())[:n])
