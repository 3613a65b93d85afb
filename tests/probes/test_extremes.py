"""Very long and very short vectors, one column, and tensors that carry gradients."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F

import probes
from align.data.embeddings import PairedEmbeddings

RNG = torch.Generator().manual_seed(0)
SHARED = torch.randn(60, 8, generator=RNG)
X = SHARED + 0.5 * torch.randn(60, 8, generator=RNG)
Y = SHARED + 0.5 * torch.randn(60, 8, generator=RNG) + 0.3

WITHOUT_UNIT = {
    "gap_energy_share": probes.gap_energy_share,
    "gap_orthogonality": partial(probes.gap_orthogonality, k=4),
    "modality_classifier_auc": probes.modality_classifier_auc,
    "modality_mixing": probes.modality_mixing,
    "mixed_gallery_ndcg": probes.mixed_gallery_ndcg,
    "mixed_gallery_share": probes.mixed_gallery_share,
    "gromov_wasserstein": probes.gromov_wasserstein,
    "mmd": probes.mmd,
    "recall_at_k": partial(probes.recall_at_k, k=3),
    "recall": partial(probes.recall, k=3),
    "mean_reciprocal_rank": probes.mean_reciprocal_rank,
    "median_rank": probes.median_rank,
    "foscttm": probes.foscttm,
    "matching_auc": probes.matching_auc,
    "mean_margin": probes.mean_margin,
    "relative_modality_gap": probes.relative_modality_gap,
    "mutual_knn": probes.mutual_knn,
    "linear_cka": probes.linear_cka,
    "rbf_cka": probes.rbf_cka,
    "rsa": probes.rsa,
    "svcca": probes.svcca,
    "procrustes_distance": probes.procrustes_distance,
    "trustworthiness": probes.trustworthiness,
    "hubness_skewness": probes.hubness_skewness,
    "antihub_share": probes.antihub_share,
    "int8_agreement": probes.int8_agreement,
    "noise_agreement": probes.noise_agreement,
    "pq_agreement": partial(probes.pq_agreement, width=2, codes=1),
    "mean_cosine": lambda x, y: probes.mean_cosine(x),
    "iso_score": lambda x, y: probes.iso_score(x),
    "effective_rank": lambda x, y: probes.effective_rank(x),
    "participation_ratio": lambda x, y: probes.participation_ratio(x),
    "two_nn": lambda x, y: probes.two_nn(x),
}
OF_DEGREE = {
    "energy_distance": (probes.energy_distance, 1),
    "exact_wasserstein": (probes.exact_wasserstein, 2),
    "gaussian_wasserstein": (probes.gaussian_wasserstein, 2),
    "sliced_wasserstein": (probes.sliced_wasserstein, 2),
    "sinkhorn_divergence": (probes.sinkhorn_divergence, 2),
}
pytestmark = pytest.mark.filterwarnings("ignore::probes.inputs.UnreliableEstimate")


@pytest.mark.parametrize("scale", [1e-30, 1e30], ids=str)
@pytest.mark.parametrize("name", WITHOUT_UNIT)
def test_a_probe_without_unit_gives_the_same_at_any_scale(name, scale):
    probe = WITHOUT_UNIT[name]
    assert probe(X * scale, Y * scale) == pytest.approx(probe(X, Y), rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("scale", [1e-30, 1e30], ids=str)
@pytest.mark.parametrize("name", OF_DEGREE)
def test_a_distance_grows_with_the_scale_or_with_its_square(name, scale):
    probe, degree = OF_DEGREE[name]
    expected = probe(X, Y)
    for _ in range(degree):
        expected *= scale
    assert probe(X * scale, Y * scale) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("name", [*WITHOUT_UNIT, *OF_DEGREE])
def test_a_probe_takes_vectors_that_carry_gradients(name):
    probe = WITHOUT_UNIT.get(name) or OF_DEGREE[name][0]
    left = X.clone().requires_grad_()
    assert probe(left, Y.clone().requires_grad_()) == pytest.approx(probe(X, Y))


@pytest.mark.parametrize("name", ["modality_gap", "alignment", "cross_uniformity"])
def test_a_probe_of_unit_vectors_takes_gradients_too(name):
    x, y = F.normalize(X, dim=1), F.normalize(Y, dim=1)
    probe = getattr(probes, name)
    assert probe(x.clone().requires_grad_(), y) == pytest.approx(probe(x, y))


@pytest.mark.parametrize("look", [torch.Tensor.to_sparse, lambda x: x.to("meta")])
def test_vectors_without_plain_entries_are_refused(look):
    with pytest.raises(ValueError, match=r"must be dense|on the meta device"):
        probes.recall_at_k(look(X), look(Y))


@pytest.mark.parametrize("widths", [(1, 1), (1, 4), (4, 1)], ids=str)
def test_a_report_on_sides_of_one_column_says_what_is_not_defined(widths):
    rng = torch.Generator().manual_seed(0)
    shared = torch.randn(60, 1, generator=rng)
    sides = [shared + 0.3 * torch.randn(60, d, generator=rng) for d in widths]
    report = probes.report(PairedEmbeddings.from_arrays(*sides))
    rows = {row.name: row for row in report.rows}
    for side, d in zip(("source", "target"), widths, strict=True):
        row = next(row for name, row in rows.items() if "iso_score" in name and side in name)
        assert ("raw" in row.undefined) == (d == 1)
        assert d > 1 or "must have at least two columns" in row.undefined["raw"]
    for row in rows.values():
        assert all(math.isfinite(reading.value) for reading in row.readings.values())
