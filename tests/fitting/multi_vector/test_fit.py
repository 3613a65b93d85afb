"""Further vectors come where they help, and stay away where they do not."""

from __future__ import annotations

import pytest
import torch

from align.adapters.closed_form.rcca import rcca
from align.adapters.multi_vector.aspects import Selector, _spread
from align.data.embeddings import PairedEmbeddings
from align.data.multi_vector import MultiVector
from align.data.token_pairs import TokenPairs
from align.fitting.losses.matryoshka import Group
from align.fitting.multi_vector import fit as meta_selection
from align.fitting.multi_vector.fit import budgets_of, fit_meta_tokens
from align.metrics.multi_vector import evaluate_meta_tokens
from tests.helpers.planted import shared_factors, unit
from tests.helpers.planted_tokens import needles


def closed_form(pairs):
    return rcca(pairs.source, pairs.target)


def fitted(data, **options):
    return fit_meta_tokens(
        data, **{"asking": 2, "vectors": 5, "epochs": 2, "fit_adapter": closed_form, **options}
    )


@pytest.fixture(scope="module")
def needle_head():
    return fitted(needles(500).take(range(300)))


def recall(head, data, budget=None):
    return evaluate_meta_tokens(data, head, budget=budget).mean["recall_at_10"].value


def noise(n=240):
    """Pairs whose pooled vectors tell everything and whose token states tell nothing."""
    rng = torch.Generator().manual_seed(3)
    x, y = shared_factors(n, (24, 20), shared=8, noise=1.0)
    tokens = [MultiVector.from_equal(torch.randn(n, 3, 7, generator=rng)) for _ in range(2)]
    return TokenPairs(PairedEmbeddings.from_arrays(x, y), *tokens)


def parts(n=300, *, seed=0):
    """Targets are lists of two to four parts; a source is about one part alone."""
    rng = torch.Generator().manual_seed(seed)
    lists = [
        unit(torch.randn(2 + i % 3, 12, generator=rng, dtype=torch.float64)).float()
        for i in range(n)
    ]
    turn = torch.linalg.qr(torch.randn(12, 12, generator=torch.Generator().manual_seed(9)))[0]
    asked = torch.stack([each[i % len(each)] for i, each in enumerate(lists)])
    asked = asked @ turn + 0.05 * torch.randn(n, 12, generator=rng)
    pooled = torch.stack([each.mean(dim=0) for each in lists])
    return TokenPairs(
        PairedEmbeddings.from_arrays(asked, pooled),
        MultiVector.from_equal(asked[:, None]),
        MultiVector.pack(lists),
    )


@pytest.mark.parametrize(
    ("asking", "vectors", "sizes"),
    [
        (4, 16, [(1, 1), (2, 4), (4, 16)]),
        (16, 64, [(1, 1), (2, 4), (4, 8), (8, 16), (16, 64)]),
        (2, 2, [(1, 1), (2, 2)]),
        (4, 4, [(1, 1), (4, 4)]),
    ],
)
def test_budgets_are_nested_from_one_vector_to_all(asking, vectors, sizes):
    assert [(group.queries, group.documents) for group in budgets_of(asking, vectors)] == sizes


def test_a_planted_needle_in_the_tokens_is_found(needle_head):
    held_out = needles(500).take(range(300, 500))
    assert needle_head.vectors == 5 and needle_head.asking == 2
    assert recall(needle_head, held_out) > recall(needle_head, held_out, (1, 1)) + 0.1
    assert "further vectors gained +" in needle_head.card["verdict"]


def test_tokens_of_noise_are_left_out_and_the_card_says_so():
    head = fitted(noise())
    assert head.vectors == 1 and head.source_aspects is None
    assert "so they are left out" in head.card["verdict"]


def test_the_gate_can_be_opened():
    head = fitted(noise(), do_no_harm=False)
    assert head.vectors == 5


def test_a_query_about_one_part_finds_the_list_that_holds_it():
    every = parts(500)
    head, held_out = fitted(every.take(range(300)), epochs=0), every.take(range(300, 500))
    assert recall(head, held_out) > recall(head, held_out, (1, 1))


