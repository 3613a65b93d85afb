"""Losses of late-interaction scores, against plain loops in float64."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from align.fitting.losses.matryoshka import Group, check_groups, matryoshka_multi_vector

GROUPS = (Group(1, 1), Group(2, 3, weight=0.5), Group(3, 4, weight=2.0))


def drawn(rng, n=5, queries=3, documents=4, width=6, hard=0):
    """Similarities of unit vectors in float64, and those with hard negatives if any are wanted."""
    asked = F.normalize(torch.randn(n, queries, width, generator=rng).double(), dim=2)
    found = F.normalize(torch.randn(n, documents, width, generator=rng).double(), dim=2)
    similarities = torch.einsum("qrd,msd->qrms", asked, found)
    if not hard:
        return similarities
    wrong = F.normalize(torch.randn(n, hard, documents, width, generator=rng).double(), dim=3)
    return similarities, torch.einsum("qrd,qhsd->qrhs", asked, wrong)


def by_hand(similarities, groups, temperatures, codes=None, hard=None):
    """The loss as its docstring has it: no tensor operation but reading one number."""
    n = len(similarities)

    def score(table, u, v, group):
        rows = range(group.queries)
        return sum(max(float(x) for x in table[u, i, v, : group.documents]) for i in rows)

    total = 0.0
    for group, temperature in zip(groups, temperatures, strict=True):
        for u in range(n):
            others = [v for v in range(n) if v == u or codes is None or codes[v] != codes[u]]
            scores = [score(similarities, u, v, group) for v in others]
            if hard is not None:
                scores += [score(hard, u, v, group) for v in range(hard.shape[2])]
            own = score(similarities, u, u, group)
            log_sum = math.log(math.fsum(math.exp((s - own) / temperature) for s in scores))
            total += group.weight * log_sum / n
    return total


def test_one_group_of_single_vectors_is_plain_cross_entropy(rng):
    similarities = drawn(rng)
    scores = similarities[:, 0, :, 0]
    found = matryoshka_multi_vector(similarities, [Group(1, 1)], temperature=0.07)
    torch.testing.assert_close(found, F.cross_entropy(scores / 0.07, torch.arange(5)))


@pytest.mark.parametrize("codes", [None, [0, 1, 0, 2, 1]], ids=["own groups", "shared groups"])
@pytest.mark.parametrize("hard", [0, 2], ids=["no hard negatives", "two hard negatives"])
def test_the_loss_is_that_of_plain_loops(codes, hard, rng):
    similarities, wrong = drawn(rng, hard=hard) if hard else (drawn(rng), None)
    found = matryoshka_multi_vector(
        similarities,
        GROUPS,
        temperature=0.1,
        codes=None if codes is None else torch.tensor(codes),
        hard_negatives=wrong,
    )
    expected = by_hand(similarities, GROUPS, [0.1] * 3, codes, wrong)
    assert found.dtype == torch.float64 and found.ndim == 0
    assert found.item() == pytest.approx(expected, rel=1e-12)


def test_groups_add_up_by_weight(rng):
    similarities = drawn(rng)
    whole = matryoshka_multi_vector(similarities, GROUPS, temperature=0.2)
    alone = [
        matryoshka_multi_vector(
            similarities, [Group(group.queries, group.documents)], temperature=0.2
        )
        for group in GROUPS
    ]
    expected = sum(g.weight * loss for g, loss in zip(GROUPS, alone, strict=True))
    torch.testing.assert_close(whole, expected)


def test_each_group_has_its_own_temperature(rng):
    similarities = drawn(rng)
    found = matryoshka_multi_vector(
        similarities, GROUPS, temperature=torch.tensor([0.05, 0.1, 0.3]).double()
    )
    assert found.item() == pytest.approx(by_hand(similarities, GROUPS, [0.05, 0.1, 0.3]), rel=1e-7)
    one = matryoshka_multi_vector(similarities, GROUPS, temperature=torch.tensor([0.1] * 3))
    assert one.item() == pytest.approx(by_hand(similarities, GROUPS, [0.1] * 3), rel=1e-7)


@pytest.mark.parametrize("n", [1, 2, 7])
def test_coinciding_vectors_lose_the_logarithm_of_the_batch_per_unit_of_weight(n):
    similarities = torch.ones(n, 3, n, 4)
    found = matryoshka_multi_vector(similarities, GROUPS, temperature=0.03)
    assert found.item() == pytest.approx(3.5 * math.log(n), abs=1e-6)


def test_certainty_costs_nothing():
    similarities = torch.eye(6)[:, None, :, None].expand(6, 3, 6, 4)
    assert matryoshka_multi_vector(similarities, GROUPS, temperature=0.005).item() == 0


def test_vectors_beyond_a_budget_do_not_count(rng):
    similarities = drawn(rng)
    groups = [Group(1, 1), Group(2, 3)]
    before = matryoshka_multi_vector(similarities, groups, temperature=0.1)
    similarities[:, 2:] = 1e3
    similarities[:, :, :, 3:] = 1e3
    assert matryoshka_multi_vector(similarities, groups, temperature=0.1).equal(before)


def test_documents_of_the_same_group_are_no_negatives(rng):
    similarities = drawn(rng)
    codes = torch.tensor([0, 1, 0, 2, 1])
    before = matryoshka_multi_vector(similarities, GROUPS, temperature=0.1, codes=codes)
    siblings = similarities.clone()
    for u, v in ((0, 2), (2, 0), (1, 4), (4, 1)):
        siblings[u, :, v] = 100.0
    assert matryoshka_multi_vector(siblings, GROUPS, temperature=0.1, codes=codes).equal(before)
    assert before < matryoshka_multi_vector(similarities, GROUPS, temperature=0.1)


def test_codes_that_are_all_distinct_change_no_bit(rng):
    similarities = drawn(rng)
    codes = torch.tensor([7, 3, 9, 1, 0])
    plain = matryoshka_multi_vector(similarities, GROUPS, temperature=0.1)
    assert matryoshka_multi_vector(similarities, GROUPS, temperature=0.1, codes=codes).equal(plain)


def test_a_batch_of_one_group_loses_nothing(rng):
    similarities = drawn(rng)
    codes = torch.zeros(5, dtype=torch.int64)
    found = matryoshka_multi_vector(similarities, GROUPS, temperature=0.1, codes=codes)
    assert found.item() == 0


def test_hard_negatives_raise_the_loss_and_hopeless_ones_do_not(rng):
    similarities, wrong = drawn(rng, hard=2)
    without = matryoshka_multi_vector(similarities, GROUPS, temperature=0.1)
    with_them = matryoshka_multi_vector(similarities, GROUPS, temperature=0.1, hard_negatives=wrong)
    assert with_them > without
    hopeless = matryoshka_multi_vector(
        similarities, GROUPS, temperature=0.1, hard_negatives=torch.full_like(wrong, -1e3)
    )
    assert hopeless.equal(without)


@pytest.mark.parametrize("codes", [None, [0, 1, 0]], ids=["own groups", "shared groups"])
def test_gradients_are_those_of_finite_differences(codes, rng):
    similarities, wrong = drawn(rng, n=3, hard=2)
    temperature = torch.tensor([0.3, 0.5, 0.7], dtype=torch.float64)

    def loss(similarities, wrong, temperature):
        return matryoshka_multi_vector(
            similarities,
            GROUPS,
            temperature=temperature,
            codes=None if codes is None else torch.tensor(codes),
            hard_negatives=wrong,
        )

    inputs = [each.detach().clone().requires_grad_() for each in (similarities, wrong, temperature)]
    assert torch.autograd.gradcheck(loss, inputs)


def test_a_learned_temperature_stays_finite_beside_documents_of_one_group(rng):
    temperature = torch.tensor([0.1, 0.2, 0.3], requires_grad=True)
    loss = matryoshka_multi_vector(
        drawn(rng).float(), GROUPS, temperature=temperature, codes=torch.tensor([0, 0, 1, 1, 2])
    )
    loss.backward()
    assert temperature.grad.isfinite().all() and (temperature.grad != 0).all()


@pytest.mark.parametrize("shape", [(2, 1, 3, 1), (2, 1, 2), (0, 1, 0, 1)], ids=str)
def test_similarities_that_are_not_of_one_batch_are_refused(shape):
    with pytest.raises(ValueError, match=r"similarities must be \(n, r_q, n, r_c\)"):
        matryoshka_multi_vector(torch.zeros(shape), [Group(1, 1)], temperature=1.0)


@pytest.mark.parametrize("shape", [(5, 3, 2, 3), (5, 2, 2, 4), (4, 3, 2, 4), (5, 3, 4)], ids=str)
def test_hard_negatives_of_another_shape_are_refused(shape, rng):
    with pytest.raises(ValueError, match=r"hard_negatives must be \(5, 3, h, 4\)"):
        matryoshka_multi_vector(
            drawn(rng), GROUPS, temperature=1.0, hard_negatives=torch.zeros(shape)
        )


@pytest.mark.parametrize("codes", [[3], [0, 1, 2, 3], [[0, 1, 2, 3, 4]]], ids=str)
def test_codes_of_other_pairs_are_refused(codes, rng):
    with pytest.raises(ValueError, match=r"codes must be one int64 code per row, \(5,\)"):
        matryoshka_multi_vector(drawn(rng), GROUPS, temperature=1.0, codes=torch.tensor(codes))


@pytest.mark.parametrize(
    "temperature", [0.0, -1.0, math.inf, math.nan, torch.tensor([1.0, 0.0, 1.0])], ids=str
)
def test_temperatures_that_are_not_positive_are_refused(temperature, rng):
    with pytest.raises(ValueError, match="temperature must be finite and above 0"):
        matryoshka_multi_vector(drawn(rng), GROUPS, temperature=temperature)


@pytest.mark.parametrize("count", [1, 2, 4])
def test_temperatures_of_other_groups_are_refused(count, rng):
    with pytest.raises(ValueError, match=r"one number or one per group, \(3,\)"):
        matryoshka_multi_vector(drawn(rng), GROUPS, temperature=torch.ones(count))


def test_groups_beyond_the_similarities_are_refused(rng):
    with pytest.raises(ValueError, match=r"within \(1, 1\) and \(3, 4\); got \[\(3, 5\)\]"):
        matryoshka_multi_vector(drawn(rng), [Group(3, 5)], temperature=1.0)
    with pytest.raises(ValueError, match="groups must be nested"):
        matryoshka_multi_vector(drawn(rng), [], temperature=1.0)


@pytest.mark.parametrize("weight", [0.0, -1.0, math.nan])
def test_weights_that_are_not_positive_are_refused(weight):
    with pytest.raises(ValueError, match="the weight of a group must be finite and above 0"):
        check_groups([Group(1, 1), Group(2, 2, weight=weight)], queries=2, documents=2)


STEPS = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 3)).filter(lambda step: step != (0, 0)), max_size=5
)


@settings(deadline=None)
@given(steps=STEPS, slack=st.tuples(st.integers(0, 3), st.integers(0, 3)))
def test_nested_groups_are_accepted(steps, slack):
    sizes = list(
        itertools.accumulate(steps, lambda a, b: (a[0] + b[0], a[1] + b[1]), initial=(1, 1))
    )
    most = [end + more for end, more in zip(sizes[-1], slack, strict=True)]
    check_groups([Group(*size) for size in sizes], queries=most[0], documents=most[1])


@settings(deadline=None)
@given(sizes=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), max_size=4))
def test_groups_are_refused_exactly_if_one_is_no_larger_budget_than_all_before(sizes):
    rising = all(
        a != b and a[0] <= b[0] and a[1] <= b[1] for a, b in itertools.combinations(sizes, 2)
    )
    inside = all(1 <= r_q <= 3 and 1 <= r_c <= 4 for r_q, r_c in sizes)
    groups = [Group(*size) for size in sizes]
    if sizes and rising and inside:
        check_groups(groups, queries=3, documents=4)
    else:
        with pytest.raises(ValueError, match="groups must be nested budgets"):
            check_groups(groups, queries=3, documents=4)
