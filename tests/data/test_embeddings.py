"""Encoded sides and pairs of sides."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from align.data.embeddings import Embeddings, PairedEmbeddings, as_tensor
from align.data.splits import split_rows


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


def pairs_in_domains(rng, **names):
    """90 pairs in groups of 3 and domains of 9, or in what ``names`` says."""
    x = torch.randn(90, 4, generator=rng)
    groups = [f"function {i // 3}" for i in range(90)]
    domains = [f"module {i // 9}" for i in range(90)]
    return PairedEmbeddings.from_arrays(x, 2 * x, **{"groups": groups, "domains": domains, **names})


def test_split_keeps_domains_and_so_groups_whole(rng):
    pairs = pairs_in_domains(rng)
    for seed in range(5):
        parts = pairs.split(test=0.2, val=0.1, seed=seed)
        assert [len(part) for part in parts] == [63, 9, 18]
        for names in ([set(part.domains) for part in parts], [set(part.groups) for part in parts]):
            assert names[0].isdisjoint(names[1] | names[2]) and names[1].isdisjoint(names[2])
        assert all(torch.equal(part.target, 2 * part.source) for part in parts)


def test_groups_alone_would_not_keep_domains_whole(rng):
    train, test = pairs_in_domains(rng, domains=None).split(test=0.2)
    modules = [{int(name) // 9 for name in part.ids} for part in (train, test)]
    assert modules[0] & modules[1]


def test_without_domains_splits_are_by_group_as_ever(rng):
    pairs = pairs_in_domains(rng, domains=None)
    assert pairs.domains is None and pairs.group_key == pairs.groups
    expected = split_rows(pairs.groups, [0.1, 0.2], seed=4)
    for part, rows in zip(pairs.split(test=0.2, val=0.1, seed=4), expected, strict=True):
        assert part.domains is None
        assert part.ids == tuple(str(row) for row in rows)


def test_take_keeps_domains_with_their_rows(rng):
    pairs = pairs_in_domains(rng)
    assert pairs.group_key == pairs.domains != pairs.groups
    taken = pairs.take([80, 3, 10])
    assert taken.domains == ("module 8", "module 0", "module 1")
    assert taken.groups == ("function 26", "function 1", "function 3")


def test_domains_are_read_as_text_and_one_is_needed_per_row(rng):
    numbered = pairs_in_domains(rng, domains=[i // 9 for i in range(90)])
    assert numbered.domains[:10] == ("0",) * 9 + ("1",)
    with pytest.raises(ValueError, match="domains must have one entry per row, 90; got 2"):
        pairs_in_domains(rng, domains=["a", "b"])


def test_a_group_in_two_domains_is_refused(rng):
    domains = [f"module {(i + 1) // 9}" for i in range(90)]
    with pytest.raises(
        ValueError, match=r"group 'function 2' is in 'module 0' and 'module 1'\. Join"
    ):
        pairs_in_domains(rng, domains=domains)
    # Every pair is its own group if none are named, whatever its domain.
    assert pairs_in_domains(rng, domains=domains, groups=None).domains == tuple(domains)
