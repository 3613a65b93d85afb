"""An index of multi-vectors: its files, and what it refuses."""

import json

import pytest
import torch
from multi_documents import check_search, names, ragged, saved
from safetensors.torch import load_file, save_file

from align.adapters.adapter import Adapter
from align.adapters.maps import LinearMap
from align.card import Card
from align.fde import FDE
from align.multivector import MultiVector
from align.retrieval import multi_index as module
from align.retrieval import segments
from align.retrieval.index import Index
from align.retrieval.multi_index import MultiVectorIndex


def test_saving_writes_only_the_new_segment(rng, tmp_path):
    saved(tmp_path, ragged(5, rng))
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file()}
    again = MultiVectorIndex.open(tmp_path)
    again.add(names(2, 5), ragged(2, rng))
    again.save()
    after = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file()}
    assert [p.name for p in before if after[p] != before[p]] == ["index.json"]
    assert sorted(p.suffix for p in after.keys() - before.keys()) == [".json", ".safetensors"]


def test_opened_vectors_are_mapped_and_not_read(rng, tmp_path):
    saved(tmp_path, ragged(5, rng))
    for block in MultiVectorIndex.open(tmp_path)._saved:
        # A private mapping of the file: storage that torch did not allocate cannot be resized.
        assert not block.tokens.untyped_storage().resizable()


