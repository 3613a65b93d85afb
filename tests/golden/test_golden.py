"""Files that an earlier version saved are read, and give what they gave."""

from __future__ import annotations

import json
import shutil

import pytest

from tests.golden.planted import FOLDER, READERS

EXPECTED = json.loads((FOLDER / "expected.json").read_text(encoding="utf-8"))


def close(value):
    """The same with every float up to rounding."""
    if isinstance(value, dict):
        return {name: close(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [close(each) for each in value]
    return pytest.approx(value, abs=1e-5, rel=1e-4) if isinstance(value, float) else value


@pytest.mark.filterwarnings("ignore::align.NoBetterThanChance")
@pytest.mark.parametrize("name", READERS)
def test_a_saved_file_is_read_and_gives_what_it_gave(name, tmp_path):
    kind = FOLDER / name
    copy = shutil.copytree if kind.is_dir() else shutil.copy
    copy(kind, tmp_path / name)
    assert json.loads(json.dumps(READERS[name](tmp_path / name))) == close(EXPECTED[name])


def test_golden_files_are_few_and_small():
    sizes = [
        path.stat().st_size for path in FOLDER.rglob("*") if path.suffix not in (".py", ".pyc")
    ]
    assert max(sizes) < 100 * 1024 and sum(sizes) < 256 * 1024
