import json
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from align.adapters.adapter import Adapter
from align.adapters.maps import LinearMap
from align.card import Card
from align.fde import FDE
from align.kernels import reference
from align.multivector import MultiVector
from align.retrieval import cascade as cascade_module
from align.retrieval import first_stages, segments
from align.retrieval import multi_index as module
from align.retrieval.cascade import cascade
from align.retrieval.first_stages import first_stage
from align.retrieval.hits import Hit
from align.retrieval.index import Index
from align.retrieval.multi_index import MultiVectorIndex

DTYPES = ("float32", "float16", "bfloat16", "int8")


def ragged(count, rng, d=8, low=1, high=9):
    lengths = torch.randint(low, high + 1, (count,), generator=rng).tolist()
    return MultiVector.pack(
        [F.normalize(torch.randn(length, d, generator=rng), dim=1) for length in lengths]
    )


def names(count, start=0):
    return [f"item {i}" for i in range(start, start + count)]


def as_stored(documents, dtype):
    """What the index holds of documents, in float32."""
    if dtype == "int8":
        return documents.quantized().to(dtype=torch.float32)
    return documents.to(dtype=getattr(torch, dtype)).to(dtype=torch.float32)


def check_search(index, documents, queries, k, ids=None, **options):
    """The hits are those of the reference over all ``documents`` at once."""
    ids = ids or names(len(documents))
    budget = options.get("budget")
    if budget is not None:
        queries_cut, documents = queries.prefix(budget[0]), documents.prefix(budget[1])
    else:
        queries_cut = queries
    hits = index.search(queries, k=k, **options)
    best = reference.maxsim(queries_cut, documents).topk(k, dim=1)
    assert [[hit.id for hit in row] for row in hits] == [
        [ids[place] for place in row] for row in best.indices.tolist()
    ]
    scores = torch.tensor([[hit.score for hit in row] for row in hits])
    torch.testing.assert_close(scores, best.values)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("budget", [None, (2, 3)])
def test_search_equals_the_reference_before_and_after_saving(rng, tmp_path, dtype, budget):
    documents, queries = ragged(40, rng), ragged(5, rng)
    held = as_stored(documents, dtype)
    index = MultiVectorIndex.create(tmp_path / "idx", dtype=dtype)
    index.add(names(15), documents[:15])
    check_search(index, held[:15], queries, 15, budget=budget)
    index.save()
    index.add(names(3, 15), documents[15:18])
    index.add(names(22, 18), documents[18:])
    check_search(index, held, queries, 10, budget=budget)
    index.save()
    check_search(index, held, queries, 40, budget=budget)
    again = MultiVectorIndex.open(tmp_path / "idx")
    assert (len(again), again.dim, again.dtype, again.budget) == (40, 8, dtype, None)
    check_search(again, held, queries, 40, budget=budget)


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_is_stored_comes_back_to_the_bit(rng, tmp_path, dtype):
    documents = ragged(10, rng)
    index = MultiVectorIndex.create(tmp_path, dtype=dtype)
    index.add(names(10), documents)
    index.save()
    (back,) = MultiVectorIndex.open(tmp_path)._saved
    assert back.tokens.dtype == getattr(torch, dtype)
    assert torch.equal(back.to(dtype=torch.float32).tokens, as_stored(documents, dtype).tokens)
    assert torch.equal(back.offsets, documents.offsets)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("given", DTYPES)
def test_documents_of_any_dtype_can_be_added(rng, tmp_path, dtype, given):
    documents = ragged(6, rng)
    documents = (
        documents.quantized() if given == "int8" else documents.to(dtype=getattr(torch, given))
    )
    index = MultiVectorIndex.create(tmp_path, dtype=dtype)
    index.add(names(6), documents)
    check_search(index, as_stored(documents, dtype), ragged(2, rng), 6)


@pytest.mark.parametrize("candidates", [None, 20])
def test_a_budget_may_exceed_the_items_of_one_segment_or_query(rng, tmp_path, candidates):
    documents = MultiVector.pack([*ragged(10, rng, high=2), *ragged(10, rng, low=5)])
    queries = MultiVector.pack([*ragged(2, rng, high=2), *ragged(2, rng, low=5)])
    index = saved(tmp_path, documents, parts=(0.5,))
    check_search(index, documents, queries, 10, budget=(4, 4), candidates=candidates)
    check_search(index, documents, queries[:2], 10, budget=(4, 99), candidates=candidates)


