import json
import re

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from align.adapters.adapter import Adapter
from align.adapters.maps import LinearMap
from align.card import Card
from align.embeddings import Embeddings
from align.retrieval import index as index_module
from align.retrieval import segments
from align.retrieval.index import Hit, Index


class Linear:
    """Stands for an adapter: one matrix per side, kept in one file."""

    def __init__(self, source, target):
        self.maps = {"source": source, "target": target}

    def _map(self, x, side):
        x = x.vectors if isinstance(x, Embeddings) else torch.as_tensor(x)
        if x.shape[1] != len(self.maps[side]):
            raise ValueError(f"{side} must have {len(self.maps[side])} columns")
        return x @ self.maps[side]

    def queries(self, x, *, side):
        return self._map(x, side)

    def gallery(self, y, *, side):
        return self._map(y, side)

    def save(self, folder):
        folder.mkdir(parents=True, exist_ok=True)
        save_file(self.maps, folder / "maps.safetensors")

    @classmethod
    def load(cls, folder):
        return cls(**load_file(folder / "maps.safetensors"))


@pytest.fixture
def adapter(rng, monkeypatch):
    monkeypatch.setattr(index_module, "load", Linear.load)
    return Linear(torch.randn(5, 4, generator=rng), torch.randn(6, 4, generator=rng))


def names(count, start=0):
    return [f"item {i}" for i in range(start, start + count)]


def brute_force(adapter, ids, items, queries, k, side="target"):
    other = "source" if side == "target" else "target"
    scores = adapter.queries(queries, side=other) @ adapter.gallery(items, side=side).T
    best = scores.topk(k, dim=1)
    return [[ids[row] for row in rows] for rows in best.indices.tolist()], best.values


def check_search(index, adapter, ids, items, queries, k):
    hits = index.search(queries, k=k)
    expected, scores = brute_force(adapter, ids, items, queries, k, side=index.side)
    assert [[hit.id for hit in row] for row in hits] == expected
    torch.testing.assert_close(torch.tensor([[hit.score for hit in row] for row in hits]), scores)


@pytest.mark.parametrize("k", [1, 10, 50])
def test_search_equals_brute_force_before_and_after_saving(rng, tmp_path, adapter, k):
    items, queries = torch.randn(50, 6, generator=rng), torch.randn(7, 5, generator=rng)
    index = Index.create(tmp_path / "idx", adapter)
    index.add(names(20), items[:20])
    index.save()
    index.add(names(3, 20), items[20:23])
    index.add(names(27, 23), items[23:])
    check_search(index, adapter, names(50), items, queries, k)
    index.save()
    check_search(index, adapter, names(50), items, queries, k)
    again = Index.open(tmp_path / "idx")
    assert len(again) == 50 and again.side == "target"
    check_search(again, adapter, names(50), items, queries, k)


def test_items_of_the_source_side_are_found_by_target_queries(rng, tmp_path, adapter):
    items, queries = torch.randn(9, 5, generator=rng), torch.randn(2, 6, generator=rng)
    index = Index.create(tmp_path, adapter, side="source")
    index.add(names(9), items)
    check_search(index, adapter, names(9), items, queries, 3)
    index.save()
    check_search(Index.open(tmp_path), adapter, names(9), items, queries, 3)


def test_equal_items_come_back_in_the_order_of_adding(tmp_path):
    same = Linear(torch.eye(2), torch.eye(2))
    index = Index.create(tmp_path, same)
    index.add(["b", "z"], torch.ones(2, 2))
    index.save()
    index.add(["a"], torch.ones(1, 2))
    assert index.search(torch.ones(1, 2), k=3) == [[Hit("b", 2.0), Hit("z", 2.0), Hit("a", 2.0)]]


def test_arrays_and_embeddings_are_taken_like_tensors(rng, tmp_path, adapter):
    items, queries = torch.randn(4, 6, generator=rng), torch.randn(2, 5, generator=rng)
    by_tensor = Index.create(tmp_path, adapter)
    by_tensor.add(names(4), items)
    by_array = Index.create(tmp_path, adapter)
    by_array.add(names(4), items.numpy())
    wrapped = Index.create(tmp_path, adapter)
    wrapped.add(names(4), Embeddings(items, "photo-1", tuple(names(4))))
    expected = by_tensor.search(queries, k=2)
    assert by_array.search(queries.numpy().astype(np.float32), k=2) == expected
    assert wrapped.search(Embeddings(queries, "text-1", ("p", "q")), k=2) == expected


