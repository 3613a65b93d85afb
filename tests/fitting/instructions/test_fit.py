"""Instructions learned on top of an adapter: what was planted is found, noise is turned away."""

from __future__ import annotations

import math

import pytest
import torch

import align
from align.adapters.card import Card
from align.adapters.corrections.hubness import CSLS
from align.adapters.corrections.reference_set import ReferenceSet
from align.adapters.instructions import pairs_for, sources_for, takes_instructions
from align.adapters.maps.linear import IdentityMap, LinearMap
from align.data.embeddings import PairedEmbeddings
from align.data.modality import modality_codes
from align.fitting.instructions.fit import instruct
from align.fitting.instructions.preference import TEMPERATURE, holds_several_kinds, learn_preference
from align.fitting.training.config import TrainConfig
from tests.helpers.planted import rotation, unit

D, ASKED = 12, 5
QUICK = TrainConfig(
    steps=40, batch_size=64, learning_rate=1e-2, temperature=0.1, learn_temperature=False
)


def planted_kinds(n, seed, *, informed=True):
    """``n`` sources with an answer of each of two kinds, and instructions that name the kind.

    Kinds are blocks of columns, each a rotation of the source; the adapter undoes both.
    """
    rng = torch.Generator().manual_seed(seed)
    turns = torch.Generator().manual_seed(99)
    first, second = rotation(D, turns), rotation(D, turns)
    asked = torch.randn(2, ASKED, generator=turns)
    x = torch.randn(n, D, generator=rng).repeat_interleave(2, dim=0)
    kind = torch.arange(2 * n) % 2
    seen = x + 0.2 * torch.randn(2 * n, D, generator=rng)
    blocks = torch.cat([seen @ first, seen @ second], dim=1)
    blocks[kind == 0, D:] = 0
    blocks[kind == 1, :D] = 0
    names = kind if informed else torch.randint(2, (2 * n,), generator=rng)
    told = asked[names] + 0.1 * torch.randn(2 * n, ASKED, generator=rng)
    pairs = PairedEmbeddings.from_arrays(
        x,
        blocks,
        groups=[str(row // 2) for row in range(2 * n)],
        target_modality=modality_codes([("image", "code")[each] for each in kind.tolist()]),
        target_parts=(D, D),
        instructions=told,
    )
    undo = LinearMap(torch.zeros(2 * D), torch.cat([first.T, second.T]))
    reference = ReferenceSet(unit(x[:40]), undo(blocks[:40]), expansion=None, hubness=CSLS(5))
    return align.Adapter(
        IdentityMap(D), undo, Card("planted", 2 * n, D, 2 * D), reference=reference
    ), pairs


def planted_offsets(n, seed):
    """``n`` sources with two answers of one kind, on either side of where the source is."""
    rng = torch.Generator().manual_seed(seed)
    offsets = torch.randn(2, D, generator=torch.Generator().manual_seed(5))
    x = torch.randn(n, D, generator=rng).repeat_interleave(2, dim=0)
    which = torch.arange(2 * n) % 2
    pairs = PairedEmbeddings.from_arrays(
        x,
        unit(x) + 0.3 * offsets[which],
        groups=list(map(str, range(2 * n))),
        instructions=torch.eye(2)[which],
    )
    return align.Adapter(IdentityMap(D), IdentityMap(D), Card("identity", 2 * n, D, D)), pairs


def learned_on(adapter, pairs, **options):
    """``instruct`` where the adapter has not seen the pairs, as a planted one has not."""
    return instruct(adapter, pairs, config=QUICK, fit_adapter=lambda _: adapter, **options)


def found_share(adapter, pairs):
    """Share of sources whose own target comes first."""
    scores = adapter.queries(pairs_for(adapter, pairs).source) @ adapter.gallery(pairs.target).T
    return (scores.argmax(dim=1) == torch.arange(len(pairs))).double().mean().item()


@pytest.fixture(scope="module")
def told():
    """An adapter that learned to prefer kinds, and what it started from."""
    adapter, pairs = planted_kinds(60, 0)
    return learned_on(adapter, pairs), adapter


def test_the_kind_that_an_instruction_names_is_found(told):
    learned, adapter = told
    _, fresh = planted_kinds(60, 1)
    assert found_share(adapter, fresh) < 0.6
    assert found_share(learned, fresh) > 0.95
    assert "a preference by instruction gained +0." in learned.card.verdict


def test_an_instruction_that_no_pair_had_works_by_what_it_is_near(told):
    learned, _ = told
    _, fresh = planted_kinds(60, 2)
    told_otherwise = fresh.instructions * 3 + 0.3
    new = sources_for(learned, fresh.source, told_otherwise)
    scores = learned.queries(new) @ learned.gallery(fresh.target).T
    assert (scores.argmax(dim=1) == torch.arange(120)).double().mean() > 0.95


def test_without_an_instruction_nothing_changes(told):
    learned, adapter = told
    _, fresh = planted_kinds(20, 3)
    silent = learned.queries(sources_for(learned, fresh.source))
    assert silent[:, : D + 1].equal(adapter.queries(fresh.source))
    assert not silent[:, D + 1 :].any()
    assert learned.gallery(fresh.target)[:, : D + 1].equal(adapter.gallery(fresh.target))


def test_the_correction_of_galleries_is_kept_and_the_start_is_left_alone(told):
    learned, adapter = told
    assert learned.reference is adapter.reference and learned.target_map is adapter.target_map
    assert adapter.card == Card("planted", 120, D, 2 * D) and adapter.preference is None


def test_the_card_tells_what_was_tried(told):
    card = told[0].card
    assert [each.name for each in card.candidates] == [
        "no instructions", "a preference", "a preference and a shift",
    ]  # fmt: skip
    assert {each.stage for each in card.candidates} == {"instructions"}
    assert sum(each.chosen for each in card.candidates) == 1
    assert card.method == "planted + instructions" and card.d_source == D + ASKED
    assert card.seconds["instructions"] > 0


def test_an_instructed_adapter_is_evaluated_saved_and_searched(told, tmp_path):
    learned, _ = told
    _, fresh = planted_kinds(30, 4)
    found = align.evaluate(pairs_for(learned, fresh), learned)
    assert found.source_to_target.gallery_size == 60
    index = align.Index.create(tmp_path / "idx", learned)
    index.add(fresh.ids, fresh.target)
    index.save()
    opened = align.Index.open(tmp_path / "idx")
    asked = align.with_instructions(fresh.source[:1], fresh.instructions[1:2])
    assert opened.search(asked, k=1)[0][0].id == "1"
    asked = align.with_instructions(fresh.source[:1], fresh.instructions[:1])
    assert opened.search(asked, k=1)[0][0].id == "0"


def test_instructions_that_tell_nothing_leave_the_adapter_as_it_was():
    adapter, pairs = planted_kinds(60, 0, informed=False)
    found = learned_on(adapter, pairs)
    assert not takes_instructions(found)
    assert found.source_map is adapter.source_map and found.preference is None
    assert found.queries(pairs.source).equal(adapter.queries(pairs.source))
    assert found.card.verdict == "instructions did not help and were not kept"
    assert [each.chosen for each in found.card.candidates] == [True, False, False]
    assert pairs_for(found, pairs) is pairs
    assert sources_for(found, pairs.source, pairs.instructions).equal(pairs.source)


def test_with_the_source_side_alone_the_gallery_stays_as_it_is():
    adapter, pairs = planted_kinds(60, 0)
    found = learned_on(adapter, pairs, side="source")
    assert found.preference is None
    assert found.gallery(pairs.target).equal(adapter.gallery(pairs.target))
    assert [each.name for each in found.card.candidates] == ["no instructions", "a shift"]


def test_a_shift_tells_apart_answers_of_one_kind():
    adapter, pairs = planted_offsets(150, 0)
    assert not holds_several_kinds(pairs)
    found = learned_on(adapter, pairs)
    _, fresh = planted_offsets(150, 1)
    assert found.preference is None and "a shift by instruction gained" in found.card.verdict
    assert found_share(found, fresh) > found_share(adapter, fresh) + 0.2


def test_the_same_call_gives_the_same_adapter():
    adapter, pairs = planted_offsets(60, 0)
    one, two = (learned_on(adapter, pairs, seed=3) for _ in range(2))
    assert takes_instructions(one)
    for name, tensor in one.state_dict().items():
        assert tensor.equal(two.state_dict()[name])


def test_held_out_pairs_are_new_to_the_adapter_that_ranks_them():
    adapter, pairs = planted_kinds(60, 0)
    seen = []

    def fit_adapter(rest):
        seen.append(rest)
        return adapter

    found = instruct(adapter, pairs, config=QUICK, fit_adapter=fit_adapter, folds=3)
    assert [len(rest) for rest in seen] == [80, 80, 80]
    left_out = [set(pairs.groups) - set(rest.groups) for rest in seen]
    assert set.union(*left_out) == set(pairs.groups) and sum(map(len, left_out)) == 60
    assert takes_instructions(found)


def test_what_cannot_be_learned_from_is_refused(told):
    adapter, pairs = planted_kinds(5, 0)
    with pytest.raises(ValueError, match="learned from pairs that have some; these have none"):
        instruct(adapter, PairedEmbeddings.from_arrays(pairs.source, pairs.target))
    with pytest.raises(ValueError, match="these have none"):
        silent = torch.zeros(10, 3)
        instruct(
            adapter,
            PairedEmbeddings.from_arrays(pairs.source, pairs.target, instructions=silent),
        )
    with pytest.raises(ValueError, match=rf"the sources of this one bring .*{ASKED}.* already"):
        instruct(told[0], pairs)
    with pytest.raises(ValueError, match='side must be "both" or "source"; got \'target\''):
        instruct(adapter, pairs, side="target")
    with pytest.raises(ValueError, match="folds must be finite and at least 2; got 1"):
        instruct(adapter, pairs, folds=1)
    with pytest.raises(ValueError, match=r"folds must lie in \[2, 5\], the number of groups"):
        instruct(adapter, pairs, folds=6)


def ambiguous(share, groups=None):
    """A hundred pairs of equal scores; the first instruction asks for the first kind this often."""
    kind = torch.tensor([0] * round(50 * share) + [1] * round(50 * (1 - share)))
    kind = torch.cat([kind, 1 - kind])
    asked = torch.eye(2)[torch.arange(100) // 50]
    pairs = PairedEmbeddings.from_arrays(
        torch.ones(100, 1), torch.eye(2)[kind], target_parts=(1, 1), instructions=asked
    )
    same = LinearMap(torch.zeros(2), torch.ones(2, 1))
    return align.Adapter(IdentityMap(1), same, Card("same", 100, 1, 2)), pairs


def test_a_preference_is_as_strong_as_the_odds():
    adapter, pairs = ambiguous(0.8)
    weight = learn_preference(adapter, pairs, torch.arange(100), seed=0).weight
    # Both kinds are as many, so the bonus over the temperature is the log of the odds.
    odds = TEMPERATURE * math.log(0.8 / 0.2)
    assert (weight[0, 0] - weight[0, 1]).item() == pytest.approx(odds, rel=1e-2)
    assert (weight[1, 0] - weight[1, 1]).item() == pytest.approx(-odds, rel=1e-2)


def test_other_answers_are_no_negatives():
    adapter, pairs = ambiguous(0.8)
    alike = torch.zeros(100, dtype=torch.int64)
    assert learn_preference(adapter, pairs, alike, seed=0).weight.abs().max() < 1e-6


def test_targets_are_of_several_kinds_if_they_hold_other_parts():
    blocks = torch.eye(2)
    assert holds_several_kinds(PairedEmbeddings.from_arrays(blocks, blocks, target_parts=(1, 1)))
    full = torch.ones(2, 2)
    assert not holds_several_kinds(PairedEmbeddings.from_arrays(full, full, target_parts=(1, 1)))
    assert not holds_several_kinds(PairedEmbeddings.from_arrays(full, full))
