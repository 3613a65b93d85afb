"""The weight of a composed query: where the answer is planted, and where there is none."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

import align
from align import Hit, Index, Retriever
from align.adapters.adapter import Adapter
from align.adapters.card import Card
from align.adapters.maps.linear import IdentityMap
from align.fitting.query_weight import WEIGHTS, best_weight, fit_query_weight
from align.retrieval.examples import EVEN
from tests.helpers.lookups import lookup

D, N = 24, 120


def unit(seed, n=N):
    return F.normalize(torch.randn(n, D, generator=torch.Generator().manual_seed(seed)), dim=1)


def retriever_of(folder, *, example, said, right):
    """Items 0 to N - 1 are the right ones of N triples, the others lead astray."""
    shared = IdentityMap(D)
    gallery = torch.cat([right, unit(9, 200), example])
    made = Retriever(
        Index.create(folder, Adapter(shared, shared, Card("identity", 1, D, D))),
        source=lookup("w", said),
        target=lookup("t", gallery),
    )
    ids = [f"t{row}" for row in range(len(gallery))]
    made.add(ids, ids)
    return made


def triples(n=N):
    """The example of triple ``i`` is the indexed item ``N + 200 + i``."""
    return (
        [Hit(f"t{N + 200 + row}", 0.0) for row in range(n)],
        [f"w{row}" for row in range(n)],
        [f"t{row}" for row in range(n)],
    )


@pytest.mark.parametrize(("planted", "within"), [(0.0, 0.2), (0.8, 0.2), (1.0, 0.2)])
def test_a_planted_weight_is_found_and_gains_on_the_even_one(tmp_path, planted, within):
    example, said = unit(0), unit(1)
    right = F.normalize((1 - planted) * example + planted * said + 0.9 * unit(2), dim=1)
    found = fit_query_weight(
        retriever_of(tmp_path, example=example, said=said, right=right), *triples()
    )
    assert abs(found.weight - planted) <= within
    assert found.held_out.value > found.by_weight[EVEN].value
    assert len(found.held_out_ranks) == N and list(found.by_weight) == sorted(WEIGHTS)
    best = max(each.value for each in found.by_weight.values())
    assert found.held_out.value <= best and found.by_weight[found.weight].value == best


@pytest.mark.parametrize(
    ("gains", "groups", "moves"),
    [
        ([0.1] * 8, range(8), True),
        ([0.4, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0], range(8), False),  # as large as its error
        ([0.0] * 8, range(8), False),
        ([0.4, 0.4, 0.4, 0.4, 0.1, 0.1, 0.1, 0.1], range(8), True),
        ([0.4, 0.4, 0.4, 0.4, -0.1, -0.1, -0.1, -0.1], [0, 0, 0, 0, 1, 1, 1, 1], False),
        ([0.4, -0.1, 0.4, -0.1, 0.4, -0.1, 0.4, -0.1], range(8), True),
    ],
)
def test_the_even_weight_stays_unless_another_gains_more_than_an_error(gains, groups, moves):
    even = torch.full((8,), 0.5, dtype=torch.float64)
    rows = torch.stack([even, even - 0.2, even + torch.tensor(gains, dtype=torch.float64)])
    assert best_weight(rows, torch.tensor(list(groups))) == (2 if moves else 0)
    assert WEIGHTS[0] == EVEN


def test_ranks_are_those_that_the_search_gives(tmp_path):
    example, said = unit(0, 12), unit(1, 12)
    right = F.normalize(example + said + unit(2, 12), dim=1)
    shared = IdentityMap(D)
    made = Retriever(
        Index.create(tmp_path, Adapter(shared, shared, Card("identity", 1, D, D))),
        source=lookup("w", said),
        target=lookup("t", torch.cat([right, example, unit(5, 20)])),
    )
    ids = [f"t{row}" for row in range(44)]
    made.add(ids, ids)
    asked = [Hit(f"t{12 + row}", 0.0) for row in range(12)]
    words, answers = [f"w{row}" for row in range(12)], ids[:12]
    found = fit_query_weight(made, asked, words, answers)
    for weight in (0.0, 0.3, 0.5, 1.0):
        hits = made.search_like(asked, modification=words, weight=weight, k=43)
        ranks = [
            [hit.id for hit in each].index(answer) + 1
            for each, answer in zip(hits, answers, strict=True)
        ]
        assert found.ranks[weight].tolist() == ranks
        expected = sum(1 / rank for rank in ranks) / 12
        assert found.by_weight[weight].value == pytest.approx(expected)


def test_an_equal_item_counts_against_the_right_one(tmp_path):
    example, said = unit(0), unit(1)
    right = F.normalize(example + said, dim=1)
    made = retriever_of(tmp_path, example=example, said=said, right=right)
    assert fit_query_weight(made, *triples()).by_weight[EVEN].value == 1
    doubles = lookup("d", right)
    copies = Retriever(made.index, source=lookup("w", said), target=doubles)
    copies.add([f"d{row}" for row in range(N)], [f"d{row}" for row in range(N)])
    found = fit_query_weight(copies, *triples())
    assert found.by_weight[EVEN].value == pytest.approx(1 / 2)


def test_triples_of_one_answer_share_a_fold_and_bad_ones_are_refused(tmp_path):
    example, said = unit(0), unit(1)
    made = retriever_of(tmp_path, example=example, said=said, right=unit(3))
    shown, words, right = triples(6)
    with pytest.raises(ValueError, match="two or more; got 1 of 6"):
        fit_query_weight(made, shown, words, ["t0"] * 6)
    with pytest.raises(ValueError, match="triple 2 has 't322' as both"):
        fit_query_weight(made, shown, words, [*right[:2], "t322", *right[3:]])
    with pytest.raises(KeyError, match="nobody"):
        fit_query_weight(made, shown, words, [*right[:5], "nobody"])
    with pytest.raises(ValueError, match="modification must have"):
        fit_query_weight(made, shown, words[:5], right)
    with pytest.raises(ValueError, match="groups must have"):
        fit_query_weight(made, shown, words, right, groups=["a", "b"])
    found = fit_query_weight(made, shown, words, ["t0", "t1"] * 3)
    assert "6 triples" in repr(found) and "by chance" in repr(found)
    assert found.chance == pytest.approx(sum(1 / r for r in range(1, 440)) / 439)


def test_it_is_public():
    assert align.fit_query_weight is fit_query_weight
