"""Which pairs a report measures, and what it makes of them before it looks."""

import pytest
import torch
import torch.nn.functional as F

from align.adapters.closed_form.procrustes import procrustes
from align.data.embeddings import Embeddings, PairedEmbeddings
from probes.reporting.states import measurable, states


def pairs(rng, n=60, widths=(8, 8), groups=None):
    source, target = (3 + torch.randn(n, d, generator=rng) for d in widths)
    return PairedEmbeddings.from_arrays(source, target, groups=groups)


class Mapped:
    """An adapter made of two functions of a tensor."""

    def __init__(self, source, target):
        self._source, self._target = source, target

    def source(self, x):
        return self._source(x.vectors)

    def target(self, x):
        return self._target(x.vectors)


def test_without_an_adapter_there_are_two_states(rng):
    spaces = states(pairs(rng), None, seed=0)
    assert list(spaces) == ["raw", "centred"]


def test_all_states_hold_unit_vectors(rng):
    data = pairs(rng, widths=(8, 5))
    for space in states(data, procrustes(data.source, data.target), seed=0).values():
        for side in (space.source, space.target):
            torch.testing.assert_close(side.norm(dim=1), torch.ones(60))


def test_the_raw_state_keeps_directions(rng):
    data = pairs(rng)
    raw = states(data, None, seed=0)["raw"]
    torch.testing.assert_close(raw.source, F.normalize(data.source, dim=1))


def test_no_pair_is_centred_by_itself(rng):
    data = pairs(rng, groups=[str(i // 2) for i in range(60)])
    base = states(data, None, seed=0)["centred"].source
    moved = data.source.clone()
    moved[0] += 100  # its own group shares its fold, so their means stay
    again = PairedEmbeddings.from_arrays(moved, data.target, groups=data.groups)
    after = states(again, None, seed=0)["centred"].source
    changed = (after - base).abs().amax(dim=1) > 1e-6
    # The fold of pair 0 is centred by the other folds, so that of it only pair 0 itself moves.
    assert changed[0] and not changed[1]
    assert 12 - 1 == int((~changed).sum())


def test_centring_leaves_hardly_an_offset(rng):
    centred = states(pairs(rng, n=2000), None, seed=0)["centred"]
    assert centred.source.mean(dim=0).norm() < 0.06
    assert states(pairs(rng, n=2000), None, seed=0)["raw"].source.mean(dim=0).norm() > 0.8


def test_an_adapter_sees_whose_vectors_they_are(rng):
    data = pairs(rng)
    named = PairedEmbeddings.from_arrays(
        Embeddings(data.source, "an encoder", data.ids), Embeddings(data.target, None, data.ids)
    )
    seen = []

    class Curious(Mapped):
        def source(self, x):
            seen.append((x.fingerprint, x.ids))
            return x.vectors

    states(named, Curious(None, lambda y: y), seed=0)
    assert seen == [("an encoder", data.ids)]


def test_maps_into_two_spaces_are_refused(rng):
    adapter = Mapped(lambda x: x, lambda y: y[:, :5])
    with pytest.raises(ValueError, match="into one space; got widths 8 and 5"):
        states(pairs(rng), adapter, seed=0)


def test_a_search_that_is_a_plain_cosine_is_no_state_of_its_own(rng):
    data = pairs(rng)
    assert list(states(data, procrustes(data.source, data.target), seed=0)) == [
        "raw", "centred", "aligned",
    ]  # fmt: skip


def test_a_corrected_search_is_a_state_of_its_own(rng):
    data = pairs(rng)

    class Corrected(Mapped):
        def queries(self, x, *, side):
            return torch.cat([x.vectors, torch.ones(len(x), 1)], dim=1)

        def gallery(self, y, *, side):
            bias = torch.full((len(y), 1), {"source": 1.0, "target": 2.0}[side])
            return torch.cat([y.vectors, bias], dim=1)

    corrected = states(data, Corrected(lambda x: x, lambda y: y), seed=0)["corrected"]
    forth, back = corrected.searches
    torch.testing.assert_close(forth.queries[:, :8], data.source)
    torch.testing.assert_close(forth.gallery[:, :8], data.target)
    assert (forth.gallery[:, 8] == 2).all() and (back.gallery[:, 8] == 1).all()
    torch.testing.assert_close(back.queries[:, :8], data.target)
    torch.testing.assert_close(back.gallery[:, :8], data.source)


def test_repeats_within_a_group_are_left_out_and_counted(rng):
    data = pairs(rng, n=40)
    captions = torch.randn(120, 8, generator=rng)
    photos = data.target.repeat_interleave(3, dim=0)
    groups = [str(i // 3) for i in range(120)]
    many = PairedEmbeddings.from_arrays(captions, photos, groups=groups)
    measured, rules = measurable(many, seed=0)
    assert measured.ids == tuple(str(i) for i in range(0, 120, 3))
    assert rules[0].startswith("80 of 120 pairs repeat an item of their group")


def test_equal_items_of_different_groups_stay_and_are_named(rng):
    data = pairs(rng)
    target = data.target.clone()
    target[7] = target[3]
    measured, rules = measurable(PairedEmbeddings.from_arrays(data.source, target), seed=0)
    assert len(measured) == 60
    assert rules == (
        "1 target vectors equal one of another group: such ties count against retrieval, and near "
        "neighbours are not to be trusted.",
    )


def test_rules_call_the_sides_as_the_pairs_do(rng):
    data = pairs(rng)
    target = data.target.clone()
    target[7] = target[3]
    names = ("caption", "image")
    named = PairedEmbeddings.from_arrays(data.source, target, side_names=names)
    [rule] = measurable(named, seed=0)[1]
    assert rule.startswith("1 image vectors equal one of another group")
    constant = PairedEmbeddings.from_arrays(torch.ones(60, 8), target, side_names=names)
    with pytest.raises(ValueError, match="the caption side must differ between pairs"):
        measurable(constant, seed=0)


def test_more_pairs_than_can_be_held_are_sampled_by_group(rng):
    data = pairs(rng, n=300, groups=[str(i // 2) for i in range(300)])
    measured, rules = measurable(data, seed=0, most_pairs=50)
    assert len(measured) == 50 and len(set(measured.groups)) == 25
    assert "50 pairs are measured, a random sample of whole groups" in rules[0]
    again, _ = measurable(data, seed=0, most_pairs=50)
    other, _ = measurable(data, seed=1, most_pairs=50)
    assert again.ids == measured.ids != other.ids


def test_too_few_groups_are_refused(rng):
    groups = [str(i % 19) for i in range(60)]
    with pytest.raises(ValueError, match=r"at least 20 groups .* got 19 groups in 60 pairs"):
        measurable(pairs(rng, groups=groups), seed=0)


def test_a_constant_side_is_refused(rng):
    data = pairs(rng)
    flat = PairedEmbeddings.from_arrays(data.source, torch.ones(60, 8))
    with pytest.raises(ValueError, match=r"target side must differ .* all 60 rows are equal"):
        measurable(flat, seed=0)


def test_a_row_without_direction_is_refused(rng):
    data = pairs(rng)
    data.source[5] = 0
    with pytest.raises(ValueError, match="row of source needs a direction; 1 of 60"):
        states(data, None, seed=0)
