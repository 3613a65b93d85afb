import optuna
import pytest
import torch

import align
from align.adapters.maps.linear import IdentityMap
from align.data.embeddings import PairedEmbeddings
from align.fitting.model_selection.outcome import Outcome
from align.fitting.tuning.search_space import SearchSpace
from align.fitting.tuning.setting import Setting, SettingScorer
from align.fitting.tuning.study import tune
from tests.helpers.planted import mean_reciprocal_rank, shared_factors

TRAIN, TEST = slice(0, 120), slice(120, None)
SMALL = {"folds": 2, "dims": (2, 12)}


def score_of(scorer, **params):
    plain = {
        "source_ridge": 0.03, "target_ridge": 0.03, "power": 1.0, "dim": 3, "source_root": False,
        "target_root": False, "correction": "none", "expansion": False,
    }  # fmt: skip
    found = list(scorer.outcomes(Setting.of({**plain, **params})))
    return Outcome.pooled(found, k=scorer.folds).mrr


def test_the_front_holds_the_planted_width_and_scores_as_well(tuned):
    """Three factors are shared: three dimensions are all that is needed, and two are too few."""
    planted = score_of(tuned.scorer)
    scores = {trial.setting.dim: trial.mrr for trial in tuned.front}
    assert scores[3] > planted - 0.05
    assert max([scores.get(2, 0), score_of(tuned.scorer, dim=2)]) < planted - 0.1


def test_no_trial_beats_one_of_the_front_at_its_cost(tuned):
    assert tuned.front and not any(trial.pruned for trial in tuned.front)
    for trial in tuned.front:
        cheaper = [other for other in tuned.whole if other.cost <= trial.cost and other != trial]
        assert all(other.mrr <= trial.mrr for other in cheaper)
    for trial in set(map(str, tuned.whole)) - set(map(str, tuned.front)):
        lost = next(each for each in tuned.whole if str(each) == trial)
        assert any(each.cost <= lost.cost and each.mrr >= lost.mrr for each in tuned.front)


def test_the_scores_are_those_of_the_settings(tuned):
    for trial in tuned.front:
        found = Outcome.pooled(list(tuned.scorer.outcomes(trial.setting)), k=2)
        assert (trial.mrr, trial.error) == (found.mrr, found.standard_error)
        assert trial.recall_at_10 == found.hits_at_10.mean().item()


def test_the_adapter_has_the_setting_of_its_trial_and_finds_new_pairs(tuned, tmp_path, sides):
    best = tuned.best()
    adapter = tuned.fit()
    assert adapter.dim == best.setting.dim
    x, y = (side[TEST] for side in sides)
    gallery = adapter.gallery(y)
    assert gallery.shape[1] * 4 == best.cost
    assert mean_reciprocal_rank(adapter.queries(x), gallery) > 0.6 * best.mrr
    adapter.save(tmp_path / "adapter")
    again = align.load(tmp_path / "adapter")
    assert again.gallery(y).equal(gallery) and again.card == adapter.card


def test_the_card_tells_of_the_search(tuned):
    card = tuned.fit(max_bytes=16).card
    best = tuned.best(max_bytes=16)
    assert f"trial {best.number} of 30" in card.verdict and f"{best.cost} bytes" in card.verdict
    assert f"{best.mrr:.4f}" in card.verdict and card.method == str(best.setting)
    assert [c.mrr for c in card.candidates if c.chosen] == [best.mrr]
    assert len(card.candidates) == len(tuned.whole)
    assert (card.source_fingerprint, card.target_fingerprint) == ("text:a", "image:b")
    assert card.n_pairs == 120 and card.folds == (2, 5) and card.seconds["tuning"] > 0


def test_a_trial_is_named_by_number_or_by_budget(tuned):
    cheapest = tuned.front[0]
    assert tuned.fit(cheapest.number).dim == cheapest.setting.dim
    assert tuned.best(max_bytes=cheapest.cost) == cheapest
    assert tuned.best().mrr == max(trial.mrr for trial in tuned.whole) > cheapest.mrr
    with pytest.raises(ValueError, match=f"at least the {cheapest.cost} bytes .* got 3"):
        tuned.best(max_bytes=3)
    with pytest.raises(ValueError, match="Leave one of them out"):
        tuned.fit(0, max_bytes=40)
    with pytest.raises(ValueError, match=r"scored on every fold, .* got 99"):
        tuned.fit(99)


def test_trials_that_are_clearly_behind_are_given_up_after_a_fold(tuned, tmp_path, monkeypatch):
    folds = len(tuned.scorer.cv().folds)
    scored = []
    on_fold = SettingScorer.on_fold

    def counted(scorer, cv, setting, fold):
        scored.append(setting)
        return on_fold(scorer, cv, setting, fold)

    monkeypatch.setattr(SettingScorer, "on_fold", counted)
    again = tune(tuned.scorer.pairs, study=tmp_path / "study", trials=30, **SMALL)
    assert again.trials == tuned.trials
    pruned = [trial for trial in again.trials if trial.pruned]
    assert 3 <= len(pruned) < 30
    assert {scored.count(trial.setting) for trial in pruned} == {1}
    assert {scored.count(trial.setting) for trial in again.whole} == {folds}
    # Each was clearly behind one no dearer.
    for trial in pruned:
        rivals = [each for each in again.whole[: trial.number] if each.cost <= trial.cost]
        assert any(each.mrr > trial.mrr for each in rivals)


def test_another_seed_searches_elsewhere(tuned, tmp_path):
    found = tune(tuned.scorer.pairs, study=tmp_path / "study", trials=9, seed=1, **SMALL)
    assert [t.params for t in found.trials[:7]] == [t.params for t in tuned.trials[:7]]
    assert [t.params for t in found.trials[4:]] != [t.params for t in tuned.trials[4:6]]


