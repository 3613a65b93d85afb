"""Seconds against n: powers are recovered, and resampled pairs stay pairs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from experiments import scaling


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0, 2.0])
def test_the_power_of_n_is_that_of_large_sizes(power: float) -> None:
    sizes = (10, 100, 5_000, 50_000, 500_000)
    seconds = [7.0, 0.1, *(3e-6 * n**power for n in sizes[2:])]
    assert scaling.slope(sizes, seconds) == pytest.approx(power, abs=1e-9)


def test_few_sizes_are_all_used() -> None:
    assert scaling.slope((100, 200, 400), (1.0, 2.0, 4.0)) == pytest.approx(1.0)


def test_up_to_what_there_is_rows_are_real() -> None:
    sides = torch.randn(9, 4), torch.randn(9, 5)
    few = scaling.resampled(sides, 9, seed=0)
    assert all(torch.equal(a, b) for a, b in zip(few, sides, strict=True))


def test_resampled_rows_differ_and_stay_beside_the_partner_of_their_pair() -> None:
    generator = torch.Generator().manual_seed(0)
    x = F.normalize(torch.randn(50, 64, generator=generator), dim=1)
    source, target = scaling.resampled((x, x), 200, seed=1)
    assert len({tuple(row) for row in source.tolist()}) == 200
    nearest = (source @ x.T).argmax(dim=1), (target @ x.T).argmax(dim=1)
    assert torch.equal(*nearest)
    assert torch.allclose(source.norm(dim=1), torch.ones(200))
    again = scaling.resampled((x, x), 200, seed=1)
    assert torch.equal(source, again[0])


def test_a_short_call_is_timed_three_times_and_a_long_one_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = iter([0.0, 1.0, 1.0, 4.0, 4.0, 6.0, 0.0, 9.0])
    monkeypatch.setattr("experiments.scaling.time.perf_counter", lambda: next(clock))
    assert scaling.timed(lambda: None) == 2.0  # of 1, 3 and 2
    assert scaling.timed(lambda: None) == 9.0


@pytest.mark.parametrize(
    "name", [scaling.FIT, scaling.FIT_BEST, scaling.REPORT, scaling.INDEX, scaling.SEARCH]
)
def test_each_thing_is_done_on_any_pairs_as_often_as_asked(name: str, tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    x = F.normalize(torch.randn(60, 8, generator=generator), dim=1)
    once = scaling.working(name, (x, x), tmp_path)
    once()
    once()
