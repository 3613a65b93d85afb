"""Probes of the modality gap: embeddings in, numbers with intervals and nulls out.

The public names load on first use, so that ``import probes`` stays light.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from probes.distribution.clouds import centred as centred
    from probes.distribution.discrepancy import energy_distance as energy_distance
    from probes.distribution.discrepancy import mmd as mmd
    from probes.distribution.gaussian import gaussian_wasserstein as gaussian_wasserstein
    from probes.distribution.sinkhorn import sinkhorn_divergence as sinkhorn_divergence
    from probes.distribution.sliced import sliced_wasserstein as sliced_wasserstein
    from probes.distribution.transport import exact_wasserstein as exact_wasserstein
    from probes.distribution.transport import gromov_wasserstein as gromov_wasserstein
    from probes.inputs import UnreliableEstimate as UnreliableEstimate
    from probes.measured import Measured as Measured
    from probes.measured import Null as Null
    from probes.offset.gap import gap_energy_share as gap_energy_share
    from probes.offset.gap import modality_gap as modality_gap
    from probes.offset.gap import squared_modality_gap as squared_modality_gap
    from probes.offset.gap_direction import gap_orthogonality as gap_orthogonality
    from probes.offset.mixing import mixed_gallery_ndcg as mixed_gallery_ndcg
    from probes.offset.mixing import mixed_gallery_share as mixed_gallery_share
    from probes.offset.mixing import modality_mixing as modality_mixing
    from probes.offset.separability import modality_classifier_auc as modality_classifier_auc
    from probes.pairing.margin import mean_margin as mean_margin
    from probes.pairing.margin import relative_modality_gap as relative_modality_gap
    from probes.pairing.placements import foscttm as foscttm
    from probes.pairing.placements import fractions_closer as fractions_closer
    from probes.pairing.placements import matching_auc as matching_auc
    from probes.pairing.retrieval import mean_reciprocal_rank as mean_reciprocal_rank
    from probes.pairing.retrieval import median_rank as median_rank
    from probes.pairing.retrieval import recall as recall
    from probes.pairing.retrieval import recall_at_k as recall_at_k
    from probes.pairing.retrieval import recall_curve as recall_curve
    from probes.pairing.uniformity import alignment as alignment
    from probes.pairing.uniformity import cross_uniformity as cross_uniformity
    from probes.pairing.uniformity import pair_distance as pair_distance
    from probes.pairing.uniformity import uniformity as uniformity
    from probes.pathology.clusters import cluster_probe as cluster_probe
    from probes.pathology.clusters import cluster_v_measure as cluster_v_measure
    from probes.pathology.dimension import effective_rank as effective_rank
    from probes.pathology.dimension import participation_ratio as participation_ratio
    from probes.pathology.hubness import antihub_share as antihub_share
    from probes.pathology.hubness import hub_share as hub_share
    from probes.pathology.hubness import hubness_skewness as hubness_skewness
    from probes.pathology.hubness import k_occurrence as k_occurrence
    from probes.pathology.hubness import robin_hood_index as robin_hood_index
    from probes.pathology.intrinsic import two_nn as two_nn
    from probes.pathology.isotropy import iso_score as iso_score
    from probes.pathology.isotropy import mean_cosine as mean_cosine
    from probes.pathology.robustness import int8_agreement as int8_agreement
    from probes.pathology.robustness import noise_agreement as noise_agreement
    from probes.pathology.robustness import pq_agreement as pq_agreement
    from probes.reporting.document import Report as Report
    from probes.reporting.report import report as report
    from probes.similarity.comparison import compare_similarities as compare_similarities
    from probes.space import Probe as Probe
    from probes.space import Space as Space
    from probes.standard import STANDARD as STANDARD
    from probes.structure.canonical import canonical_spectrum as canonical_spectrum
    from probes.structure.cka import linear_cka as linear_cka
    from probes.structure.cka import rbf_cka as rbf_cka
    from probes.structure.neighbourhoods import mutual_knn as mutual_knn
    from probes.structure.neighbourhoods import neighbour_overlaps as neighbour_overlaps
    from probes.structure.preservation import continuity as continuity
    from probes.structure.preservation import trustworthiness as trustworthiness
    from probes.structure.procrustes import procrustes_distance as procrustes_distance
    from probes.structure.rsa import rsa as rsa
    from probes.structure.svcca import svcca as svcca

_HOME = {
    "report": "probes.reporting.report",
    "Report": "probes.reporting.document",
    "STANDARD": "probes.standard",
    "Probe": "probes.space",
    "Space": "probes.space",
    "Measured": "probes.measured",
    "Null": "probes.measured",
    "UnreliableEstimate": "probes.inputs",
    "modality_gap": "probes.offset.gap",
    "squared_modality_gap": "probes.offset.gap",
    "gap_energy_share": "probes.offset.gap",
    "gap_orthogonality": "probes.offset.gap_direction",
    "modality_classifier_auc": "probes.offset.separability",
    "modality_mixing": "probes.offset.mixing",
    "mixed_gallery_ndcg": "probes.offset.mixing",
    "mixed_gallery_share": "probes.offset.mixing",
    "centred": "probes.distribution.clouds",
    "sinkhorn_divergence": "probes.distribution.sinkhorn",
    "exact_wasserstein": "probes.distribution.transport",
    "gromov_wasserstein": "probes.distribution.transport",
    "gaussian_wasserstein": "probes.distribution.gaussian",
    "sliced_wasserstein": "probes.distribution.sliced",
    "mmd": "probes.distribution.discrepancy",
    "energy_distance": "probes.distribution.discrepancy",
    "recall_at_k": "probes.pairing.retrieval",
    "recall": "probes.pairing.retrieval",
    "mean_reciprocal_rank": "probes.pairing.retrieval",
    "median_rank": "probes.pairing.retrieval",
    "recall_curve": "probes.pairing.retrieval",
    "foscttm": "probes.pairing.placements",
    "fractions_closer": "probes.pairing.placements",
    "matching_auc": "probes.pairing.placements",
    "mean_margin": "probes.pairing.margin",
    "relative_modality_gap": "probes.pairing.margin",
    "alignment": "probes.pairing.uniformity",
    "pair_distance": "probes.pairing.uniformity",
    "uniformity": "probes.pairing.uniformity",
    "cross_uniformity": "probes.pairing.uniformity",
    "mutual_knn": "probes.structure.neighbourhoods",
    "neighbour_overlaps": "probes.structure.neighbourhoods",
    "linear_cka": "probes.structure.cka",
    "rbf_cka": "probes.structure.cka",
    "rsa": "probes.structure.rsa",
    "svcca": "probes.structure.svcca",
    "canonical_spectrum": "probes.structure.canonical",
    "procrustes_distance": "probes.structure.procrustes",
    "trustworthiness": "probes.structure.preservation",
    "continuity": "probes.structure.preservation",
    "k_occurrence": "probes.pathology.hubness",
    "hubness_skewness": "probes.pathology.hubness",
    "antihub_share": "probes.pathology.hubness",
    "hub_share": "probes.pathology.hubness",
    "robin_hood_index": "probes.pathology.hubness",
    "mean_cosine": "probes.pathology.isotropy",
    "iso_score": "probes.pathology.isotropy",
    "effective_rank": "probes.pathology.dimension",
    "participation_ratio": "probes.pathology.dimension",
    "two_nn": "probes.pathology.intrinsic",
    "noise_agreement": "probes.pathology.robustness",
    "int8_agreement": "probes.pathology.robustness",
    "pq_agreement": "probes.pathology.robustness",
    "cluster_v_measure": "probes.pathology.clusters",
    "cluster_probe": "probes.pathology.clusters",
    "compare_similarities": "probes.similarity.comparison",
}

__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'probes' has no attribute {name!r}; it has {sorted(_HOME)}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(_HOME))
