"""What anyone would try first is what it says."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from align.adapters.closed_form.ridge import ridge
from align.data.embeddings import PairedEmbeddings
from align.metrics.ranks import ranks, recall_at_k
from experiments import baselines


def planted(n, rng, *, widths=(12, 16)):
    """Pairs that two linear maps of one 6-d latent make, with an offset and little noise."""
    latent = torch.randn(n, 6, generator=rng)
    sides = []
    for d in widths:
        noise = 0.05 * torch.randn(n, d, generator=rng)
        sides.append(latent @ torch.randn(6, d, generator=rng) + 1.0 + noise)
    return sides


def test_the_raw_cosine_leaves_directions_as_they_are(rng):
    x, y = planted(20, rng, widths=(12, 12))
    found = baselines.raw_cosine(PairedEmbeddings.from_arrays(x, y), 0)
    torch.testing.assert_close(found.source(x), F.normalize(x, dim=1))
    torch.testing.assert_close(found.gallery(y, side="target"), F.normalize(y, dim=1))


def test_the_tuned_ridge_is_refitted_on_all_pairs_with_a_ridge_of_the_list(rng):
    x, y = planted(80, rng)
    found = baselines.tuned_ridge(x, y, seed=0)
    assert found.card.n_pairs == 80
    assert found.card.method in {ridge(x, y, ridge=k).card.method for k in baselines.RIDGES}


def test_the_tuned_ridge_prefers_little_shrinkage_where_there_is_no_noise(rng):
    x, y = planted(400, rng)
    found = baselines.tuned_ridge(x, y, seed=0)
    hits = recall_at_k(ranks(found.source(x), found.target(y)), 1)
    strongest = ridge(x, y, ridge=max(baselines.RIDGES))
    assert hits > recall_at_k(ranks(strongest.source(x), strongest.target(y)), 1)
    assert found.card.method == ridge(x, y, ridge=min(baselines.RIDGES)).card.method
