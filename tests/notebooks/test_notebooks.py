"""Every notebook runs from top to bottom, offline, and is what its script says, with outputs."""

from __future__ import annotations

import re
from pathlib import Path

import jupytext
import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SCRIPTS = sorted((ROOT / "notebooks").glob("*.py"))
LARGEST = 400_000  # bytes, outputs included: they are read over the network
OF_A_MACHINE = re.compile(r"(?<![\w./])/(?:home|root|tmp|usr|work|Users)/")


def test_there_are_notebooks():
    assert NOTEBOOKS


def test_each_notebook_has_a_script():
    assert [path.stem for path in SCRIPTS] == [path.stem for path in NOTEBOOKS]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_notebook_has_the_cells_of_its_script(script):
    """Edit the script, and run ``make notebooks``."""
    written, shown = (
        jupytext.read(script),
        nbformat.read((script.with_suffix(".ipynb")), as_version=4),
    )
    assert [(cell.cell_type, cell.source) for cell in shown.cells] == [
        (cell.cell_type, cell.source) for cell in written.cells
    ]
    assert shown.metadata.jupytext.formats == "ipynb,py:percent"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_stored_outputs_are_small_and_hold_no_error_no_warning_and_no_path(path):
    assert path.stat().st_size < LARGEST
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in cells)
    outputs = [output for cell in cells for output in cell.outputs]
    assert "error" not in {output.output_type for output in outputs}
    assert "stderr" not in {output.get("name") for output in outputs}
    for output in outputs:
        shown = output.get("text", ""), *map(str, output.get("data", {}).values())
        assert not any(OF_A_MACHINE.search(text) for text in shown)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            assert "Traceback" not in output.get("text", "")
