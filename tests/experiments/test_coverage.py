"""The study of coverage: planted intervals come out as what they are."""

import pytest
import torch

from experiments import coverage
from experiments.coverage import Config, run
from probes.estimates import Measured, mean_of
from probes.space import Probe

SMALL = Config(replicates=60, n=40, d=4, many=80, large=2, draws=200)


def probe(name, measure):
    return Probe(name, name, "offset", "lower", "sides", measure)


def first(space):
    return Measured(*mean_of(space.source[:, 0]))


def too_narrow(space):
    value, replicate = mean_of(space.source[:, 0])
    return Measured(value, lambda weights: value + (replicate(weights) - value) / 4, notes=("no",))


def test_good_and_bad_intervals_are_told_apart():
    found = run(SMALL, probes=[probe("good", first), probe("bad", too_narrow)])
    lines = {line.probe: line for line in found.lines}
    assert lines["good"].of_expected >= 0.85 and 0.8 < lines["good"].width < 1.25
    assert lines["bad"].of_expected < 0.6 and lines["bad"].width < 0.4
    assert "bad" in found.to_dict()["misses the expected value"]
    assert "bad" not in found.to_dict()["misses the population without a note"]
    assert lines["evaluate: recall_at_10"].population < lines["evaluate: recall_at_10"].expected


def test_what_has_no_interval_is_left_out():
    bare = probe("bare", lambda space: Measured(1.0))
    fixed = probe("fixed", lambda space: Measured(1.0, interval=(0.0, 2.0)))
    names = {line.probe for line in run(SMALL, probes=[bare, fixed]).lines}
    assert "bare" not in names and "fixed" in names


def test_the_command_writes_a_record(monkeypatch, capsys):
    told = {}
    monkeypatch.setattr(coverage, "run", lambda config, progress: coverage.Result(()))
    monkeypatch.setattr(
        coverage, "write_record", lambda name, config, result: told.update(config) or name
    )
    coverage.main(["--replicates", "5"])
    assert told["replicates"] == 5
    assert "| probe | expected |" in capsys.readouterr().out


def test_pairs_are_unit_vectors(rng):
    source, target = coverage.pairs(30, SMALL, rng)
    torch.testing.assert_close(source.norm(dim=1), torch.ones(30))
    assert (source * target).sum(dim=1).mean() == pytest.approx(0.2, abs=0.25)
