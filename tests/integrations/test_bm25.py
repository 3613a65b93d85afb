"""BM25 as a searcher, against the installed bm25s and the formula."""

import math
import re
from collections import Counter

import pytest

pytest.importorskip("bm25s", reason="needs isthmus[bm25]")

from align import reciprocal_rank_fusion
from align.integrations.bm25 import BM25, words
from align.retrieval.hits import Hit

TEXTS = [
    "a red house by the sea",
    "the sea, the sea and the sky",
    "a dog runs",
    "red red red",
    "",
    "the dog and the house",
]
IDS = [f"text {row}" for row in range(len(TEXTS))]


def by_formula(query, k1=1.5, b=0.75):
    """Lucene's BM25 of each text, as Kamphuis et al. 2020 print it."""
    documents = [words(text) for text in TEXTS]
    mean = sum(map(len, documents)) / len(documents)
    scores = []
    for document in documents:
        counts, score = Counter(document), 0.0
        for word in words(query):
            df = sum(word in other for other in documents)
            idf = math.log(1 + (len(documents) - df + 0.5) / (df + 0.5))
            tf = counts[word]
            score += idf * tf / (tf + k1 * (1 - b + b * len(document) / mean))
        scores.append(score)
    return scores


@pytest.mark.parametrize("settings", [{}, {"k1": 0.6, "b": 0.2}, {"k1": 2.0, "b": 0.0}], ids=str)
@pytest.mark.parametrize("query", ["the red sea", "dog", "a house, the house", "Sky above sea"])
def test_hits_have_the_scores_of_the_formula(query, settings):
    [hits] = BM25(IDS, TEXTS, **settings).search([query], k=6)
    scores = {
        name: score
        for name, score in zip(IDS, by_formula(query, **settings), strict=True)
        if score > 0
    }
    assert {hit.id: hit.score for hit in hits} == pytest.approx(scores, rel=1e-5)
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


def test_texts_that_share_no_word_are_not_hits():
    found = BM25(IDS, TEXTS).search(["dog", "unheard of", "", "dog unheard"], k=6)
    assert [[hit.id for hit in hits] for hits in found] == [
        ["text 2", "text 5"],
        [],
        [],
        ["text 2", "text 5"],
    ]
    assert {hit.modality for hits in found for hit in hits} == {"text"}


def test_equal_texts_stay_in_their_order():
    searcher = BM25([f"{row}" for row in range(40)], ["same words"] * 40)
    [hits] = searcher.search(["words"], k=5)
    assert [hit.id for hit in hits] == ["0", "1", "2", "3", "4"]
    assert len(searcher) == 40


def test_a_split_of_ones_own_reads_texts_and_queries():
    def trigrams(text):
        return [text[start : start + 3] for start in range(len(text) - 2)]

    [hits] = BM25(["a", "b"], ["walking", "talked"], split=trigrams).search(["walked"], k=2)
    assert [hit.id for hit in hits] == ["b", "a"]


def test_hits_can_be_fused():
    hits = BM25(IDS, TEXTS).search(["red"], k=2)
    [fused] = reciprocal_rank_fusion([hits, [[Hit("other", 9.0, "image"), Hit("text 0", 3.0)]]])
    assert [hit.id for hit in fused] == ["text 0", "text 3", "other"]
    assert [hit.modality for hit in fused] == ["text", "text", "image"]


def test_wrong_inputs_are_refused():
    searcher = BM25(IDS, TEXTS)
    with pytest.raises(TypeError, match="list of texts; got one string, 'red'"):
        searcher.search("red")
    with pytest.raises(ValueError, match=re.escape("k must lie in [1, 6], the number of texts")):
        searcher.search(["red"], k=7)
    with pytest.raises(ValueError, match="texts must have one entry per row, 5; got 6"):
        BM25(IDS[:5], TEXTS)
    with pytest.raises(ValueError, match="ids must be unique; 1 repeat: 'x'"):
        BM25(["x", "x"], TEXTS[:2])
    with pytest.raises(ValueError, match="must have a word; of 2 none has"):
        BM25(["x", "y"], ["", "!?"])
    with pytest.raises(ValueError, match="k1 must be finite and at least 0; got -1"):
        BM25(IDS, TEXTS, k1=-1)
    with pytest.raises(ValueError, match=r"b must lie in \[0, 1\]; got 1.5"):
        BM25(IDS, TEXTS, b=1.5)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("हिन्दी की किताब", ["हिन्दी", "की", "किताब"]),
        ("cafe\u0301 Café", ["café", "café"]),
        (
            "İSTANBUL istanbul ISPARTA \N{LATIN SMALL LETTER DOTLESS I}sparta",
            ["istanbul"] * 2 + ["isparta"] * 2,
        ),
        ("STRASSE Straße", ["strasse"] * 2),
        ("கடல் வீடு", ["கடல்", "வீடு"]),
        ("snake_case, x1!", ["snake_case", "x1"]),
    ],
)
def test_words_keep_their_marks_and_have_one_form(text, expected):
    assert words(text) == expected


def test_a_query_finds_a_word_however_its_accents_are_written():
    searcher = BM25(["a", "b"], ["un café noir", "un thé"])
    assert [hit.id for hit in searcher.search(["CAFE\u0301"], k=1)[0]] == ["a"]
