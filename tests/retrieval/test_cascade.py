import pytest
import torch

from align.data.multi_vector import MultiVector
from align.retrieval.cascade import (
    candidates_for,
    cascade,
    cascade_flops,
    ranks_in_stage,
)
from align.retrieval.first_stages import first_stage, maxsim_flops
from align.scoring.fde import FDE
from align.scoring.kernels import reference
from align.scoring.late_interaction import topk
from align.scoring.topk import Neighbours


def ragged(count, rng, d=6, low=1, high=9):
    lengths = torch.randint(low, high + 1, (count,), generator=rng).tolist()
    return MultiVector.pack([torch.randn(length, d, generator=rng) for length in lengths])


def whole(count, rng, d=6):
    """Small whole numbers, whose sums of products are exact in any order."""
    lengths = torch.randint(1, 6, (count,), generator=rng).tolist()
    return MultiVector.pack(
        [torch.randint(-3, 4, (length, d), generator=rng).float() for length in lengths]
    )


class FixedOrder:
    """A first stage that puts documents forward in a planted order, the same or one per query."""

    def __init__(self, order):
        self.order = torch.atleast_2d(torch.as_tensor(order))

    def __len__(self):
        return self.order.shape[1]

    def __call__(self, queries, n):
        # The token of a planted query names the row of its order.
        rows = [int(query[0, 0]) % len(self.order) for query in queries]
        indices = self.order[rows, :n]
        return Neighbours(-torch.arange(n).expand(len(queries), n).float(), indices)

    def flops(self, queries):
        return 7 * len(queries)


@pytest.mark.parametrize("first", [(1, 1), (2, 3), FDE(6, 2, 3), FDE(6, 2, 3, 2)], ids=str)
@pytest.mark.parametrize("budget", [None, (1, 1), (2, 4)])
@pytest.mark.parametrize("k", [1, 7, 40])
def test_with_all_documents_as_candidates_it_is_exhaustive(rng, first, budget, k):
    # So few values that many documents tie.
    queries, documents = whole(5, rng), whole(40, rng)
    found = cascade(
        queries, documents, k, candidates=40, first=first_stage(documents, first), budget=budget
    )
    cut_queries, cut_documents = queries, documents
    if budget is not None:
        cut_queries, cut_documents = queries.prefix(budget[0]), documents.prefix(budget[1])
    values, indices = reference.maxsim(cut_queries, cut_documents).sort(
        dim=1, descending=True, stable=True
    )
    assert torch.equal(found.indices, indices[:, :k])
    assert torch.equal(found.values, values[:, :k])


def test_equal_documents_come_by_rising_row_whatever_the_first_stage_says(rng):
    document = torch.randn(3, 6, generator=rng)
    documents = MultiVector.pack([document] * 5)
    found = cascade(ragged(1, rng), documents, 3, candidates=4, first=FixedOrder([4, 0, 3, 1, 2]))
    assert found.indices.tolist() == [[0, 1, 3]]
    assert len(set(found.values[0].tolist())) == 1


def test_a_document_below_the_candidates_is_missed_and_only_such(rng):
    # The first vectors of a decoy fit best; the right document fits by its second vector.
    query = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    right, decoy = torch.tensor([[0.0, 0.0], [1.0, 1.0]]), torch.tensor([[1.0, 0.0]])
    documents = MultiVector.pack([right, decoy])
    queries, first = MultiVector.pack([query]), first_stage(documents, (1, 1))
    missed = cascade(queries, documents, 1, candidates=1, first=first)
    assert (missed.indices.item(), missed.values.item()) == (1, 1.0)
    found = cascade(queries, documents, 1, candidates=2, first=first)
    assert (found.indices.item(), found.values.item()) == (0, 2.0)


@pytest.mark.parametrize("first", [(1, 1), (2, 3), FDE(6, 3, 2)], ids=str)
def test_scores_are_exact_and_candidates_are_the_best_of_the_first_stage(rng, first):
    queries, documents = ragged(6, rng), ragged(50, rng)
    exact = reference.maxsim(queries, documents)
    if isinstance(first, FDE):
        cheap = first.queries(queries) @ first.documents(documents).T
    else:
        cheap = reference.maxsim(queries.prefix(first[0]), documents.prefix(first[1]))
    candidates = cheap.topk(12, dim=1).indices
    found = cascade(queries, documents, 5, candidates=12, first=first_stage(documents, first))
    values, order = exact.gather(1, candidates).topk(5, dim=1)
    assert torch.equal(found.indices, candidates.gather(1, order))
    torch.testing.assert_close(found.values, values)


