import sys
from dataclasses import replace

import pytest

from align.fitting.tuning.figures import save_figures


def test_figures_are_written_with_every_trial_in_them(tuned, tmp_path):
    paths = save_figures(tuned, tmp_path / "figures", chosen=tuned.best())
    assert [path.name for path in paths] == ["front.png", "slices.png", "importance.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)
    few = replace(tuned, trials=tuned.trials[:1], importance={}, raw_mrr=0.3)
    assert [path.name for path in save_figures(few, tmp_path)] == ["front.png", "slices.png"]


def test_figures_without_matplotlib_say_what_to_install(tuned, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match="isthmus\\[report\\]"):
        save_figures(tuned, tmp_path)
