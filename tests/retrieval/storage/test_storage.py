"""Dtypes, adapters and marks in an index: what is stored is what is searched."""

import pytest
import torch

from align.adapters.multi_vector.meta_tokens import MetaTokens
from align.data.multi_vector import MultiVector
from align.retrieval.index.index import Index
from align.scoring.kernels import reference
from tests.helpers.meta_heads import made
from tests.retrieval.multi_documents import DTYPES, as_stored, names


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "where", [None, {"row": lambda row: row > 90}, {"row": lambda row: row % 3}]
)
def test_items_of_one_vector_are_searched_as_they_are_stored(rng, tmp_path, dtype, where):
    vectors = torch.randn(100, 16, generator=rng)
    index = Index.create(tmp_path, dtype=dtype)
    index.add(names(100), vectors, metadata=[{"row": row} for row in range(100)])
    index.delete(names(5, 92))
    index.save()
    opened = Index.open(tmp_path)
    held = as_stored(MultiVector.from_equal(vectors[:, None]), dtype)
    keep = [
        row for row in range(100) if not 92 <= row < 97 and (where is None or where["row"](row))
    ]
    for queries in (torch.randn(1, 16, generator=rng), torch.randn(20, 16, generator=rng)):
        packed = MultiVector.from_equal(queries[:, None])
        scores = reference.maxsim(packed, held.take(torch.tensor(keep)))
        best = scores.topk(min(5, len(keep)), dim=1)
        for given_as in (queries, queries.numpy(), packed):
            hits = opened.search(given_as, k=5, where=where)
            assert [[hit.id for hit in row] for row in hits] == [
                [f"item {keep[place]}" for place in row] for row in best.indices.tolist()
            ]
            found = torch.tensor([[hit.score for hit in row] for row in hits])
            torch.testing.assert_close(found, best.values)


def test_queries_of_several_vectors_sum_over_items_of_one(rng, tmp_path):
    index = Index.create(tmp_path)
    vectors = torch.randn(30, 6, generator=rng)
    index.add(names(30), vectors)
    queries = MultiVector.pack([torch.randn(t, 6, generator=rng) for t in (3, 1, 5)])
    for budget, given_as in ((None, queries), ((2, 1), queries.prefix(2))):
        scores = reference.maxsim(given_as, MultiVector.from_equal(vectors[:, None]))
        best = scores.topk(4, dim=1)
        hits = index.search(queries, k=4, budget=budget)
        assert [[int(hit.id.split()[1]) for hit in row] for row in hits] == best.indices.tolist()


def test_a_head_of_meta_tokens_is_kept_inside_and_gives_several_vectors(rng, tmp_path):
    sample = made(("heads", "heads"), rng=rng, hubness=True)
    source, target = sample.sides
    index = Index.create(tmp_path, sample.head)
    index.add(names(30), target)
    index.save()
    opened = Index.open(tmp_path)
    assert isinstance(opened.adapter, MetaTokens)
    scores = reference.maxsim(sample.head.queries(source), sample.head.gallery(target))
    best = scores.topk(5, dim=1)
    hits = opened.search(source, k=5)
    assert [[int(hit.id.split()[1]) for hit in row] for row in hits] == best.indices.tolist()
    (damaged,) = (tmp_path / "adapter").glob("meta_tokens.safetensors")
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"\x7f")
    assert opened.verify() == [
        "adapter/meta_tokens.safetensors does not hold the bytes that were written"
    ]


def test_a_million_ids_are_not_read_to_open(rng, tmp_path, monkeypatch):
    index = Index.create(tmp_path)
    index.add(names(50), torch.randn(50, 4, generator=rng), metadata=[{"a": 1}] * 50)
    index.save()

    def read(*args):
        raise AssertionError("an id or a record was read")

    with monkeypatch.context() as patch:
        patch.setattr("align.retrieval.storage.packed_strings.Packed.__getitem__", read)
        opened = Index.open(tmp_path)
        assert len(opened) == 50
    # One look at the table and one at the bytes of what may be the id.
    looked = []
    plain = type(opened._segments[0].segment.ids.names).__getitem__
    monkeypatch.setattr(
        "align.retrieval.storage.packed_strings.Packed.__getitem__",
        lambda packed, row: looked.append(row) or plain(packed, row),
    )
    assert "item 7" in opened and "item 70" not in opened
    assert looked == [7]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8"])
@pytest.mark.parametrize("queries", [1, 3, 40])
def test_scores_too_large_for_float32_are_refused_and_never_infinite(dtype, queries, tmp_path, rng):
    index = Index.create(tmp_path / "index", dtype=dtype)
    vectors = torch.randn(30, 8, generator=rng)
    index.add([str(row) for row in range(30)], 1e30 * vectors)
    hits = index.search(vectors[:queries], k=3)
    assert all(0 < hit.score < float("inf") for row in hits for hit in row)
    with pytest.raises(ValueError, match="scores must be finite"):
        index.search(1e30 * vectors[:queries], k=3)
