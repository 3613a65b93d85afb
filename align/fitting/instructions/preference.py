"""Learning which kind of gallery item an instruction asks for: a convex problem, solved whole."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from align.adapters.adapter import Adapter
from align.adapters.corrections.preference import Preference, kinds_of
from align.data.embeddings import PairedEmbeddings

SAMPLE = 4000  # pairs learned from: their scores against each other are held at once
TEMPERATURE = 0.05  # divides scores
RIDGE = 1e-5  # weight of the squared norm, in nats: without it a clear answer has no finite weight
ITERATIONS = 100


def holds_several_kinds(pairs: PairedEmbeddings) -> bool:
    """Whether targets differ in which of their parts they hold, as those of a mixed encoder do."""
    if pairs.target_parts is None:
        return False
    kinds = kinds_of(pairs.target, pairs.target_parts)
    return bool((kinds != kinds[0]).any())


def learn_preference(
    adapter: Adapter, pairs: PairedEmbeddings, codes: Tensor, *, seed: int
) -> Preference:
    """The preference under which each source finds its own target among targets of all kinds.

    It minimises InfoNCE from source to target with nothing masked but other answers, over the
    preference alone: the scores of the adapter stay, so the loss is that of a multinomial logistic
    regression and has one minimum. Pairs of one code, int64 ``(n,)``, are no negatives.
    """
    assert pairs.target_parts is not None and pairs.instructions is not None
    order = torch.randperm(len(pairs), generator=torch.Generator().manual_seed(seed))
    rows = order[:SAMPLE].sort().values
    queries, gallery = adapter.queries(pairs.source[rows]), adapter.gallery(pairs.target[rows])
    held = kinds_of(pairs.target[rows], pairs.target_parts)
    kinds, kind = torch.unique(held, dim=0, return_inverse=True)
    scores = (queries @ gallery.T / TEMPERATURE).clone()  # out of inference mode
    alike = codes[rows][:, None] == codes[rows]
    others = scores.masked_fill(alike.fill_diagonal_(False), -torch.inf)
    # A kind's bonus is the same for all of its items, so that the exponentials of their scores
    # add up beforehand.
    masses = [
        others.masked_fill(kind != number, -torch.inf).logsumexp(dim=1)
        for number in range(len(kinds))
    ]
    mass = torch.stack(masses, dim=1).double()
    instructions = F.normalize(pairs.instructions[rows].float(), dim=1).double()
    weight = _minimum(mass, kind, kinds.double(), instructions)
    return Preference(weight.float(), pairs.target_parts)


def _minimum(mass: Tensor, kind: Tensor, kinds: Tensor, instructions: Tensor) -> Tensor:
    """Weight ``(d_instruction, parts)`` of least loss, from what ``learn_preference`` works out."""
    with torch.enable_grad():
        weight = torch.zeros(
            instructions.shape[1], kinds.shape[1], dtype=instructions.dtype, requires_grad=True
        )
        solver = torch.optim.LBFGS([weight], max_iter=ITERATIONS, line_search_fn="strong_wolfe")

        def loss() -> Tensor:
            solver.zero_grad()
            bonus = instructions @ weight @ kinds.T / TEMPERATURE
            own = bonus.gather(1, kind[:, None])[:, 0]
            value = ((mass + bonus).logsumexp(dim=1) - own).mean() + RIDGE * weight.square().sum()
            value.backward()  # type: ignore[no-untyped-call]
            return value

        solver.step(loss)  # type: ignore[no-untyped-call]
    return weight.detach()
