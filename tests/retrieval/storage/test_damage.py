"""Damage is named, and never copied under a new checksum."""

import pytest
import torch

from align.adapters.adapter import Adapter
from align.adapters.card import Card
from align.adapters.maps.linear import IdentityMap
from align.retrieval.index.index import Index
from tests.retrieval.multi_documents import names, ragged, saved

WIDTH = 8


def flip(path, at):
    data = bytearray(path.read_bytes())
    data[at] ^= 4
    with path.open("r+b") as file:  # the same file, as a failing disk would have it
        file.write(data)


def segments(folder):
    return sorted((folder / "segments").iterdir(), key=lambda path: path.stat().st_size)


def tree(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def deep(folder, rng, *, adapter=True):
    """An index with an adapter, two segments and deletions."""
    width = WIDTH
    kept = Adapter(IdentityMap(width), IdentityMap(width), Card("identity", 1, width, width))
    index = Index.create(folder, kept if adapter else None)
    for start, count in ((0, 6), (6, 3)):
        index.add(
            names(count, start),
            torch.randn(count, width, generator=rng),
            metadata=[{"row": row, "name": "ä" * row} for row in range(count)],
            modality="image",
        )
        index.save()
    index.delete(["item 1"])
    index.save()
    return index


@pytest.mark.parametrize("reopened", [True, False])
@pytest.mark.parametrize("share", [0.2, 0.5, 0.99])
def test_compact_refuses_one_flipped_bit_and_changes_nothing(rng, tmp_path, share, reopened):
    index = saved(tmp_path, ragged(40, rng))
    index.delete(["item 3"])
    path = segments(tmp_path)[-1]
    flip(path, int(share * path.stat().st_size))
    before = tree(tmp_path)
    if reopened:
        index = Index.open(tmp_path)
        index.delete(["item 3"])
    with pytest.raises(ValueError, match=rf"segments/{path.name} must hold the bytes.*Nothing was"):
        index.compact()
    assert tree(tmp_path) == before
    expected = [f"segments/{path.name} does not hold the bytes that were written"]
    assert index.verify() == Index.open(tmp_path).verify() == expected


def test_a_save_that_merges_refuses_one_flipped_bit_and_changes_nothing(rng, tmp_path):
    index = Index.create(tmp_path)
    index.add(names(5), ragged(5, rng))
    index.save()
    (path,) = segments(tmp_path)
    flip(path, path.stat().st_size - 3)
    before = tree(tmp_path)
    index.add(names(5, 5), ragged(5, rng))  # as many as there are: they are merged
    with pytest.raises(ValueError, match=rf"segments/{path.name} must hold the bytes"):
        index.save()
    assert tree(tmp_path) == before and len(index.verify()) == 1
    # Bytes that are put back are as good as before.
    flip(path, path.stat().st_size - 3)
    index.save()
    assert len(segments(tmp_path)) == 1 and Index.open(tmp_path).verify() == []


def test_what_was_mapped_is_compared_and_not_what_has_its_name_by_now(rng, tmp_path):
    index = saved(tmp_path, ragged(9, rng), parts=())
    (path,) = segments(tmp_path)
    whole = path.read_bytes()
    flip(path, len(whole) - 3)
    path.rename(tmp_path / "moved")
    path.write_bytes(whole)
    index.delete(["item 0"])
    with pytest.raises(ValueError, match="must hold the bytes"):
        index.compact()
    index = Index.open(tmp_path)
    index.delete(["item 0"])
    index.compact()
    assert list(index) == names(8, 1)


def test_a_file_that_is_cut_while_it_is_mapped_is_said_and_ends_no_process(rng, tmp_path):
    index = saved(tmp_path, ragged(900, rng), parts=())
    index.delete(["item 3"])
    (path,) = segments(tmp_path)
    with path.open("r+b") as file:
        file.truncate(100)
    for use in (
        lambda: index.search(ragged(1, rng)),
        lambda: index.get(["item 7"]),
        lambda: "item 7" in index,
        lambda: index.delete(["item 7"]),
        index.compact,
    ):
        with pytest.raises(OSError, match=r"must stay as it was when it was opened.*cut"):
            use()
    assert "has 100 bytes" in index.verify()[0]
    with pytest.raises(ValueError, match="must be a whole segment"):
        Index.open(tmp_path)


def test_every_flipped_byte_and_every_cut_is_found_by_verify(rng, tmp_path):
    deep(tmp_path, rng)
    index = Index.open(tmp_path)
    files = [tmp_path / file.path for file in index._manifest.all_files]
    kinds = {path.suffix for path in files}
    assert kinds == {".safetensors", ".npy", ".json", ".md"}
    for path in files:
        whole = path.read_bytes()
        for at in range(0, len(whole), max(1, len(whole) // 7)):
            flip(path, at)
            assert [path.name in problem for problem in index.verify()] == [True]
            flip(path, at)
        path.rename(tmp_path / "whole")
        for size in (0, 1, 9, len(whole) - 1, len(whole) + 1):
            path.write_bytes((whole + b"!")[:size])
            assert [path.name in problem for problem in index.verify()] == [True]
        (tmp_path / "whole").rename(path)
    assert index.verify() == []


def test_a_damaged_folder_is_refused_or_answers_and_shows_no_internals(rng, tmp_path):
    width = WIDTH
    index = deep(tmp_path, rng, adapter=False)
    query = torch.randn(1, width, generator=rng)
    files = [*(tmp_path / file.path for file in index._manifest.all_files), tmp_path / "index.json"]
    for path in files:
        whole = path.read_bytes()
        for at in [*range(0, len(whole), 11), None, -1, -8]:
            data = bytearray(whole)
            if at is None:
                data = data[: len(whole) // 2]
            else:
                data[at] ^= 1 << at % 8
            path.write_bytes(data)
            try:
                opened = Index.open(tmp_path)
                assert path.suffix != ".npy"  # read whole, so compared
                try:
                    use(opened, query)
                finally:
                    # The manifest has no checksum of its own: what it says is checked against them.
                    assert path.name == "index.json" or opened.verify()
            except (ValueError, OSError, KeyError) as error:
                assert str(error).count(". ") >= 1 and ";" in str(error), error
        path.write_bytes(whole)


def use(index, query):
    """Reads everything that an index holds."""
    list(index), index.modalities
    index.search(query, k=3)
    index.search(query, k=1, where={"row": [0, 1, 2], "modality": "image"})
    index.get(names(1))


def test_an_adapter_that_was_damaged_is_refused_by_its_checksum(rng, tmp_path):
    deep(tmp_path, rng)
    for name in ("card.json", "config.json", "model.safetensors"):
        path = tmp_path / "adapter" / name
        flip(path, path.stat().st_size - 2)
        with pytest.raises(ValueError, match=f"adapter/{name} does not hold the bytes"):
            Index.open(tmp_path)
        flip(path, path.stat().st_size - 2)
    # What people read may be edited; verify says so.
    flip(tmp_path / "adapter" / "README.md", 5)
    assert Index.open(tmp_path).verify() == [
        "adapter/README.md does not hold the bytes that were written"
    ]