@pytest.mark.parametrize("dtype", [torch.int8, torch.float16, torch.bfloat16], ids=str)
def test_stored_documents_count_as_what_they_stand_for(rng, dtype):
    queries, documents = ragged(4, rng), ragged(30, rng)
    stored = documents.quantized() if dtype == torch.int8 else documents.to(dtype=dtype)
    found = cascade(queries, stored, 5, candidates=30, first=first_stage(stored, (2, 2)))
    exact = reference.maxsim(queries, stored.to(dtype=torch.float32)).topk(5)
    assert torch.equal(found.indices, exact.indices)
    torch.testing.assert_close(found.values, exact.values)


def test_no_queries_find_nothing(rng):
    documents = ragged(5, rng)
    none = MultiVector(torch.empty(0, 6), torch.zeros(1, dtype=torch.int64))
    found = cascade(none, documents, 2, candidates=3, first=FixedOrder(range(5)))
    assert found.values.shape == found.indices.shape == (0, 2)


def test_searching_tracks_no_gradients(rng):
    documents = ragged(5, rng)
    queries = MultiVector.pack([torch.randn(2, 6, generator=rng, requires_grad=True)])
    found = cascade(queries, documents, 2, candidates=3, first=first_stage(documents))
    assert not found.values.requires_grad


@pytest.mark.parametrize(
    ("k", "candidates", "message"),
    [
        (1, 0, r"candidates must lie in \[1, 5\], the number of documents; got 0"),
        (1, 6, r"candidates must lie in \[1, 5\], the number of documents; got 6"),
        (0, 3, r"k must lie in \[1, 3\], the number of candidates; got 0"),
        (4, 3, r"k must lie in \[1, 3\], the number of candidates; got 4"),
    ],
)
def test_numbers_that_do_not_fit_are_refused(rng, k, candidates, message):
    documents = ragged(5, rng)
    with pytest.raises(ValueError, match=message):
        cascade(ragged(1, rng), documents, k, candidates=candidates, first=first_stage(documents))


def test_a_first_stage_of_other_documents_is_refused(rng):
    first = first_stage(ragged(4, rng))
    message = r"it holds 4 and there are 5\. Make it anew by first_stage"
    with pytest.raises(ValueError, match=message):
        cascade(ragged(1, rng), ragged(5, rng), 1, candidates=2, first=first)
    with pytest.raises(ValueError, match=message):
        candidates_for(ragged(1, rng), ragged(5, rng), 1, recall=0.5, first=first)


@pytest.mark.parametrize("first", [(0, 1), (1, 0)])
def test_a_budget_below_one_is_refused(rng, first):
    documents = ragged(4, rng)
    with pytest.raises(ValueError, match="budget must be finite and at least 1; got 0"):
        first_stage(documents, first)(ragged(1, rng), 1)


def planted():
    """Ten queries and twenty documents: the first stage finds query ``i``'s best at ``i + 1``."""
    documents = MultiVector.pack([torch.tensor([[-float(row), -1.0]]) for row in range(20)])
    # Query 0 has no direction along the first axis: all documents tie and the lowest row wins.
    queries = MultiVector.pack([torch.tensor([[float(number), 1.0]]) for number in range(10)])
    orders = [[*range(1, number + 1), 0, *range(number + 1, 20)] for number in range(10)]
    return queries, documents, FixedOrder(orders)


@pytest.mark.parametrize(
    ("recall", "candidates"),
    [(0.05, 1), (0.1, 1), (0.11, 2), (0.3, 3), (0.7, 7), (0.9, 9), (0.91, 10), (1.0, 10)],
)
def test_it_chooses_the_fewest_candidates_that_reach_a_planted_recall(recall, candidates):
    queries, documents, first = planted()
    choice = candidates_for(queries, documents, 1, recall=recall, first=first)
    assert choice.candidates == candidates
    assert choice.agreement == pytest.approx(candidates / 10)
    assert (choice.k, choice.queries) == (1, 10)


@pytest.mark.parametrize("recall", [0.6, 0.9, 1.0])
def test_one_candidate_fewer_would_not_do(rng, recall):
    queries, documents = ragged(20, rng), ragged(120, rng)
    first = first_stage(documents, (1, 1))
    choice = candidates_for(queries, documents, 5, recall=recall, first=first, budget=(4, 6))
    exact = topk(queries, documents, 5, budget=(4, 6)).indices

    def agreement(candidates):
        found = cascade(
            queries, documents, 5, candidates=candidates, first=first, budget=(4, 6)
        ).indices
        return (exact[:, :, None] == found[:, None]).any(2).double().mean().item()

    assert 5 < choice.candidates <= 120
    assert choice.agreement >= recall
    assert agreement(choice.candidates) == pytest.approx(choice.agreement)
    assert agreement(choice.candidates - 1) < recall


