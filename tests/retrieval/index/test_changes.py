"""Update, delete, get, compact, refresh, verify: the life of an index."""

import json
import shutil

import pytest
import torch

from align.data.multi_vector import MultiVector
from align.retrieval.hits import Hit
from align.retrieval.index.changes import Changes
from align.retrieval.index.index import Index
from align.retrieval.storage import id_table as ids_module
from tests.retrieval.multi_documents import as_stored, names, ragged, saved


def plain(path, rng, *, n=6, d=4, dtype="float32"):
    index = Index.create(path, dtype=dtype)
    vectors = torch.randn(n, d, generator=rng)
    index.add(names(n), vectors, metadata=[{"row": row} for row in range(n)], modality="image")
    return index, vectors


def found(index, query, **options):
    return [hit.id for hit in index.search(query, **options)[0]]


def test_deleted_items_are_not_found_again(rng, tmp_path):
    index, vectors = plain(tmp_path, rng)
    for _ in range(2):
        best = found(index, vectors[:1], k=1)
        index.delete(best)
        assert best[0] not in index
        assert best[0] not in found(index, vectors[:1], k=len(index))
        index.save()
    assert len(Index.open(tmp_path)) == 4


def test_ids_come_in_the_order_of_adding_without_those_deleted(rng, tmp_path):
    index, vectors = plain(tmp_path, rng)
    index.save()
    index.delete(["item 2"])
    index.update(["item 0"], vectors[:1])
    index.add(["new"], vectors[:1])
    wanted = ["item 1", "item 3", "item 4", "item 5", "item 0", "new"]
    assert list(index) == wanted
    index.save()
    assert list(Index.open(tmp_path)) == wanted


def test_an_id_that_was_deleted_may_be_added_again(rng, tmp_path):
    index, vectors = plain(tmp_path, rng)
    index.save()
    index.delete(["item 2"])
    index.add(["item 2"], vectors[:1])
    index.save()
    again = Index.open(tmp_path)
    assert len(again) == 6
    assert torch.equal(again.get(["item 2"]).vectors.tokens, vectors[:1])


def test_an_update_replaces_vectors_modality_and_metadata(rng, tmp_path):
    index, vectors = plain(tmp_path, rng)
    index.save()
    index.update(["item 4"], vectors[:1] * 2, modality="text")
    got = index.get(["item 4", "item 0"])
    assert got.ids == ("item 4", "item 0")
    assert torch.equal(got.vectors.tokens, torch.cat([vectors[:1] * 2, vectors[:1]]))
    assert got.modality == ("text", "image")
    assert [dict(held) for held in got.metadata] == [{}, {"row": 0}]
    assert index.modalities == {"text": 1, "image": 5}


def test_an_updated_item_counts_as_added_at_its_update(tmp_path):
    index = Index.create(tmp_path)
    index.add(["a", "b", "c"], torch.ones(3, 2))
    index.update(["a"], torch.ones(1, 2))
    assert found(index, torch.ones(1, 2), k=3) == ["b", "c", "a"]
    index.save()
    assert found(Index.open(tmp_path), torch.ones(1, 2), k=3) == ["b", "c", "a"]


@pytest.mark.parametrize("change", ["update", "delete", "get"])
def test_unknown_ids_are_refused_and_nothing_changes(rng, tmp_path, change):
    index, vectors = plain(tmp_path, rng)
    more = (vectors[:2],) if change == "update" else ()
    with pytest.raises(KeyError, match=r"must be in the index; 1 are not, the first \['x'\]"):
        getattr(index, change)(["item 0", "x"], *more)
    assert len(index) == 6 and torch.equal(index.get(["item 0"]).vectors.tokens, vectors[:1])


def test_repeated_ids_are_refused(rng, tmp_path):
    index, vectors = plain(tmp_path, rng)
    for change in (
        lambda: index.delete(["item 1"] * 2),
        lambda: index.update(["a"] * 2, vectors[:2]),
    ):
        with pytest.raises(ValueError, match="every id can be given once; 1 repeat"):
            change()
    with pytest.raises(ValueError, match="get needs ids of items"):
        index.get([])


