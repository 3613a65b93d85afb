from dataclasses import replace

import numpy as np
import pytest
import torch

from align.adapters.adapter import Adapter
from align.adapters.card import Card
from align.adapters.closed_form.rcca import rcca
from align.adapters.corrections.hubness import CSLS, NNN, InvertedSoftmax
from align.adapters.corrections.reference_set import Expansion, ReferenceSet
from align.adapters.maps.linear import IdentityMap
from align.data.embeddings import Embeddings


@pytest.fixture
def plain(pairs):
    found = rcca(*pairs)
    card = replace(found.card, source_fingerprint="text:a", target_fingerprint="image:b")
    return Adapter(found.source_map, found.target_map, card)


def with_reference(adapter, pairs, *, expansion=None, hubness=None):
    reference = ReferenceSet(
        adapter.source(pairs[0]), adapter.target(pairs[1]), expansion=expansion, hubness=hubness
    )
    return Adapter(adapter.source_map, adapter.target_map, adapter.card, reference=reference)


@pytest.mark.parametrize("hubness", [NNN(8, 0.75), CSLS(5), InvertedSoftmax(9.0)], ids=str)
@pytest.mark.parametrize("side", ["source", "target"])
def test_the_inner_product_is_the_score_less_the_bias(plain, pairs, hubness, side):
    adapter = with_reference(plain, pairs, hubness=hubness)
    x, y = plain.source(pairs[0]), plain.target(pairs[1])
    if side == "target":
        found = adapter.queries(pairs[0], side="source") @ adapter.gallery(pairs[1]).T
        expected = x @ y.T - hubness(y @ x.T)
    else:
        found = adapter.queries(pairs[1], side="target") @ adapter.gallery(pairs[0], side=side).T
        expected = y @ x.T - hubness(x @ y.T)
    torch.testing.assert_close(found, expected)


def test_queries_end_in_ones_and_galleries_in_minus_the_bias(plain, pairs):
    adapter = with_reference(plain, pairs, hubness=CSLS(5))
    queries, gallery = adapter.queries(pairs[0]), adapter.gallery(pairs[1])
    assert queries.shape == gallery.shape == (80, 7)
    assert (queries[:, -1] == 1).all()
    assert queries[:, :-1].equal(plain.source(pairs[0]))
    torch.testing.assert_close(
        gallery[:, -1], -CSLS(5)(plain.target(pairs[1]) @ plain.source(pairs[0]).T)
    )


def test_without_a_correction_no_column_is_added(plain, pairs):
    assert plain.queries(pairs[0]).equal(plain.source(pairs[0]))
    assert plain.gallery(pairs[1]).equal(plain.target(pairs[1]))
    expanded = with_reference(plain, pairs, expansion=Expansion(0.3, 20.0))
    assert expanded.queries(pairs[0]).shape == expanded.gallery(pairs[1]).shape == (80, 6)
    assert not expanded.gallery(pairs[1]).equal(plain.target(pairs[1]))
    assert expanded.target(pairs[1]).equal(plain.target(pairs[1]))


@pytest.mark.parametrize("hubness", [None, CSLS(5)], ids=str)
def test_a_query_alone_is_what_it_is_among_others(plain, pairs, hubness):
    adapter = with_reference(plain, pairs, hubness=hubness)
    for side, x in zip(("source", "target"), pairs, strict=True):
        alone = torch.cat([adapter.queries(x[at : at + 1], side=side) for at in range(len(x))])
        torch.testing.assert_close(alone, adapter.queries(x, side=side), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (0.0, r"every row of source embeddings needs a direction; 1 of 1"),
        (torch.nan, r"source embeddings must be finite; 1 of 1 .*\[0\]"),
        (torch.inf, r"source embeddings must be finite; 1 of 1 .*\[0\]"),
    ],
)
def test_a_query_alone_is_checked_as_any_other(plain, pairs, value, message):
    with pytest.raises(ValueError, match=message):
        plain.queries(torch.full_like(pairs[0][:1], value))


def test_either_side_may_ask(plain, pairs):
    assert plain.queries(pairs[1], side="target").equal(plain.target(pairs[1]))
    assert plain.gallery(pairs[0], side="source").equal(plain.source(pairs[0]))


def test_arrays_float64_and_embeddings_give_the_same_float32_tensor(plain, pairs):
    expected = plain.source(pairs[0])
    names = tuple(map(str, range(80)))
    frozen = pairs[0].numpy().copy()
    frozen.flags.writeable = False
    for same in (
        pairs[0].numpy(),
        frozen,
        pairs[0].numpy().astype(np.float64),
        pairs[0].double(),
        Embeddings(pairs[0], "text:a", names),
        Embeddings(pairs[0], None, names),
    ):
        found = plain.source(same)
        assert found.dtype == torch.float32 and found.equal(expected)


@pytest.mark.parametrize("scale", [1e-25, 1e25])
def test_rows_whose_squares_leave_float32_are_mapped_like_others(plain, pairs, scale):
    torch.testing.assert_close(plain.source(pairs[0] * scale), plain.source(pairs[0]))


def test_no_gradient_is_recorded(plain, pairs):
    assert not plain.source(pairs[0].clone().requires_grad_()).requires_grad


def test_vectors_of_another_encoder_are_refused_by_both_names(plain, pairs):
    names = tuple(map(str, range(80)))
    with pytest.raises(
        ValueError, match=r"source side was fitted on vectors of text:a; got .*text:z"
    ):
        plain.source(Embeddings(pairs[0], "text:z", names))
    with pytest.raises(ValueError, match=r"target side .* of image:b; got vectors of text:a\."):
        plain.gallery(Embeddings(pairs[1], "text:a", names))


def spoiled(x, value):
    x = x.clone()
    x[3] = value
    return x


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda x: spoiled(x, 0.0), r"every row of source embeddings needs a direction; 1 of 80"),
        (lambda x: spoiled(x, torch.nan), r"source embeddings must be finite; 1 of 80 .*\[3\]"),
        (lambda x: spoiled(x, torch.inf), r"source embeddings must be finite; 1 of 80 .*\[3\]"),
        (lambda x: x[:, :5], r"source embeddings must have 8 columns; got shape \(80, 5\)"),
        (lambda x: x[0], r"source embeddings must be a floating-point matrix .*shape \(8,\)"),
        (lambda x: x[:0], r"at least one row and one column; got shape \(0, 8\)"),
    ],
)
def test_vectors_that_cannot_be_mapped_are_refused(plain, pairs, spoil, message):
    with pytest.raises(ValueError, match=message):
        plain.source(spoil(pairs[0]))
    with pytest.raises(ValueError, match=message):
        plain.queries(spoil(pairs[0]))


def test_a_side_of_another_name_is_refused(plain, pairs):
    for method in (plain.queries, plain.gallery):
        with pytest.raises(ValueError, match=r'side must be "source" or "target"; got \'query\''):
            method(pairs[0], side="query")


def test_maps_into_two_spaces_are_refused():
    with pytest.raises(ValueError, match="must end in one space; got widths 3 and 4"):
        Adapter(IdentityMap(3), IdentityMap(4), Card("identity", 2, 3, 4))
