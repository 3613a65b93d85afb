"""Words alone: identifiers are cut, the shared word is found, and misses are told apart."""

from __future__ import annotations

import pytest
import torch

from align.data.embeddings import PairedEmbeddings
from align.data.pairs import Pairs
from experiments.baselines import raw_cosine
from experiments.lexical import bm25_scores, evaluate_bm25, overlap, skeleton, split

TEXTS = ("open the fileName", "close a socket", "sort_list by key", "call HTTPServer 2 times")
CODES = ("open(file_name)", "socket.close()", "sorted(list, key=key)", "HTTPServer(2)")


def test_identifiers_are_cut_at_underscores_capitals_and_digits():
    assert split("getHTTPResponse_code2(x)") == ["get", "http", "response", "code", "2", "x"]
    assert split("été 犬 == !") == ["été", "犬"]
    assert split("()[]") == []


def test_a_skeleton_forgets_names_numbers_and_quoted_texts():
    assert skeleton("x = foo('a b', 3)") == skeleton("value = bar( 'c',12)")
    assert skeleton("x = 1") != skeleton("x == 1")


def test_a_shared_rare_word_beats_a_shared_common_one_and_no_word_scores_nothing():
    scores = bm25_scores(["rare common", "else"], ["common a", "common rare", "common b"])
    assert scores[0].argmax() == 1
    assert (scores[0] > 0).all()
    assert torch.equal(scores[1], torch.zeros(3))


@pytest.fixture
def gallery():
    pairs = Pairs.from_lists(TEXTS, CODES)
    generator = torch.Generator().manual_seed(0)
    sides = (torch.randn(4, 8, generator=generator) for _ in range(2))
    return PairedEmbeddings.from_arrays(*sides, ids=pairs.ids), pairs


def test_planted_words_find_their_code_in_both_directions(gallery):
    found = evaluate_bm25(*gallery)
    assert found.mean["recall_at_1"].value == 1.0


def test_texts_that_share_nothing_are_tied_and_ties_count_against_them():
    pairs = Pairs.from_lists(("a", "b", "c"), ("x", "y", "z"))
    vectors = torch.eye(3)
    found = evaluate_bm25(PairedEmbeddings.from_arrays(vectors, vectors), pairs)
    assert found.source_to_target.ranks.tolist() == [3, 3, 3]


def test_words_and_vectors_together_find_what_either_knows(gallery):
    """Vectors know the last two pairs and take the first two for each other."""
    _, pairs = gallery
    source = torch.eye(4)
    target = torch.eye(4)[[1, 0, 2, 3]] * 0.4 + 0.1
    embedded = PairedEmbeddings.from_arrays(source, target, ids=pairs.ids)
    words = overlap(embedded, pairs, raw_cosine(embedded, 0))
    assert words.bm25.value == 1.0
    assert words.adapter.value == 0.5
    assert words.both.value >= words.adapter.value
    assert words.repeated == 0.0


def test_a_miss_that_is_the_answer_but_for_a_name_is_counted():
    texts = ("a", "b", "c", "d")
    codes = ("x = 1", "y = 2", "f(1)", "g[0]")
    pairs = Pairs.from_lists(texts, codes)
    embedded = PairedEmbeddings.from_arrays(torch.eye(4), torch.eye(4)[[1, 0, 2, 3]], ids=pairs.ids)
    words = overlap(embedded, pairs, raw_cosine(embedded, 0))
    assert words.alike == 1.0
    assert words.alike_at_random < 1.0
