from __future__ import annotations

import zipfile
from pathlib import Path

from align._files.cache import cache_folder, unpacked


def test_the_cache_is_where_the_environment_says_or_below_the_home_folder(monkeypatch):
    monkeypatch.setenv("ISTHMUS_CACHE", "~/elsewhere")
    assert cache_folder() == Path.home() / "elsewhere"
    monkeypatch.delenv("ISTHMUS_CACHE")
    assert cache_folder() == Path.home() / ".cache/isthmus"


def test_an_archive_unpacks_once_and_again_when_it_changes(tmp_path, monkeypatch):
    monkeypatch.setenv("ISTHMUS_CACHE", str(tmp_path / "cache"))
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w") as pack:
        pack.writestr("x.txt", "one")
    first = unpacked(archive, "sample")
    (first / "x.txt").write_text("touched")
    assert unpacked(archive, "sample") == first
    assert (first / "x.txt").read_text() == "touched"
    with zipfile.ZipFile(archive, "w") as pack:
        pack.writestr("x.txt", "two")
    second = unpacked(archive, "sample")
    assert second != first
    assert (second / "x.txt").read_text() == "two"
