"""Looking after a store: damage is found, pruning loses nothing, and nothing of others'."""

from __future__ import annotations

import errno
import logging
import os
import pickle
import random
import sqlite3
import tracemalloc
from pathlib import Path

import pytest
import torch

from align.encoders.cache.database import COMPANIONS, NAME, Database
from align.encoders.cache.store import EmbeddingStore
from tests.helpers.counting_encoder import CountingEncoder, vectors
from tests.helpers.flipped import flipped

WORDS = [f"item {i}" for i in range(25)]


@pytest.fixture
def encoder():
    return CountingEncoder()


@pytest.fixture
def store(tmp_path):
    return EmbeddingStore(tmp_path / "store", batch=10)


@pytest.fixture
def filled(store, encoder):
    """A store of 25 pooled vectors and the tokens of two items, closed."""
    store.encode(encoder, WORDS)
    store.encode_tokens(encoder, ["ab", "c"])
    store._file.close()
    encoder.batches.clear()
    return store


def contents(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def size_of(root):
    return sum(path.stat().st_size for path in root.rglob("*") if path.is_file())


def change(store, statement, *values):
    store._file.close()
    db = sqlite3.connect(store.root / NAME)
    with db:
        db.execute(statement, values)
    db.close()


def answers(root, encoder):
    """What a store that was just opened answers for all it was filled with."""
    store = EmbeddingStore(root)
    tokens = store.encode_tokens(encoder, ["ab", "c"])
    return store.encode(encoder, WORDS), tokens.tokens, tokens.offsets


def test_no_flipped_bit_anywhere_gives_another_vector(filled, encoder):
    expected = answers(filled.root, encoder)
    path, seen = filled.root / NAME, {"right": 0, "encoded again": 0, "refused": 0}
    for _ in flipped(path, tries=200):
        whole = path.read_bytes()
        fresh = CountingEncoder()
        try:
            found = answers(filled.root, fresh)
            seen["encoded again" if fresh.items else "right"] += 1
            assert all(a.equal(b) for a, b in zip(found, expected, strict=True))
        except ValueError as error:
            assert "must be a" in str(error)
            seen["refused"] += 1
        path.write_bytes(whole)
        for ending in COMPANIONS:
            path.with_name(NAME + ending).unlink(missing_ok=True)
    assert min(seen.values()) > 0


def test_an_item_that_differs_from_its_checksum_is_encoded_again_with_a_warning(
    filled, encoder, caplog
):
    change(filled, "UPDATE items SET vectors = zeroblob(16) WHERE id = 7")
    with caplog.at_level(logging.WARNING):
        assert torch.equal(filled.encode(encoder, WORDS), vectors(WORDS))
    assert encoder.items == [WORDS[6]]
    assert "1 items in" in caplog.text and "align store verify" in caplog.text
    caplog.clear()
    assert torch.equal(filled.encode(encoder, WORDS), vectors(WORDS))
    assert caplog.text == "" and filled.verify() == [] and len(encoder.items) == 1


@pytest.mark.parametrize("column", ["label", "key", "sha256", "vectors"])
def test_verify_names_the_item_and_prune_removes_it_alone(filled, column):
    value = 2 if column == "label" else b"x" * 32
    change(filled, f"UPDATE items SET {column} = ? WHERE id = 3", value)
    (problem,) = filled.verify()
    assert problem.path == filled.root / NAME
    assert "item " in str(problem) and "differs from its checksum" in str(problem)
    filled.prune()
    assert filled.verify() == []
    fresh = CountingEncoder()
    assert torch.equal(filled.encode(fresh, WORDS), vectors(WORDS))
    assert fresh.items == [WORDS[2]]


def test_vectors_of_an_encoder_whose_name_was_damaged_are_removed(filled):
    change(filled, "UPDATE labels SET fingerprint = 'another' WHERE kind = 'pooled'")
    assert len(filled.verify()) == 25 and "'another' (pooled, float32)" in str(filled.verify()[0])
    filled.prune()
    assert [(entry.kind, entry.items) for entry in filled.stat()] == [("tokens", 2)]


@pytest.mark.parametrize("seed", range(6))
def test_prune_keeps_whatever_can_still_be_read_of_a_damaged_file(filled, seed):
    path, drawn = filled.root / NAME, random.Random(seed)
    data = bytearray(path.read_bytes())
    at = drawn.randrange(16384, len(data) - 200)  # behind the page that says what tables there are
    data[at : at + 200] = drawn.randbytes(200)
    path.write_bytes(data)
    filled.prune()
    assert filled.verify() == []
    fresh = CountingEncoder()
    assert torch.equal(filled.encode(fresh, WORDS), vectors(WORDS))
    wanted = CountingEncoder().encode_tokens(["ab", "c"])
    assert torch.equal(filled.encode_tokens(fresh, ["ab", "c"]).tokens, wanted.tokens)
    assert sorted(os.listdir(filled.root))[0] == NAME


def test_a_file_that_was_cut_is_refused_until_it_is_pruned(filled, encoder):
    path = filled.root / NAME
    path.write_bytes(path.read_bytes()[:-16384])
    with pytest.raises(ValueError, match=r"must be a whole database .*`align store prune` keeps"):
        filled.encode(encoder, WORDS)
    assert encoder.items == []
    assert filled.verify() != []
    filled.prune()
    assert filled.verify() == []
    assert torch.equal(filled.encode(encoder, WORDS), vectors(WORDS))


def test_stat_counts_items_and_bytes(store, encoder):
    assert store.stat() == []
    store.encode(encoder, WORDS)
    store.encode_tokens(encoder, ["abc"])
    pooled, tokens = store.stat()
    assert (pooled.fingerprint, pooled.kind, pooled.dtype) == ("counting", "pooled", "float32")
    assert (pooled.items, pooled.bytes) == (25, 25 * 4 * 4)
    assert (tokens.kind, tokens.items, tokens.bytes) == ("tokens", 1, 3 * 4 * 4)


def test_calls_of_one_item_make_one_file_and_leave_nothing_in_memory(tmp_path, encoder):
    store = EmbeddingStore(tmp_path / "store")
    tracemalloc.start()
    for number in range(2000):
        store.encode(encoder, [str(number)])
        encoder.batches.clear()
        if number == 500:
            before, _ = tracemalloc.get_traced_memory()
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert after - before < 100 * 1500  # a key and its place in a dict take more
    store._file.close()
    assert os.listdir(store.root) == [NAME]
    (entry,) = store.stat()
    assert entry.items == 2000


def test_prune_drops_the_named_encoder_and_no_other_and_frees_its_room(store):
    one, other = CountingEncoder("one"), CountingEncoder("other")
    store.encode(one, [str(number) for number in range(2000)])
    store.encode(other, ["a"])
    store._file.close()
    before = size_of(store.root)
    assert store.prune(drop=["one"]) == before - size_of(store.root) > before / 2
    assert [entry.fingerprint for entry in store.stat()] == ["other"]
    assert torch.equal(store.encode(one, ["3"]), vectors(["3"]))
    assert one.items[2000:] == ["3"]
    store.prune()
    assert store.prune() == 0


def test_prune_refuses_to_drop_what_it_does_not_know(store, encoder):
    store.encode(encoder, ["a"])
    with pytest.raises(ValueError, match=r"none of \['typo'\]. It holds \['counting'\]"):
        store.prune(drop=["typo"])
    with pytest.raises(TypeError, match=r"Pass \['counting'\]"):
        store.prune(drop="counting")
    with pytest.raises(ValueError, match=r"none of \['typo'\]. It holds \[\]"):
        EmbeddingStore(store.root.parent / "new").prune(drop=["typo"])


def test_another_process_may_prune_while_a_store_is_open(store, encoder):
    store.encode(encoder, WORDS)
    EmbeddingStore(store.root).prune()
    assert torch.equal(store.encode(encoder, WORDS), vectors(WORDS))
    assert len(encoder.items) == 25


def test_a_store_that_was_removed_or_rebuilt_while_open_is_opened_anew(store, encoder):
    store.encode(encoder, WORDS)
    for path in store.root.iterdir():
        path.unlink()
    assert torch.equal(store.encode(encoder, WORDS), vectors(WORDS))
    assert len(encoder.items) == 50
    assert store.stat()[0].items == 25


def test_a_copy_of_a_store_opens_the_file_for_itself(store, encoder):
    store.encode(encoder, ["a"])
    copy = pickle.loads(pickle.dumps(store))
    copy.encode(encoder, ["a", "b"])
    store.encode(encoder, ["a", "b"])
    assert encoder.items == ["a", "b"]


FOREIGN = {
    "models/org/net/model.safetensors": b"weights",
    "idx/segments/0123.safetensors": b"vectors",
    "idx/adapter/model.safetensors": b"weights",
    ".a/b/.c.safetensors.0.tmp": b"half",
}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_folder_that_is_no_store_is_refused_and_nothing_in_it_touched(tmp_path, name):
    path = tmp_path / name
    path.parent.mkdir(parents=True)
    path.write_bytes(FOREIGN[name])
    os.utime(path, (0, 0))
    with pytest.raises(FileExistsError, match=r"a store is a folder with store.sqlite, or a new"):
        EmbeddingStore(tmp_path)
    assert contents(tmp_path) == {Path(name): FOREIGN[name]}


def test_a_folder_that_got_files_since_is_refused_by_every_method(store, encoder):
    store.root.mkdir()
    (store.root / "thesis.tex").write_text("years of work")
    for call in (
        store.stat,
        store.verify,
        store.prune,
        lambda: store.encode(encoder, ["a"]),
        lambda: store.encode_tokens(encoder, ["a"]),
    ):
        with pytest.raises(FileExistsError, match=r"holds \['thesis.tex'\] and is none"):
            call()
    assert encoder.items == [] and os.listdir(store.root) == ["thesis.tex"]


@pytest.mark.parametrize("name", FOREIGN)
def test_what_others_put_into_a_store_stays(filled, name):
    path = filled.root / name
    path.parent.mkdir(parents=True)
    path.write_bytes(FOREIGN[name])
    os.utime(path, (0, 0))
    change(filled, "UPDATE items SET vectors = zeroblob(16) WHERE id = 7")
    filled.prune(drop=["counting"])
    assert path.read_bytes() == FOREIGN[name]


def test_a_database_of_another_program_is_never_changed(tmp_path, encoder):
    root = tmp_path / "store"
    root.mkdir()
    db = sqlite3.connect(root / NAME)
    with db:
        db.execute("CREATE TABLE mine (x)")
    db.close()
    before = contents(root)
    store = EmbeddingStore(root)
    for call in (store.stat, store.prune, lambda: store.encode(encoder, ["a"])):
        with pytest.raises(ValueError, match=r"must have schema 'isthmus-store-1'; got None"):
            call()
    assert len(store.verify()) == 1
    (root / NAME).write_bytes(b"no database, but text that is longer than the head of one" * 9)
    text = contents(root)
    for call in (store.stat, store.prune, lambda: store.encode(encoder, ["a"])):
        with pytest.raises(ValueError, match=r"must be a whole database"):
            call()
    assert contents(root) == text and before != text


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_a_database_that_is_no_file_is_refused(tmp_path, kind):
    root = tmp_path / "store"
    root.mkdir()
    make = {
        "link": lambda: (root / NAME).symlink_to(tmp_path / "elsewhere"),
        "pipe": lambda: os.mkfifo(root / NAME),
        "folder": lambda: (root / NAME).mkdir(),
    }
    make[kind]()
    with pytest.raises(FileExistsError, match="is none"):
        EmbeddingStore(root)


def test_a_store_may_lie_in_a_folder_whose_name_is_not_utf_8(tmp_path, encoder):
    root = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    EmbeddingStore(root).encode(encoder, WORDS)
    store = EmbeddingStore(root)
    assert store.verify() == []
    store.prune()
    assert torch.equal(store.encode(encoder, WORDS), vectors(WORDS))
    assert len(encoder.items) == 25


def test_a_file_in_the_way_is_refused(tmp_path):
    (tmp_path / "store").write_text("mine")
    with pytest.raises(NotADirectoryError, match=r"a store is a folder; .*is a file"):
        EmbeddingStore(tmp_path / "store")


def test_a_full_disk_is_reported_and_what_was_there_is_kept(filled, encoder):
    with filled._file.opened() as db:
        pages = db.execute("PRAGMA page_count").fetchone()[0]
        db.execute(f"PRAGMA max_page_count = {pages}")
    many = [f"more {number}" for number in range(3000)]
    with pytest.raises(
        OSError, match=r"the system says: database or disk is full. .*Free"
    ) as caught:
        EmbeddingStore.encode(filled, encoder, many)
    assert caught.value.errno == errno.ENOSPC
    filled._file.close()
    fresh = CountingEncoder()
    assert torch.equal(filled.encode(fresh, WORDS), vectors(WORDS))
    assert fresh.items == []


def test_a_store_that_another_process_keeps_locked_is_reported(filled, encoder):
    filled._file = Database(filled.root, wait_seconds=0.0)
    other = sqlite3.connect(filled.root / NAME, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(OSError, match=r"the system says: database is locked"):
        filled.encode(encoder, ["new"])
    other.close()
    filled.encode(encoder, ["new"])


@pytest.mark.parametrize("code", [errno.EACCES, errno.EIO])
def test_a_folder_that_cannot_be_listed_is_reported(tmp_path, monkeypatch, code):
    def refuse(path):
        raise OSError(code, os.strerror(code))

    tmp_path.joinpath("store").mkdir()
    monkeypatch.setattr(os, "listdir", refuse)
    with pytest.raises(OSError, match=r"must be readable and writable; the system says") as caught:
        EmbeddingStore(tmp_path / "store")
    assert caught.value.errno == code


def test_a_store_that_may_only_be_read_answers_what_it_knows(filled, encoder, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert torch.equal(filled.encode(encoder, WORDS), vectors(WORDS))
    assert encoder.items == [] and os.listdir(filled.root) == [NAME]
    with pytest.raises(OSError, match="readonly database"):
        filled.encode(encoder, ["new"])


def test_a_database_of_a_newer_version_is_refused(filled):
    db = sqlite3.connect(filled.root / NAME)
    db.execute("PRAGMA user_version = 2")
    db.close()
    with pytest.raises(ValueError, match=r"schema 'isthmus-store-1'; .* It is newer: install"):
        filled.stat()
