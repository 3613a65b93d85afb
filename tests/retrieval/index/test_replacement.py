"""An index made anew over another: the old one stays until the new one is whole."""

from __future__ import annotations

import pytest
import torch

from align.retrieval.index.index import Index
from align.retrieval.index.replacement import replaced_index

OLD, NEW = torch.eye(3)[:2], torch.eye(4)


@pytest.fixture
def folder(tmp_path):
    index = Index.create(tmp_path / "idx")
    index.add(["a", "b"], OLD)
    index.save()
    index.add(["c"], torch.eye(3)[2:])
    index.delete(["a"])
    index.save()
    return tmp_path / "idx"


def test_the_new_index_takes_the_place_of_the_old_one_whole(folder):
    before = Index.open(folder)
    with replaced_index(folder, dtype="int8") as fresh:
        fresh.add(["x", "y", "z", "w"], NEW)
        assert list(Index.open(folder)) == ["b", "c"]
    after = Index.open(folder)
    assert list(after) == ["x", "y", "z", "w"] and after.dtype == "int8"
    assert after.verify() == []
    assert [path.name for path in folder.parent.iterdir()] == ["idx"]
    assert before.search(OLD[1:], k=1)[0][0].id == "b"  # what was open is searched on
    with pytest.raises(RuntimeError, match="holds one of another adapter, side or dtype"):
        before.refresh()


def test_an_index_made_anew_in_the_same_space_can_be_refreshed(folder):
    before = Index.open(folder)
    with replaced_index(folder) as fresh:
        fresh.add(["x"], OLD[:1])
    assert before.refresh() and list(before) == ["x"]


def test_an_error_inside_leaves_the_old_index_and_nothing_beside_it(folder):
    def broken():
        with replaced_index(folder) as fresh:
            fresh.add(["x"], NEW[:1])
            fresh.save()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        broken()
    assert list(Index.open(folder)) == ["b", "c"]
    assert [path.name for path in folder.parent.iterdir()] == ["idx"]


def test_an_empty_index_replaces_none(folder):
    with pytest.raises(ValueError, match="it holds none"), replaced_index(folder):
        pass
    assert list(Index.open(folder)) == ["b", "c"]


def test_nobody_saves_to_the_old_index_meanwhile(folder):
    other = Index.open(folder)
    other.delete(["b"])
    with replaced_index(folder) as fresh:
        fresh.add(["x"], NEW[:1])
        with pytest.raises(RuntimeError, match="one writer at a time"):
            other.save()
    with pytest.raises(RuntimeError, match="another process has saved to it since"):
        other.save()


def test_files_of_others_in_the_folder_are_refused_before_anything_is_written(folder):
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match=r"holds \['notes.txt'\] too"):
        with replaced_index(folder):
            raise AssertionError("the block began")
    assert list(Index.open(folder)) == ["b", "c"]


def test_without_an_index_there_one_is_made(tmp_path):
    with replaced_index(tmp_path / "idx") as fresh:
        fresh.add(["x"], NEW[:1])
    assert list(Index.open(tmp_path / "idx")) == ["x"]
