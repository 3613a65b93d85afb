"""A learning curve of planted pairs says whether more of them would help."""

from __future__ import annotations

import json

import pytest
import torch

import align
from align.adapters.closed_form.rcca import rcca
from align.data.embeddings import PairedEmbeddings
from align.fitting.learning_curve import measure
from tests.helpers.planted import shared_factors


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """A fit of fixed settings; what is fitted on is remembered."""
    seen = []

    def fixed(pairs, **options):
        assert options == {"effort": "fast", "seed": 0, "progress": False}
        seen.append(pairs)
        return rcca(pairs.source, pairs.target, power=0.5)

    monkeypatch.setattr(measure, "fit", fixed)
    return seen


def planted(n=240, widths=(30, 40), noise=4.0, shared=20):
    return shared_factors(n, widths, shared=shared, noise=noise, seed=0)


def curve(x, y, **options):
    return align.learning_curve(x, y, progress=False, **options)


def test_recall_rises_with_pairs_and_more_would_help(quick):
    found = curve(*planted())
    assert [point.n_pairs for point in found.points] == [30, 60, 120, 192]
    assert found.gallery_size == 48 and found.rounds == 5 and len(quick) == 20
    recall = [point.metrics["recall_at_1"].value for point in found.points]
    assert recall == sorted(recall) and recall[-1] > recall[0] + 0.1
    assert found.better_than_chance and found.raw is None
    assert found.chance["recall_at_1"] == pytest.approx(1 / 48)
    assert found.verdict.startswith("Another 240 pairs would bring")
    gain = found.gain(240)["recall_at_1"]
    assert 0 < gain.low < gain.value < gain.high


def test_nothing_that_is_held_out_was_fitted_on(quick, monkeypatch):
    x, y = planted()
    judged = []
    of = measure._ranks
    monkeypatch.setattr(measure, "_ranks", lambda maps, p: judged.append(p) or of(maps, p))
    curve(x, y)
    for fitted, held_out in zip(quick, judged, strict=True):
        assert not set(fitted.ids) & set(held_out.ids)


def test_unrelated_sides_cannot_be_helped():
    x = torch.randn(150, 8, generator=torch.Generator().manual_seed(1))
    y = torch.randn(150, 9, generator=torch.Generator().manual_seed(2))
    found = curve(x, y, folds=3)
    assert not found.better_than_chance
    assert found.verdict.startswith("An adapter cannot help here: recall at 1 is no better than")
    assert "cannot help" in found._repr_html_()


def test_sides_that_agree_already_cannot_be_helped():
    x, _ = planted(200)
    found = curve(x, x + 0.01 * x.flip(0), folds=3)
    assert found.raw["recall_at_1"].value == 1.0
    assert found.verdict.startswith("An adapter cannot help here: the raw cosine finds as much")


def test_sides_that_are_as_good_as_they_get_are_limited_by_their_encoders():
    x, y = planted(400, noise=0.02, shared=6)
    found = curve(x, y, folds=3)
    assert found.verdict.startswith("The encoders are the limit: another 400 pairs would bring")


def test_an_interrupted_curve_goes_on_and_gives_the_same(quick, tmp_path, monkeypatch):
    x, y = planted(120)
    whole = curve(x, y, folds=3)
    quick.clear()
    fixed, left = measure.fit, [4]

    def interrupted(pairs, **options):
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        return fixed(pairs, **options)

    monkeypatch.setattr(measure, "fit", interrupted)
    with pytest.raises(KeyboardInterrupt) as stopped:
        curve(x, y, folds=3, resume=tmp_path / "kept")
    assert "4 of 9 fits are kept" in stopped.value.__notes__[0]
    monkeypatch.setattr(measure, "fit", fixed)
    quick.clear()
    again = curve(x, y, folds=3, resume=tmp_path / "kept")
    assert len(quick) == 5
    assert again.to_dict() == whole.to_dict()
    with pytest.raises(ValueError, match="it is of others"):
        curve(x, y, folds=4, resume=tmp_path / "kept")


def test_groups_stay_together_and_count_once():
    x, y = planted(300)
    pairs = PairedEmbeddings.from_arrays(x, y, groups=[str(row // 2) for row in range(300)])
    found = align.learning_curve(pairs, folds=3, progress=False)
    assert found.n_groups == 150 and found.gallery_size == 50


def test_it_is_printed_drawn_and_written():
    found = curve(*planted(200), folds=3)
    assert "200 (predicted)" in str(found) and "chance" in str(found)
    told = json.loads(json.dumps(found.to_dict()))
    assert [each["n_pairs"] for each in told["predicted"]] == [200, 400, 800]
    figure = found.plot()
    assert [axes.get_xlabel() for axes in figure.axes] == ["training pairs"] * 2


def test_too_few_pairs_or_folds_are_refused():
    x, y = planted(99)
    with pytest.raises(ValueError, match=r"at least 100 pairs.* got 99"):
        curve(x, y)
    with pytest.raises(ValueError, match="folds must be finite and at least 3"):
        curve(*planted(120), folds=2)
    with pytest.raises(ValueError, match="n_pairs"):
        curve(*planted(120), folds=3).at(0)