def test_ids_that_utf8_cannot_write_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"UTF-8 can write; that of row 0 is 'a\\udc80'"):
        Index.create(tmp_path).add(["a\udc80"], torch.ones(1, 2))


def test_ids_and_metadata_may_hold_any_text(rng, tmp_path):
    index = Index.create(tmp_path)
    ids = ["", "é", "日本", "a\nb", '"', "\x00"]
    vectors = torch.randn(6, 3, generator=rng)
    index.add(ids, vectors, metadata=[{id: [id, None, {"x": 1.5}]} for id in ids])
    index.save()
    again = Index.open(tmp_path)
    assert again.get(ids).metadata == tuple({id: [id, None, {"x": 1.5}]} for id in ids)
    assert all(id in again for id in ids) and "e" not in again and 3 not in again


def test_ids_that_share_a_hash_are_told_apart(rng, tmp_path, monkeypatch):
    plain_hash = ids_module.hash_ids
    monkeypatch.setattr(ids_module, "hash_ids", lambda ids: plain_hash(ids) % 3)
    monkeypatch.setattr("align.retrieval.index.lookup.hash_ids", lambda ids: plain_hash(ids) % 3)
    index, vectors = plain(tmp_path, rng, n=40)
    index.save()
    index.delete(["item 7"])
    again = Index.open(tmp_path)
    assert torch.equal(again.get(names(40)).vectors.tokens, vectors)
    assert "item 7" not in index and "item 8" in index and "item 40" not in index


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
def test_one_and_several_vectors_mix(rng, tmp_path, dtype):
    many, one = ragged(5, rng, low=2), torch.randn(6, 8, generator=rng)
    index = Index.create(tmp_path, dtype=dtype)
    index.add(names(6), one)
    index.add(names(5, 6), many)
    query = ragged(1, rng)
    together = MultiVector.pack([*MultiVector.from_equal(one[:, None]), *many])
    held = as_stored(together, dtype)
    scores = [(query[0] @ item.T).amax(1).sum().item() for item in held]
    for seen in (index, None):
        index.save()
        seen = seen or Index.open(tmp_path)
        hits = seen.search(query, k=11)[0]
        by_id = {hit.id: hit.score for hit in hits}
        assert [by_id[name] for name in names(11)] == pytest.approx(scores, abs=1e-5)


def test_many_saves_leave_few_files(rng, tmp_path):
    index = Index.create(tmp_path)
    vectors = torch.randn(100, 4, generator=rng)
    for row in range(100):
        index.add([f"item {row}"], vectors[row : row + 1])
        index.save()
    assert len(list((tmp_path / "segments").iterdir())) <= 7
    assert torch.equal(Index.open(tmp_path).get(names(100)).vectors.tokens, vectors)


def test_compacting_leaves_one_segment_and_nothing_that_was_deleted(rng, tmp_path):
    index = saved(tmp_path, ragged(40, rng), parts=(0.8,))
    query = ragged(1, rng)
    index.delete(names(10, 5))
    index.save()
    before = index.search(query, k=30)
    assert len(list((tmp_path / "segments").iterdir())) == 2
    assert len(list((tmp_path / "deletions").iterdir())) == 1
    size = sum(path.stat().st_size for path in tmp_path.rglob("*"))
    index.compact()
    assert len(list((tmp_path / "segments").iterdir())) == 1
    assert not list((tmp_path / "deletions").iterdir())
    assert sum(path.stat().st_size for path in tmp_path.rglob("*")) < size
    assert index.search(query, k=30) == before == Index.open(tmp_path).search(query, k=30)


def test_compacting_an_index_that_lost_all_items_leaves_its_width(rng, tmp_path):
    index, _ = plain(tmp_path, rng)
    index.save()
    index.delete(names(6))
    index.compact()
    again = Index.open(tmp_path)
    assert (len(again), again.dim, again.modalities, again.nbytes) == (0, 4, {}, 0)
    with pytest.raises(ValueError, match="items must have width 4"):
        again.add(["a"], torch.ones(1, 5))


