"""Looking after a store: damage is found, pruning loses nothing."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path

import pytest
import torch
from counting_encoder import CountingEncoder, vectors

from align import upkeep
from align.shards import Shard
from align.store import EmbeddingStore

WORDS = [f"item {i}" for i in range(25)]


def shards(root):
    return sorted(Path(root).rglob("*.safetensors"))


def flip_byte(path, at):
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


@pytest.fixture
def encoder():
    return CountingEncoder()


@pytest.fixture
def store(tmp_path):
    return EmbeddingStore(tmp_path, batch=10)


@pytest.mark.parametrize("size", [0, 5, 200, -1], ids=["empty", "stub", "header", "one byte short"])
def test_a_truncated_shard_is_skipped_with_a_warning_and_its_items_encoded_again(
    store, encoder, caplog, size
):
    store.encode(encoder, WORDS)
    damaged = shards(store.root)[1]
    damaged.write_bytes(damaged.read_bytes()[:size])
    encoder.batches.clear()
    fresh = EmbeddingStore(store.root)
    with caplog.at_level(logging.WARNING):
        assert torch.equal(fresh.encode(encoder, WORDS), vectors(WORDS))
    assert encoder.items == WORDS[10:20]
    assert damaged.name in caplog.text and "align store verify" in caplog.text
    assert [problem.path for problem in store.verify()] == [damaged]
    caplog.clear()
    fresh.encode(encoder, WORDS)
    assert caplog.text == ""


def test_verify_finds_every_single_flipped_byte(tmp_path, encoder):
    store = EmbeddingStore(tmp_path)
    store.encode(encoder, ["a", "b"])
    store.encode_tokens(encoder, ["ab", "c"])
    assert store.verify() == []
    for path in shards(tmp_path):
        whole = path.read_bytes()
        for at in range(len(whole)):
            flip_byte(path, at)
            assert [problem.path for problem in store.verify()] == [path], at
            path.write_bytes(whole)


def test_verify_says_what_is_wrong(store, encoder):
    store.encode(encoder, ["a"])
    (path,) = shards(store.root)
    flip_byte(path, path.stat().st_size - 1)
    (problem,) = store.verify()
    assert str(problem) == f"{path}: its content differs from its checksum"
    path.write_bytes(b"")
    (problem,) = store.verify()
    assert "not a whole safetensors file" in problem.reason


def test_a_shard_in_the_folder_of_another_encoder_is_never_read(store, caplog):
    one, other = CountingEncoder("one"), CountingEncoder("other")
    store.encode(one, ["a"])
    store.encode(other, ["b"])
    first, second = shards(store.root)
    stray = second.with_name("0" + first.name)
    stray.write_bytes(first.read_bytes())
    fresh = EmbeddingStore(store.root)
    fresh.encode(other if "other" in str(stray) else one, ["a", "b"])
    assert "it belongs to another encoder" in caplog.text
    assert [problem.path for problem in store.verify()] == [stray]


def test_stat_counts_items_shards_and_bytes(store, encoder):
    assert store.stat() == []
    store.encode(encoder, WORDS)
    store.encode_tokens(encoder, ["abc"])
    pooled, tokens = store.stat()
    assert (pooled.fingerprint, pooled.kind, pooled.dtype) == ("counting", "pooled", "float32")
    assert (pooled.items, pooled.shards) == (25, 3)
    assert (tokens.kind, tokens.items, tokens.shards) == ("tokens", 1, 1)
    assert pooled.bytes + tokens.bytes == sum(path.stat().st_size for path in shards(store.root))


def size_of(root):
    return sum(path.stat().st_size for path in root.rglob("*") if path.is_file())


def test_prune_merges_small_shards_and_drops_duplicates_without_losing_a_vector(tmp_path):
    for at in range(0, 20, 4):
        EmbeddingStore(tmp_path, batch=2).encode(CountingEncoder(), WORDS[at : at + 5])
        EmbeddingStore(tmp_path, batch=2).encode_tokens(CountingEncoder(), WORDS[at : at + 5])
    for path in shards(tmp_path):  # every item twice
        path.with_name("9" + path.name).write_bytes(path.read_bytes())
    store = EmbeddingStore(tmp_path)
    before = size_of(tmp_path)
    assert store.prune() == before - size_of(tmp_path) > 0
    assert [(entry.items, entry.shards) for entry in store.stat()] == [(21, 1), (21, 1)]
    assert [len(Shard(path)) for path in shards(tmp_path)] == [21, 21]
    assert store.verify() == []
    fresh = CountingEncoder()
    assert torch.equal(store.encode(fresh, WORDS[:21]), vectors(WORDS[:21]))
    wanted = CountingEncoder().encode_tokens(WORDS[:21])
    assert torch.equal(store.encode_tokens(fresh, WORDS[:21]).tokens, wanted.tokens)
    assert fresh.items == []
    assert store.prune() == 0


def test_prune_leaves_large_shards_alone_and_bounds_the_merged_ones(tmp_path, monkeypatch):
    EmbeddingStore(tmp_path).encode(CountingEncoder(), WORDS)
    (large,) = shards(tmp_path)
    monkeypatch.setattr(upkeep, "MERGED_BYTES", large.stat().st_size * 3 // 2)
    more = [f"more {i}" for i in range(25)]
    EmbeddingStore(tmp_path, batch=1).encode(CountingEncoder(), more)
    store = EmbeddingStore(tmp_path)
    store.prune()
    merged = set(shards(tmp_path)) - {large}
    assert large.exists()
    assert 1 < len(merged) < 25
    assert all(path.stat().st_size <= upkeep.MERGED_BYTES for path in merged)
    fresh = CountingEncoder()
    assert torch.equal(store.encode(fresh, WORDS + more), vectors(WORDS + more))
    assert fresh.items == []


def test_prune_removes_damaged_shards_and_never_merges_them(store, encoder):
    store.encode(encoder, WORDS)
    flipped, truncated, _ = shards(store.root)
    flip_byte(flipped, flipped.stat().st_size - 1)
    truncated.write_bytes(b"")
    store.prune()
    assert store.verify() == []
    fresh = CountingEncoder()
    found = EmbeddingStore(store.root).encode(fresh, WORDS)
    assert fresh.items == WORDS[:20]
    assert torch.equal(found, vectors(WORDS))


def test_prune_removes_scratch_files_once_their_writer_must_be_dead(store, encoder):
    store.encode(encoder, ["a"])
    (path,) = shards(store.root)
    scratch = path.with_name(f".{path.name}.0123.tmp")
    scratch.write_bytes(b"half")
    assert store.verify() == []
    assert store.prune() == 0 and scratch.exists()
    old = time.time() - 4000
    os.utime(scratch, (old, old))
    assert [problem.path for problem in store.verify()] == [scratch]
    assert store.prune() == 4
    assert not scratch.exists() and path.exists()


def test_prune_drops_the_named_encoder_and_no_other(store):
    one, other = CountingEncoder("one"), CountingEncoder("other")
    store.encode(one, WORDS)
    store.encode(other, ["a"])
    before = size_of(store.root)
    assert store.prune(drop=["one"]) == before - size_of(store.root) > 0
    assert [entry.fingerprint for entry in store.stat()] == ["other"]
    assert torch.equal(store.encode(one, ["item 3"]), vectors(["item 3"]))
    assert one.items[25:] == ["item 3"]


def test_prune_refuses_to_drop_what_it_does_not_know(store, encoder):
    store.encode(encoder, ["a"])
    with pytest.raises(ValueError, match=r"none of \['typo'\]. It holds \['counting'\]"):
        store.prune(drop=["typo"])
    with pytest.raises(TypeError, match=r"Pass \['counting'\]"):
        store.prune(drop="counting")


def test_a_file_that_cannot_be_opened_is_listed_but_not_removed(store, encoder, monkeypatch):
    store.encode(encoder, ["a"])
    (path,) = shards(store.root)

    def refuse(self, *args, **kwargs):
        raise PermissionError(f"not allowed: {self}")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", refuse)
        (problem,) = store.verify()
        assert "not allowed" in problem.reason and not problem.lost
        assert store.prune() == 0
    assert path.exists()
    assert store.verify() == []


def test_a_reader_keeps_its_vectors_while_another_process_prunes(store, encoder):
    store.encode(encoder, WORDS)
    EmbeddingStore(store.root).prune()
    assert torch.equal(store.encode(encoder, WORDS), vectors(WORDS))
    assert len(encoder.items) == 25


def test_a_shard_that_is_pruned_between_listing_and_opening_is_found_merged(
    store, encoder, monkeypatch
):
    store.encode(encoder, WORDS)
    late = EmbeddingStore(store.root)
    opened = Shard.__init__

    def prune_first(self, path):
        monkeypatch.setattr(Shard, "__init__", opened)
        EmbeddingStore(store.root).prune()
        opened(self, path)

    monkeypatch.setattr(Shard, "__init__", prune_first)
    assert torch.equal(late.encode(encoder, WORDS), vectors(WORDS))
    assert len(encoder.items) == 25
