"""``AlignTransformer`` against the installed scikit-learn: its own checks, pipelines, searches."""

import pickle

import numpy as np
import pytest
import torch
from sklearn import config_context
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

import align
from align.data.embeddings import PairedEmbeddings
from align.integrations.sklearn import AlignTransformer
from tests.helpers.planted import shared_factors

QUICK = {"effort": "fast", "folds": 2}

# Cross-validation asks for 20 pairs, and a row of zeros has no direction to align.
CANNOT = {
    "check_n_features_in_after_fitting": "fits 15 rows, and fit needs 20",
    "check_estimators_nan_inf": "fits 10 rows, and fit needs 20",
    "check_estimators_dtypes": "one of its rows is all zeros",
}


@pytest.fixture(scope="module", autouse=True)
def few_folds():
    """Small data is folded again and again to choose well; here any choice will do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("align.fitting.model_selection.cross_validation.WANTED_QUERIES", 40)
        patch.setattr("align.fitting.model_selection.cross_validation.SCREENING_QUERIES", 20)
        yield


@pytest.fixture(scope="module")
def sides():
    source, target = shared_factors(160, (12, 9), shared=6, noise=0.3)
    return source.numpy(), target.numpy()


@pytest.fixture(scope="module")
def fitted(sides):
    return AlignTransformer(**QUICK).fit(*sides)


@pytest.mark.filterwarnings("ignore::align.data.repeats.RepeatedItems")
def test_the_checks_of_scikit_learn_pass_but_for_three_with_a_reason():
    done = check_estimator(
        AlignTransformer(**QUICK, side="source"),
        expected_failed_checks=CANNOT,
        on_skip=None,
        on_fail="raise",
    )
    failed = {each["check_name"] for each in done if each["status"] == "xfail"}
    assert failed == set(CANNOT)
    assert sum(each["status"] == "passed" for each in done) > 40


def test_transforms_give_the_vectors_and_the_ranking_of_the_adapter(sides, fitted):
    source, target = sides
    expected = align.fit(PairedEmbeddings.from_arrays(source, target), **QUICK)
    ours = fitted.transform(source) @ fitted.transform_target(target).T
    theirs = expected.queries(source) @ expected.gallery(target).T
    np.testing.assert_array_equal(ours, theirs.numpy())
    assert fitted.transform(source).shape == (160, fitted.adapter_.d_search)


def test_the_score_is_the_mean_recall_of_evaluate(sides, fitted):
    source, target = (side[:60] for side in sides)
    found = align.evaluate(PairedEmbeddings.from_arrays(source, target), fitted.adapter_).mean
    recalls = [found[f"recall_at_{k}"].value for k in (1, 5, 10)]
    assert fitted.score(source, target) == pytest.approx(np.mean(recalls))
    assert 0.3 < fitted.score(source, target) <= 1
    assert fitted.score(source, np.roll(target, 1, axis=0)) < 0.2


def test_numbers_are_aligned_as_directions(rng):
    numbers = torch.randn(60, generator=rng).numpy()
    source = np.stack([numbers, np.ones_like(numbers), 0 * numbers], axis=1)
    estimator = AlignTransformer(**QUICK).fit(source, numbers)
    assert estimator.n_targets_ == 1
    directions = np.stack([numbers, np.ones_like(numbers)], axis=1)
    again = AlignTransformer(**QUICK).fit(source, directions)
    np.testing.assert_array_equal(
        estimator.transform_target(numbers), again.transform_target(directions)
    )


def test_a_pipeline_and_a_grid_search_fit_score_and_choose(sides):
    search = GridSearchCV(
        make_pipeline(StandardScaler(), AlignTransformer(**QUICK)),
        {"aligntransformer__side": ["both", "source"]},
        cv=2,
    ).fit(*sides)
    means = search.cv_results_["mean_test_score"]
    assert search.best_score_ == max(means) > 0.3
    assert search.best_estimator_.transform(sides[0]).shape[0] == 160


def test_a_clone_is_not_fitted_and_a_pickle_gives_the_same_vectors(sides, fitted):
    copy = clone(fitted)
    assert copy.get_params() == fitted.get_params()
    with pytest.raises(NotFittedError):
        copy.transform(sides[0])
    with pytest.raises(NotFittedError):
        copy.transform_target(sides[1])
    with pytest.raises(NotFittedError):
        copy.score(*sides)
    again = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(again.transform(sides[0]), fitted.transform(sides[0]))


def test_set_output_gives_a_frame_with_a_name_per_column(sides):
    pytest.importorskip("pandas")
    estimator = AlignTransformer(**QUICK).set_output(transform="pandas").fit(*sides)
    frame = estimator.transform(sides[0])
    assert list(frame.columns) == list(estimator.get_feature_names_out())
    assert frame.columns[0] == "aligntransformer0"


def test_targets_of_another_width_are_refused(sides, fitted):
    with pytest.raises(ValueError, match=r"target embeddings must have 9 columns"):
        fitted.transform_target(sides[1][:, :4])
    with pytest.raises(ValueError, match=r"expecting 12 features"):
        fitted.transform(sides[0][:, :4])
    with pytest.raises(ValueError, match=r"at least 20 pairs"):
        AlignTransformer(**QUICK).fit(sides[0][:10], sides[1][:10])


@pytest.fixture(scope="module")
def captions():
    """Five captions a photo: the photos differ, and each repeats with its captions."""
    source, target = shared_factors(60, (12, 9), shared=6, noise=0.6)
    drawn = torch.randn(300, 12, generator=torch.Generator().manual_seed(5))
    rows = torch.arange(60).repeat_interleave(5)
    return (source[rows] + 0.5 * drawn).numpy(), target[rows].numpy(), rows.numpy()


@pytest.mark.filterwarnings("ignore::align.data.repeats.RepeatedItems")
def test_groups_reach_fit_and_evaluate(captions):
    source, target, photos = captions
    names = [f"photo {photo}" for photo in photos]
    expected = align.fit(PairedEmbeddings.from_arrays(source, target, groups=names), **QUICK)
    estimator = AlignTransformer(**QUICK).fit(source, target, groups=names)
    assert estimator.adapter_.card.n_groups == 60
    np.testing.assert_array_equal(estimator.transform(source), expected.queries(source).numpy())
    assert AlignTransformer(**QUICK).fit(source, target).adapter_.card.n_groups == 300
    paired = PairedEmbeddings.from_arrays(source, target, groups=names)
    found = align.evaluate(paired, expected).mean
    recalls = [found[f"recall_at_{k}"].value for k in (1, 5, 10)]
    assert estimator.score(source, target, groups=photos) == pytest.approx(np.mean(recalls))
    assert estimator.score(source, target) < estimator.score(source, target, groups=photos)


def test_captions_of_a_photo_are_in_one_fold_of_the_search(captions, monkeypatch):
    source, target, photos = captions
    seen = []
    real = align.data.splits.deal
    monkeypatch.setattr(
        "align.fitting.model_selection.cross_validation.deal",
        lambda groups, k, *, seed: seen.append((groups, real(groups, k, seed=seed))) or seen[-1][1],
    )
    AlignTransformer(**QUICK).fit(source, target, groups=photos)
    assert seen
    for groups, folds in seen:
        for outside, inside in folds:
            names = [{groups[row] for row in rows.tolist()} for rows in (outside, inside)]
            assert names[0].isdisjoint(names[1])


def test_cross_validation_routes_groups_to_fit_score_and_splitter(captions):
    source, target, photos = captions
    asked = []

    class Recording(AlignTransformer):
        def fit(self, X, Y, groups=None):
            asked.append(("fit", len(set(groups)), len(X)))
            return super().fit(X, Y, groups)

        def score(self, X, Y, groups=None):
            asked.append(("score", len(set(groups)), len(X)))
            return super().score(X, Y, groups)

    with config_context(enable_metadata_routing=True):
        estimator = Recording(**QUICK).set_fit_request(groups=True).set_score_request(groups=True)
        found = cross_val_score(
            estimator, source, target, params={"groups": photos}, cv=GroupKFold(3)
        )
        pipe = make_pipeline(StandardScaler(), estimator)
        search = GridSearchCV(pipe, {"recording__side": ["both"]}, cv=GroupKFold(3))
        search.fit(source, target, groups=photos)
    assert asked[:2] == [("fit", 40, 200), ("score", 20, 100)]
    assert asked.count(("fit", 60, 300)) == 1 and len(asked) == 13
    assert np.isfinite(found).all()


def test_groups_of_another_length_are_refused(captions):
    source, target, photos = captions
    with pytest.raises(ValueError, match="groups must have one entry per row, 300; got 299"):
        AlignTransformer(**QUICK).fit(source, target, groups=photos[1:])
