import pytest
import torch
import torch.nn.functional as F

from align.adapters.corrections import reference_set as reference_module
from align.adapters.corrections.hubness import CSLS, NNN, BalancedSoftmax, InvertedSoftmax
from align.adapters.corrections.reference_set import Expansion, ReferenceSet, expanded

CORRECTIONS = [NNN(4, 0.75), CSLS(3), InvertedSoftmax(8.0)]


@pytest.fixture
def sides(rng):
    """Unit rows: a reference set of 12 pairs, and 9 gallery items, in 5 dimensions."""
    rows = F.normalize(torch.randn(33, 5, generator=rng), dim=1)
    return rows[:12], rows[12:24], rows[24:]


def expanded_by_loop(z, own, other, expansion):
    """Nadaraya-Watson estimate of the partner of each item, one item at a time."""
    rows = []
    for item in z:
        weights = [float(torch.exp(expansion.sharpness * (item @ near))) for near in own]
        partner = sum(w * y for w, y in zip(weights, other, strict=True)) / sum(weights)
        moved = item + expansion.weight * partner / partner.norm()
        rows.append(moved / moved.norm())
    return torch.stack(rows)


@pytest.mark.parametrize("expansion", [Expansion(0.3, 5.0), Expansion(1.0, 0.0)], ids=str)
def test_expansion_equals_a_plain_loop(sides, expansion):
    own, other, z = sides
    expected = expanded_by_loop(z, own, other, expansion)
    torch.testing.assert_close(expansion(z, own, other), expected)


def test_a_sharp_expansion_moves_to_the_partner_of_the_nearest(sides):
    own, other, _ = sides
    found = Expansion(1.0, 1e4)(own[:3], own, other)
    torch.testing.assert_close(found, F.normalize(own[:3] + other[:3], dim=1))


def test_expansion_of_no_weight_changes_nothing(sides):
    own, other, z = sides
    torch.testing.assert_close(Expansion(0.0, 20.0)(z, own, other), z)


@pytest.mark.parametrize("hubness", CORRECTIONS, ids=str)
@pytest.mark.parametrize("side", ["source", "target"])
def test_the_last_column_is_minus_the_bias_against_the_other_side(sides, hubness, side):
    source, target, z = sides
    queries = target if side == "source" else source
    found = ReferenceSet(source, target, expansion=None, hubness=hubness).gallery(z, side=side)
    assert found[:, :-1].equal(z)
    torch.testing.assert_close(found[:, -1], -hubness(z @ queries.T))


@pytest.mark.parametrize("side", ["source", "target"])
def test_the_bias_is_that_of_the_expanded_item(sides, side):
    source, target, z = sides
    own, other = (source, target) if side == "source" else (target, source)
    expansion, hubness = Expansion(0.5, 6.0), NNN(3, 0.5)
    found = ReferenceSet(source, target, expansion=expansion, hubness=hubness).gallery(z, side=side)
    expected = expansion(z, own, other)
    torch.testing.assert_close(found[:, :-1], expected)
    torch.testing.assert_close(found[:, -1], -hubness(expected @ other.T))


@pytest.mark.parametrize("side", ["source", "target"])
def test_the_bias_of_a_balanced_softmax_is_against_handicapped_queries(sides, side):
    source, target, z = sides
    own, other = (source, target) if side == "source" else (target, source)
    hubness = BalancedSoftmax(8.0)
    found = ReferenceSet(source, target, expansion=None, hubness=hubness).gallery(z, side=side)
    expected = hubness(z @ other.T - hubness.handicaps(other, own))
    torch.testing.assert_close(found[:, -1], -expected)
    assert not expected.allclose(hubness(z @ other.T))


@pytest.mark.parametrize("side", ["source", "target"])
@pytest.mark.parametrize("hubness", [None, NNN(3, 0.5)], ids=str)
def test_queries_move_towards_partners_and_galleries_stay(sides, side, hubness, monkeypatch):
    source, target, z = sides
    own, other = (source, target) if side == "source" else (target, source)
    expansion = Expansion(0.4, 6.0)
    moving, still = (
        ReferenceSet(source, target, expansion=None, hubness=hubness, query_expansion=each)
        for each in (expansion, None)
    )
    ones = torch.ones(len(z), int(hubness is not None))
    expected = torch.cat([expansion(z, own, other), ones], dim=1)
    torch.testing.assert_close(moving.queries(z, side=side), expected)
    assert moving.gallery(z, side=side).equal(still.gallery(z, side=side))
    assert still.queries(z, side=side).equal(torch.cat([z, ones], dim=1))
    monkeypatch.setattr(reference_module, "ROWS", 2)
    torch.testing.assert_close(moving.queries(z, side=side), expected)


def test_without_hubness_there_is_no_more_column(sides):
    source, target, z = sides
    found = ReferenceSet(source, target, expansion=Expansion(0.5, 6.0), hubness=None)
    assert found.gallery(z, side="target").shape == z.shape


def test_blocks_of_rows_change_nothing(sides, monkeypatch):
    source, target, z = sides
    reference = ReferenceSet(source, target, expansion=Expansion(0.5, 6.0), hubness=CSLS(3))
    whole = reference.gallery(z, side="target")
    monkeypatch.setattr(reference_module, "ROWS", 2)
    torch.testing.assert_close(reference.gallery(z, side="target"), whole)


def test_settings_out_of_range_are_refused():
    with pytest.raises(ValueError, match="weight must be finite and at least 0; got -1"):
        Expansion(-1.0, 1.0)
    with pytest.raises(ValueError, match="sharpness must be finite and at least 0; got nan"):
        Expansion(1.0, float("nan"))


def test_expansions_that_share_similarities_are_those_of_each(sides):
    source, target, z = sides
    each = [Expansion(0.2, 6.0), Expansion(0.5, 6.0), Expansion(0.5, 9.0)]
    for expansion, found in zip(each, expanded(z, source, target, each), strict=True):
        assert found.equal(expansion(z, source, target))


@pytest.mark.parametrize("side", ["source", "target"])
def test_one_query_alone_moves_as_among_others(sides, side):
    source, target, z = sides
    moving = ReferenceSet(
        source, target, expansion=None, hubness=NNN(3, 0.5), query_expansion=Expansion(0.4, 6.0)
    )
    together = moving.queries(z, side=side)
    for row in range(len(z)):
        alone = moving.queries(z[row : row + 1], side=side)
        torch.testing.assert_close(alone, together[row : row + 1])
