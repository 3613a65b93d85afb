"""How what was found is shown: as text, as a frame, as a panel, as a figure."""

from __future__ import annotations

from dataclasses import replace

import pytest

from align.fitting.scouting.agreement import Agreement
from align.fitting.scouting.encoder_pair import EncoderPair
from align.fitting.scouting.result import Scouting
from align.metrics.chance import AgainstChance


@pytest.fixture
def made(looked_up, drawn):
    """One that is best, one within the noise and narrower, one behind and wide; 20 more behind."""

    def pair(name, width, mrr, behind, margin, *, as_named=False):
        encoders = looked_up(name, drawn(width, 0)), looked_up("target", drawn(4, 0))
        return EncoderPair(
            *encoders, (f"text:{name}", "text:target"), mrr, 0.01, 0.8, behind, margin,
            Agreement(0.3, 0.2, 0.005), (0.002, 0.03), as_named,
        )  # fmt: skip

    rows = [
        pair("best", 8, 0.5, 0.0, 0.0),
        pair("narrow", 4, 0.49, 0.01, 0.02),
        *(pair(f"other {n}", 16, 0.4, 0.1, 0.02) for n in range(20)),
        pair("named", 2, 0.3, 0.2, 0.02, as_named=True),
    ]
    chance = AgainstChance(10, 0.8, 0.05, 200, better=True)
    return Scouting(tuple(rows), 300, 300, chance, 0.03, 0.05)


def test_best_within_noise_and_cheapest_are_told_apart(made):
    assert made.best.names[0] == "text:best"
    assert [pair.names[0] for pair in made.within_noise] == ["text:narrow"]
    assert made.cheapest.names[0] == "text:narrow"  # and not the narrowest of all, which is behind


def test_of_equally_cheap_candidates_one_that_was_named_is_the_cheapest(made):
    best, narrow, *rest = made.pairs
    named = replace(narrow, names=("text:plain", "text:target"), behind=0.015, as_named=True)
    found = replace(made, pairs=(best, narrow, named, *rest))
    assert found.cheapest is named
    assert "Cheapest of these: text:plain with" in found.verdict


def test_the_verdict_names_the_best_its_doubt_and_the_cheapest(made):
    assert made.verdict == (
        "Best of 23 candidates on 300 pairs: text:best with text:target, MRR 0.500 ± 0.010; it "
        "finds pairs 16 times as often as chance (R@10 80.0 %, chance 5.0 % among 200). 1 other is "
        "within the noise: more pairs might turn the order. Cheapest of these: text:narrow with "
        "text:target, 8 dimensions for 12."
    )


def test_the_table_shows_the_best_and_what_was_named_with_chance_below(made):
    lines = made.table().split("\n")
    assert lines[0].split() == ("MRR behind the best recall@10 kNN p dimensions ms an item".split())
    assert "best" in lines[1] and lines[2] == "  text:best with text:target"
    assert "0.010 ± 0.020 noise" in lines[3]
    assert "0.100 ± 0.020 behind" in lines[5]
    assert "16 + 4  2.00 + 30.0" in lines[5]
    assert lines[26] == "  text:named with text:target"
    assert lines[28:] == ["  chance: a random order", "... and 10 more"]
    assert len(made.table(shown=None).split("\n")) == 1 + 2 * 24


def test_what_is_printed_says_that_the_score_was_chosen_and_the_null_is_of_the_maximum(made):
    printed = str(made)
    assert "The score of the best of many is a little too high" in printed
    assert "a maximum over many layers is inflated" in printed.replace("\n", " ")
    assert max(map(len, printed.split("\n"))) <= 100
    assert repr(made).startswith("Scouting(23 candidates, best MRR 0.500 (chance 0.030), 1 within")
    assert repr(made.best) == (
        "EncoderPair(MRR 0.500 ± 0.010, recall@10 80.0 %, text:best, text:target)"
    )


def test_a_frame_has_a_row_for_each_candidate(made):
    frame = made.to_frame()
    assert len(frame) == 23
    assert frame.source[1] == "text:narrow"
    assert frame.within_noise.sum() == 2  # the best is one of them
    assert frame.source_dim[0] == 8


def test_a_figure_has_two_panels_that_name_the_best_and_the_cheapest(made):
    figure = made.plot()
    left, right = figure.axes
    assert "dimensions" in left.get_xlabel() and "milliseconds" in right.get_xlabel()
    words = [text.get_text() for text in figure.legends[0].get_texts()]
    assert any(word == "best: text:best with text:target" for word in words)
    assert any(word.startswith("cheapest of these: text:narrow") for word in words)