def test_a_reader_sees_what_was_saved_after_refresh(rng, tmp_path):
    index, vectors = plain(tmp_path, rng)
    index.save()
    reader = Index.open(tmp_path)
    held = reader._segments[0].segment
    index.delete(["item 0"])
    assert not reader.refresh()
    index.save()
    assert "item 0" in reader and reader.refresh() and "item 0" not in reader
    # What is mapped stays mapped, and with it what filters and first stages keep.
    assert reader._segments[0].segment is held
    index.compact()
    assert found(reader, vectors[:1], k=5) == found(index, vectors[:1], k=5)
    assert reader.refresh() and reader._segments[0].segment is not held


def test_refreshing_would_not_drop_changes(rng, tmp_path):
    index, _ = plain(tmp_path, rng)
    with pytest.raises(RuntimeError, match="without unsaved changes can be refreshed"):
        index.refresh()
    index.save()
    index.delete(["item 1"])
    with pytest.raises(RuntimeError, match="Save it, or open the folder again"):
        index.refresh()


def test_an_index_made_anew_is_not_taken_for_the_one_that_was_opened(rng, tmp_path):
    index, vectors = plain(tmp_path, rng)
    index.save()
    reader = Index.open(tmp_path)
    before = found(reader, vectors[:1], k=5)
    shutil.rmtree(tmp_path)
    again = Index.create(tmp_path, side="source")
    again.add(["other"], vectors[:1])
    again.save()
    with pytest.raises(RuntimeError, match=r"another adapter, side or dtype\. Open it again"):
        reader.refresh()
    assert found(reader, vectors[:1], k=5) == before


def test_a_sound_index_verifies_and_every_damage_is_named(rng, tmp_path):
    index, _ = plain(tmp_path, rng)
    with pytest.raises(RuntimeError, match="this index has none"):
        index.verify()
    index.save()
    index.delete(["item 1"])
    index.save()
    (segment,) = (tmp_path / "segments").iterdir()
    (deletions,) = (tmp_path / "deletions").iterdir()
    assert index.verify() == []
    whole = segment.read_bytes()
    for at in range(0, len(whole), 97):
        segment.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        name = f"segments/{segment.name}"
        assert index.verify() == [f"{name} does not hold the bytes that were written"]
    segment.write_bytes(whole[:-1])
    assert index.verify() == [f"{name} has {len(whole) - 1} bytes; {len(whole)} were written"]
    segment.write_bytes(whole)
    deletions.unlink()
    assert index.verify() == [f"deletions/{deletions.name} is missing"]


def test_a_cut_segment_and_marks_that_do_not_fit_are_refused(rng, tmp_path):
    index, _ = plain(tmp_path, rng)
    index.save()
    index.delete(["item 1"])
    index.save()
    path = tmp_path / "index.json"
    manifest = json.loads(path.read_text())
    manifest["segments"][0]["deleted"] = 2
    path.write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match=r"must mark 2 of 6 items; got 1 marks"):
        Index.open(tmp_path)
    (segment,) = (tmp_path / "segments").iterdir()
    segment.write_bytes(segment.read_bytes()[:-3])
    with pytest.raises(ValueError, match="must be a whole segment of an index"):
        Index.open(tmp_path)


def test_saving_while_another_saves_is_refused(rng, tmp_path):
    from filelock import FileLock

    index, _ = plain(tmp_path, rng)
    with FileLock(tmp_path / "index.lock"):
        with pytest.raises(RuntimeError, match="one writer at a time; another process is saving"):
            index.save()
    index.save()
    assert len(Index.open(tmp_path)) == 6


