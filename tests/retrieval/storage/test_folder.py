"""What an index removes and replaces in its folder, and the folders that it refuses."""

import errno
import os
from pathlib import Path

import pytest
import torch

from align.adapters.adapter import Adapter
from align.adapters.card import Card
from align.adapters.maps.linear import IdentityMap
from align.retrieval.index.index import Index
from align.retrieval.storage import manifest as manifest_module
from align.retrieval.storage import segments as segments_module
from tests.retrieval.multi_documents import names, ragged, saved

DIGITS = "0123456789abcdef" * 2
LIKE_OURS = {"segments": f"{DIGITS}.safetensors", "deletions": f"{DIGITS}.npy"}


def tree(folder):
    return {
        path.relative_to(folder): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def foreign(folder):
    """A folder of the user's, with names that an index gives too."""
    for subfolder, name in LIKE_OURS.items():
        (folder / subfolder).mkdir(parents=True, exist_ok=True)
        (folder / subfolder / name).write_bytes(b"precious")
        (folder / subfolder / "notes.txt").write_bytes(b"precious")
        (folder / name).write_bytes(b"precious")
    return folder


@pytest.mark.parametrize("subfolder", ["segments", "deletions", "adapter"])
@pytest.mark.parametrize("method", ["save", "compact"])
def test_a_subfolder_that_is_a_link_is_refused_and_nothing_behind_it_is_removed(
    rng, tmp_path, subfolder, method
):
    elsewhere = foreign(tmp_path / "elsewhere")
    before = tree(elsewhere)
    index = saved(tmp_path / "idx", ragged(5, rng))
    index.delete(["item 0"])
    if (tmp_path / "idx" / subfolder).exists():
        (tmp_path / "idx" / subfolder).rename(tmp_path / "moved")
    (tmp_path / "idx" / subfolder).symlink_to(elsewhere)
    with pytest.raises(
        NotADirectoryError, match=rf"{subfolder} must be a folder inside.*it is a link"
    ):
        getattr(index, method)()
    assert tree(elsewhere) == before


@pytest.mark.parametrize("subfolder", ["segments", "deletions", "adapter"])
def test_an_index_is_not_begun_over_a_subfolder_that_is_a_link(tmp_path, subfolder):
    elsewhere = foreign(tmp_path / "elsewhere")
    before = tree(elsewhere)
    (tmp_path / "idx").mkdir()
    index = Index.create(tmp_path / "idx")
    (tmp_path / "idx" / subfolder).symlink_to(elsewhere)
    with pytest.raises(OSError, match=f"needs a folder without files of the names.*{subfolder}"):
        index.save()
    with pytest.raises(OSError, match=f"needs a folder without files of the names.*{subfolder}"):
        Index.create(tmp_path / "idx")
    # Where a first save was killed the lock is there, and a link is still refused.
    (tmp_path / "idx" / "index.lock").touch()
    with pytest.raises(NotADirectoryError, match="it is a link"):
        index.save()
    assert tree(elsewhere) == before


@pytest.mark.parametrize("subfolder", ["segments", "deletions"])
def test_a_subfolder_that_is_a_link_is_not_read(rng, tmp_path, subfolder):
    index = saved(tmp_path / "idx", ragged(5, rng), parts=())
    index.delete(["item 0"])
    index.save()
    (tmp_path / "idx" / subfolder).rename(tmp_path / "moved")
    (tmp_path / "idx" / subfolder).symlink_to(tmp_path / "moved")
    with pytest.raises(
        OSError, match=f"{subfolder} must be a folder inside the index; it is a link"
    ):
        Index.open(tmp_path / "idx")
    assert [subfolder in problem and "link" in problem for problem in index.verify()] == [True]


def test_an_index_reached_by_a_link_works(rng, tmp_path):
    saved(tmp_path / "idx", ragged(5, rng))
    (tmp_path / "link").symlink_to(tmp_path / "idx")
    index = Index.open(tmp_path / "link")
    index.delete(["item 0"])
    index.compact()
    assert (tmp_path / "link").is_symlink()
    assert list(Index.open(tmp_path / "idx")) == names(4, 1)


@pytest.mark.parametrize("method", ["save", "compact"])
def test_only_names_of_our_own_form_are_removed(rng, tmp_path, method):
    index = saved(tmp_path / "idx", ragged(5, rng))
    kept = []
    for subfolder, name in LIKE_OURS.items():
        home = tmp_path / "idx" / subfolder
        home.mkdir(exist_ok=True)
        for other in ("notes.txt", "model.safetensors", f"{DIGITS}.safetensors.bak", ".hidden"):
            (home / other).write_bytes(b"precious")
            kept.append(home / other)
        (home / "deeper").mkdir()
        (home / "deeper" / name).write_bytes(b"precious")
        kept.append(home / "deeper" / name)
        (tmp_path / f"precious {name}").write_bytes(b"precious")
        (home / name).symlink_to(tmp_path / f"precious {name}")
        kept += [home / name, tmp_path / f"precious {name}"]
        (tmp_path / "idx" / name).write_bytes(b"precious")
        kept.append(tmp_path / "idx" / name)
    index.delete(["item 0"])
    getattr(index, method)()
    assert all(path.read_bytes() == b"precious" for path in kept)
    assert Index.open(tmp_path / "idx").verify() == []


@pytest.mark.parametrize("layout", ["subfolders", "subfolders and lock", "adapter", "lock"])
def test_an_index_is_not_begun_in_a_folder_of_others(rng, tmp_path, layout):
    width = 8
    adapter = Adapter(IdentityMap(width), IdentityMap(width), Card("identity", 1, width, width))
    home = tmp_path / "work"
    home.mkdir()
    index = Index.create(home, adapter)
    index.add(names(2), ragged(2, rng))
    if layout.startswith("subfolders"):
        foreign(home)
        if layout == "subfolders and lock":
            (home / "index.lock").touch()
    elif layout == "adapter":
        adapter.save(home / "adapter")
    else:
        (home / "index.lock").write_text("precious")
    before = tree(home)
    with pytest.raises(
        FileExistsError, match=r"folder without files of the names|it holds something"
    ):
        index.save()
    with pytest.raises(
        FileExistsError, match=r"folder without files of the names|it holds something"
    ):
        Index.create(home, adapter)
    assert tree(home) == before


@pytest.mark.parametrize("method", ["save", "compact"])
@pytest.mark.parametrize("kind", ["gone", "other", "link", "pipe"])
def test_a_folder_that_is_no_longer_the_index_is_left_alone(rng, tmp_path, method, kind):
    index = saved(tmp_path / "idx", ragged(5, rng))
    index.delete(["item 0"])
    manifest = tmp_path / "idx" / "index.json"
    manifest.rename(tmp_path / "moved")
    if kind == "other":
        manifest.write_text('{"name": "of another program"}')
    elif kind == "link":
        manifest.symlink_to(tmp_path / "moved")
    elif kind == "pipe":
        os.mkfifo(manifest)
    files = [path for path in (tmp_path / "idx").rglob("*") if path != manifest]
    with pytest.raises((OSError, ValueError), match=r"must (hold|have schema|be a file)"):
        getattr(index, method)()
    assert [path for path in (tmp_path / "idx").rglob("*") if path != manifest] == files


def test_a_lock_that_is_a_link_or_holds_something_is_not_emptied(rng, tmp_path):
    precious = tmp_path / "precious"
    precious.write_text("precious")
    index = saved(tmp_path / "idx", ragged(5, rng))
    lock = tmp_path / "idx" / "index.lock"
    lock.unlink(missing_ok=True)
    lock.symlink_to(precious)
    index.delete(["item 0"])
    with pytest.raises(FileExistsError, match=r"index\.lock must be a file.*it is a link"):
        index.save()
    lock.unlink()
    lock.write_text("precious")
    with pytest.raises(FileExistsError, match=r"index\.lock must be the empty file"):
        index.save()
    assert lock.read_text() == precious.read_text() == "precious"


@pytest.mark.parametrize("call", range(1, 4))
def test_a_first_save_that_was_killed_can_be_done_again(rng, tmp_path, monkeypatch, call):
    width = 8
    adapter = Adapter(IdentityMap(width), IdentityMap(width), Card("identity", 1, width, width))
    index = Index.create(tmp_path / "idx", adapter)
    index.add(names(5), torch.randn(5, width, generator=rng))
    calls = []

    def counted(plain):
        def killed(path, *args):
            calls.append(path)
            if len(calls) == call:
                raise KeyboardInterrupt
            return plain(path, *args)

        return killed

    with monkeypatch.context() as patch:
        for where in (segments_module, manifest_module):
            patch.setattr(where, "atomic_file", counted(where.atomic_file))
        if call < 3:
            with pytest.raises(KeyboardInterrupt):
                index.save()
            Index.create(tmp_path / "idx", adapter)
    index.save()
    assert list(Index.open(tmp_path / "idx")) == names(5)


def test_a_folder_whose_name_is_not_utf_8_is_kept_whole(rng, tmp_path):
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("this file system takes only names in UTF-8")
    documents = ragged(5, rng)
    saved(folder, documents)
    index = Index.open(folder)
    index.delete(["item 0"])
    index.save()
    index = Index.open(folder)
    assert list(index) == names(4, 1) and index.verify() == []
    index.compact()
    assert [hit.id for hit in index.search(documents[1:2], k=1)[0]] == ["item 1"]


def test_other_files_beside_an_index_stay(rng, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(b"precious")
    (tmp_path / "notes.txt").write_bytes(b"precious")
    before = tree(tmp_path)
    index = saved(tmp_path, ragged(5, rng))
    index.delete(["item 0"])
    index.compact()
    assert tree(tmp_path).items() >= before.items()


@pytest.mark.parametrize(
    ("number", "kind"), [(errno.ENOSPC, OSError), (errno.EACCES, PermissionError)]
)
@pytest.mark.parametrize("method", ["save", "compact"])
def test_a_full_disk_is_said_and_the_last_saved_state_stays(
    rng, tmp_path, monkeypatch, number, kind, method
):
    index = saved(tmp_path, ragged(5, rng))
    index.delete(["item 0"])
    index.add(["new"], ragged(1, rng))
    before = tree(tmp_path)

    def full(path, sources):
        raise OSError(number, os.strerror(number), str(path))

    with monkeypatch.context() as patch:
        patch.setattr(segments_module, "write_segment", full)
        with pytest.raises(
            kind, match=r"must be .*; the system says: .*(saved last is there|Nothing was changed)"
        ):
            getattr(index, method)()
    assert {**tree(tmp_path), Path("index.lock"): b""} == {**before, Path("index.lock"): b""}
    getattr(index, method)()
    assert list(Index.open(tmp_path)) == [*names(4, 1), "new"]


def test_a_folder_that_cannot_be_made_is_said(rng, tmp_path):
    (tmp_path / "file").write_text("a file")
    with pytest.raises(OSError, match=r"saved to a folder|must be a folder that can be written"):
        Index.create(tmp_path / "file").save()
    with pytest.raises(OSError, match=r"must be a folder that can be written; the system says"):
        Index.create(tmp_path / "file" / "idx").save()
