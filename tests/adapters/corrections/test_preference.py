import pytest
import torch

import align
from align.adapters.card import Card
from align.adapters.corrections.hubness import CSLS
from align.adapters.corrections.preference import Preference
from align.adapters.corrections.reference_set import ReferenceSet
from align.adapters.instructions import with_instructions
from align.adapters.maps.linear import IdentityMap
from align.adapters.trainable import instructed, residual
from tests.helpers.planted import unit


@pytest.fixture
def told(rng):
    """Ten sources of width 4 with instructions of width 3."""
    return with_instructions(torch.randn(10, 4, generator=rng), torch.randn(10, 3, generator=rng))


@pytest.fixture
def blocks(rng):
    """Six targets of parts of widths 2 and 2: two of the first, three of the second, one both."""
    x = torch.randn(6, 4, generator=rng)
    x[:2, 2:] = 0
    x[2:5, :2] = 0
    return x


@pytest.fixture
def adapter(told, blocks, rng):
    """Sources and targets as they are, corrected, with a preference."""
    reference = unit(torch.randn(20, 4, generator=rng)), unit(torch.randn(20, 4, generator=rng))
    plain = align.Adapter(
        IdentityMap(4),
        IdentityMap(4),
        Card("identity", 20, 4, 4),
        reference=ReferenceSet(*reference, expansion=None, hubness=CSLS(5)),
    )
    start = instructed(plain, 3)
    return align.Adapter(
        start.source_map,
        start.target_map,
        start.card,
        reference=plain.reference,
        preference=Preference(torch.randn(3, 2, generator=rng), (2, 2)),
    )


def without(adapter):
    return align.Adapter(
        adapter.source_map, adapter.target_map, adapter.card, reference=adapter.reference
    )


def test_the_score_gains_what_the_instruction_says_of_each_kind(adapter, told, blocks):
    plain = without(adapter)
    before = plain.queries(told) @ plain.gallery(blocks).T
    bonus = unit(told[:, 4:]) @ adapter.preference.weight
    first, second = torch.tensor([1, 1, 0, 0, 0, 1.0]), torch.tensor([0, 0, 1, 1, 1, 1.0])
    wanted = before + bonus[:, :1] * first + bonus[:, 1:] * second
    torch.testing.assert_close(adapter.queries(told) @ adapter.gallery(blocks).T, wanted)
    assert adapter.queries(told).shape[1] == adapter.d_search == 4 + 1 + 2


def test_without_an_instruction_scores_are_those_of_before(adapter, told, blocks):
    silent = with_instructions(told[:, :4], torch.zeros(1, 3))
    plain = without(adapter)
    assert adapter.queries(silent)[:, :5].equal(plain.queries(silent))
    assert not adapter.queries(silent)[:, 5:].any()
    assert adapter.gallery(blocks)[:, :5].equal(plain.gallery(blocks))


def test_targets_that_ask_prefer_nothing(adapter, told, blocks):
    plain = without(adapter)
    assert adapter.queries(blocks, side="target").equal(plain.queries(blocks, side="target"))
    assert adapter.gallery(told, side="source").equal(plain.gallery(told, side="source"))


def test_a_longer_instruction_prefers_no_more(adapter, told):
    longer = torch.cat([told[:, :4], 7 * told[:, 4:]], dim=1)
    torch.testing.assert_close(adapter.queries(longer), adapter.queries(told))


def test_a_loaded_preference_gives_the_same_bits(adapter, told, blocks, tmp_path):
    adapter.save(tmp_path / "adapter")
    again = align.load(tmp_path / "adapter")
    assert again.queries(told).equal(adapter.queries(told))
    assert again.gallery(blocks).equal(adapter.gallery(blocks))
    readme = (tmp_path / "adapter/README.md").read_text()
    assert f"-> (n, {adapter.d_search})" in readme
    assert "with_instructions(items, instructions)`, of vectors of width 4 and 3." in readme


def test_a_residual_keeps_the_preference(adapter, told):
    assert residual(adapter).queries(told).equal(adapter.queries(told))


def test_a_preference_that_fits_no_target_is_refused(adapter):
    with pytest.raises(ValueError, match=r"one column for each part.*\(3, 2\) for parts of widths"):
        Preference(torch.zeros(3, 2), (2, 2, 2))
    with pytest.raises(ValueError, match=r"those of the targets, of width 4; got widths \[2, 3\]"):
        align.Adapter(
            adapter.source_map,
            adapter.target_map,
            adapter.card,
            preference=Preference(torch.zeros(3, 2), (2, 3)),
        )
