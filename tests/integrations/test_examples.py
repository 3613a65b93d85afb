"""Every example runs to its end, offline; those of a framework that is not there are skipped."""

import importlib.util
import re
import runpy
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "examples"
EXAMPLES = sorted(set(FOLDER.glob("*.py")) - {FOLDER / "flags.py"})


def test_the_readme_names_every_example():
    assert len(EXAMPLES) >= 13
    named = re.findall(r"^\| \[(.*?\.py)\]\(\1\)", (FOLDER / "README.md").read_text(), re.MULTILINE)
    assert named == [path.name for path in EXAMPLES]


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
