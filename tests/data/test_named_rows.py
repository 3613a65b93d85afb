"""Vectors in every form that people have: the same numbers, the names of rows, clear refusals."""

from __future__ import annotations

import sys

import numpy as np
import pandas
import pyarrow
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from align.data.embeddings import Embeddings, PairedEmbeddings
from align.data.named_rows import named_rows

X = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
IDS = list("abcd")
FRAME = pandas.DataFrame(X, index=IDS)


class Readable:
    """What only NumPy can read, as a frame of polars."""

    def __init__(self, x):
        self.x = x

    def __len__(self):
        return len(self.x)

    def __array__(self, dtype=None, copy=None):
        return self.x


def arrow_lists(x):
    return pyarrow.array(list(x), type=pyarrow.list_(pyarrow.from_numpy_dtype(x.dtype)))


FORMS = {
    "array": lambda x: x,
    "not contiguous": lambda x: np.repeat(x, 2, axis=1)[:, ::2],
    "read-only": lambda x: np.frombuffer(x.tobytes(), x.dtype).reshape(x.shape),
    "foreign bytes": lambda x: x.astype(x.dtype.newbyteorder()),
    "backwards": lambda x: x[::-1].copy()[::-1],
    "tensor": torch.from_numpy,
    "transposed tensor": lambda x: torch.from_numpy(x.T.copy()).T,
    "tensor with a gradient": lambda x: torch.from_numpy(x).requires_grad_(),
    "list of arrays": list,
    "list of tensors": lambda x: list(torch.from_numpy(x)),
    "tuple of both": lambda x: (torch.from_numpy(x[0]), *x[1:]),
    "frame": pandas.DataFrame,
    "frame with names": lambda x: pandas.DataFrame(x, index=[f"n{i}" for i in range(len(x))]),
    "series of arrays": lambda x: pandas.Series(list(x)),
    "series of tensors": lambda x: pandas.Series(list(torch.from_numpy(x))),
    "array of objects": lambda x: pandas.Series(list(x)).to_numpy(),
    "readable": lambda x: Readable(x),
    "Arrow lists": arrow_lists,
    "Arrow chunks": lambda x: pyarrow.chunked_array([arrow_lists(x)]),
    "Arrow table": lambda x: pyarrow.table({str(i): x[:, i] for i in range(x.shape[1])}),
    "Arrow frame": lambda x: pandas.DataFrame(x).astype(
        pandas.ArrowDtype(pyarrow.from_numpy_dtype(x.dtype))
    ),
}

MATRICES = st.sampled_from([np.float32, np.float64]).flatmap(
    lambda kind: arrays(
        kind,
        array_shapes(min_dims=2, max_dims=2, max_side=6),
        elements={"allow_nan": False, "allow_infinity": False, "allow_subnormal": False},
    )
)


@pytest.mark.parametrize("form", FORMS)
@given(x=MATRICES)
def test_every_form_holds_the_very_numbers_of_the_array(form, x):
    found = named_rows(FORMS[form](x)).vectors
    assert found.dtype == torch.from_numpy(x).dtype
    assert np.array_equal(found.detach().numpy(), x) and found.is_contiguous()


@given(x=MATRICES)
def test_numbers_of_python_become_float32(x):
    with np.errstate(over="ignore"):
        wanted = x.astype(np.float32)
        for made in (x.tolist(), tuple(map(tuple, x.tolist())), pandas.Series(x.tolist())):
            found = named_rows(made).vectors
            assert found.dtype == torch.float32 and np.array_equal(found.numpy(), wanted)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_sides_keep_their_own_dtype(dtype):
    source, target = torch.from_numpy(X).to(dtype), torch.from_numpy(X)
    paired = PairedEmbeddings.from_arrays(source, target)
    assert paired.source.dtype == dtype and paired.target.dtype == torch.float32


def test_a_gradient_that_vectors_require_is_left_behind():
    x = torch.from_numpy(X).requires_grad_()
    paired = PairedEmbeddings.from_arrays(x, x * 2)
    assert not paired.source.requires_grad and not paired.target.requires_grad


def test_an_index_gives_the_ids_and_a_default_one_numbers():
    assert PairedEmbeddings.from_arrays(FRAME, pandas.Series(list(X), IDS)).ids == tuple("abcd")
    assert PairedEmbeddings.from_arrays(FRAME, X).ids == tuple("abcd")
    assert PairedEmbeddings.from_arrays(pandas.DataFrame(X), X).ids == tuple("0123")
    late = pandas.DataFrame(X).iloc[2:]
    assert PairedEmbeddings.from_arrays(late, late).ids == ("2", "3")
    assert PairedEmbeddings.from_arrays(X, X).ids == tuple("0123")
    named = Embeddings(torch.from_numpy(X), "encoder", tuple(IDS))
    assert PairedEmbeddings.from_arrays(named, FRAME).source_fingerprint == "encoder"


OTHER_NAMES = [
    (FRAME.iloc[::-1], r"row 0 is 'a' and 'd'\. Put both in one order, with target\.loc\[source"),
    (FRAME.iloc[:3], r"source has 4 rows and target 3\. Keep what both have, with common"),
    (FRAME.rename(index={"b": "z"}), r"row 1 is 'b' and 'z'\. Keep what both have, with common"),
    (pandas.DataFrame(X), r"row 0 is 'a' and '0'\. Keep what both have"),
    (
        Embeddings(torch.from_numpy(X), None, tuple("bacd")),
        r"row 0 is 'a' and 'b'\. Put both in the same order",
    ),
]


