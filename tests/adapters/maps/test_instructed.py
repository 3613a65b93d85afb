from dataclasses import replace

import pytest
import torch

import align
from align.adapters.closed_form.procrustes import procrustes
from align.adapters.instructions import with_instructions
from align.adapters.maps.instructed import InstructedMap
from align.adapters.trainable import instructed, residual
from tests.helpers.planted import unit


@pytest.fixture
def told(pairs, rng):
    """Sources of width 8 with instructions of width 3."""
    return with_instructions(pairs[0], torch.randn(len(pairs[0]), 3, generator=rng))


@pytest.mark.parametrize("scaled", [False, True])
def test_an_untrained_instruction_changes_nothing_to_the_last_bit(pairs, told, scaled):
    closed = procrustes(*pairs)
    start = instructed(closed, 3, scaled=scaled)
    assert start.source(told).equal(closed.source(pairs[0]))
    assert start.target(pairs[1]).equal(closed.target(pairs[1]))
    assert len(list(start.parameters())) == 1 + scaled


def test_a_zero_instruction_is_no_instruction(pairs, rng):
    closed = procrustes(*pairs)
    side = InstructedMap(
        closed.source_map, torch.randn(3, 6, generator=rng), torch.randn(3, 6, generator=rng)
    )
    silent = with_instructions(pairs[0], torch.zeros(80, 3))
    assert side(silent).equal(closed.source_map(pairs[0]))
    assert not side(with_instructions(pairs[0], torch.ones(80, 3))).equal(side(silent))


def test_an_instruction_shifts_and_scales_as_the_formula_says(pairs, told, rng):
    inner = procrustes(*pairs).source_map
    shift, scale = torch.randn(3, 6, generator=rng), torch.randn(3, 6, generator=rng)
    e = unit(told[:, 8:])
    plain = inner(pairs[0])
    torch.testing.assert_close(InstructedMap(inner, shift)(told), unit(plain + e @ shift))
    both = InstructedMap(inner, shift, scale)
    torch.testing.assert_close(both.project(told), (1 + e @ scale) * plain + e @ shift)
    torch.testing.assert_close(both(told), unit(both.project(told)))
    longer = with_instructions(4 * pairs[0], 0.1 * told[:, 8:])
    torch.testing.assert_close(both(longer), both(told))
    assert (both.d_in, both.parts, both.dim) == (11, (8, 3), 6)


def test_the_card_takes_the_joined_width_and_no_encoder(pairs):
    closed = procrustes(*pairs)
    closed.card = replace(closed.card, source_fingerprint="text:a", target_fingerprint="image:b")
    card = instructed(closed, 3).card
    assert card.method == "procrustes + instructions"
    assert (card.d_source, card.d_target) == (11, 6)
    assert (card.source_fingerprint, card.target_fingerprint) == (None, "image:b")


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("wrap", [lambda adapter: adapter, residual], ids=["frozen", "residual"])
def test_a_loaded_instructed_adapter_gives_the_same_bits(pairs, told, wrap, scaled, tmp_path, rng):
    adapter = instructed(wrap(procrustes(*pairs)), 3, scaled=scaled)
    for weight in adapter.parameters():
        weight.data += torch.randn(weight.shape, generator=rng)
    adapter.save(tmp_path / "adapter")
    again = align.load(tmp_path / "adapter")
    assert again.source(told).equal(adapter.source(told))
    assert again.target(pairs[1]).equal(adapter.target(pairs[1]))
    assert again.card == adapter.card


def test_items_and_instructions_are_joined(pairs, told):
    assert told.shape == (80, 11)
    assert told[:, :8].equal(pairs[0])
    for_all = with_instructions(pairs[0], told[:1, 8:])
    assert for_all[:, 8:].equal(told[:1, 8:].expand(80, 3))


def test_what_cannot_be_instructed_is_refused(pairs):
    x = pairs[0]
    with pytest.raises(ValueError, match="d_instruction must be finite and at least 1; got 0"):
        instructed(procrustes(*pairs), 0)
    with pytest.raises(ValueError, match=r"row-matched matrices.*\(80, 8\) and \(79, 3\)"):
        with_instructions(x, torch.zeros(79, 3))
    with pytest.raises(ValueError, match="every row of embeddings needs a direction; 80 of 80"):
        with_instructions(torch.zeros(80, 8), torch.ones(80, 3))
    with pytest.raises(ValueError, match="instructions must be finite; 80 of 80 rows"):
        with_instructions(x, torch.full((80, 3), torch.nan))