@pytest.mark.parametrize("candidates", [None, 2])
@pytest.mark.parametrize("budget", [(0, 1), (1, 0)])
def test_a_search_budget_below_one_is_refused(rng, tmp_path, candidates, budget):
    index = saved(tmp_path, ragged(5, rng))
    with pytest.raises(ValueError, match=r"budget must .*at least 1; got"):
        index.search(ragged(2, rng), k=1, candidates=candidates, budget=budget)


def test_no_queries_find_nothing(rng, tmp_path):
    index = saved(tmp_path, ragged(5, rng))
    none = MultiVector(torch.empty(0, 8), torch.zeros(1, dtype=torch.int64))
    for candidates in (None, 3):
        assert index.search(none, k=2, budget=(1, 1), candidates=candidates) == []


def test_later_changes_to_added_documents_change_nothing(rng, tmp_path):
    documents, queries = ragged(6, rng), ragged(2, rng)
    index = MultiVectorIndex.create(tmp_path, dtype="float32")
    index.add(names(6), documents)
    before = index.search(queries, k=6)
    documents.tokens.zero_()
    documents.offsets[1:-1] = documents.offsets[-1]
    assert index.search(queries, k=6) == before


def test_equal_items_come_back_in_the_order_of_adding(rng, tmp_path):
    same = MultiVector.pack([torch.ones(2, 3)] * 2)
    index = MultiVectorIndex.create(tmp_path)
    index.add(["b", "z"], same)
    index.save()
    index.add(["a"], same[:1])
    expected = [[Hit("b", 6.0), Hit("z", 6.0), Hit("a", 6.0)]]
    assert index.search(same[:1], k=3) == expected
    assert index.search(same[:1], k=3, candidates=3) == expected


def saved(path, documents, *, dtype="float32", parts=(0.3, 0.6)):
    """An index over three segments."""
    index = MultiVectorIndex.create(path, dtype=dtype)
    n = len(documents)
    ends = [0, *(int(part * n) for part in parts), n]
    for start, stop in pairwise(ends):
        index.add(names(stop - start, start), documents[start:stop])
        index.save()
    return index


@pytest.mark.parametrize("budget", [1, 3, 5, 99])
@pytest.mark.parametrize("dtype", ["float16", "int8"])
def test_a_truncated_index_is_that_of_the_prefixes(rng, tmp_path, dtype, budget):
    documents, queries = ragged(30, rng), ragged(4, rng)
    whole = saved(tmp_path, documents, dtype=dtype)
    opened = MultiVectorIndex.open(tmp_path, budget=budget)
    assert (opened.budget, len(opened)) == (budget, 30)
    held = as_stored(documents, dtype).prefix(budget)
    check_search(opened, held, queries, 10)
    check_search(opened, held, queries, 10, budget=(2, min(budget, 2)))
    size = {"float16": 2, "int8": 1}[dtype]
    tokens = documents.lengths.clamp_max(budget).sum().item()
    # Three segments have 33 offsets between them; int8 has a scale per item.
    scales = 30 * 4 if dtype == "int8" else 0
    assert opened.nbytes == tokens * 8 * size + 33 * 8 + scales
    assert opened.nbytes < whole.nbytes or budget == 99


def test_a_truncated_index_keeps_only_the_prefix_in_memory(rng, tmp_path):
    saved(tmp_path, ragged(30, rng))
    for block in MultiVectorIndex.open(tmp_path, budget=2)._saved:
        assert block.tokens.untyped_storage().nbytes() == block.tokens.nbytes


def test_saving_a_truncated_index_loses_nothing(rng, tmp_path):
    documents, queries = ragged(30, rng), ragged(4, rng)
    saved(tmp_path, documents)
    MultiVectorIndex.open(tmp_path, budget=1).save()
    check_search(MultiVectorIndex.open(tmp_path), documents, queries, 30)


def test_a_truncated_index_refuses_new_items_and_longer_budgets(rng, tmp_path):
    saved(tmp_path, ragged(30, rng))
    opened = MultiVectorIndex.open(tmp_path, budget=2)
    with pytest.raises(RuntimeError, match=r"only searched; this one has 2\. Open it without"):
        opened.add(["new"], ragged(1, rng))
    with pytest.raises(ValueError, match=r"first 2 vectors of each document; got budget \(9, 3\)"):
        opened.search(ragged(1, rng), budget=(9, 3))
    with pytest.raises(ValueError, match="budget must be finite and at least 1; got 0"):
        MultiVectorIndex.open(tmp_path, budget=0)


