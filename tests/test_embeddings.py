"""Encoded sides and pairs of sides."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from align.embeddings import Embeddings, PairedEmbeddings, as_tensor


def one_side(ids, fingerprint="model"):
    return Embeddings(torch.eye(len(ids)), fingerprint, tuple(ids))


def test_from_arrays_takes_numpy_and_torch_and_makes_ids_and_groups(rng):
    y = torch.randn(3, 4, generator=rng)
    pairs = PairedEmbeddings.from_arrays(np.eye(3, 2, dtype=np.float32), y)
    assert len(pairs) == 3
    assert pairs.ids == pairs.groups == ("0", "1", "2")
    assert pairs.source_fingerprint is None
    assert torch.equal(pairs.target, y)


def test_embeddings_bring_their_ids_and_fingerprint_along():
    pairs = PairedEmbeddings.from_arrays(one_side("abc"), torch.eye(3))
    assert pairs.ids == ("a", "b", "c")
    assert (pairs.source_fingerprint, pairs.target_fingerprint) == ("model", None)


def test_embeddings_in_different_orders_are_refused_unless_ids_are_given():
    with pytest.raises(ValueError, match="row 1 is 'b' and 'c'"):
        PairedEmbeddings.from_arrays(one_side("abc"), one_side("acb"))
    pairs = PairedEmbeddings.from_arrays(one_side("abc"), one_side("acb"), ids=["x", "y", "z"])
    assert pairs.ids == ("x", "y", "z")


def test_embeddings_of_different_lengths_are_refused_by_shape():
    with pytest.raises(ValueError, match=r"\(3, 3\) and \(2, 2\)"):
        PairedEmbeddings.from_arrays(one_side("abc"), one_side("ab"))


def test_embeddings_refuse_repeated_or_missing_ids():
    with pytest.raises(ValueError, match="ids must be unique"):
        one_side("aba")
    with pytest.raises(ValueError, match="one entry per row"):
        Embeddings(torch.eye(3), None, ("a",))


def test_pairs_refuse_repeated_ids_and_values_that_are_not_finite():
    with pytest.raises(ValueError, match="ids must be unique"):
        PairedEmbeddings.from_arrays(torch.eye(2), torch.eye(2), ids=["a", "a"])
    with pytest.raises(ValueError, match="target must be finite"):
        PairedEmbeddings.from_arrays(torch.eye(2), torch.full((2, 2), torch.nan))
    with pytest.raises(ValueError, match="groups must have one entry per row"):
        PairedEmbeddings.from_arrays(torch.eye(2), torch.eye(2), groups=["a"])


def test_numpy_arrays_that_torch_cannot_share_are_copied():
    values = np.arange(6, dtype=np.float32).reshape(3, 2)
    backwards = as_tensor(values[::-1])
    assert backwards.tolist() == [[4, 5], [2, 3], [0, 1]]
    frozen = values.copy()
    frozen.flags.writeable = False
    assert as_tensor(frozen).tolist() == values.tolist()  # a warning would fail this
    shared = as_tensor(values)
    values[0, 0] = 9
    assert shared[0, 0] == 9


def test_take_keeps_rows_ids_groups_and_fingerprints_together():
    pairs = PairedEmbeddings.from_arrays(
        one_side("abcd"), torch.arange(8.0).view(4, 2), groups=["g", "g", "h", "h"]
    )
    for rows in ([3, 1], np.array([3, 1]), torch.tensor([3, 1])):
        taken = pairs.take(rows)
        assert taken.ids == ("d", "b")
        assert taken.groups == ("h", "g")
        assert taken.target.tolist() == [[6, 7], [2, 3]]
        assert taken.source_fingerprint == "model"


def test_take_refuses_masks_and_repeated_rows():
    pairs = PairedEmbeddings.from_arrays(torch.eye(3), torch.eye(3))
    with pytest.raises(ValueError, match="flat sequence of integers"):
        pairs.take(np.array([True, False, True]))
    with pytest.raises(ValueError, match="ids must be unique"):
        pairs.take([1, 1])


def test_split_keeps_groups_whole_and_rows_matched(rng):
    x = torch.randn(90, 4, generator=rng)
    groups = [str(i // 3) for i in range(90)]
    pairs = PairedEmbeddings.from_arrays(x, 2 * x, groups=groups)
    train, val, test = pairs.split(test=0.2, val=0.1, seed=1)
    assert [len(train), len(val), len(test)] == [63, 9, 18]
    assert not set(train.groups) & (set(test.groups) | set(val.groups))
    assert torch.equal(test.target, 2 * test.source)
    assert pairs.split(test=0.2, seed=1)[1].ids == test.ids