def test_the_same_seed_gives_the_same_head():
    one, two = fitted(needles(120)), fitted(needles(120))
    for name, value in one.state_dict().items():
        assert torch.equal(value, two.state_dict()[name]), name


def test_what_was_tried_stands_on_the_card(needle_head):
    stages = [entry["stage"] for entry in needle_head.card["tried"]]
    assert stages[0] == "adapter" and {"start", "trained"} < set(stages)
    assert needle_head.card["groups"] == [
        {"queries": 1, "documents": 1, "weight": 1.0},
        {"queries": 2, "documents": 5, "weight": 1.0},
    ]


def test_the_adapter_is_fitted_on_all_pairs_and_outside_each_fold():
    seen = []

    def spy(pairs):
        seen.append(set(pairs.domains))
        return closed_form(pairs)

    data = needles(120)
    domains = tuple(f"project {i % 12}" for i in range(120))
    pooled = PairedEmbeddings.from_arrays(data.pooled.source, data.pooled.target, domains=domains)
    fitted(TokenPairs(pooled, data.source, data.target), fit_adapter=spy)
    every = set(domains)
    assert seen[0] == every and len(seen) == 4
    left_out = [every - each for each in seen[1:]]
    assert set.union(*left_out) == every and sum(map(len, left_out)) == len(every)


def test_no_head_is_evaluated_on_pairs_that_it_was_trained_on(monkeypatch):
    train, evaluate = meta_selection.train, meta_selection._evaluate
    seen, evaluated = {}, []

    def trained(head, data, folds, *rest, **options):
        seen[head] = torch.cat([firsts.rows for firsts in folds]).tolist()
        train(head, data, folds, *rest, **options)

    def looked_at(head, data, fold, mixes):
        evaluated.append((set(seen.get(head, ())), set(fold.evaluated.tolist())))
        return evaluate(head, data, fold, mixes)

    monkeypatch.setattr(meta_selection, "train", trained)
    monkeypatch.setattr(meta_selection, "_evaluate", looked_at)
    fitted(needles(120), epochs=1)
    after_training = [(rows, held) for rows, held in evaluated if rows]
    assert after_training
    for rows, held in after_training:
        assert held and not rows & held


def test_selected_states_spread_from_the_middle_outwards():
    angles = torch.tensor([0.0, 0.1, 1.0, -0.3, 2.0])
    tokens = torch.stack([angles.cos(), angles.sin()], dim=1)[None]
    held = torch.tensor([[True, True, True, True, False]])
    found = _spread(tokens, held, 4)[0]
    # The mean of the held ones points to about 0.2: first 0.1, then the farthest, and so on.
    order = [1, 2, 3, 0]
    assert torch.equal(found, tokens[0, order])


def test_an_item_with_fewer_states_than_vectors_repeats_its_last(rng):
    tokens = MultiVector.pack([torch.randn(2, 4, generator=rng), torch.randn(5, 4, generator=rng)])
    states = MultiVector(unit(tokens.tokens), tokens.offsets)
    found = Selector(torch.eye(4), count=5)(states)
    assert torch.equal(found[0, 1:], found[0, 1:2].expand(4, -1))
    assert len(found[1].unique(dim=0)) == 5


def test_one_vector_per_query_is_refused():
    with pytest.raises(ValueError, match="asking=1 and vectors=5"):
        fitted(needles(60), asking=1)
    with pytest.raises(ValueError, match="asking=6 and vectors=5"):
        fitted(needles(60), asking=6)


def test_groups_beyond_the_vectors_are_refused():
    with pytest.raises(ValueError, match="nested budgets"):
        fitted(needles(60), groups=(Group(1, 1), Group(3, 5)))


def test_negative_epochs_are_refused():
    with pytest.raises(ValueError, match="epochs must be finite and at least 0"):
        fitted(needles(60), epochs=-1)


def test_tokens_that_are_not_finite_are_refused():
    data = needles(60)
    data.source.tokens[3] = torch.nan
    with pytest.raises(ValueError, match="source tokens must be finite"):
        fitted(data)
