"""Four planted cases tell the families of probes apart; each family has to answer as it must.

Shuffled pairs: clouds agree, nothing is matched. Pure translation: only the offset is there, and
pairs are perfect once it is gone. Pure rotation: nothing is matched until it is undone. Independent
noise: nothing anywhere.
"""

import pytest
import torch
import torch.nn.functional as F

from align.adapters.closed_form.procrustes import procrustes
from align.data.embeddings import PairedEmbeddings
from probes.nulls import NO_OFFSET
from probes.reporting.report import report

N, D = 300, 12
SEEDS = (0, 1)


def lumpy(n, seed):
    """A cloud that is neither isotropic nor symmetric, on the sphere of the first D dimensions."""
    rng = torch.Generator().manual_seed(seed)
    scales = 1 / torch.arange(1, D + 1).sqrt()
    return F.normalize(torch.randn(n, D, generator=rng).exp() * scales, dim=1)


def paired(source, target):
    return PairedEmbeddings.from_arrays(source, target)


def shuffled(seed):
    rng = torch.Generator().manual_seed(100 + seed)
    cloud = lumpy(N, seed)
    return report(paired(cloud, cloud[torch.randperm(N, generator=rng)]))


def translated(seed):
    """One cloud, moved along a direction of its own: unit vectors stay unit vectors."""
    cloud, away = 0.8 * lumpy(N, seed), torch.full((N, 1), 0.6)
    return report(paired(torch.cat([cloud, away], 1), torch.cat([cloud, -away], 1)))


def rotated(seed):
    rng = torch.Generator().manual_seed(200 + seed)
    rotation, _ = torch.linalg.qr(torch.randn(D, D, generator=rng))
    cloud = lumpy(2 * N, seed)
    data = paired(cloud, cloud @ rotation)
    train, test = data.take(range(N)), data.take(range(N, 2 * N))
    return report(test, procrustes(train.source, train.target))


def noise(seed):
    rng = torch.Generator().manual_seed(300 + seed)
    return report(
        paired(torch.randn(N, D, generator=rng), torch.randn(N, D, generator=rng)), seed=seed
    )


def at_null(reading):
    """Whether a reading cannot be told from its null."""
    if reading.p is not None:
        return reading.p > 0.005
    if NO_OFFSET in reading.notes:
        return True
    half = (reading.high - reading.low) / 2
    return abs(reading.value - reading.null) < 2.5 * half + 1e-9


OFFSET = ("gap_energy_share", "modality_gap", "modality_classifier_auc", "modality_mixing")
SHAPE = (
    "mmd_centred",
    "energy_distance_centred",
    "sinkhorn_divergence_centred",
    "gaussian_wasserstein_centred",
    "sliced_wasserstein_centred",
)
PAIRING = (
    "recall_at_1",
    "recall_at_10",
    "mean_reciprocal_rank",
    "foscttm",
    "matching_auc",
    "mean_margin",
    "relative_modality_gap",
)
STRUCTURE = ("mutual_knn", "linear_cka", "rbf_cka", "rsa")


@pytest.fixture(scope="module", params=SEEDS)
def seed(request):
    return request.param


@pytest.fixture(scope="module")
def shuffled_report(seed):
    return shuffled(seed)


@pytest.fixture(scope="module")
def translated_report(seed):
    return translated(seed)


@pytest.fixture(scope="module")
def rotated_report(seed):
    return rotated(seed)


@pytest.fixture(scope="module")
def noise_report(seed):
    return noise(seed)


def assert_all_at_null(found, names, column):
    off = [name for name in names if not at_null(found.row(name).readings[column])]
    assert off == []


def perfect(found, column):
    read = {name: found.row(name).readings[column].value for name in PAIRING}
    assert read["recall_at_1"] == read["mean_reciprocal_rank"] == 1
    assert read["foscttm"] == 0
    assert read["matching_auc"] > 0.999
    assert read["relative_modality_gap"] < 1e-3


@pytest.mark.parametrize("column", ["raw", "centred"])
def test_shuffled_pairs_have_no_gap_and_no_match(shuffled_report, column):
    assert_all_at_null(shuffled_report, (*OFFSET, *SHAPE, *PAIRING, *STRUCTURE), column)
    assert "not aligned" in shuffled_report.verdict
    assert "closed" not in shuffled_report.verdict


def test_a_translation_is_all_offset_and_no_shape(translated_report):
    raw = {row.name: row.readings["raw"] for row in translated_report.rows if row.readings}
    assert raw["modality_gap"].value == pytest.approx(1.2, abs=1e-3)
    # Two centroids 1.2 apart: (1.2 / 2)^2 between, and the lumpy cloud's variance within.
    assert raw["gap_energy_share"].low > 0.5
    assert raw["modality_classifier_auc"].value == 1
    assert raw["modality_mixing"].value == pytest.approx(0, abs=1e-6)
    assert_all_at_null(translated_report, SHAPE, "raw")
    assert raw["exact_wasserstein_centred"].value == pytest.approx(0, abs=1e-5)


def test_pairs_are_perfect_once_a_translation_is_undone(translated_report):
    perfect(translated_report, "centred")
    assert translated_report.row("gap_energy_share").readings["centred"].high < 0.02
    assert translated_report.row("gap_orthogonality").readings["raw"].value < 0.01


def test_a_rotation_hides_pairs_until_it_is_undone(rotated_report):
    rotated_recall = rotated_report.row("recall_at_1").readings
    assert rotated_recall["raw"].value < 0.1
    perfect(rotated_report, "aligned")
    # The cloud is not isotropic, so a turned one has another shape.
    assert rotated_report.row("sinkhorn_divergence_centred").readings["raw"].p < 0.06
    assert_all_at_null(rotated_report, SHAPE, "aligned")
    for name in ("linear_cka", "rsa", "mutual_knn"):
        assert rotated_report.row(name).readings["raw"].value > 0.99
    assert "The gap is closed in offset and in shape" in rotated_report.verdict


@pytest.mark.parametrize("column", ["raw", "centred"])
def test_independent_noise_has_nothing_anywhere(noise_report, column):
    assert_all_at_null(noise_report, (*OFFSET, *SHAPE, *PAIRING, *STRUCTURE), column)
    assert noise_report.row("canonical_dims").readings[column].value <= 2
    assert "not aligned" in noise_report.verdict
