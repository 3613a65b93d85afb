"""What the benchmark of the probes measures: each quantity by ours and by a naive call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from experiments.bench import naive_probes as naive
from experiments.bench.naive_probes import Array
from probes.distribution.discrepancy import ENERGY_DISTANCE, MMD, energy_distance, mmd
from probes.distribution.gaussian import GAUSSIAN_WASSERSTEIN, gaussian_wasserstein
from probes.distribution.sinkhorn import SINKHORN_DIVERGENCE, sinkhorn_divergence
from probes.distribution.sliced import SLICED_WASSERSTEIN, sliced_wasserstein
from probes.distribution.transport import (
    EXACT_WASSERSTEIN,
    GROMOV_WASSERSTEIN,
    exact_wasserstein,
    gromov_wasserstein,
)
from probes.offset.separability import MODALITY_CLASSIFIER_AUC, modality_classifier_auc
from probes.pairing.placements import MATCHING_AUC, matching_auc
from probes.pairing.retrieval import RECALL_AT_10, recall_at_k
from probes.pairing.uniformity import UNIFORMITY_SOURCE, uniformity
from probes.pathology.hubness import HUBNESS_FORTH, hubness_skewness
from probes.space import Probe
from probes.structure.cka import LINEAR_CKA, RBF_CKA, linear_cka, rbf_cka
from probes.structure.neighbourhoods import MUTUAL_KNN, mutual_knn
from probes.structure.preservation import TRUSTWORTHINESS_SOURCE, trustworthiness
from probes.structure.procrustes import PROCRUSTES_DISTANCE, procrustes_distance
from probes.structure.rsa import RSA, rsa

GROMOV_PAIRS = 200  # of a subset in a report: the quantity costs the cube of this


@dataclass(frozen=True, slots=True)
class Quantity:
    """Something to measure in two ways.

    Attributes:
        name: What it is.
        ours: Both sides in, value out.
        naive: The same with other packages.
        calls: What the naive way calls.
        tolerance: Largest relative difference of values that count as equal; ``None`` where the
            naive call defines the quantity differently, so that only its time is compared.
        probe: Its row in a report, where the naive function gives the value of that row.
    """

    name: str
    ours: Callable[[Tensor, Tensor], float]
    naive: Callable[[Array, Array], float]
    calls: str
    tolerance: float | None
    probe: Probe | None = None


QUANTITIES = (
    Quantity(
        "W²", exact_wasserstein, naive.exact_wasserstein,
        "ot.emd2", 1e-5, EXACT_WASSERSTEIN,
    ),
    Quantity(
        "Sinkhorn divergence", sinkhorn_divergence, naive.sinkhorn_divergence,
        "ot.sinkhorn", 1e-4, SINKHORN_DIVERGENCE,
    ),
    Quantity(
        "Sinkhorn, by POT alone", sinkhorn_divergence, naive.sinkhorn_divergence_by_pot,
        "ot.bregman", None,
    ),
    Quantity(
        "Sliced W²", sliced_wasserstein, naive.sliced_wasserstein,
        "ot.sliced_wasserstein", 1e-5, SLICED_WASSERSTEIN,
    ),
    Quantity(
        "Gaussian W², all axes", lambda x, y: gaussian_wasserstein(x, y, k=None),
        naive.gaussian_wasserstein, "ledoit_wolf, ot.gaussian", 1e-5,
    ),
    Quantity(
        "Gaussian W², 64 axes", gaussian_wasserstein, naive.gaussian_wasserstein_of_axes,
        "PCA, ledoit_wolf, ot.gaussian", 1e-5, GAUSSIAN_WASSERSTEIN,
    ),
    Quantity("MMD²", mmd, naive.mmd, "pdist, rbf_kernel", 1e-3, MMD),
    Quantity(
        "Energy distance", energy_distance, naive.energy_distance,
        "cdist", 1e-3, ENERGY_DISTANCE,
    ),
    Quantity("Mutual 10-NN", mutual_knn, naive.mutual_knn, "NearestNeighbors", 1e-3, MUTUAL_KNN),
    Quantity("CKA, linear", linear_cka, naive.linear_cka, "published, Gram", 1e-4, LINEAR_CKA),
    Quantity(
        "CKA, linear, features", linear_cka, naive.linear_cka_of_features,
        "published, features", 1e-4,
    ),
    Quantity("CKA, Gaussian", rbf_cka, naive.rbf_cka, "published, Gram", 1e-4, RBF_CKA),
    Quantity("RSA", rsa, naive.rsa, "pdist, spearmanr", 1e-4, RSA),
    Quantity(
        "Procrustes distance", procrustes_distance, naive.procrustes_distance,
        "scipy.spatial", 1e-4, PROCRUSTES_DISTANCE,
    ),
    Quantity(
        "Trustworthiness", lambda x, y: trustworthiness(y, x), naive.trustworthiness_of_source,
        "sklearn.manifold", 1e-4, TRUSTWORTHINESS_SOURCE,
    ),
    Quantity(
        "Modality AUC", modality_classifier_auc, naive.modality_classifier_auc,
        "ledoit_wolf, roc_auc_score", 1e-5, MODALITY_CLASSIFIER_AUC,
    ),
    Quantity(
        "Modality AUC, logistic", modality_classifier_auc, naive.modality_logistic_auc,
        "LogisticRegression", None,
    ),
    Quantity(
        "AUC of true pairs", matching_auc, naive.matching_auc,
        "roc_auc_score", 1e-5, MATCHING_AUC,
    ),
    Quantity(
        "Recall@10", lambda x, y: recall_at_k(x, y, k=10), naive.recall_at_10,
        "argsort", 1e-3, RECALL_AT_10,
    ),
    Quantity(
        "Hubness", hubness_skewness, naive.hubness_skewness,
        "argsort, scipy.stats.skew", 1e-3, HUBNESS_FORTH,
    ),
    Quantity(
        "Uniformity", lambda x, y: uniformity(x), naive.uniformity_of_source,
        "pdist", 1e-5, UNIFORMITY_SOURCE,
    ),
    Quantity(
        "Gromov-Wasserstein",
        lambda x, y: gromov_wasserstein(x[:GROMOV_PAIRS], y[:GROMOV_PAIRS]),
        lambda x, y: naive.gromov_wasserstein(x[:GROMOV_PAIRS], y[:GROMOV_PAIRS]),
        "ot.gromov, same starts", 1e-4, GROMOV_WASSERSTEIN,
    ),
)  # fmt: skip
