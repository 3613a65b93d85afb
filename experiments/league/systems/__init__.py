"""Systems of the league, one idea a file: how each is fitted, and the settings it chooses from."""

from __future__ import annotations

from typing import Any

from experiments.league.systems import (
    bridges,
    closed_forms,
    dense,
    fusemix,
    info_nce,
    llama_index,
    mind_the_gap,
    ours,
    sail,
    structure,
)
from experiments.league.systems.peer import Peer


def everyone() -> tuple[Peer[Any], ...]:
    """All systems in the order of a table, ours last; those of packages that are there."""
    return (
        *closed_forms.PEERS,
        bridges.RESIDUAL,
        bridges.TRIPLET,
        llama_index.SHIPPED,
        llama_index.TUNED,
        *((dense.SHIPPED, dense.TUNED) if not dense.missing() else ()),
        info_nce.LINEAR,
        info_nce.MLP,
        fusemix.PEER,
        sail.PEER,
        structure.PEER,
        mind_the_gap.PEER,
        ours.FAST,
        ours.BEST,
    )
