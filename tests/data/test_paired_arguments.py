"""Pairs handed over as one object or as two sides, at every door that takes them."""

from __future__ import annotations

import numpy as np
import pandas
import pytest
import torch

import align
import probes
from align.curation.hard_negatives import hard_negatives
from align.curation.mismatches import mismatches
from align.data.embeddings import PairedEmbeddings
from align.fitting.training.config import TrainConfig

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 6)).astype(np.float32)
Y = (X @ RNG.normal(size=(6, 5)) + 0.1 * RNG.normal(size=(60, 5))).astype(np.float32)
IDS = [f"p{i}" for i in range(60)]
SIDES = {
    "arrays": (X, Y),
    "tensors": (torch.from_numpy(X), torch.from_numpy(Y)),
    "frames": (pandas.DataFrame(X, IDS), pandas.DataFrame(Y, IDS)),
    "series": (pandas.Series(list(X), IDS), pandas.Series(Y.tolist(), IDS)),
    "lists": (X.tolist(), Y.tolist()),
    "a frame and an array": (pandas.DataFrame(X), Y),
}
PAIRED = PairedEmbeddings.from_arrays(X, Y)
FEW = ["foscttm", "recall_at_10"]


@pytest.fixture(scope="module")
def adapter():
    return align.fit(X, Y, effort="fast")


def test_fit_of_two_sides_is_that_of_their_pairs(adapter):
    wanted = align.fit(PAIRED, effort="fast").source(PAIRED.source)
    assert torch.equal(adapter.source(PAIRED.source), wanted)


@pytest.mark.parametrize("form", SIDES)
def test_all_forms_evaluate_and_report_alike(form, adapter):
    source, target = SIDES[form]
    with pytest.warns(align.NotHeldOut):
        found = align.evaluate(source, target, adapter)
    with pytest.warns(align.NotHeldOut):
        assert found.to_dict() == align.evaluate(PAIRED, adapter).to_dict()
    raw, aligned = (probes.report(source, target, *a, probes=FEW) for a in ((), (adapter,)))
    assert raw.rows == probes.report(PAIRED, probes=FEW).rows
    assert aligned.rows == probes.report(PAIRED, adapter, probes=FEW).rows


@pytest.mark.parametrize("form", ["frames", "lists"])
def test_the_other_doors_take_two_sides_too(form, adapter):
    source, target = SIDES[form]
    assert adapter.trained_on(source, target).all()
    assert mismatches(source, target).chance.equal(mismatches(PAIRED).chance)
    mined = hard_negatives(source, target, adapter, k=2)
    assert mined.rows.equal(hard_negatives(PAIRED, adapter, k=2).rows)
    config = TrainConfig(steps=2)
    trained = align.train(adapter, source, target, config=config)
    wanted = align.train(adapter, PAIRED, config=config)
    assert torch.equal(trained.source(X), wanted.source(X))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_half_and_double_precision_are_fitted_and_measured(dtype, adapter):
    source, target = torch.from_numpy(X).to(dtype), torch.from_numpy(Y).requires_grad_()
    fitted = align.fit(source, target, effort="fast")
    assert fitted.source(source).dtype == torch.float32
    with pytest.warns(align.NotHeldOut):
        align.evaluate(source, target, fitted)
    align.train(fitted, source, target, config=TrainConfig(steps=2))
    assert probes.report(source, target, fitted, probes=FEW).rows


WRONG = {
    "one side": (lambda a: align.fit(X), "a source and a target; got ndarray alone. Pass the"),
    "pairs and a side": (lambda a: align.fit(PAIRED, Y), "got PairedEmbeddings and ndarray. Leave"),
    "raw items": (
        lambda a: align.fit(align.Pairs.from_lists(["a"], ["b"])),
        "must be vectors; got Pairs of raw items. Encode them first",
    ),
    "no adapter": (lambda a: align.evaluate(X, Y), "has queries and gallery, .* got NoneType"),
    "no adapter beside pairs": (lambda a: align.evaluate(PAIRED, Y), "got ndarray. Pass it last"),
    "a side in its place": (lambda a: probes.report(PAIRED, Y), "got ndarray. Pass two sides as"),
    "pairs, a side and an adapter": (
        lambda a: align.evaluate(PAIRED, Y, a),
        "got PairedEmbeddings and ndarray. Leave",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_calls_that_are_neither_are_told_how(case, adapter):
    call, message = WRONG[case]
    with pytest.raises(TypeError, match=message):
        call(adapter)
