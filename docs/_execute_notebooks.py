"""Run notebooks from their scripts, and keep what they show: ``make notebooks``.

``notebooks/NAME.py`` is what is edited; ``notebooks/NAME.ipynb`` is the same with outputs.
"""

from __future__ import annotations

import sys
from pathlib import Path

import jupytext
from nbclient import NotebookClient
from nbformat import NotebookNode

FOLDER = Path(__file__).parents[1] / "notebooks"
FORMATS = {"jupytext": {"formats": "ipynb,py:percent"}}
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


def main(names: list[str]) -> None:
    """Execute the notebooks of these names, or all, and write each beside its script."""
    for path in sorted(FOLDER.glob("*.py")):
        if not names or path.stem in names:
            notebook = executed(path)
            jupytext.write(notebook, path.with_suffix(".ipynb"))


def executed(script: Path) -> NotebookNode:
    """The notebook of a script with its outputs, without progress bars.

    Raises:
        RuntimeError: A cell wrote something else to stderr: a warning, which readers would see.
    """
    notebook: NotebookNode = jupytext.read(script)
    notebook.metadata.update(FORMATS | {"kernelspec": KERNEL})
    NotebookClient(notebook, timeout=600, kernel_name="python3", record_timing=False).execute()
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            if output.get("name") == "stderr" and not _of_a_bar(output.text):
                raise RuntimeError(f"{script.name} writes to stderr:\n{output.text}")
        if cell.cell_type == "code":
            cell.outputs = [each for each in cell.outputs if each.get("name") != "stderr"]
    return notebook


def _of_a_bar(text: str) -> bool:
    return not text.strip() or "\r" in text


if __name__ == "__main__":
    main(sys.argv[1:])
