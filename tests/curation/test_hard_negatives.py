import pytest
import torch
import torch.nn.functional as F

from align.adapters.adapter import Adapter
from align.adapters.card import Card
from align.adapters.maps.linear import IdentityMap
from align.curation import hard_negatives as module
from align.curation.hard_negatives import hard_negatives
from align.data.embeddings import PairedEmbeddings
from tests.helpers.planted import shared_factors


@pytest.fixture
def cosine():
    """An adapter that leaves vectors of width 6 as they are."""
    return Adapter(IdentityMap(6), IdentityMap(6), Card("identity", 0, 6, 6))


@pytest.fixture
def pairs(rng):
    """90 pairs in groups of three; the pairs of a group share one target in every other group."""
    source, target = shared_factors(90, (6, 6), shared=6, noise=0.2)
    for first in range(0, 90, 6):
        target[first + 1] = target[first + 2] = target[first]
    return PairedEmbeddings.from_arrays(source, target, groups=[str(i // 3) for i in range(90)])


def brute_force(pairs, row, k, margin):
    """By the definition, one query at a time, in float64."""
    x, y = F.normalize(pairs.source.double(), dim=1), F.normalize(pairs.target.double(), dim=1)
    own = float(x[row] @ y[row])
    bar = own - (1 - margin) * abs(own)
    keys = [tuple(vector) for vector in pairs.target.tolist()]
    mine = {
        key for key, group in zip(keys, pairs.groups, strict=True) if group == pairs.groups[row]
    }
    found, withheld = [], 0
    for other, key in enumerate(keys):
        if keys.index(key) != other or key in mine:
            continue
        score = float(x[row] @ y[other])
        if score > bar:
            withheld += 1
        else:
            found.append((-score, other))
    return [other for _, other in sorted(found)[:k]], withheld


@pytest.mark.parametrize("rows", [1024, 8])
@pytest.mark.parametrize("margin", [1.0, 0.9, 0.5])
def test_negatives_are_what_the_definition_says(pairs, cosine, margin, rows, monkeypatch):
    monkeypatch.setattr(module, "ROWS", rows)
    found = hard_negatives(pairs, cosine, k=4, margin=margin)
    mined = dict(zip(found.queries.tolist(), found.rows.tolist(), strict=True))
    for row in range(90):
        expected, withheld = brute_force(pairs, row, 4, margin)
        assert found.withheld[row] == withheld
        if row in mined:
            assert mined[row] == expected
        else:
            assert len(expected) < 4
    assert sorted([*found.queries.tolist(), *found.lacking.tolist()]) == list(range(90))
    assert len(found.queries) > 30


def test_the_other_side_may_ask(pairs, cosine):
    turned = PairedEmbeddings.from_arrays(pairs.target, pairs.source, groups=pairs.groups)
    found, expected = (
        hard_negatives(pairs, cosine, k=3, side="target"),
        hard_negatives(turned, cosine, k=3),
    )
    assert found.rows.equal(expected.rows) and found.queries.equal(expected.queries)


def test_a_planted_unlabelled_answer_is_withheld(cosine):
    x = F.normalize(torch.eye(6) + 0.3, dim=1)
    y = x.clone()
    y[5] = x[0]  # row 5 holds an answer to query 0 that nobody wrote down
    y[5, 1] += 1e-3
    found = hard_negatives(PairedEmbeddings.from_arrays(x, y), cosine, k=2)
    row = found.queries.tolist().index(0)
    assert 5 not in found.rows[row].tolist() and found.withheld[0] == 1


def test_below_zero_the_bar_still_lies_below_the_own_item(cosine):
    y = torch.tensor([[-0.2, 1, 0, 0, 0, 0], [-0.205, 1, 0, 0, 0, 0], [-0.5, 1, 0, 0, 0, 0]])
    x = torch.tensor([[1.0, 0, 0, 0, 0, 0]]).repeat(3, 1)
    found = hard_negatives(PairedEmbeddings.from_arrays(x, y), cosine, k=1, margin=0.9)
    # cos = -0.196 for row 0; the bar is -0.216, so -0.201 is withheld and -0.447 is mined.
    assert found.rows[found.queries.tolist().index(0)].tolist() == [2]


def test_a_query_whose_own_item_scores_last_is_lacking(cosine):
    x = torch.eye(6)[:4]
    y = torch.eye(6)[:4].clone()
    y[3] = -x[3]
    found = hard_negatives(PairedEmbeddings.from_arrays(x, y), cosine, k=2)
    assert found.lacking.tolist() == [3]


def test_options_out_of_range_are_refused(pairs, cosine):
    with pytest.raises(ValueError, match=r"margin must lie in \(0, 1\]; got 0"):
        hard_negatives(pairs, cosine, k=1, margin=0)
    with pytest.raises(ValueError, match=r"k must lie in \[1, \d+\], the number of other items"):
        hard_negatives(pairs, cosine, k=90)
    with pytest.raises(ValueError, match='side must be "source" or "target"'):
        hard_negatives(pairs, cosine, k=1, side="left")