def test_time_runs_out_after_a_trial_and_never_before_the_first(tmp_path, pairs_of):
    found = tune(pairs_of(), study=tmp_path / "study", timeout=1e-9, **SMALL)
    assert len(found.trials) == 1


def test_settings_are_checked_at_the_door(tmp_path, pairs_of):
    for wrong, said in (
        ({"trials": 0}, "trials must be finite and at least 1"),
        ({"timeout": 0.0}, "timeout must be finite and above 0"),
        ({"dims": (2, 13)}, r"dims must rise and lie in \[1, 12\], .* got \(2, 13\)"),
        ({"dims": (8, 4)}, r"got \(8, 4\)\. Choose others"),
    ):
        with pytest.raises(ValueError, match=said):
            tune(pairs_of(), study=tmp_path / "study", **{"folds": 2, **wrong})
    assert not (tmp_path / "study").exists()


def test_by_default_every_width_of_the_folds_may_be_tried(tmp_path, pairs_of):
    found = tune(pairs_of(), study=tmp_path / "study", trials=1, folds=2)
    assert found.trials[0].setting.dim == 12
    found = tune(pairs_of(), study=tmp_path / "study", trials=12, folds=2)
    assert 3 <= min(trial.setting.dim for trial in found.trials) < 6


def test_shares_of_parts_are_searched(tmp_path, pairs_of):
    pairs = pairs_of(source_parts=(10, 6))
    found = tune(pairs, study=tmp_path / "study", trials=12, **SMALL)
    assert all("source_part_2" in trial.params for trial in found.trials)
    assert {trial.setting.weights[1] for trial in found.trials} == {()}
    assert len({trial.setting.weights for trial in found.trials}) > 2
    leaning = next(t for t in found.whole if t.setting.weights[0] != (1.0,))
    assert found.fit(leaning.number).source_map.parts.shares != (0.5, 0.5)


def test_where_the_raw_cosine_is_not_beaten_it_comes_back(tmp_path, sides):
    x = sides[0][TRAIN]
    pairs = PairedEmbeddings.from_arrays(x, x.clone())
    found = tune(pairs, study=tmp_path / "study", trials=7, folds=2)
    adapter = found.fit()
    assert found.raw_mrr == 1.0 and isinstance(adapter.source_map, IdentityMap)
    assert adapter.card.method == "identity"
    assert "did not beat the raw cosine by two standard errors" in adapter.card.verdict
    assert not any(candidate.chosen for candidate in adapter.card.candidates)
    # Raw vectors are no answer where they are too dear.
    narrow = found.fit(max_bytes=found.front[0].cost)
    assert narrow.dim == found.front[0].setting.dim < 16
    assert "from the raw cosine" in narrow.card.verdict
    assert found.fit(found.front[0].number).dim == narrow.dim
    # Against noise of the same width the adapter stays, and says by how much it won.
    x, y = shared_factors(120, (12, 12), shared=3, noise=0.6)
    found = tune(PairedEmbeddings.from_arrays(x, y), study=tmp_path / "other", trials=2, folds=2)
    verdict = found.fit().card.verdict
    assert "trial " in verdict and "from the raw cosine" in verdict


def test_optuna_says_nothing_and_keeps_its_verbosity(tmp_path, capfd, pairs_of):
    before = optuna.logging.get_verbosity()
    try:
        optuna.logging.set_verbosity(optuna.logging.INFO)
        tune(pairs_of(), study=tmp_path / "study", trials=1, **SMALL)
        assert optuna.logging.get_verbosity() == optuna.logging.INFO
    finally:
        optuna.logging.set_verbosity(before)
    said = capfd.readouterr()
    assert said.out == said.err == ""


def test_the_space_asks_only_for_what_means_something():
    space = SearchSpace((2, 12), (2, 0))
    asked = [
        set(space.suggest(optuna.create_study(sampler=sampler).ask()))
        for sampler in (optuna.samplers.RandomSampler(seed=seed) for seed in range(20))
    ]
    for names in asked:
        assert {"source_part_2", "dim", "correction", "expansion"} <= names
        assert ("nnn_k" in names) == ("nnn_alpha" in names)
        assert not {"nnn_k", "sharpness"} <= names
        assert "map" not in names and {"source_ridge", "target_ridge", "power"} <= names
    assert any("nnn_k" in names for names in asked)
    assert any("expansion_weight" in names for names in asked)
    assert any("expansion_weight" not in names for names in asked)


def test_importance_is_told_of_enough_trials_and_sums_to_one(tuned, tmp_path):
    assert sum(tuned.importance.values()) == pytest.approx(1)
    assert max(tuned.importance, key=tuned.importance.get) in {"dim", "source_ridge"}
    few = tune(tuned.scorer.pairs, study=tmp_path / "study", trials=4, **SMALL)
    assert few.importance == {}


def test_sides_of_one_width_may_be_centred_or_mixed(tmp_path):
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(120, 12, generator=rng)
    y = x + torch.randn(120, 12, generator=rng) + 9  # so that the raw cosine says little
    pairs = PairedEmbeddings.from_arrays(x, y)
    found = tune(pairs, study=tmp_path / "study", trials=20, folds=2)
    kinds = [trial.params["map"] for trial in found.trials]
    assert kinds[:9] == ["rcca"] * 7 + ["centred", "both"] and set(kinds[9:]) == set(kinds)
    for trial in found.trials:
        assert ("power" in trial.params) == (trial.params["map"] != "centred")
        assert ("centred_share" in trial.params) == (trial.params["map"] == "both")
    mixed = next(trial for trial in found.whole if trial.params["map"] == "both")
    assert 4 * found.fit(mixed.number).gallery(y).shape[1] == mixed.cost
