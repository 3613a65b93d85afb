from dataclasses import replace

import pytest
import torch

import align
from align.adapters.calibration.domain import AXES, FLOOR, Domain
from align.adapters.calibration.thinned import KEPT
from align.data.embeddings import Embeddings, PairedEmbeddings
from tests.adapters.every_kind import METHODS

N = 400


def cloud(n, *, seed, at=3.0, d=24):
    """Items around one direction, most of their variance in two others."""
    generator = torch.Generator().manual_seed(seed)
    scales = torch.tensor([1.0, 0.8, *(0.2 for _ in range(d - 2))])
    mean = torch.zeros(d)
    mean[-1] = at
    return mean + scales * torch.randn(n, d, generator=generator)


def names(n):
    return [str(row) for row in range(n)]


@pytest.fixture(scope="module")
def domain():
    return Domain.of(cloud(N, seed=0), names(N))


@pytest.fixture(scope="module")
def fitted():
    x = cloud(N, seed=0)
    return align.fit(PairedEmbeddings.from_arrays(x, x[:, 4:]), effort="fast")


def test_p_values_of_items_like_those_of_training_are_uniform(domain):
    found = domain.p_values(cloud(4000, seed=1))
    for share in (0.05, 0.2, 0.5, 0.8):
        assert (found <= share).double().mean() == pytest.approx(share, abs=0.05)
    assert found.min() > 0 and found.max() <= 1


def test_items_elsewhere_have_small_p_values(domain):
    assert (domain.p_values(cloud(200, seed=1, at=-3.0)) <= 1 / (N + 1)).all()


def test_an_item_is_unusual_where_training_items_never_vary(domain):
    mean = cloud(1, seed=0)[0] * 0
    mean[-1] = 3.0
    along, across = mean.clone(), mean.clone()
    along[0] += 2.0
    across[5] += 2.0
    inside, outside = domain.p_values(torch.stack([along, across])).tolist()
    assert inside > 0.3 and outside < 0.02


def test_the_distance_is_that_of_the_covariance_it_was_drawn_from():
    """Along axes of their own the distance is Mahalanobis' with the planted variances."""
    x = cloud(4000, seed=0)
    found = Domain.of(x, names(len(x)))
    rows = torch.nn.functional.normalize(x, dim=1)
    variances = rows.var(dim=0).sort(descending=True).values
    torch.testing.assert_close(found.precisions[:2].reciprocal(), variances[:2], rtol=0.1, atol=0)
    torch.testing.assert_close(
        found.axes @ found.axes.T, torch.eye(len(found.axes)), atol=1e-5, rtol=0
    )


def test_near_copies_of_one_group_do_not_vouch_for_each_other():
    """Five copies of each item: with copies in other folds every new item would look unusual."""
    x = cloud(80, seed=0, d=200).repeat_interleave(5, dim=0)
    x = x + 1e-3 * torch.randn(x.shape, generator=torch.Generator().manual_seed(2))
    groups = [str(row // 5) for row in range(len(x))]
    new = cloud(2000, seed=1, d=200)
    grouped = (Domain.of(x, groups).p_values(new) <= 0.1).double().mean()
    alone = (Domain.of(x, names(len(x))).p_values(new) <= 0.1).double().mean()
    assert grouped < 0.2 < alone


def test_the_length_of_an_item_does_not_matter(domain):
    x = cloud(50, seed=1)
    torch.testing.assert_close(domain.p_values(1e3 * x), domain.p_values(x), atol=0.01, rtol=0)


def test_items_without_variance_in_most_directions_are_still_told():
    flat = torch.nn.functional.pad(cloud(N, seed=0, d=6), (0, 30))
    new = torch.nn.functional.pad(cloud(500, seed=1, d=6), (0, 30))
    found = Domain.of(flat, names(N))
    assert (found.p_values(new) <= 0.05).double().mean() < 0.12
    assert found.precisions.isfinite().all()
    moved = new.clone()
    moved[:, -1] += 1
    assert (found.p_values(moved) < 0.01).all()
    assert FLOOR > 0


@pytest.mark.parametrize(("n", "d"), [(20, 1), (20, 3), (30, 500), (5000, 8)])
def test_any_number_of_items_and_dimensions_does(n, d):
    generator = torch.Generator().manual_seed(0)
    x = 1 + torch.rand(n, d, generator=generator)
    found = Domain.of(x, names(n))
    assert found.a <= min(AXES, d) and found.kept <= min(n, KEPT)
    assert found.distances.equal(found.distances.sort().values)
    p = found.p_values(x)
    assert ((p > 0) & (p <= 1)).all()


def test_the_same_items_give_the_same_domain():
    one, other = (Domain.of(cloud(N, seed=0), names(N), seed=3) for _ in range(2))
    assert all(each.equal(other.state_dict()[name]) for name, each in one.state_dict().items())


def test_fit_tells_items_of_both_sides(fitted):
    new = cloud(500, seed=1)
    for side, x in (("source", new), ("target", new[:, 4:])):
        p = fitted.typicality(x, side=side)
        assert p.shape == (500,) and p.dtype == torch.float32
        flags = fitted.out_of_domain(x, side=side)
        assert flags.equal(p <= 0.05) and flags.double().mean() < 0.12
        assert fitted.out_of_domain(x, side=side, false_flags=0.5).double().mean() > 0.4
        assert fitted.out_of_domain(-x, side=side).all()


def test_a_saved_adapter_tells_the_same(fitted, tmp_path):
    fitted.save(tmp_path / "adapter")
    new = cloud(50, seed=1)
    assert align.load(tmp_path / "adapter").typicality(new).equal(fitted.typicality(new))


def test_other_maps_are_not_calibrated(fitted):
    assert fitted.replaced(reference=None).calibration is None
    assert fitted.replaced(card=fitted.card).calibration is fitted.calibration
    assert fitted.replaced(training_items=None).calibration is fitted.calibration


@pytest.mark.parametrize("kind", METHODS)
def test_an_adapter_that_was_not_calibrated_says_what_to_do(kind):
    x = torch.randn(60, 6, generator=torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match=r"was not calibrated: .* call adapter\.calibrated"):
        METHODS[kind](x, x.flip(1)).out_of_domain(x)


def test_what_cannot_be_items_is_refused(fitted):
    x = cloud(5, seed=1)
    with pytest.raises(ValueError, match="24"):
        fitted.typicality(x[:, :10])
    with pytest.raises(ValueError, match="zero"):
        fitted.typicality(torch.zeros(2, 24))
    with pytest.raises(ValueError, match="side must be"):
        fitted.typicality(x, side="left")
    with pytest.raises(ValueError, match=r"false_flags must lie in \(0, 1\); got 5"):
        fitted.out_of_domain(x, false_flags=5)
    known = fitted.replaced(card=replace(fitted.card, source_fingerprint="text:a"))
    with pytest.raises(ValueError, match="fitted on vectors of text:a"):
        known.out_of_domain(Embeddings(x, ids=names(5), fingerprint="text:b"))
