"""What a whole report costs in seconds and memory, and each probe of it, in a fresh process.

``python -m experiments.bench.probes`` runs it; by itself it makes one report and prints JSON.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from align.adapters.closed_form.rcca import rcca
from align.data.embeddings import PairedEmbeddings
from experiments.bench.memory import peak_mib
from probes.estimates import Measured
from probes.reporting.report import report
from probes.reporting.standard import STANDARD
from probes.space import Probe, Space

TRAINING = 2_000  # other pairs, which the adapter is fitted on
FEW = 60  # pairs of the report that goes before
SHARED = 64  # latent dimensions that both sides see, with noise of their own in all dimensions
NOISE = 2.0  # standard deviation, in units of that of what is shared
GAP = 0.1  # step between the sides along each axis, likewise


@dataclass(frozen=True, slots=True)
class ProbeCost:
    """What one probe costs in all states of a report, in seconds of the processor.

    What several probes share is counted where it was asked for first.

    Attributes:
        name: Of the probe.
        measure_seconds: Its value and its null.
        draws_seconds: Its values under the bootstrap draws.
    """

    name: str
    measure_seconds: float
    draws_seconds: float


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
        imports_seconds: Wall-clock time of a report of a few pairs before it, the first of the
            process, nearly all of which goes into importing libraries.
        seconds: Wall-clock time of ``probes.report``.
        processor_seconds: Processor time of it, over all threads.
        probes: Of each probe, the dearest first.
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
    imports_seconds: float
    seconds: float
    processor_seconds: float
    probes: tuple[ProbeCost, ...]
    peak_mib: float
    before_mib: float


def report_cost(n: int, d_source: int, d_target: int, *, seed: int) -> ReportCost:
    """Report once in this process, whose peak memory must not have been set by anything else."""
    source, target = synthetic_pairs(n + TRAINING, (d_source, d_target), seed=seed)
    adapter = rcca(source[:TRAINING], target[:TRAINING])
    paired = PairedEmbeddings.from_arrays(source[TRAINING:], target[TRAINING:])
    start = time.perf_counter()
    report(*synthetic_pairs(FEW, (8, 8), seed=seed), seed=seed)
    imports = time.perf_counter() - start
    timed = [_Timed(probe) for probe in STANDARD]
    before = peak_mib()
    start, spent = time.perf_counter(), time.process_time()
    made = report(paired, adapter, probes=[each.probe for each in timed], seed=seed)
    seconds, spent = time.perf_counter() - start, time.process_time() - spent
    costs = sorted(
        (each.cost for each in timed), key=lambda c: -c.measure_seconds - c.draws_seconds
    )
    return ReportCost(
        n, d_source, d_target,
        made.provenance.pairs, made.provenance.rules,
        len(made.rows), sum("raw" in row.undefined for row in made.rows),
        imports, seconds, spent, tuple(costs), peak_mib(), before,
    )  # fmt: skip


class _Timed:
    """A probe that adds up what it takes of the processor, in the thread that reads it."""

    def __init__(self, probe: Probe) -> None:
        self._measure, self._spent = probe.measure, [0.0, 0.0]
        self.probe = replace(probe, measure=self._measured)

    @property
    def cost(self) -> ProbeCost:
        return ProbeCost(self.probe.name, *self._spent)

    def _measured(self, space: Space) -> Measured:
        with self._adding(0):
            measured = self._measure(space)
        replicate = measured.replicate
        if replicate is None:
            return measured

        def drawn(weights: Tensor) -> Tensor:
            with self._adding(1):
                return replicate(weights)

        return replace(measured, replicate=drawn)

    @contextmanager
    def _adding(self, to: int) -> Iterator[None]:
        start = time.thread_time()
        try:
            yield
        finally:
            self._spent[to] += time.thread_time() - start


def in_fresh_process(n: int, d_source: int, d_target: int, *, seed: int) -> ReportCost:
    """``report_cost``, in a process of its own."""
    numbers = [str(number) for number in (n, d_source, d_target, seed)]
    command = [sys.executable, "-m", "experiments.bench.report_cost", *numbers]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=root)
    found = json.loads(done.stdout)
    probes = tuple(ProbeCost(**each) for each in found["probes"])
    return ReportCost(**{**found, "rules": tuple(found["rules"]), "probes": probes})


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
