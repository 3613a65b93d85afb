from __future__ import annotations

import numpy as np
import pytest
import torch

from align.encoders.callable import CallableEncoder


def lengths(items):
    return [[float(len(item)), 1.0] for item in items]


def make(function, **options):
    return CallableEncoder(function, **{"name": "lengths-1", "dim": 2, **options})


@pytest.mark.parametrize(
    "convert",
    [
        list,
        np.array,
        torch.tensor,
        lambda rows: torch.tensor(rows, dtype=torch.float64, requires_grad=True),
        lambda rows: np.array(rows, dtype=np.float16),
        lambda rows: [np.array(row) for row in rows],
    ],
    ids=["lists", "array", "tensor", "float64 with gradient", "float16", "list of arrays"],
)
def test_whatever_the_function_returns_comes_as_float32(convert):
    vectors = make(lambda items: convert(lengths(items))).encode(["a", "bbb", "cc"])
    assert torch.equal(vectors, torch.tensor([[1.0, 1], [3, 1], [2, 1]]))
    assert not vectors.requires_grad


def test_the_function_sees_batches_in_the_order_of_the_items():
    seen = []

    def function(items):
        seen.append(items)
        return lengths(items)

    vectors = make(function, batch_size=2).encode(("a", "bb", "ccc"))
    assert seen == [["a", "bb"], ["ccc"]]
    assert vectors[:, 0].tolist() == [1, 2, 3]


def test_items_may_be_of_any_kind():
    encoder = make(lambda items: [[float(i), 0.0] for i in items], modality="number")
    assert encoder.encode([1, 2]).tolist() == [[1, 0], [2, 0]]
    assert encoder.modality == "number"


def test_the_fingerprint_follows_from_the_promise_alone():
    base = make(lengths)
    assert base.fingerprint.startswith("text-callable-lengths_1-")
    assert make(len, batch_size=1).fingerprint == base.fingerprint
    others = [make(lengths, name="lengths-2"), make(lengths, dim=3), make(lengths, modality="code")]
    assert len({base.fingerprint, *(other.fingerprint for other in others)}) == 4
    # Both names read alike once cut down to letters that a folder name may have.
    assert make(lengths, name="a b").fingerprint != make(lengths, name="a/b").fingerprint


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ([[1.0, 2.0]], r"width 2 for each of the 3 items of a batch; got shape \(1, 2\)"),
        (np.zeros((3, 5)), r"got shape \(3, 5\)"),
        (torch.zeros(6), r"got shape \(6,\)"),
        ([[1.0, 2.0], [1.0], [1.0, 2.0]], r"must return a matrix of numbers, \(3, 2\).*got list"),
        ([["a", "b"]] * 3, "must return a matrix of numbers"),
        (None, "must return a matrix of numbers.*got NoneType"),
        (np.ones((3, 2), dtype=int), "floating-point matrix .* dtype torch.int64"),
        (np.array([[0, 0], [np.nan, 0], [0, 0]]), r"items 0..2 must be finite.*first at \[1\]"),
    ],
)
def test_anything_but_finite_vectors_of_the_right_shape_is_refused(output, message):
    with pytest.raises(ValueError, match=message):
        make(lambda items: output).encode(["a", "b", "c"])


def test_an_error_of_the_function_passes_through():
    def fail(items):
        raise ConnectionError("no answer")

    with pytest.raises(ConnectionError, match="no answer"):
        make(fail).encode(["a"])


def test_wrong_options_and_items_are_refused():
    for options in ({"name": ""}, {"dim": 0}, {"batch_size": 0}):
        with pytest.raises(ValueError, match="name must not be empty, and dim and batch_size"):
            make(lengths, **options)
    with pytest.raises(TypeError, match="must be a list of items; got one str"):
        make(lengths).encode("abc")
    with pytest.raises(ValueError, match="at least one item; got none"):
        make(lengths).encode([])