def test_saving_writes_only_the_new_segment(rng, tmp_path, adapter):
    index = Index.create(tmp_path, adapter)
    index.add(names(5), torch.randn(5, 6, generator=rng))
    index.save()
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file()}
    again = Index.open(tmp_path)
    again.add(names(2, 5), torch.randn(2, 6, generator=rng))
    again.save()
    after = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file()}
    changed = [p.name for p in before if after[p] != before[p]]
    assert changed == ["index.json"]
    assert sorted(p.suffix for p in after.keys() - before.keys()) == [".json", ".safetensors"]


def test_opened_vectors_are_mapped_and_not_read(rng, tmp_path, adapter, monkeypatch):
    index = Index.create(tmp_path, adapter)
    index.add(names(3), torch.randn(3, 6, generator=rng))
    index.save()
    opened = Index.open(tmp_path)
    # A private mapping of the file: storage that torch did not allocate cannot be resized.
    assert not opened._saved[0].untyped_storage().resizable()


@pytest.mark.parametrize("step", ["write_segment", "write_manifest"])
def test_a_kill_while_saving_leaves_the_last_saved_state(rng, tmp_path, adapter, monkeypatch, step):
    items, queries = torch.randn(9, 6, generator=rng), torch.randn(2, 5, generator=rng)
    index = Index.create(tmp_path, adapter)
    index.add(names(5), items[:5])
    index.save()
    index.add(names(4, 5), items[5:])

    def killed(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(index_module, step, killed)
        index.save()
    check_search(Index.open(tmp_path), adapter, names(5), items[:5], queries, 5)
    # The one that was interrupted still holds everything and can save again.
    index.save()
    check_search(Index.open(tmp_path), adapter, names(9), items, queries, 9)


def test_a_kill_between_the_two_files_of_a_segment_leaves_the_last_saved_state(
    rng, tmp_path, adapter, monkeypatch
):
    index = Index.create(tmp_path, adapter)
    index.add(names(5), torch.randn(5, 6, generator=rng))
    index.save()
    index.add(names(4, 5), torch.randn(4, 6, generator=rng))

    def killed(tensors, path):
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(segments, "save_file", killed)
    with pytest.raises(KeyboardInterrupt):
        index.save()
    assert len(Index.open(tmp_path)) == 5
    assert not list(tmp_path.rglob("*.tmp"))


def test_an_empty_index_can_be_saved_and_opened(tmp_path, adapter):
    Index.create(tmp_path / "a" / "b", adapter).save()
    assert len(Index.open(tmp_path / "a" / "b")) == 0


def test_creating_writes_nothing(tmp_path, adapter):
    Index.create(tmp_path / "idx", adapter)
    assert not (tmp_path / "idx").exists()


def test_creating_over_an_index_is_refused(tmp_path, adapter):
    Index.create(tmp_path, adapter).save()
    with pytest.raises(FileExistsError, match=r"holds an index.*Index\.open"):
        Index.create(tmp_path, adapter)


def test_saving_over_another_writer_is_refused(rng, tmp_path, adapter):
    index = Index.create(tmp_path, adapter)
    index.save()
    other = Index.open(tmp_path)
    other.add(["x"], torch.randn(1, 6, generator=rng))
    other.save()
    with pytest.raises(RuntimeError, match="another process has saved to it"):
        index.save()
    late = Index(tmp_path, adapter, "target")
    with pytest.raises(RuntimeError, match="another process has saved to it"):
        late.save()


def test_an_id_is_refused_the_second_time(rng, tmp_path, adapter):
    index = Index.create(tmp_path, adapter)
    index.add(["a", "b"], torch.randn(2, 6, generator=rng))
    with pytest.raises(ValueError, match=r"2 repeat or are in the index already.*\['b', 'c'\]"):
        index.add(["b", "c", "c"], torch.randn(3, 6, generator=rng))
    index.save()
    with pytest.raises(ValueError, match=r"\['a'\]"):
        Index.open(tmp_path).add(["a"], torch.randn(1, 6, generator=rng))
    assert len(index) == 2


def test_an_id_that_is_not_a_string_is_refused(tmp_path, adapter):
    with pytest.raises(TypeError, match="ids must be strings, as JSON keeps them; got 7"):
        Index.create(tmp_path, adapter).add([7], torch.ones(1, 6))


def test_ids_of_another_length_are_refused(tmp_path, adapter):
    with pytest.raises(ValueError, match="ids must have one entry per row, 2; got 1"):
        Index.create(tmp_path, adapter).add(["a"], torch.ones(2, 6))


def test_items_that_the_adapter_refuses_leave_the_index_as_it_was(rng, tmp_path, adapter):
    index = Index.create(tmp_path, adapter)
    index.add(["a"], torch.randn(1, 6, generator=rng))
    with pytest.raises(ValueError, match="target must have 6 columns"):
        index.add(["b"], torch.ones(1, 5))
    index.add(["b"], torch.randn(1, 6, generator=rng))
    assert len(index) == 2


def test_searching_an_empty_index_is_refused(tmp_path, adapter):
    with pytest.raises(ValueError, match=r"it holds none\. Call add first"):
        Index.create(tmp_path, adapter).search(torch.ones(1, 5))


@pytest.mark.parametrize("k", [0, 3])
def test_k_beyond_the_index_is_refused(tmp_path, adapter, k):
    index = Index.create(tmp_path, adapter)
    index.add(["a", "b"], torch.ones(2, 6))
    with pytest.raises(ValueError, match=rf"\[1, 2\], the number of items in the index; got {k}"):
        index.search(torch.ones(1, 5), k=k)


def test_a_side_that_does_not_exist_is_refused(tmp_path, adapter):
    with pytest.raises(ValueError, match='side must be "source" or "target"'):
        Index.create(tmp_path, adapter, side="left")


def test_opening_a_folder_without_an_index_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"an index is a folder with index\.json"):
        Index.open(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": 2}, "must have schema 1; got 2"),
        ({"shape": 3}, "must have the fields"),
        ({"side": None}, 'side must be "source" or "target"'),
    ],
)
def test_a_manifest_that_is_not_understood_is_refused(tmp_path, adapter, change, message):
    Index.create(tmp_path, adapter).save()
    manifest = tmp_path / "index.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | change))
    with pytest.raises(ValueError, match=message):
        Index.open(tmp_path)


