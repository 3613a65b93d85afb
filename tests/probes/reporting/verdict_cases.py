"""Pairs with a planted relation and adapters with a planted effect: what verdicts are tested on."""

import torch
import torch.nn.functional as F

from align.data.embeddings import PairedEmbeddings
from probes.distribution.sinkhorn import SINKHORN_DIVERGENCE_CENTRED
from probes.offset.gap import GAP_ENERGY_SHARE
from probes.offset.mixing import MODALITY_MIXING
from probes.pairing.placements import FOSCTTM
from probes.pairing.retrieval import RECALL_AT_1, RECALL_AT_10
from probes.pathology.dimension import EFFECTIVE_RANK_SOURCE, EFFECTIVE_RANK_TARGET
from probes.pathology.hubness import HUBNESS_FORTH
from probes.pathology.isotropy import MEAN_COSINE_SOURCE, MEAN_COSINE_TARGET
from probes.reporting.report import report
from probes.structure.canonical import CANONICAL_DIMS

READ = (
    GAP_ENERGY_SHARE, MODALITY_MIXING, SINKHORN_DIVERGENCE_CENTRED, RECALL_AT_1, RECALL_AT_10,
    FOSCTTM, HUBNESS_FORTH, CANONICAL_DIMS, EFFECTIVE_RANK_SOURCE, EFFECTIVE_RANK_TARGET,
    MEAN_COSINE_SOURCE, MEAN_COSINE_TARGET,
)  # fmt: skip
"""The probes that a verdict reads."""


class Moves:
    """An adapter of two functions of matrices; it may remember which rows it was trained on."""

    def __init__(self, source, target=None, trained=None):
        self._source, self._target = source, target or (lambda x: x)
        if trained is not None:
            self.trained_on = lambda pairs: torch.arange(len(pairs)) < trained

    def source(self, x):
        return self._source(x.vectors)

    def target(self, y):
        return self._target(y.vectors)


class Corrects(Moves):
    """One that searches with another gallery than it maps to."""

    def __init__(self, source, target, gallery):
        super().__init__(source, target)
        self._gallery = gallery

    def queries(self, x, *, side):
        return self.source(x) if side == "source" else self.target(x)

    def gallery(self, y, *, side):
        return self._gallery(self.source(y) if side == "source" else self.target(y))


def rng_of(seed):
    return torch.Generator().manual_seed(seed)


def cloud(n=200, d=16, seed=0):
    return torch.randn(n, d, generator=rng_of(seed))


def related(n=200, d=16, *, noise=0.3, shift=0.0, seed=0):
    """One cloud twice with noise, the target moved along the first axis."""
    shared = cloud(n, d, seed)
    source = shared + noise * cloud(n, d, seed + 1)
    return source, shared + noise * cloud(n, d, seed + 2) + shift * first_axis(d)


def first_axis(d):
    return F.one_hot(torch.tensor(0), d).float()


def rotation(d, seed=7):
    return torch.linalg.qr(cloud(d, d, seed)).Q


def shuffled(x, seed=5):
    return x[torch.randperm(len(x), generator=rng_of(seed))]


def centred(x):
    return x - x.mean(dim=0)


def unit(x):
    return F.normalize(x, dim=1)


def same(x):
    return x


def to_line(x):
    """All rows along one line, as after a collapse to rank 1, with a little noise."""
    axis = first_axis(x.shape[1])
    return torch.outer(x @ axis, axis) + 0.02 * cloud(*x.shape, seed=11)


def to_point(x):
    """All rows about one point, far away from the origin."""
    return x + 100 * first_axis(x.shape[1])


def noisy(amount, seed=13):
    return lambda x: x + amount * cloud(*x.shape, seed=seed)


def first_columns(width):
    return lambda x: x[:, :width]


def verdict_of(pair, adapter=None, *, groups=None, seed=0):
    """The verdict on two sides, from the probes that it reads."""
    return read(pair, adapter, groups=groups, seed=seed).verdict


def read(pair, adapter=None, *, groups=None, seed=0):
    """The report on two sides, of the probes that a verdict reads."""
    data = PairedEmbeddings.from_arrays(*pair, groups=groups)
    return report(data, adapter, probes=READ, seed=seed)


def a_weak_signal(n=1500, d=64):
    """Pairs of which one in thirty is found among ten of 1,500, and no dimension carries over."""
    source, target = cloud(n, d, 20), cloud(n, d, 21)
    return source + 0.08 * target, target


def cones(n=200, d=16, *, noise=0.3, height=6.0):
    """Related sides that lie in one narrow cone, as of encoders that were never centred."""
    source, target = related(n, d, noise=noise)
    return source + height, target + height


def opened(n=200, d=16):
    """A source in an offset and rotated space, and the rotation that brings it back."""
    source, target = related(n, d, noise=0.3)
    turn = rotation(d)
    return (source @ turn + 3 * first_axis(d), target), lambda x: (x - 3 * first_axis(d)) @ turn.T


def with_duplicates(n=200, d=16):
    """Related sides, where the last fifth of the targets is one vector."""
    source, target = related(n, d)
    target[-n // 5 :] = target[-1]
    return source, target


def with_hubs(n=200, d=16, hubs=2):
    """Related sides, where a few targets lie near all of the sources' mean."""
    source, target = related(n, d, noise=0.6)
    source = source + 1.5 * first_axis(d)
    target[:hubs] = 3 * first_axis(d) + 0.05 * cloud(hubs, d, 3)
    return source, target


def half_wrong(n=200, d=16):
    """Related sides, every second pair matched at random."""
    source, target = related(n, d, noise=0.1)
    target = target.clone()
    target[::2] = shuffled(target[::2])
    return source, target


def with_outliers(n=200, d=16):
    source, target = related(n, d)
    source = source.clone()
    source[:4] *= 1e4
    return source, target
