"""A report shows recall of each kind of pair, in every form that it takes."""

from __future__ import annotations

import numpy as np
import pytest

import probes
from probes.reporting.document import Report

ROWS = ["recall_at_10"]


def kinds_of(n: int) -> list[str]:
    return ["<found>" if row < 2 * n // 3 else "lost" for row in range(n)]


@pytest.fixture(scope="module")
def sides() -> tuple[np.ndarray, np.ndarray]:
    """Ninety pairs, the last thirty of which have partners of their own making."""
    rng = np.random.default_rng(0)
    source = rng.standard_normal((90, 12))
    target = source + 0.1 * rng.standard_normal((90, 12))
    target[60:] = rng.standard_normal((30, 12))
    return source, target


@pytest.fixture(scope="module")
def report(sides: tuple[np.ndarray, np.ndarray]) -> Report:
    return probes.report(*sides, probes=ROWS, by=kinds_of(90))


def test_the_planted_kind_is_the_one_that_is_lost(report: Report) -> None:
    found, lost = report.subgroups
    assert (found.label, found.pairs, lost.label, lost.pairs) == ("<found>", 60, "lost", 30)
    assert found.metrics["recall_at_1"].value > 0.95
    assert lost.minus_others["mean_reciprocal_rank"].high < 0
    assert lost.stands_out


def test_they_agree_with_the_whole(report: Report) -> None:
    whole = report.row("recall_at_10").readings["raw"].value
    parts = sum(each.pairs * each.metrics["recall_at_10"].value for each in report.subgroups)
    assert parts / 90 == pytest.approx(whole)


def test_every_form_shows_them_and_no_label_is_markup(report: Report) -> None:
    for shown in (str(report), report.to_markdown(), report.to_html(), report._repr_html_()):
        assert "lost" in shown
    for page in (report.to_html(), report._repr_html_()):
        assert "&lt;found&gt;" in page
        assert "<found>" not in page


def test_json_brings_them_back(report: Report) -> None:
    assert Report.from_json(report.to_json()).subgroups == report.subgroups


def test_without_labels_there_are_none(sides: tuple[np.ndarray, np.ndarray]) -> None:
    plain = probes.report(*sides, probes=ROWS)
    assert plain.subgroups == ()
    assert "ubgroup" not in str(plain) + plain.to_html() + plain.to_markdown()


def test_labels_follow_their_pairs_where_repeats_are_left_out() -> None:
    rng = np.random.default_rng(1)
    source = rng.standard_normal((60, 8))
    source[1] = source[0]
    target = source.copy()
    groups = ["same", "same", *map(str, range(2, 60))]
    import align

    pairs = align.PairedEmbeddings.from_arrays(source, target, groups=groups)
    kinds = ["a", "b", *["a"] * 29, *["b"] * 29]
    found = probes.report(pairs, probes=ROWS, by=kinds).subgroups
    assert {each.label: each.pairs for each in found} == {"a": 30, "b": 29}


def test_sides_that_cannot_be_searched_have_no_recall_by_kind() -> None:
    rng = np.random.default_rng(2)
    sides = rng.standard_normal((40, 4)), rng.standard_normal((40, 6))
    with pytest.raises(ValueError, match="Pass an adapter"):
        probes.report(*sides, probes=["linear_cka"], by=kinds_of(40))
