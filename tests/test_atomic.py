"""Files and folders appear whole or not at all."""

from __future__ import annotations

import os

import pytest
import torch
from safetensors.torch import save_file

from align.atomic import atomic_file, atomic_folder


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_with_its_content_and_leaves_no_scratch(tmp_path):
    path = tmp_path / "new" / "file.txt"
    with atomic_file(path) as scratch:
        scratch.write_text("whole")
        assert not path.exists()
    assert path.read_text() == "whole"
    assert names(path.parent) == ["file.txt"]


def test_an_error_while_writing_keeps_the_old_file(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError, match="disk"), atomic_file(path) as scratch:
        scratch.write_text("half")
        raise RuntimeError("disk")
    assert path.read_text() == "old"
    assert names(tmp_path) == ["file.txt"]


def test_files_get_default_permissions_even_if_their_writer_is_stricter(tmp_path):
    plain = tmp_path / "plain"
    plain.touch()
    path, folder = tmp_path / "a.safetensors", tmp_path / "folder"
    with atomic_file(path) as scratch:
        save_file({"x": torch.zeros(1)}, scratch)
    with atomic_folder(folder) as scratch:
        save_file({"x": torch.zeros(1)}, scratch / "a.safetensors")
    mode = plain.stat().st_mode
    assert path.stat().st_mode == mode
    assert (folder / "a.safetensors").stat().st_mode == mode


def test_a_folder_takes_the_place_of_the_old_one(tmp_path):
    path = tmp_path / "folder"
    path.mkdir()
    (path / "old").touch()
    with atomic_folder(path) as scratch:
        (scratch / "deep").mkdir()
        (scratch / "deep" / "new").write_text("x")
        assert names(path) == ["old"]
    assert names(path) == ["deep"]
    assert names(tmp_path) == ["folder"]


def test_an_error_while_filling_keeps_the_old_folder(tmp_path):
    path = tmp_path / "folder"
    path.mkdir()
    (path / "old").touch()
    with pytest.raises(RuntimeError, match="disk"), atomic_folder(path) as scratch:
        (scratch / "new").touch()
        raise RuntimeError("disk")
    assert names(path) == ["old"]
    assert names(tmp_path) == ["folder"]


def test_a_folder_is_put_back_if_the_second_rename_fails(tmp_path, monkeypatch):
    path = tmp_path / "folder"
    path.mkdir()
    (path / "old").touch()
    rename = os.replace

    def fail_for_scratch(source, target):
        if str(source).endswith(".tmp"):
            raise OSError("no space left")
        rename(source, target)

    monkeypatch.setattr(os, "replace", fail_for_scratch)
    with pytest.raises(OSError, match="no space left"), atomic_folder(path):
        pass
    assert names(path) == ["old"]
    assert names(tmp_path) == ["folder"]


def test_a_folder_does_not_replace_a_file(tmp_path):
    path = tmp_path / "folder"
    path.write_text("precious")
    with pytest.raises(NotADirectoryError, match="it is a file"), atomic_folder(path):
        pass
    assert path.read_text() == "precious"
