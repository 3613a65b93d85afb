"""Every example runs to its end, offline; those of a framework that is not there are skipped."""

import importlib.util
import runpy
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("with_*.py"))


def test_there_are_examples():
    assert len(EXAMPLES) >= 6


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs(path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(path.parent))
    try:
        runpy.run_path(str(path), run_name="__main__")
    except ImportError as error:
        package = (error.name or "align").partition(".")[0]
        if importlib.util.find_spec(package) is not None:
            raise
        pytest.skip(f"needs {package}")
    assert capsys.readouterr().out.strip()
