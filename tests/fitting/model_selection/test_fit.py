import math
import re

import pytest
import torch

import align
from align.adapters.card import installed_versions
from align.adapters.closed_form.rcca import cca
from align.data.embeddings import Embeddings, PairedEmbeddings
from align.fitting.model_selection.fit import fit
from align.fitting.model_selection.gallery_correction import (
    BALANCED,
    EXPANSIONS,
    NEAREST,
    QUERY_EXPANSIONS,
)
from align.metrics.chance import NoBetterThanChance
from tests.helpers.planted import (
    chance,
    mean_reciprocal_rank,
    rotation,
    shared_factors,
    steep_spectra,
    unit,
)


def paired(source, target, rows=slice(None), **names):
    return PairedEmbeddings.from_arrays(source[rows], target[rows], **names)


def quality(adapter, source, target):
    return mean_reciprocal_rank(adapter.queries(source), adapter.gallery(target))


def chosen(adapter, *stages):
    return [c for c in adapter.card.candidates if c.stage in stages and c.chosen]


TRAIN, TEST, REST = slice(0, 60), slice(60, 160), slice(160, None)
SHARED = shared_factors(160, (16, 12), shared=6, noise=0.05)


@pytest.fixture(scope="module")
def shared():
    """An adapter of 60 pairs, 20 groups of three, that share six factors almost without noise."""
    source, target = SHARED
    names = tuple(map(str, range(60)))
    data = PairedEmbeddings.from_arrays(
        Embeddings(source[TRAIN], "text:a", names),
        Embeddings(target[TRAIN], "image:b", names),
        groups=[f"photo {row // 3}" for row in range(60)],
    )
    return fit(data, folds=2, seed=3)


@pytest.fixture(scope="module")
def hubs():
    """Pairs under so much noise that some gallery items come up for every query, and their fit."""
    sides = shared_factors(550, (32, 32), shared=16, noise=4.0, seed=1)
    return sides, fit(paired(*sides, slice(0, 250)), folds=2)


def test_shared_factors_are_found_in_pairs_never_seen(shared):
    source, target = (side[TEST] for side in SHARED)
    assert quality(shared, source, target) > 0.99
    backward = shared.queries(target, side="target"), shared.gallery(source, side="source")
    assert mean_reciprocal_rank(*backward) > 0.99


def test_under_noise_and_with_few_pairs_the_recipe_beats_plain_cca():
    source, target = shared_factors(160, (32, 24), shared=8, noise=0.5)
    plain = cca(source[TRAIN], target[TRAIN])
    assert quality(plain, source[TEST], target[TEST]) < 0.4
    found = fit(paired(source, target, TRAIN), folds=2)
    assert quality(found, source[TEST], target[TEST]) > 0.9


def test_shuffled_pairs_score_at_chance_and_the_card_shows_it(rng):
    source, target = shared_factors(60, (10, 8), shared=4, noise=0.1)
    with pytest.warns(NoBetterThanChance, match="no better than chance: are the rows matched?"):
        adapter = fit(paired(source, target[torch.randperm(60, generator=rng)]), folds=2)
    assert adapter.card.fold_gallery == 30 and adapter.card.better_than_chance is False
    assert adapter.card.verdict.startswith("no better than chance: are the rows matched? (R@1 ")
    for candidate in adapter.card.candidates:
        # The best of fifty is best by luck; nothing comes near the 0.9 of the true pairs.
        assert candidate.mrr == pytest.approx(chance(30), abs=0.06)
    assert adapter.source(source).shape == adapter.target(target).shape


def test_the_same_data_and_seed_give_the_same_adapter_to_the_bit(hubs):
    (source, target), first = hubs
    again = fit(paired(source, target, slice(0, 250)), folds=2)
    a, b = first.state_dict(), again.state_dict()
    assert list(a) == list(b) and all(a[name].equal(b[name]) for name in a)
    assert again.card.candidates == first.card.candidates
    assert again.card.verdict == first.card.verdict


def test_another_seed_draws_other_folds():
    data = paired(*shared_factors(60, (8, 6), shared=4, noise=0.7))
    first, second = (fit(data, folds=2, seed=seed).card for seed in (0, 1))
    assert first.candidates[0].name == second.candidates[0].name
    assert first.candidates[0].mrr != second.candidates[0].mrr
    assert (first.seed, second.seed) == (0, 1)


