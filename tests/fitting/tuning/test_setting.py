import math

import pytest
import torch

from align.adapters.closed_form.centering import centering
from align.adapters.closed_form.rcca import rcca
from align.adapters.corrections.hubness import NNN, InvertedSoftmax
from align.adapters.corrections.reference_set import Expansion
from align.data.embeddings import PairedEmbeddings
from align.fitting.model_selection.outcome import score_raw
from align.fitting.tuning.setting import Setting, SettingScorer
from tests.helpers.planted import shared_factors

PLAIN = {
    "source_ridge": 1.0, "target_ridge": 0.5, "power": 1.5, "dim": 3,
    "source_root": False, "target_root": False, "correction": "none", "expansion": False,
}  # fmt: skip
SIDES = shared_factors(80, (10, 7), shared=4, noise=0.3)


def made(*, parts=None, **params):
    x, y = SIDES
    pairs = PairedEmbeddings.from_arrays(x, y, source_parts=parts)
    return SettingScorer(pairs, folds=2, seed=0), Setting.of({**PLAIN, **params})


def maps_of(adapter):
    return adapter.source_map, adapter.target_map


def test_a_setting_is_fitted_as_the_closed_form_of_that_name():
    scorer, setting = made()
    maps = scorer.fit(setting)
    plain = rcca(*SIDES, ridge=(1.0, 0.5), power=1.5, dim=3)
    assert setting.dim == maps[0].dim == 3
    similar = maps[0](SIDES[0]) @ maps[1](SIDES[1]).T
    torch.testing.assert_close(similar, plain.source(SIDES[0]) @ plain.target(SIDES[1]).T)


def test_a_correction_costs_one_more_number_and_an_expansion_nothing():
    assert made()[1].bytes_per_item == 12
    assert made(correction="nnn", nnn_k=3, nnn_alpha=0.5)[1].bytes_per_item == 16
    expanded = made(expansion=True, expansion_weight=0.3, expansion_sharpness=20.0)[1]
    assert expanded.bytes_per_item == 12


def test_parameters_are_read_as_the_values_that_they_name():
    setting = made(correction="inverted_softmax", sharpness=7.0, source_root=True)[1]
    assert setting.hubness == InvertedSoftmax(7.0) and setting.roots == (True, False)
    setting = made(
        correction="nnn", nnn_k=3, nnn_alpha=0.5, source_part_2=1, source_part_3=-1,
        expansion=True, expansion_weight=0.3, expansion_sharpness=20.0,
    )[1]  # fmt: skip
    assert setting.hubness == NNN(3, 0.5) and setting.expansion == Expansion(0.3, 20.0)
    assert setting.weights == ((3.0, pytest.approx(1 / 3)), ())
    assert str(setting) == (
        "rcca(ridge=(1, 0.5), power=1.5, dim=3) + source parts at 1:3:0.33 + NNN(k=3, alpha=0.5) "
        "+ Expansion(0.3, 20)"
    )


def test_the_centred_cosine_is_a_setting_where_the_sides_are_of_one_width():
    x, y = shared_factors(80, (10, 10), shared=4, noise=0.3)
    scorer = SettingScorer(PairedEmbeddings.from_arrays(x, y), folds=2, seed=0)
    assert scorer.cv().is_comparable and not made()[0].cv().is_comparable
    plain = {name: PLAIN[name] for name in ("source_root", "target_root", "correction")}
    setting = Setting.of({**plain, "map": "centred", "dim": 10, "expansion": False})
    similar, wanted = (
        maps[0](x) @ maps[1](y).T for maps in (scorer.fit(setting), maps_of(centering(x, y)))
    )
    torch.testing.assert_close(similar, wanted)
    assert setting.width == 10 and str(setting) == "centering(dim=10)"


def test_the_directions_of_the_centred_cosine_are_those_in_which_pairs_agree():
    """Three coordinates are shared, and the other seven are louder but not."""
    rng = torch.Generator().manual_seed(0)
    shared = torch.randn(400, 3, generator=rng)
    x, y = (torch.cat([shared, 2 * torch.randn(400, 7, generator=rng)], dim=1) for _ in range(2))
    scorer = SettingScorer(PairedEmbeddings.from_arrays(x, y), folds=2, seed=0)
    narrow = {**PLAIN, "map": "centred", "dim": 3}
    weight = scorer.fit(Setting.of(narrow))[0].weight
    assert weight[:3].square().sum() > 0.9 * 3
    kept, whole = (next(scorer.outcomes(Setting.of({**narrow, "dim": dim}))).mrr for dim in (3, 10))
    assert kept > 2 * whole


