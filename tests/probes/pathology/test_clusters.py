"""Joint clusters against labels: scikit-learn's measure, planted clusters, permuted labels."""

import pytest
import torch
import torch.nn.functional as F
from sklearn.cluster import KMeans
from sklearn.metrics import v_measure_score

from probes.pathology.clusters import cluster_probe, cluster_v_measure
from probes.space import Space
from tests.helpers.planted import rotation
from tests.probes.paired_clouds import space_of, strangers, weights_of


def planted(rng, n=60, kinds=3, *, spread=0.1, gap=0.0):
    """Unit vectors around one axis a label, the sides ``gap`` apart along another axis."""
    kind = torch.arange(n) % kinds
    centres = F.one_hot(kind, kinds + 1).float()
    away = gap * F.one_hot(torch.tensor(kinds), kinds + 1)
    sides = [
        F.normalize(
            centres + sign * away + spread * torch.randn(n, kinds + 1, generator=rng), dim=1
        )
        for sign in (1, -1)
    ]
    return sides[0], sides[1], [f"kind {i}" for i in kind.tolist()]


def clusters_by_hand(source, target, clusters, seed=0):
    joint = torch.cat([source, target]).numpy()
    return KMeans(clusters, n_init=4, random_state=seed).fit_predict(joint)


def test_planted_clusters_are_found(rng):
    assert cluster_v_measure(*planted(rng)) == 1


def test_clusters_by_modality_say_nothing_of_labels(rng):
    # Recall within a label does not suffer from this gap, and clusters do.
    source, target, labels = planted(rng, gap=5.0)
    assert cluster_v_measure(source, target, labels, clusters=2) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("clusters", [None, 2, 7, 30])
@pytest.mark.parametrize("seed", [0, 3])
def test_it_agrees_with_scikit_learn(rng, clusters, seed):
    source, target, labels = planted(rng, spread=0.8)
    found = clusters_by_hand(source, target, clusters or 3, seed)
    assert cluster_v_measure(source, target, labels, clusters=clusters, seed=seed) == pytest.approx(
        v_measure_score(labels + labels, found)
    )


def test_one_cluster_agrees_with_nothing(rng):
    assert cluster_v_measure(*planted(rng), clusters=1) == pytest.approx(0, abs=1e-12)


def test_rotation_scale_order_and_roles_do_not_matter(rng):
    source, target, labels = planted(rng, spread=0.3)
    value = cluster_v_measure(source, target, labels)
    assert 0.3 < value < 1
    turn = rotation(4, rng)
    order = torch.randperm(60, generator=rng)
    moved = [(3 * x @ turn + 1)[order] for x in (target, source)]
    again = cluster_v_measure(*moved, [labels[i] for i in order.tolist()])
    # k-means starts elsewhere, and the best of four runs is nearly always the same.
    assert again == pytest.approx(value, abs=0.05)


@pytest.mark.parametrize("clusters", [None, 5])
def test_the_probe_gives_the_value_of_the_function(rng, clusters):
    source, target, labels = planted(rng, spread=0.5)
    measured = cluster_probe(labels, clusters=clusters).measure(space_of(source, target))
    assert measured.value == cluster_v_measure(source, target, labels, clusters=clusters)
    ones = torch.ones(1, 60, dtype=torch.float64)
    assert measured.replicate(ones).item() == pytest.approx(measured.value)


def weighted_v_measure(labels, found, weights):
    """From the definition, with as much of each pair as its weight says."""
    mass = torch.zeros(3, 3, dtype=torch.float64)
    for i, label in enumerate(labels):
        for cluster in (found[i], found[i + len(labels)]):
            mass[int(label[-1]), cluster] += weights[i]
    mass /= mass.sum()
    parts = (mass.sum(dim=1), mass.sum(dim=0), mass.flatten())
    kinds, clusters, both = (float(torch.special.entr(p).sum()) for p in parts)
    homogeneity, completeness = (1 - (both - own) / other for own, other in
                                 ((clusters, kinds), (kinds, clusters)))  # fmt: skip
    return 2 * homogeneity * completeness / (homogeneity + completeness)


def test_the_influence_is_the_derivative_with_the_clusters_held_fixed(rng):
    source, target, labels = planted(rng, spread=0.5)
    measured = cluster_probe(labels).measure(space_of(source, target))
    found = clusters_by_hand(source, target, 3)
    ones = torch.ones(60, dtype=torch.float64)
    assert weighted_v_measure(labels, found, ones) == pytest.approx(measured.value)
    for row in (0, 7, 31):
        nudged = ones + 1e-5 * F.one_hot(torch.tensor(row), 60)
        exact = weighted_v_measure(labels, found, nudged) - measured.value
        linear = measured.replicate(nudged[None]).item() - measured.value
        assert linear == pytest.approx(exact, rel=1e-3)


