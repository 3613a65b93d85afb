"""Hits are the lists they always were, and show as tables."""

from __future__ import annotations

import copy
import json
import pickle

import pytest
from PIL import Image

from align.retrieval.fusion import reciprocal_rank_fusion
from align.retrieval.hits import Hit, Hits, SearchResults

TEXTS = [
    Hit("a", 0.9, "text", {"text": "a red dog", "year": 2020}),
    Hit("b", 0.71234, "text", {"text": "x" * 10**6}),
    Hit(7, -0.1),
]


def test_hits_equal_lists_and_slices_of_them_are_hits() -> None:
    hits = Hits(TEXTS, query="dog")
    assert hits == TEXTS and isinstance(hits, list) and hits[0] == TEXTS[0]
    assert hits[:2] == TEXTS[:2] and hits[:2].query == "dog" and isinstance(hits[:2], Hits)
    assert [hit.id for hit in hits] == ["a", "b", 7] and hits[-1].id == 7
    assert json.dumps(hits[:1]) == json.dumps(TEXTS[:1])
    results = SearchResults([TEXTS, []], queries=["dog", "cat"])
    assert results == [TEXTS, []] and results[1:] == [[]] and results[1:][0].query == "cat"
    [own, none] = results
    assert own.query == "dog" and none.query == "cat"


@pytest.mark.parametrize(
    "again", [copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))]
)
def test_a_copy_knows_its_query(again) -> None:
    results = again(SearchResults([TEXTS[:1]], queries=["dog"]))
    assert results == [TEXTS[:1]] and results[0].query == "dog" and type(results) is SearchResults


def test_lines_name_the_best_hits() -> None:
    assert repr(TEXTS[0]) == "Hit('a', 0.900, text, text='a red dog', year=2020)"
    assert len(repr(TEXTS[1])) < 150 and repr(TEXTS[2]) == "Hit(7, -0.100)"
    line = "Hits(3 for 'dog': 'a' 0.900, 'b' 0.712, 7 -0.100)"
    assert repr(Hits(TEXTS, query="dog")) == line
    assert repr(Hits()) == "Hits(0)" and repr(SearchResults()) == "SearchResults(0 queries)"
    assert repr(SearchResults([TEXTS])) == "SearchResults(1 query, 3 hits)"
    assert repr(SearchResults([TEXTS, TEXTS[:1]])) == "SearchResults(2 queries, 1 to 3 hits each)"


def test_printed_hits_are_a_table() -> None:
    lines = str(Hits(TEXTS, query="dog")).splitlines()
    assert lines[0] == "3 hits for 'dog'" and lines[1] == "   1  0.900  a  a red dog"
    assert all(len(line) < 100 for line in lines)
    shown = str(SearchResults([TEXTS] * 9, queries=list("abcdefghi")))
    assert shown.count("3 hits for") == 6 and shown.endswith("and 3 more queries")


def test_a_panel_has_rank_score_item_and_id() -> None:
    html = Hits(TEXTS, query="<dog>")._repr_html_()
    assert "3 hits for &#39;&lt;dog&gt;&#39;" in html
    assert (
        '<td class="number">1</td><td class="number">0.900</td><td>a red dog</td><td>a</td>' in html
    )
    assert '<th scope="col">modality</th>' in html and "year=2020" in html
    several = SearchResults([TEXTS, TEXTS[:1]], queries=["dog", "cat"])._repr_html_()
    assert "1. &#39;dog&#39;" in several and "2. &#39;cat&#39;" in several


def test_pictures_are_found_beside_the_index_or_said_to_be_missing(tmp_path) -> None:
    Image.new("RGB", (40, 20), "red").save(tmp_path / "dog.png")
    found = [Hit(name, 1.0, "image", {"path": name}) for name in ("dog.png", "gone.png")]
    html = Hits(found, folder=tmp_path)._repr_html_()
    assert html.count('<img src="data:image/jpeg;base64,') == 1
    assert "missing: gone.png" in html and "dog.png" in html
    asked = Hits(found, query=tmp_path / "dog.png", folder=tmp_path)
    assert asked._repr_html_().count("<img") == 2 and "2 for dog.png" in repr(asked)


def test_fused_hits_know_the_query_and_the_folder_that_all_agree_on(tmp_path) -> None:
    one = SearchResults([TEXTS[:2]], queries=["dog"], folder=tmp_path)
    [fused] = reciprocal_rank_fusion([one, [TEXTS[1:]]])
    assert fused.query == "dog" and fused.folder == tmp_path
    elsewhere = SearchResults([TEXTS[:2]], folder=tmp_path / "b")
    [fused] = reciprocal_rank_fusion([one, elsewhere])
    assert fused.folder is None


def test_a_hit_shows_how_sure_it_is():
    hits = Hits([Hit("a", 0.9, confidence=0.412), Hit("b", 0.5, confidence=0.004), Hit("c", 0.4)])
    assert repr(hits[0]) == "Hit('a', 0.900, 41 % sure)"
    assert str(hits).splitlines()[1:3] == ["   1  0.900    41 %  a", "   2  0.500   < 1 %  b"]
    page = hits._repr_html_()
    assert "confidence" in page and "41 %" in page and "&lt; 1 %" in page
    assert "confidence" not in Hits([Hit("a", 0.9)])._repr_html_()
