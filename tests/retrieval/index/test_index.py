import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from align._display.interruption import notes_of
from align.adapters.adapter import Adapter
from align.adapters.card import Card
from align.adapters.maps.linear import LinearMap
from align.data.embeddings import Embeddings
from align.retrieval.hits import Hit
from align.retrieval.index import index as index_module
from align.retrieval.index.index import Index
from align.retrieval.storage import adapter_files as kept_adapter


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
    monkeypatch.setattr(kept_adapter, "load", Linear.load)
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
    late = Index(tmp_path, adapter, "target", "float32")
    with pytest.raises(RuntimeError, match="another process has saved to it"):
        late.save()


def test_items_that_the_adapter_refuses_leave_the_index_as_it_was(rng, tmp_path, adapter):
    index = Index.create(tmp_path, adapter)
    index.add(["a"], torch.randn(1, 6, generator=rng))
    with pytest.raises(ValueError, match="target must have 6 columns"):
        index.add(["b"], torch.ones(1, 5))
    index.add(["b"], torch.randn(1, 6, generator=rng))
    assert len(index) == 2


def test_a_side_that_does_not_exist_is_refused(tmp_path, adapter):
    with pytest.raises(ValueError, match='side must be "source" or "target"'):
        Index.create(tmp_path, adapter, side="left")


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
    with pytest.raises(
        FileNotFoundError,
        match=r"idx/adapter/card\.json must be a file that can be read; the system says: No such",
    ):
        Index.open("idx")


def test_search_does_not_track_gradients(rng, tmp_path, adapter):
    adapter.maps["target"].requires_grad_()
    index = Index.create(tmp_path, adapter)
    index.add(names(3), torch.randn(3, 6, generator=rng))
    assert not index._segments[0].segment.tokens.requires_grad


def test_an_interrupted_save_says_what_is_in_the_folder_and_can_be_done_again(
    tmp_path, rng, monkeypatch
):
    index = Index.create(tmp_path, None)
    written = index_module.write_commit

    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    for ids, said in ((["a"], "Nothing is saved yet"), (["b"], "What was last saved stays")):
        index.add(ids, torch.randn(1, 4, generator=rng))
        monkeypatch.setattr(index_module, "write_commit", interrupted)
        with pytest.raises(KeyboardInterrupt) as stopped:
            index.save()
        assert notes_of(stopped.value)[0].startswith(f"{said} in {tmp_path}")
        monkeypatch.setattr(index_module, "write_commit", written)
        index.save()
        assert list(Index.open(tmp_path)) == list(index)


def test_a_save_interrupted_after_its_commit_says_that_everything_is_saved(
    tmp_path, rng, monkeypatch
):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    index = Index.create(tmp_path, None)
    index.add(["a"], torch.randn(1, 4, generator=rng))
    monkeypatch.setattr(index_module, "remove_others", interrupted)
    with pytest.raises(KeyboardInterrupt) as stopped:
        index.save()
    assert notes_of(stopped.value) == (f"Everything is saved in {tmp_path}.",)
    assert list(Index.open(tmp_path)) == ["a"]
