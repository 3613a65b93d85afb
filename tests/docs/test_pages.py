"""What the README and the site tell people to type runs as it stands, page by page.

A page's blocks run from the top in one folder that holds what readers are told to have: `pairs.csv`
and `test.csv` with captions and pictures, `captions.csv` with two captions for each, `photos/`,
`embeddings.npz`, and `my-adapter`, fitted on `pairs.csv`. Blocks marked `python`
share their names, as cells of a notebook do; blocks marked `sh` are run by bash. What only shows
something (an installation, an excerpt, another machine) is marked `console` or `text`.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from subprocess import PIPE, STDOUT
from tempfile import gettempdir

import pytest
from filelock import FileLock

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^( *)```(python|sh)\n(.*?)^\1```", re.DOTALL | re.MULTILINE)


def blocks_of(page: Path) -> list[tuple[str, str]]:
    found = BLOCK.findall(page.read_text(encoding="utf-8"))
    return [
        (language, "".join(line.removeprefix(indent) for line in text.splitlines(keepends=True)))
        for indent, language, text in found
    ]


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


WITH_BLOCKS = [page for page in PAGES if blocks_of(page)]


def run_shell(text: str, folder: Path) -> None:
    """Run lines of a shell; a server among them is stopped, as by Ctrl-C, once it answers."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}
    serving, said = "align serve" in text, []
    # Pages run beside each other, and each serves at the same port.
    alone = FileLock(Path(gettempdir()) / "isthmus-docs-port.lock") if serving else nullcontext()
    command = ["bash", "-euo", "pipefail", "-c", text]
    with (
        alone,
        subprocess.Popen(
            command, cwd=folder, env=environment, stdout=PIPE, stderr=STDOUT, text=True,
            start_new_session=True,
        ) as process,
    ):  # fmt: skip
        assert process.stdout is not None
        for line in process.stdout:
            said.append(line)
            if serving and "http://" in line:
                os.killpg(process.pid, signal.SIGINT)
    assert process.returncode in ((0, 130) if serving else (0,)), "".join(said)


def run_page(page: Path, folder: Path) -> None:
    names: dict[str, object] = {"__name__": "__main__"}
    for number, (language, text) in enumerate(blocks_of(page), start=1):
        if language == "sh":
            run_shell(text, folder)
        else:
            exec(compile(text, f"{name_of(page)}, block {number}", "exec"), names)


@pytest.mark.parametrize("page", WITH_BLOCKS, ids=name_of)
def test_a_page_runs_as_it_is_written(page, example_folder, tmp_path, monkeypatch):
    folder = tmp_path / "work"
    shutil.copytree(example_folder, folder)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(tmp_path))
    run_page(page, folder)


def test_a_command_that_fails_is_noticed(tmp_path):
    with pytest.raises(AssertionError, match="No such command"):
        run_shell("align no-such-command\necho after", tmp_path)


def test_a_block_of_python_that_fails_is_noticed(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "```python\nx = 1\n```\n\n- item\n\n    ```python\n    assert x == 2\n    ```\n"
    )
    with pytest.raises(AssertionError):
        names: dict[str, object] = {}
        for _, text in blocks_of(page):
            exec(text, names)
