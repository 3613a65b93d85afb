"""A search that is killed at the worst moments and called again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from align.fitting.tuning.setting import SettingScorer
from tests.fitting.tuning.tune_then_die import MOMENTS, TRIALS, run

TESTS = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    return run(tmp_path_factory.mktemp("whole") / "study.journal")


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_search_called_again_finds_what_an_uninterrupted_one_does(
    tmp_path, moment, uninterrupted, monkeypatch
):
    study = tmp_path / "study.journal"
    path = os.pathsep.join([str(TESTS), str(TESTS.parent)])
    script = Path(__file__).with_name("tune_then_die.py")
    child = subprocess.run(
        [sys.executable, str(script), str(study), moment],
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.returncode == -signal.SIGKILL, child.stderr
    tried = []
    on_fold = SettingScorer.on_fold

    def counted(scorer, cv, setting, fold):
        tried.append(setting)
        return on_fold(scorer, cv, setting, fold)

    monkeypatch.setattr(SettingScorer, "on_fold", counted)
    found = run(study)
    # Twelve trials were on the disk; the one under way is repeated.
    assert len(dict.fromkeys(tried)) == TRIALS - 12
    assert len(found.trials) == TRIALS
    assert found.trials == uninterrupted.trials
