"""Near ties of int8 documents: what rounding of the query hides, exact scores must bring back."""

from __future__ import annotations

import pytest
import torch

from align.data.multi_vector import MultiVector
from align.scoring.kernels import cpu_topk, reference
from align.scoring.kernels.cpu_topk import topk

D = 24


def near_ties(rng, *, understated):
    """Query, codes and scales of two documents that rounding of the query puts in wrong order.

    The product with the large document cancels, so that the rounding of the query shows in it; the
    small document lies along the query and is scored nearly without error. Its scale puts its score
    halfway between the exact and the rounded score of the large one.
    """
    query = torch.randn(1, D, generator=rng)
    large = torch.randint(-127, 128, (4000, D), generator=rng).to(torch.int8)
    small = (127 * query / query.abs().max()).round().to(torch.int8)
    rounded = cpu_topk._rounded(MultiVector.pack([query]), digits=2)
    exact = (large.double() @ query.double().T)[:, 0]
    seen = (large.double() @ rounded.codes.double().T)[:, 0] * rounded.steps.double()
    scales = (exact + seen) / 2 / (query.double() @ small.double().T).item()
    # The small document's own error must not blur the difference.
    apart = (exact - seen).abs() > 8 * rounded.errors.double() * 127 * D**0.5 * scales
    at = ((scales > 0) & apart & ((exact > seen) == understated)).nonzero()[0]
    return query, torch.cat([large[at], small]), torch.tensor([1.0, scales[at].item()])


@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.parametrize("fillers", [0, 3, 200])
@pytest.mark.parametrize("understated", [True, False], ids=["large is best", "small is best"])
def test_a_document_that_rounding_puts_behind_is_found(understated, fillers, reduction, rng):
    for _ in range(3):
        query, codes, scales = near_ties(rng, understated=understated)
        weak = torch.zeros(fillers, D, dtype=torch.int8)
        weak[:, 0] = 1
        documents = MultiVector(
            torch.cat([weak, codes.flip(0)]),
            torch.arange(fillers + 3),
            torch.cat([torch.full((fillers,), 1e-4), scales.flip(0)]),
        )
        queries = MultiVector.pack([query])
        wide = queries.to(dtype=torch.float64), documents.to(dtype=torch.float64)
        exact = reference.maxsim(*wide, reduction=reduction)
        found = topk(queries, documents, 1, reduction=reduction)
        assert found.indices.tolist() == [[int(exact.argmax())]]
        assert found.indices.item() == fillers + (1 if understated else 0)