def test_what_a_killed_writer_left_goes_with_the_next_save(rng, tmp_path):
    index, _ = plain(tmp_path, rng)
    index.save()
    digits = "0123456789abcdef" * 2
    segments, deletions = tmp_path / "segments", tmp_path / "deletions"
    deletions.mkdir()
    left = [
        segments / f".{digits}.safetensors.{digits}.tmp",
        segments / f"{digits}.safetensors",
        deletions / f".{digits}.npy.{digits}.tmp",
        tmp_path / f".index.json.{digits}.tmp",
    ]
    for path in left:
        path.write_bytes(b"half")
    index.save()
    assert all(path.exists() for path in left)  # nothing to save, nothing to clear
    index.delete(["item 0"])
    index.save()
    assert not any(path.exists() for path in left)


def test_metadata_comes_back_with_hits(rng, tmp_path):
    index, vectors = plain(tmp_path, rng, n=1)
    score = float(vectors[0] @ vectors[0])
    (hit,) = index.search(vectors, k=1)[0]
    assert hit == Hit("item 0", pytest.approx(score, abs=1e-6), "image", {"row": 0})


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"metadata": [{"a": {1, 2}}]}, TypeError, r"must be what JSON can write.*set"),
        ({"metadata": [{"a": float("nan")}]}, ValueError, "must be what JSON can write"),
        ({"metadata": [{1: "a"}]}, TypeError, "strings as keys"),
        ({"metadata": [{"a": [{2: "b"}]}]}, TypeError, "strings as keys"),
        ({"metadata": ["a"]}, TypeError, "one mapping per item"),
        ({"metadata": [{"modality": "image"}]}, ValueError, r"Pass modality= instead"),
        ({"metadata": []}, ValueError, "metadata must have one entry per row, 1; got 0"),
        ({"modality": "smell"}, ValueError, "a modality is one of text, image"),
        ({"modality": ["text", "text"]}, ValueError, "modality must have one entry per row, 1"),
    ],
)
def test_metadata_and_modality_are_checked_when_they_are_added(tmp_path, options, error, message):
    index = Index.create(tmp_path)
    with pytest.raises(error, match=message):
        index.add(["a"], torch.ones(1, 2), **options)
    assert len(index) == 0


def test_matrices_that_are_not_finite_are_refused_without_an_adapter_too(tmp_path):
    index = Index.create(tmp_path)
    with pytest.raises(ValueError, match="items must be finite"):
        index.add(["a"], torch.tensor([[1.0, float("nan")]]))
    index.add(["a"], torch.ones(1, 2))
    with pytest.raises(ValueError, match="queries must be finite"):
        index.search(torch.tensor([[1.0, float("inf")]]), k=1)


def test_put_adds_replaces_and_leaves_items(rng, tmp_path):
    index, vectors = plain(tmp_path, rng)
    index.save()
    rows = [{"row": row} for row in range(7)]
    again = vectors.clone()
    again[1] *= 2
    described = [rows[0], rows[1], {"row": "two"}, rows[3], rows[6]]
    found_changes = index.put(
        ["item 0", "item 1", "item 2", "item 3", "new"], torch.cat([again[:4], vectors[:1]]),
        metadata=described, modality=["image", "image", "image", "text", "image"],
    )  # fmt: skip
    assert found_changes == Changes(added=1, updated=3, unchanged=1)
    assert list(index) == ["item 0", "item 4", "item 5", "item 1", "item 2", "item 3", "new"]
    index.save()
    opened = Index.open(tmp_path)
    assert list(opened) == list(index) and opened.get(["item 2"]).metadata == ({"row": "two"},)
    assert opened.put(["item 1"], again[1:2], metadata=rows[1:2], modality="image").unchanged == 1


@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_put_tells_several_vectors_from_others_of_the_same_number(rng, tmp_path, dtype):
    index = Index.create(tmp_path, dtype=dtype)
    a, b, c, d = (torch.randn(size, 4, generator=rng) for size in (2, 1, 3, 1))
    index.put(["a", "b", "c"], MultiVector.pack([a, b, c]))
    changes = index.put(["a", "b", "c"], MultiVector.pack([a, d, c[:2]]))
    assert changes == Changes(added=0, updated=2, unchanged=1)
    assert index.get(["c"]).vectors.offsets.tolist() == [0, 2]
