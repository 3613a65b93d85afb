"""The quantities of a report as one call after another to other packages, the way they are used.

Each takes both sides as float32 arrays ``(n, d)`` and gives a float. Nothing is made slow on
purpose: where a package has two ways, the faster one that gives the value is taken. Where a
definition leaves a choice open, the choice is that of ``probes``, and the docstring says so.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import ot
import torch
from scipy.spatial import procrustes
from scipy.spatial.distance import cdist, pdist, squareform
from scipy.stats import skew, spearmanr
from sklearn.covariance import ledoit_wolf
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.manifold import trustworthiness
from sklearn.metrics import roc_auc_score
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.neighbors import NearestNeighbors

from align.data.splits import folds

Array = np.ndarray[Any, Any]

K = 10
"""Neighbourhood size, as in the report."""

FOLDS = 5

RELATIVE_EPSILON = 0.2  # of the median cost, as ours


def exact_wasserstein(source: Array, target: Array) -> float:
    """Network simplex of POT on squared distances."""
    return float(ot.emd2([], [], ot.dist(source, target)))


def sinkhorn_divergence(source: Array, target: Array, *, tolerance: float = 1e-4) -> float:
    """Three plans of POT, each with what it costs and its entropy against the independent plan.

    In float64, with the epsilon of ours, and stopped at the same error of the marginals: POT looks
    at their Euclidean norm, which is about the mean relative error over the root of ``n``.

    Args:
        source: ``(n, d)``.
        target: ``(n, d)``.
        tolerance: Mean relative error of the marginals to stop at.
    """
    x, y = source.astype(np.float64), target.astype(np.float64)
    epsilon = _epsilon(x, y)
    weights = np.full(len(x), 1 / len(x))
    independent = np.outer(weights, weights)

    def cost(a: Array, b: Array) -> float:
        costs = ot.dist(a, b)
        plan = ot.sinkhorn(
            weights, weights, costs, epsilon,
            numItermax=10_000, stopThr=tolerance / len(x) ** 0.5,
        )  # fmt: skip
        held = plan > 0
        entropy = np.sum(plan[held] * np.log(plan[held] / independent[held]))
        return float(np.sum(plan * costs) + epsilon * entropy)

    return cost(x, y) - (cost(x, x) + cost(y, y)) / 2


def sinkhorn_divergence_by_pot(source: Array, target: Array) -> float:
    """The one call that POT has for it: same epsilon, but entropy is no part of its costs."""
    x, y = source.astype(np.float64), target.astype(np.float64)
    return float(ot.bregman.empirical_sinkhorn_divergence(x, y, _epsilon(x, y), numIterMax=10_000))


def sliced_wasserstein(source: Array, target: Array, *, lines: int = 500) -> float:
    """Sliced distance of POT between the centred clouds along the lines of ours, and the gap.

    Args:
        source: ``(n, d)``.
        target: ``(n, d)``.
        lines: Number of lines.
    """
    d = source.shape[1]
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randn(lines, d, generator=generator, dtype=torch.float64)
    along = (drawn / torch.linalg.vector_norm(drawn, dim=1, keepdim=True)).numpy()
    x, y = source.astype(np.float64), target.astype(np.float64)
    gap = x.mean(0) - y.mean(0)
    sliced = ot.sliced_wasserstein_distance(x - x.mean(0), y - y.mean(0), projections=along.T)
    return float(gap @ gap + d * sliced**2)


def gaussian_wasserstein(source: Array, target: Array) -> float:
    """Ledoit-Wolf covariances of scikit-learn, Bures distance of POT."""
    x, y = source.astype(np.float64), target.astype(np.float64)
    return _bures(x, y) + float(np.sum((x.mean(0) - y.mean(0)) ** 2))


def gaussian_wasserstein_of_axes(source: Array, target: Array, *, axes: int = 64) -> float:
    """The same along leading principal axes of both centred clouds, with the whole gap.

    Args:
        source: ``(n, d)``.
        target: ``(n, d)``.
        axes: Axes kept, at most.
    """
    x, y = source.astype(np.float64), target.astype(np.float64)
    z, w = x - x.mean(0), y - y.mean(0)
    pca = PCA(min(axes, x.shape[1]), svd_solver="covariance_eigh").fit(np.vstack([z, w]))
    between = _bures(pca.transform(z), pca.transform(w))
    return between + float(np.sum((x.mean(0) - y.mean(0)) ** 2))


def mmd(source: Array, target: Array) -> float:
    """Kernels of scikit-learn, one bandwidth after another, U-statistic without the pairs."""
    median = _median(pdist(np.vstack([source, target]), "sqeuclidean"))
    total = 0.0
    for factor in (0.25, 0.5, 1, 2, 4):
        gamma = 1 / (2 * factor * median)
        within = rbf_kernel(source, source, gamma) + rbf_kernel(target, target, gamma)
        total += _mean_apart(within) - 2 * _mean_apart(rbf_kernel(source, target, gamma))
    return total / 5


def energy_distance(source: Array, target: Array) -> float:
    """Distances of SciPy, U-statistic without the pairs."""
    across = _mean_apart(cdist(source, target))
    within = _mean_apart(cdist(source, source)) + _mean_apart(cdist(target, target))
    return 2 * across - within


def mutual_knn(source: Array, target: Array) -> float:
    """Neighbours of scikit-learn, intersected row by row."""
    near = [
        NearestNeighbors(n_neighbors=K, metric="cosine").fit(side).kneighbors(return_distance=False)
        for side in (source, target)
    ]
    return float(np.mean([len(np.intersect1d(a, b)) for a, b in zip(*near, strict=True)])) / K


def linear_cka(source: Array, target: Array) -> float:
    """Debiased, of Gram matrices, as in the notebook of Kornblith et al."""
    return _cka(source @ source.T, target @ target.T)


def linear_cka_of_features(source: Array, target: Array) -> float:
    """Debiased, of features, as in the notebook of Kornblith et al., for more rows than columns."""
    x, y = source - source.mean(0, keepdims=True), target - target.mean(0, keepdims=True)
    n = len(x)
    squares_x, squares_y = np.sum(x**2, axis=1), np.sum(y**2, axis=1)
    norm_x, norm_y = np.linalg.norm(x.T @ x), np.linalg.norm(y.T @ y)
    sum_x, sum_y = np.sum(squares_x), np.sum(squares_y)

    def debiased(similarity: Any, a: Array, b: Array, sum_a: Any, sum_b: Any) -> float:
        return float(similarity - n / (n - 2.0) * a.dot(b) + sum_a * sum_b / ((n - 1) * (n - 2)))

    similarity = np.linalg.norm(y.T @ x) ** 2
    across = debiased(similarity, squares_x, squares_y, sum_x, sum_y)
    within_x = debiased(norm_x**2, squares_x, squares_x, sum_x, sum_x)
    within_y = debiased(norm_y**2, squares_y, squares_y, sum_y, sum_y)
    return across / float(np.sqrt(within_x * within_y))


def rbf_cka(source: Array, target: Array) -> float:
    """Debiased, as in the notebook of Kornblith et al.; the median leaves the diagonal out."""
    return _cka(_gram_rbf(source), _gram_rbf(target))


def rsa(source: Array, target: Array) -> float:
    """Rank correlation of SciPy over its cosine distances."""
    return float(spearmanr(pdist(source, "cosine"), pdist(target, "cosine")).statistic)


def procrustes_distance(source: Array, target: Array) -> float:
    """Disparity of SciPy, which also scales one side best, turned back into the distance."""
    disparity = procrustes(source, target)[2]
    return float(2 - 2 * (1 - disparity) ** 0.5)


def trustworthiness_of_source(source: Array, target: Array) -> float:
    """Of scikit-learn, with the source for what a map has made of the target."""
    return float(trustworthiness(target, source, n_neighbors=K, metric="cosine"))


def modality_classifier_auc(source: Array, target: Array) -> float:
    """Fisher's discriminant with a covariance of scikit-learn, over the folds of ours.

    ``LinearDiscriminantAnalysis`` shrinks the covariance within the classes instead, after it has
    scaled each feature.
    """
    items, labels = _items(source, target)
    fold = np.tile(folds([str(i) for i in range(len(source))], FOLDS, seed=0), 2)
    areas = []
    for i in range(FOLDS):
        rest, held = fold != i, fold == i
        between = items[rest & labels].mean(0) - items[rest & ~labels].mean(0)
        normal = np.linalg.solve(ledoit_wolf(items[rest])[0], between)
        areas.append(roc_auc_score(labels[held], items[held] @ normal))
    return float(np.average(areas, weights=np.bincount(fold)))


def modality_logistic_auc(source: Array, target: Array) -> float:
    """Logistic regression with the settings that scikit-learn comes with, partners in one fold."""
    items, labels = _items(source, target)
    scores = cross_val_predict(
        LogisticRegression(max_iter=1_000), items, labels, method="decision_function",
        cv=GroupKFold(FOLDS), groups=np.tile(np.arange(len(source)), 2),
    )  # fmt: skip
    return float(roc_auc_score(labels, scores))


def matching_auc(source: Array, target: Array) -> float:
    """ROC curve of scikit-learn over all cosines."""
    n = len(source)
    return float(roc_auc_score(np.eye(n, dtype=bool).ravel(), (source @ target.T).ravel()))


def recall_at_10(source: Array, target: Array) -> float:
    """All rows sorted, both directions."""
    partners = np.arange(len(source))[:, None]
    hits = [
        (np.argsort(-scores, axis=1)[:, :K] == partners).any(axis=1).mean()
        for scores in (source @ target.T, target @ source.T)
    ]
    return float(np.mean(hits))


def hubness_skewness(source: Array, target: Array) -> float:
    """All rows sorted, counted, skewness of SciPy."""
    found = np.argsort(-(source @ target.T), axis=1)[:, :K]
    return float(skew(np.bincount(found.ravel(), minlength=len(target))))


def uniformity_of_source(source: Array, target: Array) -> float:
    """Squared distances of SciPy."""
    return float(np.log(np.exp(-2 * pdist(source, "sqeuclidean")).mean()))


def gromov_wasserstein(source: Array, target: Array) -> float:
    """Conditional gradient of POT from the three starts of ours, which calls the same solver."""
    a, b = _scaled_angles(source), _scaled_angles(target)
    n = len(a)
    independent = np.full((n, n), 1 / n**2)
    rng = np.random.default_rng(0)
    starts = [
        ot.emd([], [], cdist(np.sort(a), np.sort(b), "sqeuclidean")),
        independent,
        (independent + np.eye(n)[rng.permutation(n)] / n) / 2,
    ]
    return min(float(ot.gromov.gromov_wasserstein2(a, b, G0=start)) for start in starts)


def _epsilon(x: Array, y: Array) -> float:
    return RELATIVE_EPSILON * _median(ot.dist(x - x.mean(0), y - y.mean(0)).ravel())


def _median(values: Array) -> float:
    """The lower of the two values in the middle, as in torch."""
    return float(np.partition(values, (len(values) - 1) // 2)[(len(values) - 1) // 2])


def _bures(x: Array, y: Array) -> float:
    """Between centred clouds."""
    zero = np.zeros(x.shape[1])
    distance = ot.gaussian.bures_wasserstein_distance(
        zero, zero, ledoit_wolf(x)[0], ledoit_wolf(y)[0]
    )
    return float(distance**2)


def _mean_apart(values: Array) -> float:
    n = len(values)
    return float((values.sum(dtype=np.float64) - np.trace(values)) / (n * (n - 1)))


def _gram_rbf(x: Array) -> Array:
    products = x @ x.T
    norms = np.diag(products)
    squares: Any = -2 * products + norms[:, None] + norms[None, :]
    median = _median(squares[np.triu_indices(len(x), 1)])
    gram: Array = np.exp(-squares / (2 * median))
    return gram


def _centre_gram(gram: Array) -> Array:
    gram = gram.copy()
    n = len(gram)
    np.fill_diagonal(gram, 0)
    means: Any = np.sum(gram, 0, dtype=np.float64) / (n - 2)
    means -= np.sum(means) / (2 * (n - 1))
    gram -= means[:, None]
    gram -= means[None, :]
    np.fill_diagonal(gram, 0)
    return gram


def _cka(gram_x: Array, gram_y: Array) -> float:
    """The code published with Kornblith et al. 2019, arXiv:1905.00414, debiased."""
    gram_x, gram_y = _centre_gram(gram_x), _centre_gram(gram_y)
    scaled = gram_x.ravel().dot(gram_y.ravel())
    return float(scaled / (np.linalg.norm(gram_x) * np.linalg.norm(gram_y)))


def _items(source: Array, target: Array) -> tuple[Array, Array]:
    """Items of both sides, sources first, and which of them are sources."""
    items = np.vstack([source, target]).astype(np.float64)
    return items, np.arange(len(items)) < len(source)


def _scaled_angles(x: Array) -> Array:
    cosines = np.clip(1 - pdist(x, "cosine"), -1, 1)
    angles = np.arccos(cosines)
    scaled: Array = squareform(angles / _median(angles))
    return scaled