@pytest.mark.parametrize(("other", "message"), OTHER_NAMES, ids=range(len(OTHER_NAMES)))
def test_rows_of_other_names_are_neither_joined_nor_matched_by_place(other, message):
    with pytest.raises(ValueError, match=r"must name them alike; " + message):
        PairedEmbeddings.from_arrays(FRAME, other)


def test_ids_that_are_given_say_that_rows_match_by_place():
    paired = PairedEmbeddings.from_arrays(FRAME, FRAME.iloc[::-1], ids=list("wxyz"))
    assert paired.ids == tuple("wxyz")
    assert np.array_equal(paired.target.numpy(), X[::-1])


def spoiled(row, value):
    x = X.copy()
    x[row, 1] = value
    return x


REFUSED = {
    "a frame that lacks a number": (
        pandas.DataFrame(spoiled(2, np.nan), IDS),
        ValueError,
        r"source must be finite; 1 of 4 rows lack a number, the first 'c'\. Drop",
    ),
    "infinity in a frame": (
        pandas.DataFrame(spoiled(2, np.inf), IDS),
        ValueError,
        r"source must be finite; 1 of 4 rows hold NaN or infinity, the first at \['c'\]",
    ),
    "NaN in a series": (
        pandas.Series(list(spoiled(1, np.nan)), IDS),
        ValueError,
        r"the first at \['b'\]\. Find out which items",
    ),
    "NaN in an array": (spoiled(3, np.nan), ValueError, r"the first at \[3\]\. Find out"),
    "a column of text": (
        FRAME.assign(caption="dog"),
        TypeError,
        r"every column of source must be a dimension, .* got 'caption' \(.*set_index",
    ),
    "a series of numbers": (
        FRAME[0],
        TypeError,
        "source must hold a vector per row; got a Series of single numbers, float32. Pass a",
    ),
    "a ragged series": (
        pandas.Series([[1.0, 2.0], [3.0, 4.0], [5.0], [6.0, 7.0]], IDS),
        ValueError,
        r"rows of one length; row 'a' has 2 numbers and row 'c' has 1\. Encode",
    ),
    "ragged lists": (
        [[1.0, 2.0], [3.0]],
        ValueError,
        r"rows of one length; row 0 has 2 numbers and row 1 has 1\. Encode",
    ),
    "a missing vector": (
        pandas.Series([[1.0], None, [2.0], [3.0]], IDS),
        ValueError,
        r"row 'b' of source must be a vector; got nothing\. Pass a list",
    ),
    "a number for a vector": (
        [[1.0], 2.0],
        TypeError,
        r"row 1 of source must be a vector; got float 2\.0\. Pass a list",
    ),
    "text in a vector": (
        pandas.Series([[1.0], ["dog"], [2.0], [3.0]], IDS),
        TypeError,
        r"row 'b' of source must hold numbers; got <U3\. Convert",
    ),
    "matrices as rows": ([X, X], ValueError, r"row 0 of source must be one vector; got ndarray of"),
    "nested lists": ([[1.0, [2.0]]], ValueError, r"row 0 of source must be one vector; got lists"),
    "a label twice": (
        pandas.DataFrame(X, list("abbc")),
        ValueError,
        r"index of source must name each row once, .* 'b' stands at rows 1 and 2\. Use",
    ),
    "a label that lacks": (
        pandas.DataFrame(X, ["a", "b", None, "d"]),
        ValueError,
        "the index of source must have a name for each row; row 2 has",
    ),
    "whole numbers": (FRAME.astype(int), ValueError, "dtype torch.int64. Pass .* to float32"),
    "complex numbers": (X + 1j, ValueError, "floating-point matrix .* dtype torch.complex64"),
    "booleans": (X > 0, ValueError, "floating-point matrix .* dtype torch.bool"),
    "masked numbers": (
        np.ma.masked_array(X, [[0, 0, 0], [0, 1, 0], [0] * 3, [0] * 3]),
        ValueError,
        r"source must be finite; 1 of 4 rows are masked in part, the first at \[1\]\. Drop",
    ),
    "a frame without columns": (FRAME.iloc[:, :0], ValueError, "at least one row and one column"),
    "a dictionary": ({"a": [1.0]}, TypeError, "must be an array of numbers; got dict"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_matrix_is_refused_by_row(case):
    x, error, message = REFUSED[case]
    with pytest.raises(error, match=message):
        PairedEmbeddings.from_arrays(x, X[: len(x)])


def test_sides_on_two_devices_are_refused():
    elsewhere = torch.from_numpy(X).to("meta")
    with pytest.raises(ValueError, match=r"must hold numbers; got a tensor .* on the meta device"):
        PairedEmbeddings.from_arrays(X, elsewhere)


def test_pandas_is_not_imported_for_what_is_not_of_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)  # an import would raise
    for x in (X, torch.from_numpy(X), X.tolist(), Readable(X)):
        assert named_rows(x).ids is None
