"""An evaluation is never shown without what a random order gives."""

from __future__ import annotations

import pytest
import torch

from align.metrics.estimates import Estimate
from align.metrics.evaluation import Direction, Evaluation

METRICS = {
    "recall_at_1": Estimate(0.412, 0.38, 0.441),
    "recall_at_10": Estimate(0.8, 0.75, 0.85),
    "mean_reciprocal_rank": Estimate(0.5123, 0.49, 0.53),
    "median_rank": Estimate(2.5, 2.0, 3.0),
}
CHANCE = {
    "recall_at_1": 0.01, "recall_at_10": 0.1, "mean_reciprocal_rank": 0.0519, "median_rank": 50.5,
}  # fmt: skip


def direction() -> Direction:
    ids = tuple(map(str, range(100)))
    return Direction(METRICS, torch.ones(100).long(), torch.arange(100), ids, 100, CHANCE)


def evaluation(trained_on: int | None = 0) -> Evaluation:
    return Evaluation(direction(), direction(), METRICS, 100, trained_on)


def test_a_line_names_the_headlines_beside_chance() -> None:
    beside = "recall@10 80.0 % (chance 10.0 %), MRR 0.512 (chance 0.052)"
    assert repr(evaluation()) == f"Evaluation(100 pairs, {beside})"
    assert repr(evaluation(7)) == f"Evaluation(100 pairs, {beside}, 7 trained on)"
    assert repr(direction()) == f"Direction(100 queries among 100, {beside})"


def test_a_printed_evaluation_is_a_table_with_chance_that_fits_a_terminal() -> None:
    lines = str(evaluation()).splitlines()
    assert lines[0] == "100 pairs, held out" and len(lines) == 6
    assert lines[2].split() == ["recall@1", *["41.2", "%", "1.0", "%"] * 3]
    assert lines[5].split() == ["median", "rank", *["2.5", "50.5"] * 3]
    assert all(len(line) < 80 for line in lines)


@pytest.mark.parametrize("form", [str, Evaluation._repr_html_])
def test_pairs_that_were_trained_on_are_named(form) -> None:
    assert "7 of the 100 pairs were trained on; these values are not held out." in form(
        evaluation(7)
    )
    assert "not held out" not in form(evaluation())
    assert "not known whether the adapter was fitted on any" in form(evaluation(None))


def test_each_value_of_a_panel_has_its_interval_and_its_chance() -> None:
    html = evaluation()._repr_html_()
    row = '<td class="number">41.2 % [38.0, 44.1]</td><td class="number">1.0 %</td>'
    assert html.count(row) == 3
    assert html.count("chance 1.0 %") == 1  # of the tile
    assert direction()._repr_html_().count(row) == 1


def test_an_estimate_is_short() -> None:
    assert repr(METRICS["recall_at_1"]) == "Estimate(0.412 [0.38, 0.441])"
