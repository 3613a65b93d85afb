"""Several vectors per item: what they are made of, and what their scores are worth."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from align.adapters.closed_form.rcca import rcca
from align.adapters.multi_vector import aspects as meta_tokens
from align.adapters.multi_vector.aspects import Selector, check_tokens
from align.adapters.multi_vector.meta_tokens import MetaTokens
from align.data.embeddings import Embeddings
from align.data.multi_vector import MultiVector
from align.fitting.multi_vector.training import best_aspects, late_scores, similarities
from align.scoring.late_interaction import maxsim
from tests.helpers.meta_heads import KINDS, NONE, TOKEN_WIDTHS, made, random_aspects, random_tokens
from tests.helpers.planted import unit


def blocks(vectors):
    """Vectors of items that have equally many, ``(n, r, d)``."""
    return vectors.tokens.view(len(vectors), -1, vectors.dim)


def both_ways(it):
    """Queries and gallery of both directions of search."""
    for asking, side, other in ((0, "source", "target"), (1, "target", "source")):
        found = 1 - asking
        yield (
            it.head.queries(it.sides[asking], it.tokens[asking], side=side),
            it.head.gallery(it.sides[found], it.tokens[found], side=other),
            it.head.adapter.queries(it.sides[asking], side=side),
            it.head.adapter.gallery(it.sides[found], side=other),
        )


def spread_by_hand(states, count):
    """Farthest-first traversal from the state nearest to the mean; the last one is repeated."""
    taken = [first_largest_by_hand((states @ states.mean(dim=0)).tolist())]
    while len(taken) < min(count, len(states)):
        left = [at for at in range(len(states)) if at not in taken]
        apart = [-max(float(states[at] @ states[t]) for t in taken) for at in left]
        taken.append(left[first_largest_by_hand(apart)])
    return states[taken + taken[-1:] * (count - len(taken))]


def first_largest_by_hand(values):
    """The first place that is largest up to 1e-4."""
    return next(at for at, value in enumerate(values) if value > max(values) - 1e-4)


def aspects_by_hand(part, pooled, tokens):
    """What the docstrings of both kinds say, item by item in float64, ``(n, r, width)``."""
    rows = []
    for item in range(len(pooled)):
        if tokens is None:
            x = unit(unit(pooled[item : item + 1].double()) - part.mean)[0]
            rows.append(torch.stack([x @ head.double() for head in part.weight.detach()]))
            continue
        resampler = part.resampler
        x = unit(unit(tokens[item].double()) - part.reduction.mean) @ part.reduction.basis.double()
        x = unit(x)
        if isinstance(resampler, Selector):
            rows.append(spread_by_hand(x, resampler.count) @ resampler.weight.detach().double())
            continue
        shares = [torch.softmax(x @ k.double(), dim=0) for k in resampler.queries.detach()]
        drawn = torch.stack([share @ x for share in shares])
        rows.append(drawn @ resampler.weight.detach().double())
    return F.normalize(torch.stack(rows), dim=2)


@pytest.mark.parametrize("kinds", [*KINDS, NONE], ids=str)
def test_every_vector_of_both_sides_has_unit_norm(kinds, rng):
    it = made(kinds, rng=rng, asking=1)
    for method, x, tokens in zip(
        (it.head.source, it.head.target), it.sides, it.tokens, strict=True
    ):
        found = method(x, tokens)
        assert found.lengths.tolist() == [it.head.vectors] * 30 and found.tokens.dtype == x.dtype
        torch.testing.assert_close(found.tokens.norm(dim=1), torch.ones(len(found.tokens)))


@pytest.mark.parametrize("hubness", [False, True], ids=["plain", "corrected"])
@pytest.mark.parametrize("kinds", [*KINDS, NONE], ids=str)
def test_the_first_vector_is_what_the_adapter_gives_to_the_last_bit(kinds, hubness, rng):
    it = made(kinds, rng=rng, asking=1, hubness=hubness)
    head, (x, y), (s, t) = it.head, it.sides, it.tokens
    found = [
        (head.source(x, s), head.adapter.source(x)),
        (head.target(y, t), head.adapter.target(y)),
        *((asked, first) for asked, _, first, _ in both_ways(it)),
        *((gallery, first) for _, gallery, _, first in both_ways(it)),
    ]
    for vectors, first in found:
        mine = blocks(vectors)[:, 0]
        assert mine[:, : first.shape[1]].equal(first)
        assert not mine[:, first.shape[1] :].any()


@pytest.mark.parametrize("kinds", KINDS, ids=str)
def test_further_vectors_are_the_first_beside_an_aspect_as_the_docstrings_say(kinds, rng):
    it = made(kinds, rng=rng, mix=0.3)
    parts = (it.head.source_aspects, it.head.target_aspects)
    for method, side in ((it.head.source, 0), (it.head.target, 1)):
        x, tokens = it.sides[side], it.tokens[side]
        first = (it.head.adapter.source, it.head.adapter.target)[side](x).double()
        aspects = aspects_by_hand(parts[side], x, tokens)
        further = blocks(method(x, tokens))[:, 1:].double()
        d = first.shape[1]
        expected = math.sqrt(0.7) * first[:, None].expand(-1, 3, -1)
        torch.testing.assert_close(further[:, :, :d], expected, atol=1e-6, rtol=0)
        torch.testing.assert_close(further[:, :, d:], math.sqrt(0.3) * aspects, atol=1e-5, rtol=0)


def test_a_query_asks_with_its_first_vectors_and_a_gallery_holds_all(rng):
    it = made(rng=rng, asking=2)
    asked, gallery, *_ = next(iter(both_ways(it)))
    assert asked.lengths.tolist() == [2] * 30 and gallery.lengths.tolist() == [4] * 30
    assert it.head.vectors == 4
    assert asked.tokens.equal(it.head.source(it.sides[0], it.tokens[0]).prefix(2).tokens)
    assert gallery.tokens.equal(it.head.target(it.sides[1], it.tokens[1]).tokens)


@pytest.mark.parametrize("hubness", [False, True], ids=["plain", "corrected"])
@pytest.mark.parametrize("kinds", KINDS, ids=str)
def test_the_smallest_budget_scores_as_the_adapter(kinds, hubness, rng):
    for asked, gallery, query, item in both_ways(made(kinds, rng=rng, hubness=hubness)):
        torch.testing.assert_close(maxsim(asked, gallery, budget=(1, 1)), query @ item.T)


@pytest.mark.parametrize("hubness", [False, True], ids=["plain", "corrected"])
@pytest.mark.parametrize("budget", [(1, 2), (1, 4), (2, 1), (3, 1)], ids=str)
def test_one_vector_on_either_side_keeps_the_ranking_of_the_adapter(budget, hubness, rng):
    for asked, gallery, query, item in both_ways(made(rng=rng, hubness=hubness)):
        scores = query.double() @ item.double().T
        assert (scores < 0).any() and (scores > 0).any()
        found = maxsim(
            asked.to(dtype=torch.float64), gallery.to(dtype=torch.float64), budget=budget
        )
        assert found.argsort(dim=1).equal(scores.argsort(dim=1))


def test_a_full_budget_does_not_keep_the_ranking_of_the_adapter(rng):
    asked, gallery, query, item = next(iter(both_ways(made(rng=rng))))
    ranking = maxsim(asked, gallery).argsort(dim=1)
    assert not ranking.equal((query @ item.T).argsort(dim=1))


@pytest.mark.parametrize("mix", [0.02, 0.4, 0.95])
def test_scores_from_parts_are_those_of_the_joined_vectors(mix, rng):
    head = made(rng=rng, mix=mix).head.double()

    def drawn(*shape):
        return F.normalize(torch.randn(*shape, generator=rng, dtype=torch.float64), dim=-1)

    first_q, first_c, asked, found = drawn(5, 6), drawn(7, 6), drawn(5, 2, 4), drawn(7, 3, 4)
    with torch.no_grad():
        joined = [
            head.join(first, aspects) for first, aspects in ((first_q, asked), (first_c, found))
        ]
        inner = similarities(head.mix, first_q @ first_c.T, asked, found)
        late = late_scores(head.mix, first_q @ first_c.T, best_aspects(asked, found))
    torch.testing.assert_close(inner, torch.einsum("qrd,msd->qrms", *joined))
    whole = maxsim(*(MultiVector.from_equal(vectors) for vectors in joined))
    assert whole.dtype == torch.float64
    torch.testing.assert_close(inner.amax(dim=3).sum(dim=1), whole)
    torch.testing.assert_close(late, whole)


@pytest.mark.parametrize("rows", [1, 2, 100])
def test_best_aspects_do_not_depend_on_how_many_queries_are_scored_at_a_time(
    rows, rng, monkeypatch
):
    monkeypatch.setattr("align.fitting.multi_vector.training.ROWS", rows)
    asked, found = torch.randn(5, 2, 4, generator=rng), torch.randn(6, 3, 4, generator=rng)
    expected = torch.einsum("qrd,msd->rqms", asked, found).amax(dim=3)
    torch.testing.assert_close(best_aspects(asked, found), expected)


def test_scores_of_a_fitted_head_are_those_of_its_parts(rng):
    it = made(("heads", "tokens"), rng=rng, hubness=True)
    head = it.head
    with torch.no_grad():
        part = head.target_aspects
        asked = head.source_aspects(it.sides[0])[:, : head.asking - 1]
        found = part.resampler(part.reduction(it.tokens[1]))
        queries, gallery, query, item = next(iter(both_ways(it)))
        late = late_scores(head.mix, query @ item.T, best_aspects(asked, found))
    torch.testing.assert_close(late, maxsim(queries, gallery))


def test_the_order_of_tokens_does_not_matter(rng):
    it = made(rng=rng)
    shuffled = MultiVector.pack(
        [item[torch.randperm(len(item), generator=rng)] for item in it.tokens[0]]
    )
    assert not shuffled.tokens.equal(it.tokens[0].tokens)
    torch.testing.assert_close(
        it.head.source(it.sides[0], shuffled).tokens,
        it.head.source(it.sides[0], it.tokens[0]).tokens,
        atol=1e-6,
        rtol=0,
    )


def test_an_item_does_not_depend_on_the_items_beside_it(rng):
    it = made(rng=rng)
    whole = it.head.source(it.sides[0], it.tokens[0])
    for row in (0, 11, 29):
        alone = it.head.source(it.sides[0][[row]], it.tokens[0].take([row]))
        torch.testing.assert_close(alone.tokens, whole[row], atol=1e-6, rtol=0)


def test_padding_draws_no_attention_from_a_query_that_looks_away_from_every_token(rng):
    it = made(rng=rng)
    with torch.no_grad():
        states = it.head.source_aspects.reduction(it.tokens[0])
        one_sided = MultiVector(unit(states.tokens + 2), states.offsets)
        resampler = it.head.source_aspects.resampler
        resampler.queries.fill_(-100.0)  # logits near -200, whose exponentials are 0
        whole = resampler(one_sided)
        alone = torch.cat([resampler(one_sided[row : row + 1]) for row in range(30)])
    # Float32 knows logits of that size to 1e-5.
    torch.testing.assert_close(whole, alone, atol=1e-4, rtol=0)
    torch.testing.assert_close(whole.norm(dim=2), torch.ones(30, 3))


@pytest.mark.parametrize("items", [1, 7, 29, 30])
def test_items_worked_out_at_a_time_change_nothing(items, rng, monkeypatch):
    it = made(rng=rng)
    whole = it.head.source(it.sides[0], it.tokens[0])
    monkeypatch.setattr(meta_tokens, "ITEMS", items)
    again = it.head.source(it.sides[0], it.tokens[0])
    torch.testing.assert_close(again.tokens, whole.tokens, atol=1e-6, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_token_states_of_any_dtype_count_as_the_numbers_they_are(dtype, rng):
    it = made(rng=rng)
    tokens = it.tokens[0].to(dtype=dtype)
    found = it.head.source(it.sides[0], tokens).tokens
    expected = it.head.source(it.sides[0], tokens.to(dtype=torch.float32)).tokens
    assert found.dtype == torch.float32 and found.equal(expected)


def test_int8_token_states_count_scaled(rng):
    it = made(rng=rng)
    tokens = it.tokens[0].quantized()
    found = it.head.source(it.sides[0], tokens).tokens
    assert found.equal(it.head.source(it.sides[0], tokens.to(dtype=torch.float32)).tokens)


@pytest.mark.parametrize("scale", [1e-25, 1e25])
def test_linear_heads_ignore_the_length_of_a_pooled_vector(scale, rng):
    it = made(("heads", "heads"), rng=rng)
    torch.testing.assert_close(
        it.head.source(scale * it.sides[0]).tokens, it.head.source(it.sides[0]).tokens
    )


def test_linear_heads_take_what_the_adapter_takes(rng):
    it = made(("heads", "heads"), rng=rng)
    expected = it.head.source(it.sides[0]).tokens
    frozen = it.sides[0].numpy().copy()
    frozen.flags.writeable = False
    named = Embeddings(it.sides[0], None, tuple(map(str, range(30))))
    for x in (frozen, it.sides[0].double(), named):
        assert it.head.source(x).tokens.equal(expected)


def test_a_head_without_aspects_has_one_vector_and_needs_no_tokens(rng):
    it = made(NONE, rng=rng, asking=1)
    assert it.head.vectors == 1
    asked, gallery, query, item = next(iter(both_ways(it)))
    assert asked.lengths.tolist() == gallery.lengths.tolist() == [1] * 30
    assert asked.tokens.equal(query) and gallery.tokens.equal(item)


def test_tokens_of_another_width_are_refused(rng):
    it = made(rng=rng)
    with pytest.raises(ValueError, match="source tokens must have width 7; got 9"):
        it.head.source(it.sides[0], random_tokens(30, 9, rng))
    with pytest.raises(ValueError, match="target tokens must have width 9; got 7"):
        it.head.gallery(it.sides[1], random_tokens(30, 7, rng))


def test_missing_tokens_are_refused(rng):
    it = made(("heads", "tokens"), rng=rng)
    with pytest.raises(ValueError, match="draws on the token states of the target side; got none"):
        it.head.target(it.sides[1])
    it.head.source(it.sides[0])


def test_tokens_of_other_items_are_refused(rng):
    it = made(rng=rng)
    with pytest.raises(ValueError, match="source tokens must have one entry per row, 30; got 29"):
        it.head.queries(it.sides[0], it.tokens[0][:29])


def test_a_state_of_zeros_points_away_from_the_mean(rng):
    reduction = made(rng=rng).head.source_aspects.reduction
    zeros = MultiVector.from_equal(torch.zeros(1, 1, reduction.d_in))
    found = reduction(zeros).tokens[0]
    away = -reduction.mean @ reduction.basis
    torch.testing.assert_close(found, away / away.norm())


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_tokens_that_are_not_finite_are_refused_by_item(value, rng):
    it = made(rng=rng)
    tokens = it.tokens[0]
    rows = tokens.tokens.clone()
    rows[tokens.offsets[3]] = value
    rows[tokens.offsets[9] - 1] = value  # the last token of item 8
    bad = MultiVector(rows, tokens.offsets)
    message = rf"finite; 2 of {len(rows)} rows hold NaN or infinity, in items \[3, 8\]"
    with pytest.raises(ValueError, match=message):
        it.head.source(it.sides[0], bad)
    with pytest.raises(ValueError, match=message):
        check_tokens("tokens", bad, d=TOKEN_WIDTHS[0])


def test_what_the_adapter_refuses_is_refused(rng):
    it = made(rng=rng)
    with pytest.raises(ValueError, match="source embeddings must have 6 columns"):
        it.head.source(it.sides[1], it.tokens[0])
    with pytest.raises(ValueError, match="every row of target embeddings needs a direction"):
        it.head.gallery(torch.zeros(30, 5), it.tokens[1])
    for method in (it.head.queries, it.head.gallery):
        with pytest.raises(ValueError, match='side must be "source" or "target"'):
            method(it.sides[0], it.tokens[0], side="image")


def test_aspects_of_different_counts_or_widths_are_refused(rng):
    x, y = made(rng=rng).sides
    three, two, wide = (
        random_aspects("heads", 0, x, rng, **size) for size in ({}, {"count": 2}, {"width": 5})
    )
    for other in (two, wide, None):
        with pytest.raises(ValueError, match="equally many aspects of one width, or neither any"):
            MetaTokens(rcca(x, y), three, other, mix=0.5, asking=1, card={})


@pytest.mark.parametrize("mix", [0.0, 1.0, -0.1, math.nan])
def test_a_mix_that_leaves_nothing_of_one_part_is_refused(mix, rng):
    with pytest.raises(ValueError, match=r"mix must lie in \(0, 1\)"):
        made(rng=rng, mix=mix)


@pytest.mark.parametrize(("kinds", "asking"), [(KINDS[0], 0), (KINDS[0], 5), (NONE, 2)], ids=str)
def test_asking_with_more_vectors_than_there_are_is_refused(kinds, asking, rng):
    with pytest.raises(ValueError, match=r"asking must lie in \[1, .\], the vectors of an item"):
        made(kinds, rng=rng, asking=asking)


def test_the_mix_is_the_one_given_and_can_be_learned(rng):
    head = made(rng=rng, mix=0.35).head
    assert head.mix.detach().item() == pytest.approx(0.35, abs=1e-6)
    assert {name for name, _ in head.named_parameters()} == {
        "mix_logit",
        *(
            f"{side}_aspects.resampler.{name}"
            for side in ("source", "target")
            for name in ("queries", "weight")
        ),
    }