@pytest.mark.parametrize("first", [(1, 1), (2, 3), FDE(8, 3, 2), FDE(8, 3, 2, 4)], ids=str)
@pytest.mark.parametrize("budget", [None, (3, 4)])
def test_a_cascade_over_segments_is_one_over_all_documents(rng, tmp_path, first, budget):
    documents, queries = ragged(40, rng), ragged(5, rng)
    index = saved(tmp_path, documents)
    index.add(names(10, 40), more := ragged(10, rng))
    everything = MultiVector.pack([*documents, *more])
    expected = cascade(
        queries, everything, 4, candidates=9, first=first_stage(everything, first), budget=budget
    )
    for _ in range(2):
        hits = index.search(queries, k=4, candidates=9, first=first, budget=budget)
        assert [[hit.id for hit in row] for row in hits] == [
            [f"item {place}" for place in row] for row in expected.indices.tolist()
        ]
        scores = torch.tensor([[hit.score for hit in row] for row in hits])
        torch.testing.assert_close(scores, expected.values)
        index.save()
    check_search(index, everything, queries, 4, candidates=50, first=first, budget=budget)


def test_saved_documents_are_encoded_once(rng, tmp_path, monkeypatch):
    documents, queries = ragged(30, rng), ragged(2, rng)
    index = saved(tmp_path, documents)
    encoded = []

    def counted(documents, first):
        encoded.append(len(documents))
        return first_stage(documents, first)

    monkeypatch.setattr(module, "first_stage", counted)
    fde = FDE(8, 2, 2)
    index.search(queries, k=2, candidates=5, first=fde)
    assert encoded == [9, 9, 12]
    index.search(queries, k=2, candidates=5, first=fde)
    assert encoded == [9, 9, 12]
    index.add(names(5, 30), ragged(5, rng))
    index.save()
    index.search(queries, k=2, candidates=5, first=fde)
    index.search(queries, k=2, candidates=5, first=FDE(8, 2, 2))
    assert encoded == [9, 9, 12, 5]
    index.search(queries, k=2, candidates=5, first=FDE(8, 2, 2, seed=1))
    assert encoded == [9, 9, 12, 5, 9, 9, 12, 5]


def test_scores_of_all_queries_with_all_documents_are_never_held(rng, tmp_path, monkeypatch):
    index = saved(tmp_path, ragged(30, rng))
    shapes = []
    for where, name in ((cascade_module, "maxsim"), (first_stages, "nearest"), (module, "topk")):
        plain = getattr(where, name)

        def watched(*args, plain=plain, **options):
            found = plain(*args, **options)
            shapes.append((found if isinstance(found, torch.Tensor) else found.values).shape)
            return found

        monkeypatch.setattr(where, name, watched)
    index.search(ragged(6, rng), k=2)
    assert shapes == [(6, 2)] * 3
    shapes.clear()
    index.search(ragged(6, rng), k=2, candidates=4, first=FDE(8, 2, 2))
    assert shapes == [(6, 4)] * 3 + [(1, 4)] * 6


def test_int8_finds_what_float32_finds_among_clusters(rng, tmp_path):
    topics = F.normalize(torch.randn(40, 16, generator=rng), dim=1)
    own = torch.randint(40, (400, 3), generator=rng)
    picked = own.repeat(1, 2)
    tokens = topics[picked] + 0.15 * torch.randn(400, 6, 16, generator=rng)
    documents = MultiVector.from_equal(F.normalize(tokens, dim=2))
    asked = F.normalize(documents.tokens.view(400, 6, 16)[:40] + 0.1, dim=2)
    queries = MultiVector.from_equal(asked)
    found, sizes = {}, {}
    for dtype in ("float32", "int8"):
        index = MultiVectorIndex.create(tmp_path / dtype, dtype=dtype)
        index.add(names(400), documents)
        found[dtype] = [{hit.id for hit in row} for row in index.search(queries, k=10)]
        sizes[dtype] = index.nbytes
    shared = [len(a & b) / 10 for a, b in zip(found["float32"], found["int8"], strict=True)]
    assert sum(shared) / len(shared) >= 0.97
    # Offsets and scales are not made smaller.
    assert sizes["int8"] - 401 * 8 - 400 * 4 == (sizes["float32"] - 401 * 8) / 4


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
