"""What the machine can do at best, and what one call of ours takes in memory beyond its result."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from align.data.multi_vector import MultiVector
from experiments.bench.maxsim_systems import clustered_tokens, ours

READ_BYTES = 2**28  # several times any last-level cache
BYTES = {"float32": 4, "float16": 2, "bfloat16": 2, "int8": 1}  # of an entry, by storage
KNOWN_BYTES = 2**26  # taken to see whether the system's peak tells the truth
SIDE = 2048  # of the square matrices of the product


@dataclass(frozen=True, slots=True)
class Limits:
    """The best of many repeats, on all threads that torch uses.

    Attributes:
        read: Bytes per second of a sum over more than the caches hold.
        products: Operations per second, two per entry and step, of a square product by storage;
            "int8" is absent where torch has no such product. float16 counts as float32, in which
            it is multiplied here; bfloat16 as what the processor does with it.
    """

    read: float
    products: dict[str, float]


@dataclass(frozen=True, slots=True)
class Memory:
    """One call of ours in a process of its own.

    Attributes:
        shape: "equal" or "ragged" documents.
        storage: Of documents.
        q: Queries.
        d: Width.
        extra_mib: Peak beyond inputs and result, MiB.
    """

    shape: str
    storage: str
    q: int
    d: int
    extra_mib: float


def limits(*, repeats: int) -> Limits:
    """Measure both bounds of any scorer."""
    held = torch.ones(READ_BYTES // 4)
    read = READ_BYTES / _best(held.sum, repeats)
    one = torch.randn(SIDE, SIDE)
    out = torch.empty_like(one)
    operations = 2 * SIDE**3
    single = operations / _best(lambda: torch.mm(one, one, out=out), repeats)
    products = {"float32": single, "float16": single}
    half, half_out = one.bfloat16(), out.bfloat16()
    products["bfloat16"] = operations / _best(lambda: torch.mm(half, half, out=half_out), repeats)
    codes = torch.randint(-127, 128, (SIDE, SIDE), dtype=torch.int8)
    whole = torch.empty(SIDE, SIDE, dtype=torch.int32)
    try:
        seconds = _best(lambda: torch._int_mm(codes, codes.T, out=whole), repeats)
        products["int8"] = operations / seconds
    except (AttributeError, RuntimeError):
        pass  # this build has no int8 product
    return Limits(read, products)


def lower_bound(
    storage: str, queries: Tensor, documents: MultiVector, machine: Limits
) -> tuple[str, float]:
    """The slower of two things that every scorer does at least once, and its seconds."""
    q, s, d = queries.shape
    tokens = len(documents.tokens)
    read = tokens * d * BYTES[storage] / machine.read
    peak = machine.products.get(storage, machine.products["float32"])
    multiply = 2 * q * s * tokens * d / peak
    return ("read", read) if read > multiply else ("GEMM", multiply)


def memory_in_fresh_process(
    shape: str, lengths: Sequence[int], storage: str, q: int, s: int, d: int, *, seed: int
) -> Memory | None:
    """Peak of one call, or ``None`` where the system does not tell."""
    told = json.dumps([list(lengths), storage, q, s, d, seed])
    command = [sys.executable, "-m", "experiments.bench.maxsim_machine"]
    root = Path(__file__).parents[2]
    # Large buffers then go back to the system when they are freed, and count when taken again.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}
    done = subprocess.run(
        command, input=told, check=True, stdout=subprocess.PIPE, text=True, cwd=root,
        env=environment,
    )  # fmt: skip
    extra = json.loads(done.stdout)
    return None if extra is None else Memory(shape, storage, q, d, extra / 2**20)


def extra_bytes(
    lengths: Sequence[int], storage: str, q: int, s: int, d: int, seed: int
) -> int | None:
    """What one call takes beyond inputs and result, in this process, by its peak."""
    queries, documents = clustered_tokens(lengths, d=d, queries=q, s=s, seed=seed)
    score = ours(storage)(documents)
    ours(storage)(documents[:2])(queries[:1])  # whatever is loaded or started once
    known = _over_now(lambda: torch.ones(KNOWN_BYTES // 4).sum())
    if known is None or not 0.9 < known[1] / KNOWN_BYTES < 1.3:
        return None  # a peak that misses what was taken and given back tells nothing
    found = _over_now(lambda: score(queries))
    if found is None:
        return None
    scores, over = found
    return over - scores.numel() * scores.element_size()


def _over_now(call: Callable[[], Tensor]) -> tuple[Tensor, int] | None:
    """What a call gives, and the bytes by which its peak exceeds what was held before it."""
    gc.collect()  # what others left behind would go during the call, and hide what it takes
    before = _status("VmRSS")
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # peak := now
    except OSError:
        return None
    result = call()
    peak = _status("VmHWM")
    return None if before is None or peak is None else (result, peak - before)


def _status(name: str) -> int | None:
    """A size in ``/proc/self/status``, bytes."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name + ":"))


def _best(call: Callable[[], Tensor], repeats: int) -> float:
    call()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


if __name__ == "__main__":
    print(json.dumps(extra_bytes(*json.loads(sys.stdin.read()))))
