"""Closed forms as systems: the encoders as they are, rotations, regressions, CCA, anchors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from align.adapters.adapter import Adapter
from align.adapters.closed_form.asif import asif
from align.adapters.closed_form.centering import centering
from align.adapters.closed_form.csa import csa
from align.adapters.closed_form.pls import pls
from align.adapters.closed_form.procrustes import procrustes
from align.adapters.closed_form.rcca import cca, rcca
from align.adapters.closed_form.ridge import ridge
from align.adapters.maps.linear import LinearMap
from align.adapters.recipes.moments import prepare
from align.data.embeddings import PairedEmbeddings
from experiments.baselines import raw_cosine
from experiments.league.systems.peer import Peer

DIMS = (32, 64, 128, 256)
RIDGES = (0.3, 1.0, 3.0, 10.0)
ONLY = ("as it is",)
ANCHORS = 1000  # their number is the width of a vector, and cost grows with its square


def _one_width(d_source: int, d_target: int) -> bool:
    return d_source == d_target


def _at_most(train: PairedEmbeddings, dim: int) -> int:
    """``dim``, or half of the pairs, whose repeats leave fewer directions than there are pairs."""
    return min(dim, max(1, len(train) // 2), train.source.shape[1], train.target.shape[1])


def low_rank(train: PairedEmbeddings, rank: int, seed: int) -> Adapter:
    """A map of low rank from the source into the target's space: reduced-rank regression.

    Ridge regression (k = 1) of targets on sources, then kept to the ``rank`` strongest directions
    of its fitted values: the least-squares map of that rank.

    Reference:
        The low-rank affine adapter of Drift-Adapter, EMNLP 2025, in closed form; Izenman 1975,
        doi:10.1016/0047-259X(75)90042-1.
    """
    fitted = ridge(train.source, train.target, ridge=1.0, direction="forward")
    side = fitted.source_map
    assert isinstance(side, LinearMap)
    rows = prepare(train.source.float())[1] @ side.weight
    strongest = torch.linalg.svd(rows.double(), full_matrices=False).Vh[: _at_most(train, rank)]
    weight = side.weight @ (strongest.T @ strongest).float()
    return fitted.replaced(source_map=LinearMap(side.mean, weight))


def _closed(method: Callable[[Tensor, Tensor], Adapter]) -> Callable[..., Adapter]:
    """A closed form without a setting, as the ``fit`` of a peer; nothing is random."""
    return lambda train, setting, seed: method(train.source, train.target)


def _ridge(train: PairedEmbeddings, k: float, seed: int) -> Adapter:
    return ridge(train.source, train.target, ridge=k)


def _pls(train: PairedEmbeddings, power: float, seed: int) -> Adapter:
    return pls(train.source, train.target, power=power)


def _cca(train: PairedEmbeddings, dim: int, seed: int) -> Adapter:
    return cca(train.source, train.target, dim=_at_most(train, dim))


def _csa(train: PairedEmbeddings, dim: int, seed: int) -> Adapter:
    return csa(train.source, train.target, dim=_at_most(train, dim))


def _rcca(train: PairedEmbeddings, k: float, seed: int) -> Adapter:
    return rcca(train.source, train.target, ridge=(k, k))


def _asif(train: PairedEmbeddings, k: int, seed: int) -> Adapter:
    few = train.take(range(min(ANCHORS, len(train))))
    return asif(few.source, few.target, k=min(k, len(few)))


def _relative(train: PairedEmbeddings, power: float, seed: int) -> Adapter:
    few = train.take(range(min(ANCHORS, len(train))))
    return asif(few.source, few.target, k=len(few), power=power)


def _raw(train: PairedEmbeddings, setting: str, seed: int) -> Adapter:
    return raw_cosine(train, seed)


_ROTATION = "Orthogonal, no setting; also the rotation of Drift-Adapter."
_MOST = f"Training pairs are anchors, {ANCHORS:,} of them at most"
PEERS: tuple[Peer[Any], ...] = (
    Peer("raw cosine", "The encoders as they are.", _raw, ONLY, _one_width),
    Peer("centred cosine", "Each side less its mean.", _closed(centering), ONLY, _one_width),
    Peer("Procrustes", _ROTATION, _closed(procrustes), ONLY),
    Peer("low-rank affine (Drift-Adapter)", "In closed form, rank chosen.", low_rank, DIMS),
    Peer("ridge both ways", "Ridge chosen.", _ridge, RIDGES),
    Peer("PLS", "Power chosen.", _pls, (0.0, 0.25, 0.5, 1.0)),
    Peer("plain CCA", "Ridge of 1e-4, directions chosen.", _cca, DIMS),
    Peer("CSA", "As published; directions chosen (50 to 700 there).", _csa, DIMS),
    Peer("RCCA", "Power 1, one ridge for both sides chosen.", _rcca, RIDGES),
    Peer(
        "ASIF",
        f"{_MOST}; how many count is chosen, power 8 as published.",
        _asif,
        (20, 100, 400, 800),
    ),
    Peer(
        "relative representations",
        f"{_MOST}; the power is chosen, 1 as published.",
        _relative,
        (1.0, 2.0, 4.0, 8.0),
    ),
)