def test_fitting_leaves_the_global_generator_and_the_data_alone():
    source, target = shared_factors(30, (6, 5), shared=3, noise=0.3)
    before, copies = torch.get_rng_state(), (source.clone(), target.clone())
    fit(paired(source, target), folds=2)
    assert torch.get_rng_state().equal(before)
    assert source.equal(copies[0]) and target.equal(copies[1])


def test_a_saved_adapter_gives_the_same_scores(hubs, tmp_path):
    (source, target), adapter = hubs
    adapter.save(tmp_path / "adapter")
    loaded = align.load(tmp_path / "adapter")
    for side, x in (("source", source), ("target", target)):
        assert loaded.queries(x, side=side).equal(adapter.queries(x, side=side))
        assert loaded.gallery(x, side=side).equal(adapter.gallery(x, side=side))
    assert loaded.card == adapter.card


def test_a_fitted_adapter_can_be_trained_further_and_loaded_into(shared):
    x = SHARED[0][TEST].clone().requires_grad_()
    shared.source_map(x)[:, 0].sum().backward()
    assert x.grad.isfinite().all() and (x.grad != 0).any()
    shared.load_state_dict({name: value.clone() for name, value in shared.state_dict().items()})


def test_the_card_tells_what_was_fitted_on(shared):
    card = shared.card
    assert (card.n_pairs, card.n_groups, card.n_unpaired) == (60, 20, (0, 0))
    assert (card.d_source, card.d_target) == (16, 12)
    assert (card.source_fingerprint, card.target_fingerprint) == ("text:a", "image:b")
    # 20 groups in 2 folds, one row of each held out, dealt five times.
    assert (card.folds, card.fold_gallery, card.seed) == ((2, 5), 10, 3)
    assert card.versions == installed_versions()
    assert list(card.seconds) == ["parts", "map", "gallery", "refit", "chance", "calibration"]
    assert all(seconds >= 0 for seconds in card.seconds.values())
    assert card.method == chosen(shared, "map", "final", "average")[0].name
    assert f"; {card.method} scored best of " in card.verdict


def test_vectors_of_another_encoder_are_refused(shared):
    other = Embeddings(SHARED[0][TEST], "text:z", tuple(map(str, range(100))))
    with pytest.raises(ValueError, match="fitted on vectors of text:a; got vectors of text:z"):
        shared.source(other)


def test_every_candidate_is_scored_and_the_chosen_ones_are_flagged(hubs):
    adapter = hubs[1]
    for candidate in adapter.card.candidates:
        values = (candidate.mrr, candidate.low, candidate.high, candidate.recall_at_10)
        assert all(math.isfinite(value) for value in values), candidate
        assert 0 < candidate.mrr <= 1 and candidate.low < candidate.mrr < candidate.high
    assert len(chosen(adapter, "map", "final", "average")) == 1
    assert len(chosen(adapter, "hubness")) == 1 and len(chosen(adapter, "expansion")) <= 1
    assert not chosen(adapter, "identity")
    stages = [candidate.stage for candidate in adapter.card.candidates]
    assert stages.count("hubness") == 1 + len(NEAREST) + len(BALANCED)
    assert stages.count("expansion") == len(EXPANSIONS)
    assert stages.count("query expansion") == len(QUERY_EXPANSIONS)
    assert stages.count("identity") == 1  # the widths agree


def test_the_flags_say_what_is_in_the_reference(hubs):
    adapter = hubs[1]
    reference = adapter.reference
    assert [c.name for c in chosen(adapter, "hubness")] == [str(reference.hubness)]
    expected = [] if reference.expansion is None else [str(reference.expansion)]
    assert [c.name for c in chosen(adapter, "expansion")] == expected
    assert str(reference.hubness) in adapter.card.verdict


def test_the_reference_holds_the_training_pairs(hubs):
    (source, target), adapter = hubs
    torch.testing.assert_close(adapter.reference.source_reference, adapter.source(source[:250]))
    torch.testing.assert_close(adapter.reference.target_reference, adapter.target(target[:250]))


def skewness(queries, gallery):
    """Of how often each gallery row is among the five nearest of a query."""
    nearest = (queries @ gallery.T).topk(5, dim=1).indices
    counts = torch.bincount(nearest.flatten(), minlength=len(gallery)).double()
    deviation = counts - counts.mean()
    return (deviation.pow(3).mean() / deviation.square().mean() ** 1.5).item()


def test_the_chosen_correction_thins_out_hubs_in_a_gallery_never_seen(hubs):
    (source, target), adapter = hubs
    x, y = source[250:], target[250:]
    before = adapter.source(x), adapter.target(y)
    after = adapter.queries(x), adapter.gallery(y)
    assert skewness(*before) > 0.7
    assert skewness(*after) < 0.75 * skewness(*before)
    assert mean_reciprocal_rank(*after) > mean_reciprocal_rank(*before)


