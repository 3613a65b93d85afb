"""ARCHITECTURE.md names files that are there, and its walk of one row is what the code does."""

from __future__ import annotations

import re
import sys
from itertools import product
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from align.apps import cli

ROOT = Path(__file__).parents[2]
OURS = ROOT / "align"
TEXT = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
WALK = TEXT.split("## One row, from file to hit")[1].split("\n## ")[0]
FILES = re.compile(r"`([a-z_/]+\.pyi?)`")
NO_CODE = {"retrieval/hits.py"}  # a named tuple: nothing in the file is called


def test_every_file_that_is_named_is_there():
    names = set(FILES.findall(TEXT))
    assert len(names) > 40
    paths = [path.as_posix() for top in ("align", "probes") for path in (ROOT / top).rglob("*.py*")]
    assert [name for name in names if not any(path.endswith(f"/{name}") for path in paths)] == []


@pytest.mark.filterwarnings("ignore::align.NoBetterThanChance", "ignore::align.RepeatedItems")
def test_a_row_passes_through_the_files_of_each_step(tmp_path, monkeypatch, sbert, vit):
    monkeypatch.chdir(tmp_path)
    lines = ["id,caption,image"]
    kinds = product(("a", "the", "red", "blue"), ("dog", "cat"), ("runs", "sits"), ("on", "under"))
    captions = [" ".join(words) for words in kinds]
    for number, caption in enumerate(captions * 2):
        Image.new("RGB", (32, 32), (3 * number, 255 - 3 * number, 99)).save(f"{number}.png")
        lines.append(f"{number},{caption} the beach,{number}.png")
    Path("pairs.csv").write_text("\n".join(lines))
    encoders = ["--source-encoder", f"text:{sbert}", "--target-encoder", f"image:{vit}"]
    sides, store = ["--source", "caption", "--target", "image"], ["--store", "store"]
    entered: set[str] = set()

    def note(frame, event, argument):
        path = Path(frame.f_code.co_filename)
        if event == "call" and frame.f_code.co_name != "<module>" and path.is_relative_to(OURS):
            entered.add(path.relative_to(OURS).as_posix())

    files = []
    for command in (
        ["fit", "pairs.csv", *sides, *encoders, "--id", "id", "-o", "adapter", *store],
        ["index", "adapter", "pairs.csv", "--column", "image", "--id", "id", "-o", "idx", *store],
        ["search", "idx", "a red dog"],
    ):
        entered.clear()
        sys.setprofile(note)
        try:
            result = CliRunner().invoke(cli.app, command)
        finally:
            sys.setprofile(None)
        assert result.exit_code == 0, result.output
        files.append(set(entered))
    steps = re.split(r"\n\d+\. ", WALK)[1:]
    assert len(steps) == 10
    for number, step in enumerate(steps, start=1):
        command = files[0 if number <= 5 else 1 if number <= 7 else 2]
        names = set(FILES.findall(step)) - NO_CODE
        missing = [n for n in names if not any(f"/{path}".endswith(f"/{n}") for path in command)]
        assert names and missing == [], number