@pytest.mark.parametrize("step", ["write_segment", "write_manifest"])
def test_a_kill_while_saving_leaves_the_last_saved_state(rng, tmp_path, monkeypatch, step):
    documents, queries = ragged(9, rng), ragged(2, rng)
    index = MultiVectorIndex.create(tmp_path, dtype="float32")
    index.add(names(5), documents[:5])
    index.save()
    index.add(names(4, 5), documents[5:])

    def killed(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(module, step, killed)
        index.save()
    check_search(MultiVectorIndex.open(tmp_path), documents[:5], queries, 5)
    # The one that was interrupted still holds everything and can save again.
    index.save()
    check_search(MultiVectorIndex.open(tmp_path), documents, queries, 9)


@pytest.mark.parametrize("call", [1, 2])
def test_a_kill_inside_a_segment_leaves_the_last_saved_state(rng, tmp_path, monkeypatch, call):
    index = saved(tmp_path, ragged(5, rng), parts=())
    index.add(names(4, 5), ragged(4, rng))
    calls = []
    plain = segments.atomic_file

    def killed(path):
        calls.append(path)
        if len(calls) == call:
            raise KeyboardInterrupt
        return plain(path)

    monkeypatch.setattr(segments, "atomic_file", killed)
    with pytest.raises(KeyboardInterrupt):
        index.save()
    assert len(MultiVectorIndex.open(tmp_path)) == 5
    assert not list(tmp_path.rglob("*.tmp"))


def test_an_empty_index_can_be_saved_and_opened(rng, tmp_path):
    MultiVectorIndex.create(tmp_path / "a" / "b", dtype="int8").save()
    opened = MultiVectorIndex.open(tmp_path / "a" / "b")
    assert (len(opened), opened.dim, opened.nbytes, opened.dtype) == (0, None, 0, "int8")
    opened.add(["a"], ragged(1, rng))
    assert opened.dim == 8


def test_adding_nothing_changes_nothing(rng, tmp_path):
    index = MultiVectorIndex.create(tmp_path)
    none = MultiVector(torch.empty(0, 3), torch.zeros(1, dtype=torch.int64))
    index.add([], none)
    index.add(["a"], ragged(1, rng))
    assert (len(index), index.dim) == (1, 8)


def test_creating_writes_nothing(tmp_path):
    MultiVectorIndex.create(tmp_path / "idx")
    assert not (tmp_path / "idx").exists()


def test_creating_over_an_index_is_refused(tmp_path):
    MultiVectorIndex.create(tmp_path).save()
    with pytest.raises(FileExistsError, match=r"holds an index\. Use MultiVectorIndex\.open"):
        MultiVectorIndex.create(tmp_path)


def test_saving_over_another_writer_is_refused(rng, tmp_path):
    index = MultiVectorIndex.create(tmp_path)
    late = MultiVectorIndex.create(tmp_path)
    index.save()
    other = MultiVectorIndex.open(tmp_path)
    other.add(["x"], ragged(1, rng))
    other.save()
    for stale in (index, late):
        with pytest.raises(RuntimeError, match="another process has saved to it"):
            stale.save()


def test_an_id_is_refused_the_second_time(rng, tmp_path):
    index = MultiVectorIndex.create(tmp_path)
    index.add(["a", "b"], ragged(2, rng))
    with pytest.raises(ValueError, match=r"2 repeat or are in the index already.*\['b', 'c'\]"):
        index.add(["b", "c", "c"], ragged(3, rng))
    index.save()
    with pytest.raises(ValueError, match=r"\['a'\]"):
        MultiVectorIndex.open(tmp_path).add(["a"], ragged(1, rng))
    assert len(index) == 2


def test_ids_that_are_not_strings_or_of_another_number_are_refused(rng, tmp_path):
    index = MultiVectorIndex.create(tmp_path)
    with pytest.raises(TypeError, match="ids must be strings, as JSON keeps them; got 7"):
        index.add([7], ragged(1, rng))
    with pytest.raises(ValueError, match="ids must have one entry per row, 2; got 1"):
        index.add(["a"], ragged(2, rng))


def test_vectors_of_another_width_are_refused(rng, tmp_path):
    index = MultiVectorIndex.create(tmp_path)
    index.add(["a"], ragged(1, rng))
    with pytest.raises(ValueError, match=r"documents must have width 8.*got 5"):
        index.add(["b"], ragged(1, rng, d=5))
    with pytest.raises(ValueError, match=r"queries must have width 8.*got 5"):
        index.search(ragged(1, rng, d=5), k=1)
    with pytest.raises(ValueError, match=r"tokens must have width 5; got 8"):
        index.search(ragged(1, rng), k=1, candidates=1, first=FDE(5, 1, 1))
    assert len(index) == 1


@pytest.mark.parametrize("dtype", ["float16", "float32", "int8"])
def test_vectors_that_are_not_finite_are_refused(rng, tmp_path, dtype):
    documents = ragged(4, rng, low=2)
    documents.tokens[documents.offsets[2] + 1, 0] = float("nan")
    index = MultiVectorIndex.create(tmp_path, dtype=dtype)
    with pytest.raises(ValueError, match=r"finite.*1 of 4.*the first at \[2\]"):
        index.add(names(4), documents)
    assert len(index) == 0 and index.dim is None


def test_numbers_too_large_for_the_dtype_are_refused(rng, tmp_path):
    large = MultiVector.pack([torch.full((1, 3), 1e5)])
    with pytest.raises(ValueError, match=r"too large for it.*choose a wider dtype"):
        MultiVectorIndex.create(tmp_path).add(["a"], large)
    MultiVectorIndex.create(tmp_path, dtype="bfloat16").add(["a"], large)


def test_searching_an_empty_index_is_refused(rng, tmp_path):
    with pytest.raises(ValueError, match=r"it holds none\. Call add first"):
        MultiVectorIndex.create(tmp_path).search(ragged(1, rng))


@pytest.mark.parametrize("k", [0, 3])
def test_k_beyond_the_index_is_refused(rng, tmp_path, k):
    index = MultiVectorIndex.create(tmp_path)
    index.add(["a", "b"], ragged(2, rng))
    with pytest.raises(ValueError, match=rf"\[1, 2\], the number of items in the index; got {k}"):
        index.search(ragged(1, rng), k=k)


@pytest.mark.parametrize(
    ("candidates", "message"),
    [
        (0, r"candidates must lie in \[1, 2\], the number of documents; got 0"),
        (3, r"candidates must lie in \[1, 2\], the number of documents; got 3"),
        (1, r"k must lie in \[1, 1\], the number of candidates; got 2"),
    ],
)
def test_candidates_out_of_range_are_refused(rng, tmp_path, candidates, message):
    index = MultiVectorIndex.create(tmp_path)
    index.add(["a", "b"], ragged(2, rng))
    with pytest.raises(ValueError, match=message):
        index.search(ragged(1, rng), k=2, candidates=candidates)


def test_a_first_stage_without_a_number_of_candidates_is_refused(rng, tmp_path):
    index = MultiVectorIndex.create(tmp_path)
    index.add(["a", "b"], ragged(2, rng))
    with pytest.raises(
        ValueError, match=r"whose number must be given; got none\. Pass candidates="
    ):
        index.search(ragged(1, rng), k=1, first=(1, 1))


def test_a_dtype_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"dtype must be one of \['bfloat16'.*got 'int4'"):
        MultiVectorIndex.create(tmp_path, dtype="int4")