def assert_identity(adapter, source, target):
    assert adapter.card.method == "identity" and adapter.reference is None
    assert adapter.queries(source).equal(adapter.source(source))
    torch.testing.assert_close(adapter.queries(source), unit(source))
    torch.testing.assert_close(adapter.gallery(target), unit(target))
    torch.testing.assert_close(adapter.gallery(source, side="source"), unit(source))
    assert [(c.stage, c.name) for c in adapter.card.candidates if c.chosen] == [
        ("identity", "raw cosine")
    ]


@pytest.mark.parametrize("side", ["both", "source"])
def test_encoders_that_agree_already_are_left_as_they_are(side, rng):
    x = torch.randn(40, 12, generator=rng)
    y = 2.0 * x + 0.1 * torch.randn(40, 12, generator=rng)
    adapter = fit(paired(x, y), side=side, folds=2)
    assert_identity(adapter, x, y)
    assert "; nothing beat the raw cosine by half a standard error (" in adapter.card.verdict


def test_luck_among_many_maps_does_not_pass_for_a_gain(rng):
    # Shuffled pairs: the best of fifty maps is 0.05 above chance by luck alone.
    x = torch.randn(60, 16, generator=rng)
    y = x[torch.randperm(60, generator=rng)]
    with pytest.warns(NoBetterThanChance):
        adapter = fit(paired(x, y))
    best = max(candidate.mrr for candidate in adapter.card.candidates)
    assert best > adapter.card.candidates[-1].mrr
    assert_identity(adapter, x, y)
    assert "; nothing was learned from these pairs" in adapter.card.verdict


def test_a_gain_that_a_small_gallery_cannot_tell_is_taken():
    """It is less than two standard errors among 12 held-out pairs, and there among 200 new ones."""
    rng = torch.Generator().manual_seed(0)
    shared, loud = torch.randn(260, 24, generator=rng), 1.2 * torch.linspace(2.0, 0.2, 24)
    x, y = (shared + loud * torch.randn(260, 24, generator=rng) for _ in range(2))
    adapter = fit(paired(x, y, slice(0, 60)))
    gain, error = map(float, re.search(r"gained (\S+) ± (\S+) MRR", adapter.card.verdict).groups())
    assert 0 < gain < 1.5 * error
    x, y = x[60:], y[60:]
    assert quality(adapter, x, y) > 1.1 * mean_reciprocal_rank(unit(x), unit(y))


def test_a_rotation_of_one_space_is_undone(rng):
    x = torch.randn(160, 12, generator=rng)
    y = x @ rotation(12, rng)
    adapter = fit(paired(x, y, TRAIN), folds=2)
    assert adapter.card.method != "identity"
    assert "over the raw cosine" in adapter.card.verdict
    assert quality(adapter, x[TEST], y[TEST]) > 0.95
    assert mean_reciprocal_rank(unit(x[TEST]), unit(y[TEST])) < 0.2
    raw = adapter.card.candidates[-1]
    assert (raw.stage, raw.name, raw.chosen) == ("identity", "raw cosine", False)
    assert len(chosen(adapter, "map", "final", "average")) == 1


def test_a_query_only_adapter_leaves_targets_alone_and_still_retrieves():
    source, target = shared_factors(260, (12, 8), shared=8, noise=0.02)
    adapter = fit(paired(source, target, slice(0, 160)), side="source", folds=2)
    x, y = source[160:], target[160:]
    torch.testing.assert_close(adapter.target(y), unit(y))
    assert adapter.gallery(y).equal(adapter.target(y)) and adapter.dim == 8
    assert adapter.queries(x).shape == (100, 8) and adapter.reference is None
    assert quality(adapter, x, y) > 0.9
    assert {c.stage for c in adapter.card.candidates} <= {"map", "final"}
    assert len(chosen(adapter, "map", "final")) == 1


@pytest.fixture(scope="module")
def steep():
    sides = steep_spectra(660, 32, correlation=0.9)
    return sides, fit(paired(*sides, TRAIN), folds=2)


