"""Training of meta tokens on pairs that one token among noise decides."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import pytest
import torch

from align.adapters.closed_form.rcca import rcca
from align.adapters.corrections.hubness import NNN
from align.adapters.corrections.reference_set import ReferenceSet
from align.adapters.multi_vector.meta_tokens import MetaTokens
from align.data.multi_vector import MultiVector
from align.data.token_pairs import TokenPairs
from align.fitting.losses.matryoshka import Group, matryoshka_multi_vector
from align.fitting.multi_vector import training as meta_training
from align.fitting.multi_vector.initialization import Start, aspects, reduced
from align.fitting.multi_vector.training import Firsts, aspects_of, parts, train
from align.metrics.multi_vector import evaluate_meta_tokens
from tests.helpers.planted_tokens import needles

GROUPS = (Group(1, 1), Group(2, 2), Group(3, 3))
TRAIN, HELD_OUT = torch.arange(160), torch.arange(160, 240)
HALVES = (TRAIN[:80], TRAIN[80:])


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def fitted(data, rows, *, hubness=False):
    pairs = data.pooled.take(rows)
    adapter = rcca(pairs.source, pairs.target)
    if hubness:
        sides = adapter.source(pairs.source), adapter.target(pairs.target)
        adapter.reference = ReferenceSet(*sides, expansion=None, hubness=NNN(5, 0.75))
    return adapter


@dataclass
class Case:
    """Everything that ``train`` takes, and what it did with it."""

    data: TokenPairs
    kind: str = "shared"
    asking: int = 3
    losses: list = field(default_factory=list)
    epochs_done: list = field(default_factory=list)

    def __post_init__(self):
        self.cut = reduced(self.data, width=9, generator=seeded())
        self.folds = [
            Firsts.of(fitted(self.data, rest), self.cut, own)
            for own, rest in (HALVES, HALVES[::-1])
        ]
        counts = [1, self.asking - 1]
        made = aspects(self.cut, TRAIN, Start(self.kind, 1.0, 0.8), counts, seeded())
        adapter = fitted(self.data, TRAIN)
        self.head = MetaTokens(adapter, *made, mix=0.8, asking=self.asking, card={})

    def train(self, *, epochs, groups=GROUPS, seed=0):
        train(
            self.head,
            self.cut,
            self.folds,
            groups,
            epochs=epochs,
            generator=seeded(seed),
            after_epoch=self.epochs_done.append,
        )

    def state(self):
        return {name: tensor.clone() for name, tensor in self.head.state_dict().items()}


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    monkeypatch.setattr(meta_training, "BATCH", 20)


@pytest.fixture
def spied(monkeypatch):
    """The positional and named arguments of each loss, and its value."""
    calls = []

    def loss(*args, **kwargs):
        found = matryoshka_multi_vector(*args, **kwargs)
        calls.append((args, kwargs, found.item()))
        return found

    monkeypatch.setattr(meta_training, "matryoshka_multi_vector", loss)
    return calls


@pytest.fixture
def batches(monkeypatch):
    """Side and rows of each batch of aspects that training draws."""
    seen = []

    def spy(part, data, side, rows):
        seen.append((side, rows))
        return aspects_of(part, data, side, rows)

    monkeypatch.setattr(meta_training, "aspects_of", spy)
    return seen


def same(a, b):
    return set(a) == set(b) and all(a[name].equal(b[name]) for name in a)


def test_training_finds_the_token_that_decides_and_leaves_first_vectors_alone(monkeypatch, spied):
    monkeypatch.setattr(meta_training, "LEARNING_RATE", 3e-2)
    data = needles()
    case = Case(data, asking=4)
    held_out = data.take(HELD_OUT)

    def mrr():
        return evaluate_meta_tokens(held_out, case.head).mean["mean_reciprocal_rank"].value

    adapter = {name: x.clone() for name, x in case.head.adapter.state_dict().items()}
    first = case.head.source(held_out.pooled.source, held_out.source)
    start, alone = mrr(), evaluate_meta_tokens(held_out, case.head, budget=(1, 1))
    case.train(epochs=12, groups=(Group(1, 1), Group(2, 2), Group(4, 4)))

    per_epoch = torch.tensor([value for *_, value in spied]).view(12, -1).mean(dim=1)
    assert per_epoch[-1] < 0.75 * per_epoch[0]
    assert start < 0.3 and mrr() > 0.6
    assert same(case.head.adapter.state_dict(), adapter)
    after = case.head.source(held_out.pooled.source, held_out.source)
    assert after.prefix(1).tokens.equal(first.prefix(1).tokens)
    assert not after.tokens.equal(first.tokens)
    again = evaluate_meta_tokens(held_out, case.head, budget=(1, 1))
    assert again.mean == alone.mean


@pytest.mark.parametrize("kind", ["shared", "paired"])
def test_the_same_generator_gives_the_same_bits(kind):
    data = needles()
    first, again, other = (Case(data, kind=kind) for _ in range(3))
    start = first.state()
    for case, seed in ((first, 1), (again, 1), (other, 2)):
        case.train(epochs=2, seed=seed)
    assert same(first.state(), again.state())
    assert not same(first.state(), other.state()) and not same(first.state(), start)


def test_only_aspects_and_the_mix_move():
    case = Case(needles())
    before = case.state()
    case.train(epochs=1)
    after = case.state()
    moved = {name for name in before if not before[name].equal(after[name])}
    assert moved == {name for name, _ in case.head.named_parameters()}
    assert len(moved) == 5  # the mix, and queries and weight of either side


def test_a_batch_holds_pairs_of_one_fold_and_each_pair_comes_once_an_epoch(batches):
    case = Case(needles())
    case.train(epochs=2)
    assert len(batches) == 2 * 2 * 8  # epochs, sides, batches of 20
    fold_of = torch.arange(160) // 80
    for side in (0, 1):
        rows = [found for at, found in batches if at == side]
        assert all(len(found) == 20 and len(fold_of[found].unique()) == 1 for found in rows)
        for epoch in (rows[:8], rows[8:]):
            assert torch.cat(epoch).sort().values.equal(TRAIN)
        assert [int(fold_of[found][0]) for found in rows[:8]] != [0] * 4 + [1] * 4
        assert not torch.cat(rows[:8]).equal(torch.cat(rows[8:]))
    for (_, source), (_, target) in zip(batches[::2], batches[1::2], strict=True):
        assert source.equal(target)


def test_batches_of_a_fold_are_of_nearly_one_size(batches, monkeypatch):
    monkeypatch.setattr(meta_training, "BATCH", 33)
    Case(needles()).train(epochs=1)
    assert sorted(len(rows) for _, rows in batches[::2]) == [26, 26, 27, 27, 27, 27]


def test_both_directions_are_trained_over_all_groups_with_first_vectors_from_outside(
    spied, batches
):
    groups = [f"photo {row // 2}" for row in range(240)]
    case = Case(needles(groups=groups))
    case.head.asking = 2
    start = [
        part.resampler(case.cut.tokens[at]).detach() for at, part in enumerate(parts(case.head))
    ]
    budgets = (Group(1, 1), Group(2, 3))
    case.train(epochs=1, groups=budgets)
    for call, asking in ((0, 0), (1, 1)):
        (similarities, given), named, _ = spied[call]
        rows = batches[0][1]
        assert given == budgets and similarities.shape == (20, 2, 20, 4)
        assert named["codes"].tolist() == (rows // 2).tolist()
        assert named["temperature"].tolist() == pytest.approx([0.05, 0.1])
        fold = case.folds[int(rows[0] >= 80)]
        at = rows - fold.rows[0]
        scores = fold.queries[asking][at] @ fold.gallery[1 - asking][at].T
        torch.testing.assert_close(similarities[:, 0, :, 0], scores)
        inner = torch.einsum("qd,md->qm", start[asking][rows, 0], start[1 - asking][rows, 2])
        torch.testing.assert_close(
            similarities[:, 1, :, 3].detach(), 0.2 * scores + 0.8 * inner, atol=1e-6, rtol=1e-5
        )


def test_temperatures_are_learned(spied):
    Case(needles()).train(epochs=1)
    first, last = (spied[at][1]["temperature"].tolist() for at in (0, -1))
    assert first == pytest.approx([0.05, 0.1, 0.15])
    assert all(a != b and b > 0 for a, b in zip(first, last, strict=True))


@pytest.mark.parametrize("without", [(), (0,), (1,), (0, 1)], ids=str)
def test_pairs_that_share_a_group_train_whatever_sides_have_tokens(without):
    groups = [f"photo {row // 5}" for row in range(240)]
    whole = needles(groups=groups)
    sides = [None if at in without else x for at, x in enumerate((whole.source, whole.target))]
    case = Case(TokenPairs(whole.pooled, *sides), kind="paired")
    before = case.state()
    case.train(epochs=2)
    after = case.state()
    assert all(tensor.isfinite().all() for tensor in after.values())
    assert not same(before, after)


def test_the_caller_hears_of_each_epoch_and_none_changes_nothing():
    case = Case(needles())
    before = case.state()
    case.train(epochs=0)
    assert same(case.state(), before) and case.epochs_done == []
    case.train(epochs=3)
    assert case.epochs_done == [1, 2, 3]


def test_firsts_are_the_vectors_of_the_adapter_ready_for_a_loss():
    data = needles()
    cut = reduced(data, width=9, generator=seeded())
    adapter = fitted(data, TRAIN, hubness=True)
    rows = torch.tensor([7, 200, 3])
    found = Firsts.of(adapter, cut, rows)
    x, y = data.pooled.source[rows], data.pooled.target[rows]
    assert found.rows is rows
    for side, vectors, name in ((0, x, "source"), (1, y, "target")):
        assert found.queries[side].equal(adapter.queries(vectors, side=name))
        assert found.gallery[side].equal(adapter.gallery(vectors, side=name))
        assert not found.queries[side].is_inference() and not found.gallery[side].is_inference()
    at, among = torch.tensor([1]), torch.tensor([2, 0])
    expected = adapter.queries(x, side="source")[[1]] @ adapter.gallery(y, side="target")[[2, 0]].T
    torch.testing.assert_close(found.scores(0, at, among), expected)
    back = adapter.queries(y, side="target")[[1]] @ adapter.gallery(x, side="source")[[2, 0]].T
    torch.testing.assert_close(found.scores(1, at, among), back)


def test_drawn_aspects_are_those_of_the_head():
    data = needles()
    case = Case(TokenPairs(data.pooled, data.source, None), kind="paired")
    rows = torch.tensor([5, 90, 2])
    with torch.no_grad():
        found = [aspects_of(part, case.cut, at, rows) for at, part in enumerate(parts(case.head))]
        firsts = Firsts.of(case.head.adapter, case.cut, rows)
        joined = [
            MultiVector.from_equal(case.head.join(first, each))
            for first, each in zip(firsts.queries, found, strict=True)
        ]
    pooled = case.cut.pairs.pooled.take(rows)
    expected = (
        case.head.source(pooled.source, data.source.take(rows)),
        case.head.target(pooled.target),
    )
    for mine, theirs in zip(joined, expected, strict=True):
        torch.testing.assert_close(mine.tokens, theirs.tokens)
    assert math.isclose(case.head.mix.detach().item(), 0.8, abs_tol=1e-6)
