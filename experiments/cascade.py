"""Coarse to fine over 100,000 documents: how few operations still find the exhaustive top 10.

    python -m experiments.cascade [--documents 100000] [--quick]

The documents are crops of the 7,000 photos of Flickr8k's train and dev splits: random windows of
the 7 x 7 grid of states, at least 4 x 4, so that near-duplicates are as hard to tell apart as crops
of one photo are. That is augmentation, not new photos. Captions of dev photos ask. A head of meta
tokens is fitted on 1,000 training pairs, gate off; candidates are chosen on one half of the queries
and judged on the other. The record goes to ``experiments/results/cascade.json``.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch
from rich.console import Console
from torch import Tensor

from align.adapters.multi_vector.meta_tokens import MetaTokens
from align.data.multi_vector import MultiVector
from align.fitting.multi_vector.fit import fit_meta_tokens
from align.retrieval.cascade import candidates_for, cascade, cascade_flops
from align.retrieval.first_stages import first_stage, maxsim_flops
from align.scoring.fde import FDE
from align.scoring.late_interaction import topk
from experiments.meta_embed import draw
from experiments.record import write_record
from experiments.tasks import load_token_task

GRID, SMALLEST = 7, 4
K = 10
BLOCK = 2000  # crops made and mapped at a time


@dataclass(frozen=True, slots=True)
class Config:
    """One run.

    Attributes:
        documents: Crops to search.
        queries: Captions that ask; half of them choose the candidates.
        n: Training pairs of the head.
        agreement: Share of the exhaustive top 10 wanted of the queries that choose: above the 0.95
            that is aimed at, since other queries get a little less.
        seed: Seeds the draw, the head and the crops.
    """

    documents: int = 100_000
    queries: int = 200
    n: int = 1000
    agreement: float = 0.98
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Stage:
    """One first stage.

    Attributes:
        name: What scores everything.
        candidates: Documents per query that go on to MaxSim.
        chosen_at: Agreement on the queries that chose.
        agreement: Share of the exhaustive top 10 found by the other queries.
        fewer_operations: Operations of exhaustive MaxSim over those of the cascade.
        seconds: Of the cascade on those queries.
    """

    name: str
    candidates: int
    chosen_at: float
    agreement: float
    fewer_operations: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Result:
    """What was found.

    Attributes:
        verdict: What the gate of the head would have said.
        exhaustive_seconds: Of exact search by the judged queries.
        document_bytes: Of all documents, float16.
        stages: One per first stage.
    """

    verdict: str
    exhaustive_seconds: float
    document_bytes: int
    stages: tuple[Stage, ...]


def run(config: Config) -> Result:
    """Fit the head, make the crops, search them exhaustively and coarse to fine."""
    task = load_token_task("flickr8k")
    head = fit_meta_tokens(
        draw(task, config.n, seed=config.seed), epochs=2, do_no_harm=False, seed=config.seed
    )
    photos = [part.target for part in (task.pool, task.gallery)]
    generator = torch.Generator().manual_seed(config.seed)
    documents = crops(
        [each for each in photos if each is not None], head, config.documents, generator
    )
    asked = task.gallery.take(range(config.queries))
    queries = head.queries(asked.pooled.source, asked.source)
    choosing, judged = queries[: len(queries) // 2], queries[len(queries) // 2 :]
    began = time.perf_counter()
    exact = topk(judged, documents, K).indices
    exhaustive = time.perf_counter() - began
    stages = []
    for name, coarse in (("(1, 1)", (1, 1)), ("FDE", FDE(queries.dim, 1, 2, projection=32))):
        first = first_stage(documents, coarse)
        choice = candidates_for(choosing, documents, K, recall=config.agreement, first=first)
        began = time.perf_counter()
        found = cascade(judged, documents, K, candidates=choice.candidates, first=first).indices
        seconds = time.perf_counter() - began
        spent = cascade_flops(judged, documents, candidates=choice.candidates, first=first)
        same = (found[:, :, None] == exact[:, None]).any(dim=2).double().mean().item()
        stages.append(
            Stage(
                name,
                choice.candidates,
                choice.agreement,
                same,
                maxsim_flops(judged, documents) / spent,
                round(seconds, 2),
            )
        )
    return Result(str(head.card["verdict"]), round(exhaustive, 2), documents.nbytes, tuple(stages))


def crops(
    photos: Sequence[MultiVector], head: MetaTokens, count: int, generator: torch.Generator
) -> MultiVector:
    """``count`` documents from windows of the photos' grids, photos in turn, float16."""
    total = sum(map(len, photos))
    order = torch.arange(count) % total
    blocks = []
    for rows in torch.split(order, BLOCK):
        states = [_window(_photo(photos, row), generator) for row in rows.tolist()]
        pooled = torch.stack([each.mean(dim=0) for each in states])
        blocks.append(head.gallery(pooled, MultiVector.pack(states)).tokens.half())
    vectors = head.vectors
    return MultiVector(torch.cat(blocks), torch.arange(count + 1) * vectors)


def _photo(photos: Sequence[MultiVector], row: int) -> Tensor:
    part = 0
    while row >= len(photos[part]):
        row -= len(photos[part])
        part += 1
    return photos[part][row]


def _window(states: Tensor, generator: torch.Generator) -> Tensor:
    """A random window of a grid of states, row by row, ``(h * w, d)``."""
    sides = torch.randint(SMALLEST, GRID + 1, (2,), generator=generator).tolist()
    top, left = (int(torch.randint(GRID - side + 1, (1,), generator=generator)) for side in sides)
    grid = states.reshape(GRID, GRID, -1)
    window = grid[top : top + sides[0], left : left + sides[1]]
    return window.reshape(-1, states.shape[1]).float()


def main(arguments: Sequence[str] | None = None) -> None:
    """Run it from the command line."""
    parser = argparse.ArgumentParser(prog="python -m experiments.cascade", description=__doc__)
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--quick", action="store_true", help="2,000 documents, nothing written")
    given = parser.parse_args(arguments)
    config = Config(documents=given.documents)
    if given.quick:
        config = Config(documents=2000, queries=40, n=300)
    result = run(config)
    console = Console()
    console.print(f"gate: {result.verdict}")
    console.print(
        f"exhaustive: {result.exhaustive_seconds} s, {result.document_bytes / 2**20:.0f} MiB"
    )
    for stage in result.stages:
        console.print(
            f"{stage.name}: {stage.candidates} candidates, agreement {stage.agreement:.3f}, "
            f"{stage.fewer_operations:.1f}x fewer operations, {stage.seconds} s"
        )
    if not given.quick:
        console.print(
            f"wrote {write_record('cascade', config=asdict(config), result=asdict(result))}"
        )


if __name__ == "__main__":
    main()