def test_unpaired_items_are_used_where_they_help(steep):
    (source, target), without = steep
    found = fit(
        paired(source, target, TRAIN),
        unpaired_source=source[REST],
        unpaired_target=target[REST].numpy(),
        folds=2,
    )
    assert found.card.n_unpaired == (500, 500) and found.card.n_pairs == 60
    x, y = source[TEST], target[TEST]
    assert quality(found, x, y) > quality(without, x, y) + 0.03
    # The mean is taken over them too.
    mean = unit(torch.cat([source[TRAIN], source[REST]])).mean(dim=0)
    torch.testing.assert_close(found.source_map.mean, mean)


def test_unpaired_items_of_something_else_are_left_out(steep, rng):
    (source, target), without = steep
    found = fit(
        paired(source, target, TRAIN),
        unpaired_source=source[REST] @ rotation(32, rng),
        folds=2,
    )
    assert found.card.n_unpaired == (0, 0)
    a, b = found.state_dict(), without.state_dict()
    assert list(a) == list(b) and all(a[name].equal(b[name]) for name in a)


@pytest.mark.parametrize(
    ("unpaired", "message"),
    [
        ({"unpaired_source": torch.ones(5, 4)}, r"unpaired_source must have 6 columns.*\(5, 4\)"),
        ({"unpaired_target": torch.ones(5, 6)}, r"unpaired_target must have 5 columns.*\(5, 6\)"),
        ({"unpaired_target": torch.zeros(5, 5)}, "every row of unpaired_target needs a direction"),
        ({"unpaired_source": torch.full((2, 6), math.nan)}, "unpaired_source must be finite; 2 of"),
        ({"unpaired_source": torch.ones(6)}, "unpaired_source must be a floating-point matrix"),
    ],
)
def test_unpaired_items_that_do_not_fit_are_refused(unpaired, message):
    data = paired(*shared_factors(30, (6, 5), shared=3, noise=0.3))
    with pytest.raises(ValueError, match=message):
        fit(data, **unpaired)


def thirty(*, n=30, row=None, groups=None, **settings):
    source, target = shared_factors(30, (6, 5), shared=3, noise=0.3)
    if row is not None:
        source[4] = row
    return fit(paired(source, target, slice(0, n), groups=groups), **settings)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n": 19}, "fit needs at least 20 pairs .*; got 19. Add pairs or call .*procrustes"),
        ({"folds": 1}, "folds must be finite and at least 2; got 1"),
        ({"side": "target"}, 'side must be "both" or "source"; got \'target\'. Use "source" '),
        ({"row": torch.zeros(6)}, r"every row of source needs a direction; 1 .*\[4\]. Drop those"),
        ({"row": torch.full((6,), math.nan)}, r"source must be finite; 1 .*\[4\]. Find out which"),
        ({"folds": 31}, r"folds must lie in \[2, 30\], the number of groups; got 31. Use fewer"),
        ({"groups": ["a"] * 30}, r"folds must lie in \[2, 1\]"),
    ],
    ids=["pairs", "folds", "side", "zero", "nan", "groups", "one group"],
)
def test_what_cannot_be_fitted_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        thirty(**changes)


def test_an_unknown_effort_is_refused():
    with pytest.raises(ValueError, match=r'effort must be "fast" or "best"; got \'most\''):
        fit(paired(*SHARED), effort="most")


@pytest.mark.parametrize("side", ["source", "target"])
@pytest.mark.parametrize("lengths", [1.0, 2.0])
def test_a_side_that_is_the_same_for_all_pairs_is_refused_by_name(side, lengths, rng):
    varied, constant = torch.randn(60, 5, generator=rng), torch.ones(60, 4)
    constant[::2] *= lengths
    sides = (constant, varied) if side == "source" else (varied, constant)
    with pytest.raises(ValueError, match=f"the {side} side must differ between pairs; all 60 rows"):
        fit(PairedEmbeddings.from_arrays(*sides))


def test_an_interrupted_fit_says_that_nothing_of_it_is_kept(monkeypatch):
    def interrupted(cv, folds, *, query_only, expand_queries):
        raise KeyboardInterrupt

    monkeypatch.setattr("align.fitting.model_selection.fit.choose_gallery", interrupted)
    sides = shared_factors(60, (12, 10), shared=6, noise=0.7)
    with pytest.raises(KeyboardInterrupt) as stopped:
        fit(PairedEmbeddings.from_arrays(*sides), folds=2)
    assert stopped.value.__notes__[0].startswith("Nothing of the fit is kept")


def test_progress_names_the_stages(capsys):
    sides = shared_factors(60, (12, 10), shared=6, noise=0.7)
    fit(PairedEmbeddings.from_arrays(*sides), folds=2, progress=True)
    drawn = capsys.readouterr().err
    assert "maps" in drawn and "gallery correction" in drawn
