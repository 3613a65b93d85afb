"""Training that is killed at the worst moments and called again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fitting.training.train_then_die import MOMENTS, run

TESTS = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("moment", "left"),
    [
        # Steps of the two stages that were not yet on the disk.
        (MOMENTS[0], [*range(6, 13)]),
        (MOMENTS[1], [*range(6, 13), *range(13)]),
    ],
)
def test_a_killed_run_called_again_ends_in_the_same_bits(tmp_path, moment, left):
    path = os.pathsep.join([str(TESTS), str(TESTS.parent)])
    script = Path(__file__).with_name("train_then_die.py")
    child = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "killed"), moment],
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.returncode == -signal.SIGKILL, child.stderr
    steps = []
    found = run(tmp_path / "killed", log=[lambda record: steps.append(record["step"])])
    assert steps == left
    whole = run(tmp_path / "whole").state_dict()
    assert [
        name for name, value in found.state_dict().items() if not value.equal(whole[name])
    ] == []
