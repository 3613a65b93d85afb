"""Whether a system's scores are right, also where a padded zero would win; fragile ones apart."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from align.data.multi_vector import MultiVector
from align.scoring.kernels import reference
from experiments.bench.maxsim_systems import SYSTEMS, System, clustered_tokens, opposed_tokens

QUERIES, DOCUMENTS = 3, 40  # whose scores are compared with the reference


@dataclass(frozen=True, slots=True)
class Parity:
    """How far a system's scores are from the reference in float64, at most.

    Attributes:
        system: Its name.
        d: Width.
        difference: On documents like those that are timed; ``None`` where it ended its process.
        negative: Where all similarities are below zero; ``None`` likewise.
        tolerance: What its storage explains.
        right: Whether both are within it.
    """

    system: str
    d: int
    difference: float | None
    negative: float | None
    tolerance: float
    right: bool


def parity(system: System, lengths: Sequence[int], *, d: int, s: int, seed: int) -> Parity:
    """Compare scores of the first documents, and of opposed ones, with the reference.

    A fragile system is called in a process of its own.
    """
    if system.fragile:
        return _in_fresh_process(system, lengths, d=d, s=s, seed=seed)
    return compared(system, lengths, d=d, s=s, seed=seed)


def compared(system: System, lengths: Sequence[int], *, d: int, s: int, seed: int) -> Parity:
    """``parity`` in this process."""
    some = lengths[:DOCUMENTS]

    def difference(queries: Tensor, documents: MultiVector) -> float:
        asked = MultiVector.from_equal(queries.double())
        exact = reference.maxsim(asked, documents.to(dtype=torch.float64))
        return float((system.prepare(documents)(queries).double() - exact).abs().max())

    as_timed = difference(*clustered_tokens(some, d=d, queries=QUERIES, s=s, seed=seed))
    negative = difference(*opposed_tokens(some, d=d, s=s, seed=seed))
    right = max(as_timed, negative) <= system.tolerance
    return Parity(system.name, d, as_timed, negative, system.tolerance, right)


def worst(checks: Sequence[Parity]) -> Parity:
    """The largest differences of one system at one width."""
    first = checks[0]
    found = [(each.difference, each.negative) for each in checks]
    known = [(one, other) for one, other in found if one is not None and other is not None]
    if len(known) < len(found):
        return Parity(first.system, first.d, None, None, first.tolerance, False)
    differences, negatives = zip(*known, strict=True)
    right = all(each.right for each in checks)
    return Parity(first.system, first.d, max(differences), max(negatives), first.tolerance, right)


def _in_fresh_process(
    system: System, lengths: Sequence[int], *, d: int, s: int, seed: int
) -> Parity:
    told = json.dumps([system.name, list(lengths), d, s, seed])
    command = [sys.executable, "-m", "experiments.bench.maxsim_parity"]
    done = subprocess.run(
        command, input=told, check=False, capture_output=True, text=True,
        cwd=Path(__file__).parents[2],
    )  # fmt: skip
    if done.returncode < 0:  # ended by a signal
        return Parity(system.name, d, None, None, system.tolerance, False)
    done.check_returncode()
    return Parity(**json.loads(done.stdout.splitlines()[-1]))


if __name__ == "__main__":
    name, lengths, d, s, seed = json.loads(sys.stdin.read())
    (system,) = (each for each in SYSTEMS if each.name == name)
    print(json.dumps(asdict(compared(system, lengths, d=d, s=s, seed=seed))))