def test_both_maps_side_by_side_cost_twice_and_score_the_sum_of_their_cosines():
    x, y = shared_factors(80, (10, 10), shared=4, noise=0.3)
    scorer = SettingScorer(PairedEmbeddings.from_arrays(x, y), folds=2, seed=0)
    both, rcca_alone, centred_alone = (
        Setting.of({**PLAIN, **step})
        for step in ({"map": "both", "centred_share": 0.75}, {"map": "rcca"}, {"map": "centred"})
    )
    similar = [
        maps[0](x) @ maps[1](y).T for maps in map(scorer.fit, (both, rcca_alone, centred_alone))
    ]
    torch.testing.assert_close(similar[0], 0.25 * similar[1] + 0.75 * similar[2])
    assert both.bytes_per_item == 2 * rcca_alone.bytes_per_item == 24
    assert str(both) == ("0.25 rcca(ridge=(1, 0.5), power=1.5, dim=3) + 0.75 centering(dim=3)")


def test_every_pair_is_held_out_and_scored():
    scorer, setting = made()
    found = list(scorer.outcomes(setting))
    assert len(found) == len(scorer.cv().folds)
    assert sum(len(each.reciprocal_ranks) for each in found) == 80 * scorer.cv().repeats


@pytest.mark.parametrize(
    "step",
    [
        {"correction": "inverted_softmax", "sharpness": 10.0},
        {"expansion": True, "expansion_weight": 0.5, "expansion_sharpness": 10.0},
        {"source_root": True},
        {"dim": 2},
        {"source_part_2": 2},
    ],
    ids=str,
)
def test_every_parameter_reaches_the_score(step):
    scorer, plain = made(parts=(6, 4))
    other = made(**step)[1]
    before, after = (next(scorer.outcomes(each)).reciprocal_ranks for each in (plain, other))
    assert not before.equal(after)


def test_parts_get_the_shares_of_their_weights():
    scorer, setting = made(parts=(6, 4), source_part_2=1)
    assert scorer.weighed == (2, 0)
    assert scorer.cv(setting).parts[0].shares == (0.25, 0.75)
    assert scorer.cv().parts[0].shares == (0.5, 0.5)
    assert scorer.fit(setting)[0].parts == scorer.cv(setting).parts[0]


def test_parts_are_weighed_where_most_items_have_several():
    x, y = SIDES
    most, half = (x.clone(), x.clone())
    most[: len(x) // 2 - 1, :6] = 0
    half[: len(x) // 2, :6] = 0
    for source, weighed in ((most, (2, 0)), (half, (0, 0))):
        pairs = PairedEmbeddings.from_arrays(source, y, source_parts=(6, 4))
        assert SettingScorer(pairs, folds=2, seed=0).weighed == weighed


def test_the_width_of_few_pairs_is_bounded_by_their_number():
    x, y = SIDES
    few = PairedEmbeddings.from_arrays(x[:24], torch.cat([y] * 6, dim=1)[:24])
    scorer = SettingScorer(few, folds=4, seed=0)
    assert made()[0].widest == 7
    # Sides of width 10 and 42 hold what 18 rows hold, 7 directions of a rank-7 side.
    assert scorer.widest == 7


def test_the_raw_cosine_is_scored_only_where_it_is_defined():
    assert score_raw(made()[0].cv()) is None
    x = SIDES[0]
    raw = SettingScorer(PairedEmbeddings.from_arrays(x, x + 0.0), folds=2, seed=0)
    assert math.isclose(score_raw(raw.cv()).mrr, 1.0)


def test_too_few_pairs_and_folds_are_refused():
    x, y = SIDES
    few = PairedEmbeddings.from_arrays(x[:19], y[:19])
    with pytest.raises(ValueError, match=r"at least 20 pairs .* got 19\. Add pairs"):
        SettingScorer(few, folds=2, seed=0)
    with pytest.raises(ValueError, match="folds must be finite and at least 2; got 1"):
        SettingScorer(PairedEmbeddings.from_arrays(x, y), folds=1, seed=0)