def test_the_interval_is_not_moved_up_by_the_bias_of_entropies(rng):
    # Entropies of a resample are lower than those of the sample: drawn again, nothing would look
    # like something.
    source, target = strangers(rng, 60)
    labels = [str(i % 3) for i in range(60)]
    measured = cluster_probe(labels).measure(space_of(source, target))
    replicates = measured.replicate(weights_of(torch.arange(60), 400))
    assert float(replicates.mean()) == pytest.approx(measured.value, abs=0.01)


def test_the_null_is_that_of_permuted_labels(rng):
    source, target, labels = planted(rng, spread=0.5)
    measured = cluster_probe(labels).measure(space_of(source, target))
    found = clusters_by_hand(source, target, 3)
    permuted = []
    for _ in range(200):
        kinds = [labels[i] for i in torch.randperm(60, generator=rng).tolist()]
        permuted.append(v_measure_score(kinds + kinds, found))
    error = float(torch.tensor(permuted).std()) / 200**0.5
    assert measured.null.value == pytest.approx(sum(permuted) / 200, abs=5 * error)
    assert measured.null.value > 0
    assert measured.null.p == pytest.approx(1 / 200)


@pytest.mark.parametrize("repeats", [1, 3], ids=["pairs", "groups"])
def test_p_is_uniform_where_labels_mean_nothing(repeats):
    ps = []
    codes = torch.arange(45 // repeats).repeat_interleave(repeats)
    for seed in range(60):
        rng = torch.Generator().manual_seed(seed)
        source, target = (x.repeat_interleave(repeats, 0) for x in strangers(rng, 45 // repeats, 3))
        source = F.normalize(source + 0.01 * torch.randn(45, 3, generator=rng), dim=1)
        drawn = torch.randint(3, (45 // repeats,), generator=rng).repeat_interleave(repeats)
        labels = [str(i) for i in drawn.tolist()]
        ps.append(cluster_probe(labels).measure(Space(source, target, codes, seed)).null.p)
    ps = torch.tensor(ps)
    assert float((ps <= 0.05).float().mean()) < 0.15
    assert 0.3 < float((ps <= 0.5).float().mean()) < 0.7


def test_many_pairs_are_sampled_with_their_labels(rng):
    source, target, labels = planted(rng, 1_050, spread=0.5)
    measured = cluster_probe(labels).measure(space_of(source, target))
    rows = measured.rows
    assert len(rows) == 1_000
    kept = [labels[i] for i in rows.tolist()]
    assert measured.value == cluster_v_measure(source[rows], target[rows], kept)


def test_numpy_is_read(rng):
    source, target, labels = planted(rng, spread=0.5)
    value = cluster_v_measure(source.numpy(), target.numpy(), labels)
    assert value == cluster_v_measure(source, target, labels)


def test_labels_that_do_not_fit_are_refused(rng):
    source, target, labels = planted(rng)
    with pytest.raises(ValueError, match="labels must have one entry per row, 60; got 59"):
        cluster_v_measure(source, target, labels[:-1])
    with pytest.raises(ValueError, match="at least two kinds"):
        cluster_v_measure(source, target, ["same"] * 60)
    with pytest.raises(ValueError, match="labels must be those of the pairs measured, one each, 6"):
        cluster_probe(labels[:-1]).measure(space_of(source, target))


@pytest.mark.parametrize("clusters", [0, 121])
def test_a_number_of_clusters_out_of_range_is_refused(rng, clusters):
    source, target, labels = planted(rng)
    with pytest.raises(ValueError, match=r"clusters must lie in \[1, 120\]"):
        cluster_v_measure(source, target, labels, clusters=clusters)


def test_more_clusters_than_different_rows_are_refused():
    source = torch.eye(4).repeat(5, 1)
    labels = [str(i) for i in range(20)]
    with pytest.raises(ValueError, match=r"\[1, 4\], the number of different rows; got 20"):
        cluster_v_measure(source, source, labels)


def test_sides_that_do_not_fit_are_refused(rng):
    source, target, labels = planted(rng)
    with pytest.raises(ValueError, match="must be row-matched"):
        cluster_v_measure(source, target[:-1], labels)
    with pytest.raises(ValueError, match="must lie in one space"):
        cluster_v_measure(source, target[:, :-1], labels)
