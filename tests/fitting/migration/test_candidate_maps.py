import pytest
import torch

from align.adapters.maps.linear import IdentityMap
from align.fitting.migration.candidate_maps import candidate_maps, old_space_moments
from tests.helpers.planted import rotation, unit

N = 500


@pytest.fixture(scope="module")
def sides():
    """Unit vectors off the origin by the old encoder, turned about another centre by the new."""
    rng = torch.Generator().manual_seed(0)
    old = unit(torch.randn(N, 12, generator=rng) + 0.8)
    new = (old - old.mean(dim=0)) @ rotation(12, rng)
    return new, old


def built(sides, name):
    return candidate_maps(12, 12)[name](old_space_moments(*sides, torch.float64))


@pytest.mark.parametrize("name", ["procrustes", "ridge 0.0001"])
def test_maps_with_an_offset_undo_a_turn_about_another_centre(sides, name):
    """Rows of the new side are centred and not of one length: only directions can be compared."""
    new, old = sides
    made = built((new, old), name)
    moved = (new - made.mean) @ made.weight + made.offset
    torch.testing.assert_close(moved, old, atol=2e-3, rtol=0)


@pytest.mark.parametrize("rank", [3, 6])
def test_low_rank_maps_have_that_rank_and_the_best_of_it(sides, rank):
    new, _ = sides
    whole, low = built(sides, "ridge 0.001"), built(sides, f"ridge 0.001, rank {rank}")
    assert torch.linalg.matrix_rank(low.weight, atol=1e-4) == rank
    predicted = (new - whole.mean) @ whole.weight
    u, s, vt = torch.linalg.svd(predicted, full_matrices=False)
    best = (u[:, :rank] * s[:rank]) @ vt[:rank]
    torch.testing.assert_close((new - low.mean) @ low.weight, best, atol=1e-4, rtol=0)


def test_canonical_maps_leave_the_old_side_alone(sides):
    made = built(sides, "rcca, old ridge 1")
    assert (made.d_in, made.dim) == (12, 12)


def test_the_untouched_encoder_is_tried_only_where_the_widths_agree():
    assert "as it is" not in candidate_maps(12, 10)
    x = torch.randn(20, 12, generator=torch.Generator().manual_seed(1))
    same = candidate_maps(12, 12)["as it is"](old_space_moments(x, x, torch.float64))
    assert isinstance(same, IdentityMap)


def test_every_recipe_maps_between_spaces_of_two_widths():
    rng = torch.Generator().manual_seed(2)
    x, y = unit(torch.randn(60, 9, generator=rng)), unit(torch.randn(60, 14, generator=rng))
    for moments in (old_space_moments(x, y, dtype) for dtype in (torch.float32, torch.float64)):
        for make in candidate_maps(9, 14).values():
            torch.testing.assert_close(make(moments)(x).norm(dim=1), torch.ones(60))
