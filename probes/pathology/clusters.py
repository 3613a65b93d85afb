"""Whether clusters of both modalities together are labels or modalities.

The only file here that imports scikit-learn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from align._checks import check_k, check_length
from align.data.random_pairings import random_pairings
from align.data.splits import group_codes
from probes.estimates import Measured, Null, SmoothEstimate
from probes.inputs import Matrix, common_space, near_one
from probes.nulls import upper_p
from probes.space import SAMPLE, Probe, Space

_DRAWS = 199  # permutations of the labels under the null


def cluster_v_measure(
    source: Matrix,
    target: Matrix,
    labels: Sequence[str],
    *,
    clusters: int | None = None,
    seed: int = 0,
) -> float:
    """Agreement of clusters of both modalities together with given labels; higher is better.

    Both sides go into one set of ``2n`` items, which k-means divides (four runs of at most 300
    rounds, the best of which counts); each label counts for both items of its pair. The V-measure
    is the harmonic mean of homogeneity and completeness, ``2 I(L; C) / (H(L) + H(C))``, in [0, 1];
    1 where clusters are the labels. Where k-means divides by modality instead, a gap shows that
    recall does not. Labels in random order give more than 0, the more so the more labels there are:
    compare it with permuted labels, as the report does. Costs O(n d clusters) per round.

    Norms: as they are; one scale for all rows changes nothing.

    Args:
        source: Source embeddings, ``(n, d)``; clustered as they are, by Euclidean distance.
        target: Target embeddings of the same pairs, ``(n, d)``.
        labels: Label of each pair, ``n`` of them, at least two different ones.
        clusters: Number of clusters, from 1 to the number of different rows; the number of
            labels if left out.
        seed: Seeds where k-means starts.

    Raises:
        ValueError: The sides are not row-matched finite matrices of one width, there is not one
            label per pair, all labels are equal, or there are fewer different rows than clusters.

    Reference:
        Rosenberg and Hirschberg 2007, https://aclanthology.org/D07-1043, with beta = 1.

    Examples:
        >>> import torch, probes
        >>> x = torch.eye(2).repeat(10, 1)
        >>> round(probes.cluster_v_measure(x, x, ["cat", "dog"] * 10), 3)
        1.0
    """
    (x, y), _ = near_one(*common_space(source, target))
    check_length("labels", labels, len(x))
    return _Table.of(x, y, _label_codes(labels), clusters, seed).value


def cluster_probe(labels: Sequence[str], *, clusters: int | None = None) -> Probe:
    """A probe of ``cluster_v_measure`` for pairs with these labels.

    Args:
        labels: Label of each pair of the space it will measure, in order. A space has no ids to
            match labels by: take them from the very pairs that are measured, after any sampling.
        clusters: Number of clusters; the number of labels among the pairs measured if left out.

    Returns:
        A probe whose ``measure`` raises ``ValueError`` unless there is one label per pair.

    Examples:
        >>> import probes
        >>> probes.cluster_probe(["cat", "dog", "cat", "dog"]).name
        'cluster_v_measure'
    """

    def measure(space: Space) -> Measured:
        if len(labels) != space.n:
            raise ValueError(
                f"labels must be those of the pairs measured, one each, {space.n}; got "
                f"{len(labels)}. Make the probe from the labels that are left after sampling."
            )
        part, rows = space.sample(SAMPLE)
        codes = _label_codes([labels[row] for row in rows.tolist()])
        table = _Table.of(part.source, part.target, codes, clusters, space.seed)
        permuted = table.permuted(part.codes, space.generator("cluster_v_measure"))
        null = Null(permuted.mean().item(), upper_p(table.value, permuted))
        return SmoothEstimate(table.value, table.influence).measured(null, rows=rows)

    return Probe(
        name="cluster_v_measure",
        label="V-measure of joint clusters",
        family="pathology",
        better="higher",
        needs="common space",
        measure=measure,
        interval="bootstrap over pairs, linearised, clusters held fixed",
        null="labels permuted among pairs",
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Table:
    """Labels against clusters.

    An entropy is the mean surprise of an item, minus the log of the share that is like it.
    """

    labels: Tensor  # of each pair, (n,) int64
    clusters: Tensor  # of the source item and of the target item of each pair, (2, n) int64

    @classmethod
    def of(cls, x: Tensor, y: Tensor, labels: Tensor, clusters: int | None, seed: int) -> _Table:
        k = int(labels.max()) + 1 if clusters is None else clusters
        return cls(labels, _k_means(torch.cat([x, y]), k, seed).reshape(2, -1))

    @property
    def value(self) -> float:
        joint, apart = self._surprises
        return 2 * (1 - joint.mean() / apart.mean()).item()

    @property
    def influence(self) -> Tensor:
        """First-order effect of each pair, the clusters held fixed, ``(n,)`` float64."""
        joint, apart = self._surprises
        return 2 * (joint.mean() * apart / apart.mean() - joint) / apart.mean()

    @property
    def _surprises(self) -> tuple[Tensor, Tensor]:
        """Of label and cluster together, and one by one added up; of each pair, ``(n,)``."""
        together = self.labels * (int(self.clusters.max()) + 1) + self.clusters
        one_by_one = _surprise(self.labels.expand(2, -1)) + _surprise(self.clusters)
        return _surprise(together).mean(dim=0), one_by_one.mean(dim=0)

    def permuted(self, codes: Tensor, generator: torch.Generator) -> Tensor:
        """V-measure with the labels of whole groups permuted, ``(_DRAWS,)`` float64."""
        moved = self.labels[random_pairings(codes, _DRAWS, generator)]
        width = int(self.clusters.max()) + 1
        per_draw = (int(self.labels.max()) + 1) * width
        ids = torch.arange(_DRAWS)[:, None, None] * per_draw + moved[:, None] * width
        cells, counts = np.unique((ids + self.clusters).numpy(), return_counts=True)
        entropy: Tensor = torch.special.entr(torch.from_numpy(counts) / self.clusters.numel())
        draw = torch.from_numpy(cells) // per_draw
        joint = entropy.new_zeros(_DRAWS).index_add_(0, draw, entropy)
        return 2 * (1 - joint / self._surprises[1].mean())


def _label_codes(labels: Sequence[str]) -> Tensor:
    codes = torch.from_numpy(group_codes(labels))
    if int(codes.max()) == 0:
        raise ValueError(
            f"labels must be of at least two kinds to be found again; all {len(labels)} are "
            f"{labels[0]!r}. Pass labels that tell pairs apart."
        )
    return codes


def _k_means(items: Tensor, clusters: int, seed: int) -> Tensor:
    """Cluster of each item, ``(m,)`` int64."""
    from sklearn.cluster import KMeans

    different = len(np.unique(items.numpy(), axis=0))
    check_k(clusters, different, name="clusters", of="the number of different rows")
    model = KMeans(clusters, n_init=4, random_state=seed).fit(items.numpy())
    return torch.from_numpy(model.labels_.astype(np.int64))


def _surprise(kinds: Tensor) -> Tensor:
    """Minus the log of the share of the items of each kind, in the shape of ``kinds``."""
    _, kind, count = np.unique(kinds.numpy(), return_inverse=True, return_counts=True)
    share = torch.from_numpy(count / kinds.numel())
    return -share.log()[torch.from_numpy(kind)]
