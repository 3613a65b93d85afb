"""One system on one draw of pairs, kept as a file until the whole league is there."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from align._files.atomic import atomic_file
from align.data.embeddings import PairedEmbeddings
from align.metrics.evaluation import Evaluation, evaluate
from experiments.league.systems.ours import OURS
from experiments.league.systems.peer import (
    CORRECTIONS,
    Chosen,
    Peer,
    choose,
    corrected,
)
from experiments.trials import call_microseconds

CALLS = 100  # queries that are timed


@dataclass(frozen=True, slots=True)
class Cell:
    """One system on one draw.

    Attributes:
        ranks: Of every query, source queries first, by ``"plain"`` and ``"corrected"``.
        setting: Of the corrected one, in words.
        correction: Its correction, in words.
        chosen: How that came about; of draw 0, whose choice serves the others.
        fit_seconds: One fit on all pairs with the setting and its correction.
        tuning_seconds: Of the choice, in draw 0; 0 elsewhere.
        trained: Parameters learned by gradient descent.
        stored: Numbers kept for use.
        query_microseconds: Median time to adapt one source query.
    """

    ranks: Mapping[str, tuple[int, ...]]
    setting: str
    correction: str
    chosen: Chosen | None
    fit_seconds: float
    tuning_seconds: float
    trained: int
    stored: int
    query_microseconds: float


def cell(
    folder: Path,
    peer: Peer[Any],
    train: PairedEmbeddings,
    gallery: PairedEmbeddings,
    *,
    seed: int,
    chosen: Chosen | None,
) -> Cell:
    """The cell of a system, from its file or measured and written there.

    Args:
        folder: Of the setting.
        peer: The system.
        train: The draw.
        gallery: Judges, and chooses nothing.
        seed: Of the draw; fits start from it.
        chosen: The choice of draw 0, or ``None`` to choose now.
    """
    name = hashlib.sha256(f"{peer.name} {peer.settings}".encode()).hexdigest()[:16]
    path = folder / f"{name}-{seed}.json"
    if path.exists():
        return read(path)
    measured = measure(peer, train, gallery, seed=seed, chosen=chosen)
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as scratch:
        scratch.write_text(json.dumps(asdict(measured)), encoding="utf-8")
    return measured


def read(path: Path) -> Cell:
    """The cell of a file."""
    found = json.loads(path.read_text(encoding="utf-8"))
    how = found.pop("chosen")
    ranks = {name: tuple(each) for name, each in found.pop("ranks").items()}
    return Cell(chosen=None if how is None else Chosen(**how), ranks=ranks, **found)


def measure(
    peer: Peer[Any],
    train: PairedEmbeddings,
    gallery: PairedEmbeddings,
    *,
    seed: int,
    chosen: Chosen | None,
) -> Cell:
    """Choose where nothing is chosen, fit on all pairs, and judge with and without correction."""
    ours = peer.name in OURS
    how = chosen
    if how is None and not ours:
        how = choose(peer, train, seed)
    start = time.perf_counter()
    if how is None:
        setting, correction = peer.settings[0], "its own"
        best = peer.fit(train, setting, seed)
        seconds = time.perf_counter() - start
        plain = best.replaced(reference=None)
    else:
        setting, hubness = peer.settings[how.setting], CORRECTIONS[how.correction]
        correction = "none" if hubness is None else str(hubness)
        fitted = peer.fit(train, setting, seed)
        best = corrected(fitted, train, hubness)
        seconds = time.perf_counter() - start
        if how.plain != how.setting:
            fitted = peer.fit(train, peer.settings[how.plain], seed)
        plain = corrected(fitted, train, None)
    kept = sum(v.numel() for k, v in best.state_dict().items() if not k.startswith("training_"))
    return Cell(
        {
            "plain": ranks_of(evaluate(gallery, plain)),
            "corrected": ranks_of(evaluate(gallery, best)),
        },
        str(setting) if not ours else best.card.method,
        correction,
        how if chosen is None else None,
        seconds,
        how.seconds if how is not None and chosen is None else 0.0,
        sum(parameter.numel() for parameter in best.parameters()),
        kept,
        median(call_microseconds(best, gallery.source, side="source", calls=CALLS)),
    )


def ranks_of(found: Evaluation) -> tuple[int, ...]:
    """Ranks of both directions end to end."""
    both = found.source_to_target.ranks.tolist(), found.target_to_source.ranks.tolist()
    return (*both[0], *both[1])
