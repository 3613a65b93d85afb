"""CSA with the number of its directions chosen."""

from __future__ import annotations

from align.adapters.adapter import Adapter
from align.adapters.closed_form.csa import csa
from align.data.embeddings import PairedEmbeddings
from experiments.peer_heads.peer import Peer


def fit(train: PairedEmbeddings, dim: int, seed: int) -> Adapter:
    """CSA with ``dim`` directions, or as many as there are; nothing is random."""
    widest = min(len(train) - 1, train.source.shape[1], train.target.shape[1])
    return csa(train.source, train.target, dim=min(dim, widest))


PEER = Peer(
    "CSA",
    "Closed form, as published; the number of directions is chosen (50 to 700 there, by task).",
    fit,
    (20, 50, 100, 200),
)
