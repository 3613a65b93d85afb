"""``align.fit`` at both efforts: it chooses by its own cross-validation, corrections included."""

from __future__ import annotations

from functools import partial

from align.adapters.adapter import Adapter
from align.data.embeddings import PairedEmbeddings
from align.fitting.model_selection.fit import Effort, fit
from experiments.league.systems.peer import Peer

FAST_NAME, BEST_NAME = "align.fit, fast", "align.fit"


def fitted(train: PairedEmbeddings, setting: str, seed: int, *, effort: Effort) -> Adapter:
    """``setting`` says nothing: there is one."""
    return fit(train, effort=effort)


_NOTE = "Cross-validated on the training pairs, corrections included; seconds hold all of it."
FAST = Peer(FAST_NAME, _NOTE, partial(fitted, effort="fast"), ("cross-validated",))
BEST = Peer(BEST_NAME, _NOTE, partial(fitted, effort="best"), ("cross-validated",))
OURS = (FAST_NAME, BEST_NAME)
