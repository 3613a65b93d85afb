"""What a whole report costs in seconds and memory, each in a fresh process.

``python -m experiments.bench.probes`` runs it; by itself it makes one report and prints JSON.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from align.adapters.closed_form.rcca import rcca
from align.data.embeddings import PairedEmbeddings
from experiments.bench.memory import peak_mib
from probes.reporting.report import report

TRAINING = 2_000  # other pairs, which the adapter is fitted on
SHARED = 64  # latent dimensions that both sides see, with noise of their own in all dimensions
NOISE = 2.0  # standard deviation, in units of that of what is shared
GAP = 0.1  # step between the sides along each axis, likewise


@dataclass(frozen=True, slots=True)
class ReportCost:
    """One report in a process of its own.

    Attributes:
        n: Pairs given.
        d_source: Width of the source.
        d_target: Width of the target.
        measured: Pairs measured.
        rules: By which rules others were left out.
        rows: Rows of the report.
        undefined: Rows that are not defined before alignment.
        seconds: Wall-clock time of ``probes.report``.
        peak_mib: Largest resident memory of the process, libraries and data included.
        before_mib: The same just before the report.
    """

    n: int
    d_source: int
    d_target: int
    measured: int
    rules: tuple[str, ...]
    rows: int
    undefined: int
    seconds: float
    peak_mib: float
    before_mib: float


def report_cost(n: int, d_source: int, d_target: int, *, seed: int) -> ReportCost:
    """Report once in this process, whose peak memory must not have been set by anything else."""
    source, target = synthetic_pairs(n + TRAINING, (d_source, d_target), seed=seed)
    adapter = rcca(source[:TRAINING], target[:TRAINING])
    paired = PairedEmbeddings.from_arrays(source[TRAINING:], target[TRAINING:])
    before = peak_mib()
    start = time.perf_counter()
    made = report(paired, adapter, seed=seed)
    seconds = time.perf_counter() - start
    return ReportCost(
        n, d_source, d_target,
        made.provenance.pairs, made.provenance.rules,
        len(made.rows), sum("raw" in row.undefined for row in made.rows),
        seconds, peak_mib(), before,
    )  # fmt: skip


def in_fresh_process(n: int, d_source: int, d_target: int, *, seed: int) -> ReportCost:
    """``report_cost``, in a process of its own."""
    numbers = [str(number) for number in (n, d_source, d_target, seed)]
    command = [sys.executable, "-m", "experiments.bench.report_cost", *numbers]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=root)
    found = json.loads(done.stdout)
    return ReportCost(**{**found, "rules": tuple(found["rules"])})


def synthetic_pairs(
    n: int, widths: tuple[int, int], *, seed: int, one_space: bool = False
) -> tuple[Tensor, Tensor]:
    """Pairs of unit vectors, linear in a shared latent, with noise and a small step between sides.

    The latent's spectrum falls as ``1 / sqrt(i)``.

    Args:
        n: Number of pairs.
        widths: Dimensions of source and target.
        seed: Seeds all of it.
        one_space: Whether both sides see the latent in the same way, as if they were aligned;
            their widths are then the same.
    """
    generator = torch.Generator().manual_seed(seed)
    latent = torch.randn(n, SHARED, generator=generator)
    latent /= torch.arange(1, SHARED + 1).sqrt()
    views = [torch.randn(SHARED, d, generator=generator) for d in widths]

    def side(view: Tensor, step: float) -> Tensor:
        rows = latent @ view
        scale = rows.std()
        offset = step * scale * torch.randn(rows.shape[1], generator=generator)
        for block in torch.split(rows, 4096):  # views: large noise is never held whole
            block += NOISE * scale * torch.randn(block.shape, generator=generator) + offset
            block /= torch.linalg.vector_norm(block, dim=1, keepdim=True)
        return rows

    return side(views[0], 0.0), side(views[0] if one_space else views[1], GAP)


if __name__ == "__main__":
    n, d_source, d_target, seed = map(int, sys.argv[1:])
    print(json.dumps(asdict(report_cost(n, d_source, d_target, seed=seed))))
