"""The benchmark of the probes compares like with like: naive calls and ours give equal values."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from align.metrics.bootstrap import resamples
from experiments.bench import probes as bench
from experiments.bench.probes import Config, reading, row_cost, value_of
from experiments.bench.quantities import QUANTITIES, Quantity
from experiments.bench.report_cost import report_cost, synthetic_pairs
from probes.reporting.standard import STANDARD

EQUAL = [each for each in QUANTITIES if each.tolerance is not None]
ROWS = [each for each in QUANTITIES if each.probe is not None]


def name_of(quantity: Quantity) -> str:
    return quantity.name


@pytest.fixture(scope="module")
def pairs() -> tuple[Tensor, Tensor]:
    return synthetic_pairs(60, (6, 6), seed=0, one_space=True)


@pytest.mark.parametrize("quantity", QUANTITIES, ids=name_of)
def test_the_naive_call_gives_our_value(pairs, quantity):
    found = value_of(quantity, *pairs, repeats=1)
    if quantity in EQUAL:
        assert found.equal, (found.ours, found.naive)
        assert abs(found.naive) > 1e-4  # a difference relative to nothing would say nothing
    else:
        assert found.equal is None
    assert found.ratio == found.naive_seconds / found.ours_seconds > 0


@pytest.mark.parametrize("quantity", ROWS, ids=name_of)
def test_a_row_of_a_report_holds_the_naive_value_and_its_draws(pairs, quantity):
    rng = torch.Generator().manual_seed(0)
    weights = torch.cat(list(resamples(torch.arange(60), 30, rng)))
    value, drawn = reading(quantity.probe, *pairs, weights)
    naive = quantity.naive(*(side.numpy() for side in pairs))
    assert value == pytest.approx(naive, rel=quantity.tolerance)
    if quantity.name == "Gromov-Wasserstein":
        assert drawn is None  # its interval is over subsets
    else:
        assert drawn.shape == (30,) and drawn.std() > 0


def test_a_value_that_is_off_is_not_called_equal(pairs):
    quantity = QUANTITIES[0]
    off = replace(quantity, naive=lambda x, y: 1.01 * quantity.naive(x, y))
    found = value_of(off, *pairs, repeats=1)
    assert found.equal is False
    assert found.difference == pytest.approx(0.01 / 1.01, rel=1e-3)


def test_the_naive_call_sees_resamples_and_is_extrapolated_to_all_draws(pairs):
    (quantity,) = (each for each in QUANTITIES if each.name == "Recall@10")
    seen = []

    def naive(x, y):
        seen.append((x.copy(), y.copy()))
        return quantity.naive(x, y)

    watched = replace(quantity, naive=naive)
    config = Config(n=60, d=6, draws=40, resamples=3)
    cost = row_cost(watched, quantity.probe, *pairs, config)
    assert cost.extrapolated_seconds == pytest.approx(40 * cost.naive_seconds)
    assert cost.ratio == pytest.approx(cost.extrapolated_seconds / cost.ours_seconds)
    assert len(seen) == 3
    source, target = (side.numpy() for side in pairs)
    for x, y in seen:
        drawn = [int((source == row).all(1).argmax()) for row in x]
        assert len(x) == 60 > len(set(drawn))
        assert (source[drawn] == x).all() and (target[drawn] == y).all()


def test_pairs_are_unit_vectors_that_repeat_themselves():
    source, target = synthetic_pairs(50, (8, 12), seed=1)
    again = synthetic_pairs(50, (8, 12), seed=1)
    assert source.equal(again[0]) and target.equal(again[1])
    for side in (source, target):
        assert torch.linalg.vector_norm(side, dim=1) == pytest.approx(torch.ones(50))


def test_a_report_tells_what_is_undefined_before_alignment(monkeypatch):
    monkeypatch.setattr("experiments.bench.report_cost.TRAINING", 60)
    apart, common = (report_cost(40, 6, width, seed=0) for width in (9, 6))
    assert 0 < apart.undefined < apart.rows == common.rows
    assert common.undefined < apart.undefined
    assert apart.measured == 40 and apart.rules == ()
    assert apart.peak_mib >= apart.before_mib > 0
    assert {each.name for each in apart.probes} == {each.name for each in STANDARD}
    spent = [each.measure_seconds + each.draws_seconds for each in apart.probes]
    assert spent == sorted(spent, reverse=True) and spent[-1] >= 0
    assert sum(spent) > 0 and min(apart.imports_seconds, apart.processor_seconds) > 0


def test_a_quick_run_prints_all_and_writes_nothing(monkeypatch, capsys):
    def refuse(*_, **__):
        raise AssertionError("a quick run writes no record")

    small = replace(bench.QUICK, n=60, d=6, draws=20, reports=((40, 6, 9),))
    monkeypatch.setattr(bench, "QUICK", small)
    monkeypatch.setattr(bench, "write_record", refuse)
    monkeypatch.setenv("COLUMNS", "200")
    bench.main(["--quick"])
    printed = capsys.readouterr().out
    for quantity in QUANTITIES:
        assert quantity.name in printed and quantity.calls in printed
    assert "extrapolated" in printed and "NO" not in printed
    assert "6, 9" in printed and "dearest" in printed


def test_a_full_run_leaves_a_record_that_json_can_hold(monkeypatch, capsys):
    held = {}

    def keep(name, *, config, result):
        held[name] = json.loads(json.dumps({"config": config, "result": result}, allow_nan=False))

    monkeypatch.setattr(bench, "Config", lambda: replace(bench.QUICK, n=60, d=6, reports=()))
    monkeypatch.setattr(bench, "QUANTITIES", EQUAL[:2])
    monkeypatch.setattr(bench, "write_record", keep)
    bench.main([])
    assert [each["name"] for each in held["probes"]["result"]["values"]] == ["W²", EQUAL[1].name]
    assert held["probes"]["config"]["n"] == 60
