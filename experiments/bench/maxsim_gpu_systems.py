"""What takes part in the GPU benchmark of MaxSim: problems on a device, and who solves them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from align.data.multi_vector import MultiVector
from align.scoring.kernels import reference

PEERS = ("late-interaction-kernels", "flash-maxsim")
BLOCK = 2**28  # similarities that the PyTorch baseline holds at a time
CHECKED = 16  # queries and documents whose scores are compared with float64


@dataclass(frozen=True, slots=True)
class Case:
    """One problem.

    Attributes:
        name: What it stands for.
        q: Queries.
        s: Tokens of each.
        m: Documents.
        t: Fewest and most tokens of one; lengths are uniform between.
        d: Width of a token.
        dtype: Of the tokens; int8 is of the documents alone, against float16.
        training: Whether the gradient of both sides is part of it.
    """

    name: str
    q: int
    s: int
    m: int
    t: tuple[int, int]
    d: int
    dtype: str = "float16"
    training: bool = False


def sides(case: Case, generator: torch.Generator) -> tuple[MultiVector, MultiVector]:
    """Random unit vectors, made on the device in the dtype that they keep."""
    dtype = torch.float16 if case.dtype == "int8" else getattr(torch, case.dtype)

    def tokens(count: int) -> Tensor:
        made = torch.empty(count, case.d, device="cuda", dtype=dtype).normal_(generator=generator)
        for block in made.split(2**16):
            block.copy_(F.normalize(block.float(), dim=1))
        return made.requires_grad_(case.training)

    least, most = case.t
    lengths = torch.randint(
        least, most + 1, (case.m,), device="cuda", generator=generator, dtype=torch.int64
    )
    ends = F.pad(lengths.cumsum(0), (1, 0))
    queries = MultiVector(tokens(case.q * case.s), torch.arange(case.q + 1, device="cuda") * case.s)
    documents = MultiVector(tokens(int(ends[-1])), ends)
    return queries, documents.quantized() if case.dtype == "int8" else documents


def exact(queries: MultiVector, documents: MultiVector) -> Tensor:
    """Scores of the first queries and documents, in float64."""
    wide = [side[:CHECKED].to(dtype=torch.float64) for side in (queries, documents)]
    with torch.no_grad():
        return reference.maxsim(*wide)


def systems(
    case: Case, queries: MultiVector, documents: MultiVector, k: int
) -> Iterator[tuple[str, Callable[[], Tensor]]]:
    """Each system that can take the case, as a call without arguments."""
    from align.scoring.kernels.gpu import maxsim as maxsim_triton

    def step(score: Callable[[], Tensor], *leaves: Tensor) -> Callable[[], Tensor]:
        if not case.training:
            return score
        return lambda: torch.autograd.grad(score().sum(), leaves)[0]

    yield (
        "ours",
        step(lambda: maxsim_triton.maxsim(queries, documents), queries.tokens, documents.tokens),
    )
    if not case.training:
        yield f"ours, top {k}", lambda: maxsim_triton.topk(queries, documents, k).values
    if case.dtype == "int8":
        return  # the peers quantize otherwise
    asked = queries.tokens.detach().view(case.q, case.s, case.d)
    found, mask = padded(documents)
    asked.requires_grad_(case.training)
    found.requires_grad_(case.training)
    yield "PyTorch", step(lambda: baseline(asked, found, mask), asked, found)
    if find_spec("late_interaction_kernels"):
        theirs = import_module("late_interaction_kernels").maxsim
        yield PEERS[0], step(lambda: theirs(asked, found, d_mask=mask), asked, found)
    if find_spec("flash_maxsim"):
        flash = import_module("flash_maxsim")
        score = flash.flash_maxsim_batched_train if case.training else flash.flash_maxsim_batched
        lengths = documents.lengths
        yield (
            PEERS[1],
            step(lambda: score(asked, found, shared_docs=True, doc_lengths=lengths), asked, found),
        )


def padded(documents: MultiVector) -> tuple[Tensor, Tensor]:
    """Documents ``(m, t, d)`` filled up with zeros, and which tokens are real, ``(m, t)``."""
    lengths = documents.lengths
    longest = int(lengths.max())
    mask = torch.arange(longest, device=lengths.device) < lengths[:, None]
    tokens = documents.tokens.detach()
    if len(tokens) == len(documents) * longest:
        return tokens.view(len(documents), longest, -1), mask
    return pad_sequence(tokens.split(lengths.tolist()), batch_first=True), mask


def baseline(queries: Tensor, documents: Tensor, mask: Tensor) -> Tensor:
    """Products of a block of documents with all queries, then maximum and sum."""
    q, s, d = queries.shape
    t = documents.shape[1]
    empty = ~mask
    scores = []
    size = max(1, BLOCK // (q * s * t))
    for block, missing in zip(documents.split(size), empty.split(size), strict=True):
        products = (queries.reshape(q * s, d) @ block.reshape(-1, d).T).view(q, s, len(block), t)
        best = products.masked_fill(missing, float("-inf")).amax(3)
        scores.append(best.sum(1, dtype=torch.float32))
    return torch.cat(scores, dim=1)