def test_opening_a_folder_without_an_index_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"an index is a folder with index\.json"):
        MultiVectorIndex.open(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": 2}, "must have schema 1; got 2"),
        ({"shape": 3}, "must have the fields"),
        ({"dtype": "int4"}, "dtype must be one of"),
    ],
)
def test_a_manifest_that_is_not_understood_is_refused(tmp_path, change, message):
    MultiVectorIndex.create(tmp_path).save()
    manifest = tmp_path / "index.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | change))
    with pytest.raises(ValueError, match=message):
        MultiVectorIndex.open(tmp_path)


def test_one_kind_of_index_is_not_taken_for_the_other(tmp_path):
    MultiVectorIndex.create(tmp_path / "many").save()
    with pytest.raises(ValueError, match=r"got \['dtype', .*with dtype, MultiVectorIndex"):
        Index.open(tmp_path / "many")
    one = LinearMap(torch.zeros(3), torch.eye(3))
    Index.create(tmp_path / "one", Adapter(one, one, Card("by hand", 10, 3, 3))).save()
    with pytest.raises(ValueError, match=r"'side'\]\. Open it with the class that saved it"):
        MultiVectorIndex.open(tmp_path / "one")
    with pytest.raises(FileExistsError, match="holds an index"):
        MultiVectorIndex.create(tmp_path / "one")


def test_a_segment_that_does_not_match_the_manifest_is_refused(rng, tmp_path):
    saved(tmp_path, ragged(3, rng), parts=())
    (ids,) = (tmp_path / "segments").glob("*.json")
    ids.write_text(json.dumps(names(2)))
    with pytest.raises(ValueError, match="must hold 3 items; got 2 ids and 3 vectors"):
        MultiVectorIndex.open(tmp_path)


def test_a_segment_of_another_dtype_or_width_is_refused(rng, tmp_path):
    saved(tmp_path, ragged(6, rng), parts=(0.5,))
    for path in (tmp_path / "segments").glob("*.safetensors"):
        held = load_file(path)
        save_file({**held, "tokens": held["tokens"].half()}, path)
        with pytest.raises(ValueError, match=r"must hold float32 vectors.*got torch.float16"):
            MultiVectorIndex.open(tmp_path)
        save_file({**held, "tokens": held["tokens"][:, :5].contiguous()}, path)
        with pytest.raises(ValueError, match=r"vectors of width \d; got torch.float32 of width"):
            MultiVectorIndex.open(tmp_path)
        save_file(held, path)
    assert len(MultiVectorIndex.open(tmp_path)) == 6


def test_a_missing_segment_is_refused(rng, tmp_path):
    saved(tmp_path, ragged(3, rng), parts=())
    (tokens,) = (tmp_path / "segments").glob("*.safetensors")
    tokens.unlink()
    with pytest.raises(FileNotFoundError):
        MultiVectorIndex.open(tmp_path)


def test_the_index_tracks_no_gradients(rng, tmp_path):
    tokens = torch.randn(4, 8, generator=rng, requires_grad=True)
    index = MultiVectorIndex.create(tmp_path, dtype="float32")
    index.add(["a", "b"], MultiVector.pack([tokens[:2], tokens[2:]]))
    assert not index._fresh[0].tokens.requires_grad
    assert index.search(MultiVector.pack([tokens]), k=1, candidates=1)
