"""The files of an index, and what it refuses."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from align.data.multi_vector import MultiVector
from align.retrieval.index.index import Index
from align.retrieval.storage import commit as module
from align.retrieval.storage import manifest as manifest_module
from align.retrieval.storage import segments as segments_module
from align.scoring.fde import FDE
from tests.retrieval.multi_documents import check_search, names, ragged, saved


def test_saving_writes_only_the_new_segment(rng, tmp_path):
    saved(tmp_path, ragged(5, rng), parts=())
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file()}
    again = Index.open(tmp_path)
    again.add(names(2, 5), ragged(2, rng))
    again.save()
    after = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file()}
    assert [p.name for p in before if after[p] != before[p]] == ["index.json"]
    assert [p.suffix for p in after.keys() - before.keys()] == [".safetensors"]


def test_opened_vectors_are_mapped_and_not_read(rng, tmp_path):
    saved(tmp_path, ragged(5, rng))
    for part in Index.open(tmp_path)._segments:
        # A private mapping of the file: storage that torch did not allocate cannot be resized.
        assert not part.segment.tokens.untyped_storage().resizable()
        assert part.segment.ids.names.data.base is not None


@pytest.mark.parametrize("step", ["write_groups", "write_manifest"])
def test_a_kill_while_saving_leaves_the_last_saved_state(rng, tmp_path, monkeypatch, step):
    documents, queries = ragged(9, rng), ragged(2, rng)
    index = Index.create(tmp_path, dtype="float32")
    index.add(names(5), documents[:5])
    index.save()
    index.add(names(4, 5), documents[5:])

    def killed(*args, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(module, step, killed)
        index.save()
    check_search(Index.open(tmp_path), documents[:5], queries, 5)
    # The one that was interrupted still holds everything and can save again.
    index.save()
    check_search(Index.open(tmp_path), documents, queries, 9)


@pytest.mark.parametrize("call", range(1, 6))
def test_a_kill_at_any_file_leaves_the_last_saved_state(rng, tmp_path, monkeypatch, call):
    index = saved(tmp_path, ragged(5, rng), parts=())
    index.delete(["item 0"])
    index.add(names(2, 5), ragged(2, rng))
    files = []
    plain = segments_module.atomic_file

    def killed(path):
        files.append(path)
        if len(files) == call:
            raise KeyboardInterrupt
        return plain(path)

    with monkeypatch.context() as patch:
        for where in (segments_module, manifest_module):
            patch.setattr(where, "atomic_file", killed)
        if call <= 3:
            with pytest.raises(KeyboardInterrupt):
                index.save()
            opened = Index.open(tmp_path)
            assert "item 0" in opened and len(opened) == 5
            assert not list(tmp_path.rglob("*.tmp"))
        else:
            index.save()
            # The marks of what is deleted, a segment, the manifest.
            assert len(files) == 3
    index.save()
    opened = Index.open(tmp_path)
    assert "item 0" not in opened and len(opened) == 6
    held = {tmp_path / file.path for file in opened._manifest.all_files}
    assert held == {
        p for subfolder in ("segments", "deletions") for p in (tmp_path / subfolder).glob("*")
    }


def test_an_empty_index_can_be_saved_and_opened(rng, tmp_path):
    Index.create(tmp_path / "a" / "b", dtype="int8").save()
    opened = Index.open(tmp_path / "a" / "b")
    assert (len(opened), opened.dim, opened.nbytes, opened.dtype) == (0, None, 0, "int8")
    opened.add(["a"], ragged(1, rng))
    assert opened.dim == 8


def test_adding_nothing_changes_nothing(rng, tmp_path):
    index = Index.create(tmp_path)
    none = MultiVector(torch.empty(0, 3), torch.zeros(1, dtype=torch.int64))
    index.add([], none)
    index.add(["a"], ragged(1, rng))
    assert (len(index), index.dim) == (1, 8)


def test_creating_writes_nothing(tmp_path):
    Index.create(tmp_path / "idx")
    assert not (tmp_path / "idx").exists()


def test_creating_over_an_index_is_refused(tmp_path):
    Index.create(tmp_path).save()
    with pytest.raises(FileExistsError, match=r"holds an index\. Use Index\.open"):
        Index.create(tmp_path)


def test_saving_over_another_writer_is_refused(rng, tmp_path):
    index = Index.create(tmp_path)
    late = Index.create(tmp_path)
    index.save()
    other = Index.open(tmp_path)
    other.add(["x"], ragged(1, rng))
    other.save()
    for stale in (index, late):
        with pytest.raises(RuntimeError, match="another process has saved to it"):
            stale.save()


def test_an_id_is_refused_the_second_time(rng, tmp_path):
    index = Index.create(tmp_path)
    index.add(["a", "b"], ragged(2, rng))
    with pytest.raises(ValueError, match=r"given once; 1 repeat, the first \['c'\]"):
        index.add(["b", "c", "c"], ragged(3, rng))
    with pytest.raises(ValueError, match=r"1 are in the index already, the first \['b'\]"):
        index.add(["b", "c"], ragged(2, rng))
    index.save()
    with pytest.raises(ValueError, match=r"\['a'\]"):
        Index.open(tmp_path).add(["a"], ragged(1, rng))
    assert len(index) == 2


def test_ids_that_are_not_strings_or_of_another_number_are_refused(rng, tmp_path):
    index = Index.create(tmp_path)
    with pytest.raises(TypeError, match="ids must be strings, as JSON keeps them; got 7"):
        index.add([7], ragged(1, rng))
    with pytest.raises(ValueError, match="ids must have one entry per row, 2; got 1"):
        index.add(["a"], ragged(2, rng))


def test_vectors_of_another_width_are_refused(rng, tmp_path):
    index = Index.create(tmp_path)
    index.add(["a"], ragged(1, rng))
    with pytest.raises(ValueError, match=r"items must have width 8.*got 5"):
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
    index = Index.create(tmp_path, dtype=dtype)
    with pytest.raises(ValueError, match=r"finite.*1 of 4.*the first at \[2\]"):
        index.add(names(4), documents)
    assert len(index) == 0 and index.dim is None


def test_numbers_too_large_for_the_dtype_are_refused(rng, tmp_path):
    large = MultiVector.pack([torch.full((1, 3), 1e5)])
    with pytest.raises(ValueError, match=r"too large for it.*choose a wider dtype"):
        Index.create(tmp_path, dtype="float16").add(["a"], large)
    Index.create(tmp_path, dtype="bfloat16").add(["a"], large)


def test_searching_an_empty_index_is_refused(rng, tmp_path):
    with pytest.raises(ValueError, match=r"it holds none\. Call add first"):
        Index.create(tmp_path).search(ragged(1, rng))


@pytest.mark.parametrize("k", [0, 3])
def test_k_beyond_the_index_is_refused(rng, tmp_path, k):
    index = Index.create(tmp_path)
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
    index = Index.create(tmp_path)
    index.add(["a", "b"], ragged(2, rng))
    with pytest.raises(ValueError, match=message):
        index.search(ragged(1, rng), k=2, candidates=candidates)


def test_a_first_stage_without_a_number_of_candidates_is_refused(rng, tmp_path):
    index = Index.create(tmp_path)
    index.add(["a", "b"], ragged(2, rng))
    with pytest.raises(
        ValueError, match=r"whose number must be given; got none\. Pass candidates="
    ):
        index.search(ragged(1, rng), k=1, first=(1, 1))


def test_a_dtype_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"dtype must be one of \['bfloat16'.*got 'int4'"):
        Index.create(tmp_path, dtype="int4")


def test_opening_a_folder_without_an_index_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"an index is a folder with index\.json"):
        Index.open(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": 1}, "must have schema 2; got 1"),
        ({"shape": 3}, "must have exactly the fields"),
        ({"dtype": "int4"}, "dtype must be one of"),
        ({"side": None}, "side must be one of"),
    ],
)
def test_a_manifest_that_is_not_understood_is_refused(tmp_path, change, message):
    Index.create(tmp_path).save()
    manifest = tmp_path / "index.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | change))
    with pytest.raises(ValueError, match=message):
        Index.open(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", "3"])
def test_a_damaged_manifest_is_refused(tmp_path, text):
    Index.create(tmp_path).save()
    (tmp_path / "index.json").write_text(text)
    with pytest.raises(ValueError, match=r"must be JSON that an index wrote|must have schema 2"):
        Index.open(tmp_path)


def test_a_segment_that_does_not_match_the_manifest_is_refused(rng, tmp_path):
    saved(tmp_path, ragged(3, rng), parts=())
    path = tmp_path / "index.json"
    manifest = json.loads(path.read_text())
    manifest["segments"][0]["items"] = 2
    path.write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match="must hold 2 items; got 3 ids, 3 records and 3 vectors"):
        Index.open(tmp_path)


def test_a_segment_of_another_dtype_or_width_is_refused(rng, tmp_path):
    saved(tmp_path, ragged(6, rng), parts=(0.7,))
    for path in (tmp_path / "segments").glob("*.safetensors"):
        held = load_file(path)
        save_file({**held, "tokens": held["tokens"].half()}, path)
        with pytest.raises(ValueError, match=r"must hold float32 vectors.*got torch.float16"):
            Index.open(tmp_path)
        save_file({**held, "tokens": held["tokens"][:, :5].contiguous()}, path)
        with pytest.raises(ValueError, match=r"vectors of width \d; got torch.float32 of width"):
            Index.open(tmp_path)
        save_file(held, path)
    assert len(Index.open(tmp_path)) == 6


def test_a_missing_segment_is_refused(rng, tmp_path):
    saved(tmp_path, ragged(3, rng), parts=())
    (tokens,) = (tmp_path / "segments").glob("*.safetensors")
    tokens.unlink()
    with pytest.raises(FileNotFoundError):
        Index.open(tmp_path)


def test_the_index_tracks_no_gradients(rng, tmp_path):
    tokens = torch.randn(4, 8, generator=rng, requires_grad=True)
    index = Index.create(tmp_path, dtype="float32")
    index.add(["a", "b"], MultiVector.pack([tokens[:2], tokens[2:]]))
    assert not index._segments[0].segment.tokens.requires_grad
    assert index.search(MultiVector.pack([tokens]), k=1, candidates=1)
