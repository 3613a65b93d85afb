"""What comes in as vectors: arrays of any making, and tensors that are not what they look like."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix

from align._checks import check_matrix, check_paired
from align.adapters.adapter import Adapter
from align.adapters.card import Card
from align.adapters.maps.linear import IdentityMap
from align.data.arrays import dense_tensor
from align.data.embeddings import Embeddings, PairedEmbeddings
from align.data.multi_vector import MultiVector
from align.retrieval.index.index import Index

X = torch.arange(12.0).reshape(4, 3) + 1


def read_only():
    x = X.numpy().copy()
    x.flags.writeable = False
    return x


@pytest.mark.parametrize(
    "x",
    [X.numpy(), X.numpy()[::-1][::-1], X.numpy().astype(">f4"), read_only(), X.tolist()],
    ids=["plain", "views", "big-endian", "read-only", "lists"],
)
def test_arrays_of_any_making_hold_the_same_numbers(x):
    found = dense_tensor(x)
    assert found.dtype == torch.float32 and found.equal(X)


def test_nothing_is_copied_where_it_need_not_be():
    assert dense_tensor(X) is X
    array = X.numpy()
    assert dense_tensor(array).data_ptr() == X.data_ptr()


with warnings.catch_warnings():  # torch warns once that this layout is in beta
    warnings.simplefilter("ignore")
    ROWS = X.to_sparse_csr()

LOOK_ALIKES = [
    (X.to_sparse(), ValueError, "must be dense; got a tensor of layout torch.sparse_coo"),
    (ROWS, ValueError, "must be dense; got a tensor of layout torch.sparse_csr"),
    (X.to("meta"), ValueError, "must hold numbers; got a tensor of shape .* on the meta device"),
    (X.numpy().astype(object), TypeError, "must be an array of numbers that torch .* got object"),
    (np.array([["a", "b"]] * 4), TypeError, "must be an array of numbers that torch .* got <U1"),
    (X.numpy().astype(np.longdouble), TypeError, "got float128 .*Convert it"),
    ([[1.0, 2.0], [3.0]] * 2, ValueError, "must have rows of one length"),
]


@pytest.mark.parametrize(("x", "error", "message"), LOOK_ALIKES, ids=lambda v: str(v)[:20])
def test_what_has_no_plain_entries_is_refused_at_every_door(x, error, message, tmp_path):
    adapter = Adapter(IdentityMap(3), IdentityMap(3), Card("identity", 4, 3, 3))
    index = Index.create(tmp_path / "index")
    doors = (
        dense_tensor,
        adapter.source,
        lambda x: PairedEmbeddings.from_arrays(x, X),
        lambda x: index.add([str(row) for row in range(4)], x),
        lambda x: MultiVector.pack([x]),
        lambda x: MultiVector.from_equal([x]),
        lambda x: MultiVector.from_padded([x], torch.ones(1, 4)),
    )
    for door in doors:
        with pytest.raises(error, match=message):
            door(x)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (None, "got NoneType. Pass an array"),
        ("a.npz", "got str 'a.npz'. Read the file first"),
        (Path("a.npz"), "got PosixPath. Read the file first"),
        ({"a": X[0]}, "got dict. Pass one of its values"),
        ((row for row in X), r"got generator. Make a list of it, with list\(x\)"),
        (csr_matrix(X.numpy()), r"got csr_matrix. Make it dense, with x.toarray\(\)"),
    ],
    ids=lambda v: str(v)[:20],
)
def test_what_has_no_rows_in_an_order_is_refused_with_the_way_to_an_array(x, message):
    for door in (dense_tensor, lambda x: PairedEmbeddings.from_arrays(x, X)):
        with pytest.raises(TypeError, match=f"must be an array of numbers; {message}"):
            door(x)


def test_a_door_that_takes_tensors_alone_says_so():
    for door in (
        lambda x: check_matrix("x", x),
        lambda x: check_paired(x, X),
        lambda x: Embeddings(x, "made", tuple("abcd")),
        lambda x: MultiVector(x, torch.tensor([0, 4])),
    ):
        with pytest.raises(TypeError, match="must be a torch tensor; got ndarray"):
            door(X.numpy())


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0), (3,)], ids=str)
def test_a_matrix_without_rows_or_columns_is_refused(shape):
    with pytest.raises(ValueError, match="at least one row and one column; got shape"):
        check_matrix("x", torch.zeros(shape))


@pytest.mark.parametrize("make", [lambda x: x, lambda x: x.numpy()], ids=["torch", "numpy"])
def test_items_may_be_lists_of_matrices(make):
    packed = MultiVector.pack([make(X), make(X[:2])])
    assert packed.lengths.tolist() == [4, 2] and packed[1].equal(X[:2])
    equal = MultiVector.from_equal([make(X), make(2 * X)])
    assert equal.lengths.tolist() == [4, 4] and equal[1].equal(2 * X)
    mask = [make(torch.tensor([1, 1, 0, 1])), make(torch.tensor([0, 1, 0, 0]))]
    padded = MultiVector.from_padded([make(X), make(2 * X)], mask)
    assert padded.lengths.tolist() == [3, 1] and padded[0].equal(X[[0, 1, 3]])


def test_matrices_of_several_lengths_are_sent_to_pack():
    with pytest.raises(ValueError, match=r"must have one shape; got .*Use MultiVector.pack"):
        MultiVector.from_equal([X, X[:2]])
