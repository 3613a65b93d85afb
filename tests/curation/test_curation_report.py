import pytest
import torch

from align.curation.report import curate
from align.data.embeddings import PairedEmbeddings
from align.data.pairs import Pairs
from tests.helpers.planted import shared_factors

N = 300


@pytest.fixture(scope="module")
def found():
    """A clean set, but for an exact repeat, a near one by text, one by vector, and a wrong pair."""
    source, target = shared_factors(N, (20, 16), shared=12, noise=0.1)
    texts = [f"item number {row * 7919} of the list, written out at length" for row in range(N)]
    code = [f"def f{row}(x{row}): return {row * 7907} + x{row} * {row * 31}" for row in range(N)]
    texts[5], code[5] = texts[2], code[2]
    texts[6], code[6] = texts[3] + "!", code[3]
    source[20], target[20] = source[18] * 1.0001, target[18]
    target[[8, 9]] = target[[9, 8]]
    code[11] = code[10]  # one function answers two questions
    pairs = Pairs.from_lists(texts, code)
    data = PairedEmbeddings.from_arrays(source, target, pairs.ids, pairs.groups)
    return curate(pairs, data, near_text=0.9, near_vector=0.999), pairs, data


def test_each_planted_flaw_is_named_with_its_reason(found):
    report, _, _ = found
    kinds = {each.id: (each.decision, each.of) for each in report.findings}
    assert kinds["5"] == ("drop", "2") and report.findings[5].reason == "the same items"
    assert kinds["6"] == ("drop", "3") and "Jaccard" in report.findings[6].reason
    assert 0.9 <= report.findings[6].score < 1
    assert kinds["20"] == ("drop", "18") and "cosine" in report.findings[20].reason
    assert {row for row in ("8", "9") if kinds[row][0] == "suspect"}
    assert report.findings[0].decision == "keep" and report.findings[0].score is None


def test_the_rows_to_keep_can_be_taken(found):
    report, pairs, _ = found
    assert len(report.findings) == N
    assert set(range(N)) - set(report.kept.tolist()) == {5, 6, 20}
    assert set(report.unsuspected.tolist()) < set(report.kept.tolist())
    assert len(pairs.take(report.kept)) == N - 3
    assert len(report.mismatched.chance) == N - 3


def test_items_shared_by_groups_are_counted(found):
    assert found[0].shared == (0, 1)


def test_the_report_reads_as_text_and_as_numbers(found):
    report, _, _ = found
    said = str(report)
    assert "1 dropped: the same items" in said and "1 target items are in several groups" in said
    told = report.to_dict()
    assert told["kept"] == N - 3 and sum(told["dropped"].values()) == 3
    assert told["pairs"] - told["unsuspected"] == 3 + sum(told["suspects"].values())


def test_embeddings_of_other_pairs_are_refused(found):
    _, pairs, data = found
    with pytest.raises(ValueError, match="must hold the same pairs in the same order"):
        curate(pairs, data.take(torch.arange(N).flip(0)))
