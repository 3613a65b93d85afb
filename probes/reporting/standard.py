"""What the standard report measures, in the order of its tables."""

from __future__ import annotations

from probes.distribution.discrepancy import (
    ENERGY_DISTANCE,
    ENERGY_DISTANCE_CENTRED,
    MMD,
    MMD_CENTRED,
)
from probes.distribution.gaussian import GAUSSIAN_WASSERSTEIN, GAUSSIAN_WASSERSTEIN_CENTRED
from probes.distribution.sinkhorn import SINKHORN_DIVERGENCE, SINKHORN_DIVERGENCE_CENTRED
from probes.distribution.sliced import SLICED_WASSERSTEIN, SLICED_WASSERSTEIN_CENTRED
from probes.distribution.transport import (
    EXACT_WASSERSTEIN,
    EXACT_WASSERSTEIN_CENTRED,
    GROMOV_WASSERSTEIN,
)
from probes.offset.gap import GAP_ENERGY_SHARE, MODALITY_GAP
from probes.offset.gap_direction import GAP_ORTHOGONALITY
from probes.offset.mixing import MIXED_GALLERY_NDCG, MIXED_GALLERY_SHARE, MODALITY_MIXING
from probes.offset.separability import MODALITY_CLASSIFIER_AUC
from probes.pairing.margin import MEAN_MARGIN, RELATIVE_MODALITY_GAP
from probes.pairing.placements import FOSCTTM, MATCHING_AUC
from probes.pairing.retrieval import (
    MEAN_RECIPROCAL_RANK,
    MEDIAN_RANK,
    RECALL_AT_1,
    RECALL_AT_5,
    RECALL_AT_10,
)
from probes.pairing.uniformity import (
    ALIGNMENT,
    CROSS_UNIFORMITY,
    UNIFORMITY_SOURCE,
    UNIFORMITY_TARGET,
)
from probes.pathology.dimension import (
    EFFECTIVE_RANK_SOURCE,
    EFFECTIVE_RANK_TARGET,
    PARTICIPATION_SOURCE,
    PARTICIPATION_TARGET,
)
from probes.pathology.hubness import (
    ANTIHUBS_BACK,
    ANTIHUBS_FORTH,
    HUBNESS_BACK,
    HUBNESS_FORTH,
    ROBIN_HOOD,
)
from probes.pathology.intrinsic import TWO_NN_SOURCE, TWO_NN_TARGET
from probes.pathology.isotropy import (
    ISO_SCORE_SOURCE,
    ISO_SCORE_TARGET,
    MEAN_COSINE_SOURCE,
    MEAN_COSINE_TARGET,
)
from probes.pathology.robustness import INT8_AGREEMENT, NOISE_AGREEMENT, PQ_AGREEMENT
from probes.space import Probe
from probes.structure.canonical import CANONICAL_DIMS, CANONICAL_ENERGY
from probes.structure.cka import LINEAR_CKA, RBF_CKA
from probes.structure.neighbourhoods import MUTUAL_KNN
from probes.structure.preservation import (
    CONTINUITY_SOURCE,
    CONTINUITY_TARGET,
    TRUSTWORTHINESS_SOURCE,
    TRUSTWORTHINESS_TARGET,
)
from probes.structure.procrustes import PROCRUSTES_DISTANCE
from probes.structure.rsa import RSA
from probes.structure.svcca import SVCCA

STANDARD: tuple[Probe, ...] = (
    GAP_ENERGY_SHARE,
    MODALITY_GAP,
    GAP_ORTHOGONALITY,
    MODALITY_CLASSIFIER_AUC,
    MODALITY_MIXING,
    SINKHORN_DIVERGENCE,
    SINKHORN_DIVERGENCE_CENTRED,
    EXACT_WASSERSTEIN,
    EXACT_WASSERSTEIN_CENTRED,
    GAUSSIAN_WASSERSTEIN,
    GAUSSIAN_WASSERSTEIN_CENTRED,
    SLICED_WASSERSTEIN,
    SLICED_WASSERSTEIN_CENTRED,
    MMD,
    MMD_CENTRED,
    ENERGY_DISTANCE,
    ENERGY_DISTANCE_CENTRED,
    RECALL_AT_1,
    RECALL_AT_5,
    RECALL_AT_10,
    MEAN_RECIPROCAL_RANK,
    MEDIAN_RANK,
    FOSCTTM,
    MATCHING_AUC,
    MEAN_MARGIN,
    RELATIVE_MODALITY_GAP,
    ALIGNMENT,
    CROSS_UNIFORMITY,
    MUTUAL_KNN,
    LINEAR_CKA,
    RBF_CKA,
    RSA,
    SVCCA,
    CANONICAL_ENERGY,
    CANONICAL_DIMS,
    PROCRUSTES_DISTANCE,
    GROMOV_WASSERSTEIN,
    TRUSTWORTHINESS_SOURCE,
    TRUSTWORTHINESS_TARGET,
    CONTINUITY_SOURCE,
    CONTINUITY_TARGET,
    HUBNESS_FORTH,
    HUBNESS_BACK,
    ANTIHUBS_FORTH,
    ANTIHUBS_BACK,
    ROBIN_HOOD,
    UNIFORMITY_SOURCE,
    UNIFORMITY_TARGET,
    MEAN_COSINE_SOURCE,
    MEAN_COSINE_TARGET,
    ISO_SCORE_SOURCE,
    ISO_SCORE_TARGET,
    EFFECTIVE_RANK_SOURCE,
    EFFECTIVE_RANK_TARGET,
    PARTICIPATION_SOURCE,
    PARTICIPATION_TARGET,
    TWO_NN_SOURCE,
    TWO_NN_TARGET,
    MIXED_GALLERY_NDCG,
    MIXED_GALLERY_SHARE,
    NOISE_AGREEMENT,
    INT8_AGREEMENT,
    PQ_AGREEMENT,
)
"""Every probe, family by family."""
