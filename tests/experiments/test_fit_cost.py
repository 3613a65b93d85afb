"""The cost benchmark measures in fresh processes, and its pairs can be aligned."""

from __future__ import annotations

import pytest

from align.adapters.closed_form.rcca import rcca
from align.metrics.evaluation import evaluate
from experiments.bench import fit_cost
from experiments.bench.fit_cost import Case, Config, Spread, spread, synthetic_pairs


def test_synthetic_pairs_repeat_themselves_and_are_correlated():
    pairs, again = synthetic_pairs(400, seed=1), synthetic_pairs(400, seed=1)
    assert pairs.source.equal(again.source) and pairs.target.equal(again.target)
    assert (pairs.source.shape, pairs.target.shape) == ((400, 384), (400, 1280))
    adapter = rcca(pairs.source[:300], pairs.target[:300])
    held_out = evaluate(pairs.take(range(300, 400)), adapter)
    assert held_out.mean["recall_at_10"].value > 0.9


def test_a_spread_interpolates_between_values():
    assert spread([0.0, 10.0, 20.0]) == Spread(4.0, 10.0, 16.0)


def test_one_case_is_measured_in_a_process_of_its_own():
    case = Case(40, "best", widths=(6, 5), repeats=1)
    result = fit_cost.run(Config(cases=(case,), calls=10))
    (cost,) = result.fits
    (fit,) = cost.fits
    assert cost.case == case and cost.seconds.p50 == fit.seconds > 0
    assert fit.peak_mib >= fit.before_mib > fit.data_mib == pytest.approx(40 * 11 * 4 / 2**20)
    assert {"map", "gallery"} <= set(fit.stages) and fit.chosen
    assert set(result.query_microseconds) == {
        "text, 384-d, plain",
        "text, 384-d, plain, wrapped",
        "text, 384-d, corrected",
        "text, 384-d, corrected, wrapped",
        "image, 1280-d, plain",
        "image, 1280-d, corrected",
    }