def test_a_segment_that_does_not_match_the_manifest_is_refused(rng, tmp_path, adapter):
    index = Index.create(tmp_path, adapter)
    index.add(names(3), torch.randn(3, 6, generator=rng))
    index.save()
    (ids,) = (tmp_path / "segments").glob("*.json")
    ids.write_text(json.dumps(names(2)))
    with pytest.raises(ValueError, match="must hold 3 items; got 2 ids and 3 vectors"):
        Index.open(tmp_path)


@pytest.fixture
def fitted(rng):
    def side_map(d):
        return LinearMap(torch.zeros(d), torch.randn(d, 4, generator=rng))

    card = Card("by hand", 10, 5, 6, source_fingerprint="text-1", target_fingerprint="photo-1")
    return Adapter(side_map(5), side_map(6), card)


def test_a_fitted_adapter_is_kept_inside_and_refuses_other_encoders(rng, tmp_path, fitted):
    items, queries = torch.randn(8, 6, generator=rng), torch.randn(3, 5, generator=rng)
    index = Index.create(tmp_path / "idx", fitted)
    index.add(names(8), Embeddings(items, "photo-1", tuple(names(8))))
    index.save()
    again = Index.open(tmp_path / "idx")
    check_search(again, fitted, names(8), items, queries, 8)
    with pytest.raises(ValueError, match="fitted on vectors of text-1; got vectors of text-2"):
        again.search(Embeddings(queries, "text-2", ("a", "b", "c")), k=2)


def test_an_index_that_lost_its_adapter_is_refused_and_not_sought_on_the_hub(
    tmp_path, fitted, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    Index.create("idx", fitted).save()
    (tmp_path / "idx" / "adapter").rename(tmp_path / "elsewhere")
    with pytest.raises(FileNotFoundError, match=re.escape(str(tmp_path / "idx" / "adapter"))):
        Index.open("idx")


def test_search_does_not_track_gradients(rng, tmp_path, adapter):
    adapter.maps["target"].requires_grad_()
    index = Index.create(tmp_path, adapter)
    index.add(names(3), torch.randn(3, 6, generator=rng))
    assert not index._fresh[0].requires_grad
