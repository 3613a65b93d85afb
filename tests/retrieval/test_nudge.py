import math

import pytest
import torch

from align.retrieval.nudge import SHIFTS, TURNS, nudge
from tests.helpers.planted import mean_reciprocal_rank, unit

M, D = 60, 12


@pytest.fixture
def moved_queries(rng):
    """Documents, and for each of them six queries that all lie to the same hidden side of it."""
    documents = unit(torch.randn(M, D, generator=rng))
    meant = unit(documents + 0.8 * unit(torch.randn(M, D, generator=rng)))
    answers = torch.arange(M).repeat(6)
    queries = unit(meant[answers] + 0.25 * torch.randn(6 * M, D, generator=rng))
    return documents, queries, answers


def parts(moved_queries, trained=M):
    """Four queries per document below ``trained`` to learn from; one to validate; one to test."""
    documents, queries, answers = moved_queries
    number = torch.arange(len(answers)) // M
    learn, check, test = (number < 4) & (answers < trained), number == 4, number == 5
    learned = {
        "documents": documents, "queries": queries[learn], "answers": answers[learn],
        "validation_queries": queries[check], "validation_answers": answers[check],
    }  # fmt: skip
    return learned, queries[test]


@pytest.mark.parametrize("unit_norm", [True, False])
def test_new_queries_find_documents_that_were_moved_to_the_hidden_side(moved_queries, unit_norm):
    learned, new = parts(moved_queries)
    found = nudge(**learned, unit_norm=unit_norm)
    before = mean_reciprocal_rank(new, moved_queries[0])
    assert mean_reciprocal_rank(new, found.documents) > before + 0.1
    assert found.step > 0 and found.moved.tolist() == list(range(M))


def test_on_the_sphere_a_document_ends_one_step_away_towards_its_queries(moved_queries):
    learned, _ = parts(moved_queries)
    found = nudge(**learned)
    start, end = moved_queries[0], found.documents
    goal = unit(torch.zeros(M, D).index_add(0, learned["answers"], learned["queries"]))
    torch.testing.assert_close(end.norm(dim=1), torch.ones(M))
    moved = (end - start).norm(dim=1)
    reach = (goal - start).norm(dim=1)
    torch.testing.assert_close(moved, reach.clamp(max=found.step), atol=1e-5, rtol=0)
    # The nearest point of the sphere within reach: on the great circle through start and goal.
    normal = torch.stack([start, goal], dim=2)
    inside = normal @ torch.linalg.pinv(normal) @ end[:, :, None]
    torch.testing.assert_close(inside[:, :, 0], end, atol=1e-5, rtol=0)


def test_off_the_sphere_every_document_moves_by_the_step(moved_queries):
    learned, _ = parts(moved_queries)
    found = nudge(**learned, unit_norm=False)
    goal = unit(torch.zeros(M, D).index_add(0, learned["answers"], learned["queries"]))
    torch.testing.assert_close(found.documents, moved_queries[0] + found.step * goal)


@pytest.mark.parametrize(("unit_norm", "steps"), [(True, TURNS), (False, SHIFTS)])
def test_what_was_tried_is_what_each_step_would_give(moved_queries, unit_norm, steps):
    learned, _ = parts(moved_queries)
    found = nudge(**learned, unit_norm=unit_norm)
    assert [step for step, _ in found.tried] == list(steps)
    tried = dict(found.tried)
    queries = learned["validation_queries"]
    assert tried[0] == pytest.approx(mean_reciprocal_rank(queries, moved_queries[0]))
    assert tried[found.step] == pytest.approx(mean_reciprocal_rank(queries, found.documents))
    assert tried[found.step] == max(tried.values())
    assert found.step == min(step for step in steps if tried[step] == max(tried.values()))


def test_documents_without_queries_stay_where_they_are(moved_queries):
    learned, _ = parts(moved_queries, trained=20)
    found = nudge(**learned)
    assert found.moved.tolist() == list(range(20))
    assert found.documents[20:].equal(moved_queries[0][20:])
    assert not found.documents[:20].equal(moved_queries[0][:20])


def test_queries_that_mislead_move_nothing(moved_queries):
    learned, _ = parts(moved_queries)
    found = nudge(**{**learned, "queries": -learned["queries"]})
    assert found.step == 0 and found.documents.equal(moved_queries[0]) and len(found.moved) == 0


def test_a_document_that_its_queries_are_on_or_opposite_of_stays():
    documents = torch.eye(4)
    queries = torch.stack([documents[0], -documents[1], documents[2] + documents[3]])
    # Nearer to document 3, until document 2 moves towards its query.
    checks = torch.tensor([[0.0, 0.0, 1.0, 1.1]])
    found = nudge(
        documents, queries, torch.tensor([0, 1, 2]),
        validation_queries=checks, validation_answers=torch.tensor([2]),
    )  # fmt: skip
    assert found.step > 0 and not found.documents[2].equal(documents[2])
    torch.testing.assert_close(found.documents[:2], documents[:2])


def test_as_many_queries_as_need_several_blocks_are_averaged_as_few(moved_queries):
    learned, _ = parts(moved_queries)
    repeats = 600 // len(learned["validation_queries"])
    several = {
        "validation_queries": learned["validation_queries"].repeat(repeats, 1),
        "validation_answers": learned["validation_answers"].repeat(repeats),
    }
    assert len(several["validation_queries"]) > 512
    again = nudge(**{**learned, **several})
    assert dict(again.tried) == pytest.approx(dict(nudge(**learned).tried))


def test_the_inputs_are_not_changed(moved_queries):
    learned, _ = parts(moved_queries)
    copies = {name: value.clone() for name, value in learned.items()}
    nudge(**learned)
    assert all(value.equal(copies[name]) for name, value in learned.items())


def test_what_does_not_fit_is_refused(moved_queries):
    learned, _ = parts(moved_queries)
    with pytest.raises(ValueError, match=r"documents must have unit norm.*\[2, 2\]"):
        nudge(**{**learned, "documents": 2 * moved_queries[0]})
    nudge(**{**learned, "documents": 2 * moved_queries[0]}, unit_norm=False)
    with pytest.raises(ValueError, match=r"queries need one answer each.*from 0 to 60"):
        wrong = learned["answers"].clone()
        wrong[0] = M
        nudge(**{**learned, "answers": wrong})
    with pytest.raises(ValueError, match=r"validation_queries need one answer each"):
        nudge(**{**learned, "validation_answers": learned["validation_answers"][:3]})
    with pytest.raises(ValueError, match="of one dtype"):
        nudge(**{**learned, "queries": learned["queries"].double()})
    assert math.isclose(TURNS[-1], 1.4)