def test_ranks_are_the_same_however_few_queries_are_held_at_a_time(rng):
    queries, documents = ragged(9, rng), ragged(60, rng)
    first = first_stage(documents)
    exact = reference.maxsim(queries, documents).topk(3).indices
    ranks = ranks_in_stage(queries, exact, first, 12)
    assert torch.equal(ranks_in_stage(queries, exact, first, 12, entries=25), ranks)
    proposed = first(queries, 12).indices.tolist()
    assert ranks.tolist() == [
        [row.index(best) + 1 if best in row else 13 for best in own]
        for row, own in zip(proposed, exact.tolist(), strict=True)
    ]


def test_a_perfect_first_stage_needs_only_k_candidates(rng):
    queries, documents = ragged(9, rng), ragged(60, rng)
    choice = candidates_for(
        queries, documents, 4, recall=0.1, first=first_stage(documents, (99, 99))
    )
    assert (choice.candidates, choice.agreement) == (4, 1.0)


def test_the_lower_bound_solves_wilsons_equation():
    queries, documents, first = planted()
    for recall in (0.1, 0.5, 0.9):
        choice = candidates_for(queries, documents, 1, recall=recall, first=first)
        low = choice.lower
        # A true share of low would exceed the one seen with a probability of 5 %.
        error = 1.6448536 * (low * (1 - low) / 10) ** 0.5
        assert choice.agreement - low == pytest.approx(error)
    # All of n agree: n / (n + z^2).
    sure = candidates_for(queries, documents, 1, recall=1.0, first=first)
    assert sure.lower == pytest.approx(10 / (10 + 1.6448536**2))


def test_the_lower_bound_holds_for_other_queries_of_the_same_kind(rng):
    documents = ragged(150, rng, d=4)
    first = first_stage(documents)
    others = ragged(400, rng, d=4)
    exact = topk(others, documents, 5).indices
    held = 0
    for _ in range(25):
        choice = candidates_for(ragged(20, rng, d=4), documents, 5, recall=0.9, first=first)
        found = first(others, choice.candidates).indices
        true = (exact[:, :, None] == found[:, None]).any(2).double().mean().item()
        held += true >= choice.lower
    assert held >= 23


@pytest.mark.parametrize("recall", [0.0, 1.01, float("nan")])
def test_a_recall_out_of_range_is_refused(rng, recall):
    documents = ragged(4, rng)
    with pytest.raises(ValueError, match=r"recall must lie in \(0, 1\]; got"):
        candidates_for(ragged(2, rng), documents, 1, recall=recall, first=first_stage(documents))


def test_a_first_stage_that_never_puts_a_document_forward_is_refused():
    queries, documents, _ = planted()
    with pytest.raises(ValueError, match=r"repeats some for 10 of 10 queries"):
        candidates_for(queries, documents, 1, recall=0.9, first=FixedOrder([1] * 20))


def test_choosing_without_queries_or_with_k_out_of_range_is_refused(rng):
    documents = ragged(4, rng)
    none = MultiVector(torch.empty(0, 6), torch.zeros(1, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"a choice needs sample queries; got none"):
        candidates_for(none, documents, 1, recall=0.9, first=first_stage(documents))
    with pytest.raises(ValueError, match=r"k must lie in \[1, 4\], the number of documents"):
        candidates_for(ragged(1, rng), documents, 5, recall=0.9, first=first_stage(documents))


def test_operations_are_counted_as_by_hand():
    queries = MultiVector.pack([torch.ones(3, 8), torch.ones(1, 8)])
    documents = MultiVector.pack([torch.ones(5, 8), torch.ones(2, 8), torch.ones(2, 8)])
    assert maxsim_flops(queries, documents) == 2 * 8 * 4 * 9
    assert maxsim_flops(queries, documents, budget=(2, 3)) == 2 * 8 * 3 * 7
    assert first_stage(documents, (1, 1)).flops(queries) == 2 * 8 * 2 * 3
    assert first_stage(documents, (2, 3)).flops(queries) == 2 * 8 * 3 * 7
    fde = FDE(8, 2, 3, projection=4)
    assert first_stage(documents, fde).flops(queries) == 2 * 2 * 3 * 64 + fde.encoding_flops(4)
    # Two of three documents of three tokens on average.
    counted = cascade_flops(queries, documents, candidates=2, first=FixedOrder([0, 1, 2]))
    assert counted == pytest.approx(14 + 2 * 8 * 4 * 3 * 2)
    cut = cascade_flops(
        queries, documents, candidates=3, first=FixedOrder([0, 1, 2]), budget=(1, 1)
    )
    assert cut == pytest.approx(14 + 2 * 8 * 2 * 3)
