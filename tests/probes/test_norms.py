"""Which norms each public probe takes: its docstring says it, and it does what it says."""

from __future__ import annotations

import warnings

import numpy as np
import pandas
import pytest
import torch
import torch.nn.functional as F

import probes

N = 60
RNG = torch.Generator().manual_seed(0)
X = F.normalize(torch.randn(N, 12, generator=RNG, dtype=torch.float64) + 0.3, dim=1)
Y = F.normalize(X + 0.3 * torch.randn(N, 12, generator=RNG, dtype=torch.float64), dim=1)
LENGTHS = torch.rand(N, 1, generator=RNG, dtype=torch.float64) + 0.5
ONE_SIDE = {
    "uniformity", "participation_ratio", "effective_rank", "two_nn", "mean_cosine", "iso_score"
}  # fmt: skip
NOT_PROBES = {
    "about", "compare", "compare_similarities", "cluster_probe", "drift", "report"
}  # fmt: skip
PROBES = sorted(name for name in probes.__all__ if name[0].islower() and name not in NOT_PROBES)
SAID = {
    "unit": "Norms: 1; rows of any other are refused.",
    "cosine": "Norms: any; a cosine does not depend on them.",
    "search": "Norms: as they are; the score is the inner product, as in an index.",
    "shape": "Norms: as they are; one scale for all rows changes nothing.",
    "linear": "Norms: as they are; the value grows with the scale of all rows.",
    "square": "Norms: as they are; the value grows with the square of the scale of all rows.",
    "clouds": "Norms: as they are, and so are those of what comes back.",
}


def value(name, x, y):
    sides = (x,) if name in ONE_SIDE else (x, y)
    labels = (["a", "b"] * (N // 2),) if name == "cluster_v_measure" else ()
    options = {"codes": 4} if name == "pq_agreement" else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", probes.UnreliableEstimate)
        found = getattr(probes, name)(*sides, *labels, **options)
    if name == "canonical_spectrum":
        return found.held_out.numpy()
    if name == "gap_shift":
        return np.array([(point.gap, point.recall, point.loss) for point in found.points])
    parts = found if isinstance(found, tuple) else (found,)
    return np.concatenate([np.atleast_1d(np.asarray(part, dtype=float)).ravel() for part in parts])


def case(name):
    text = " ".join((getattr(probes, name).__doc__ or "").split())
    said = [kind for kind, words in SAID.items() if words in text]
    assert len(said) == 1, f"{name} must say once which norms it takes; got {said}"
    return said[0]


@pytest.mark.parametrize("name", PROBES)
def test_each_probe_does_with_norms_what_it_says(name):
    kind = case(name)
    at_one = value(name, X, Y)
    if kind == "unit":
        with pytest.raises(ValueError, match=r"must have unit norm; .*functional\.normalize"):
            value(name, X * LENGTHS, Y)
        with pytest.raises(ValueError, match="must have unit norm"):
            value(name, 2 * X, 2 * Y)
        return
    if kind == "cosine":
        assert np.allclose(value(name, X * LENGTHS, Y * LENGTHS.flip(0)), at_one, atol=1e-9)
    power = {"linear": 1, "clouds": 1, "square": 2}.get(kind, 0)
    assert np.allclose(value(name, 4 * X, 4 * Y), 4.0**power * at_one, atol=1e-9)
    if kind == "search":
        assert np.array_equal(value(name, 4 * X, Y), at_one)


@pytest.mark.parametrize("name", ["recall_curve", "k_occurrence"])
def test_norms_count_in_a_search(name):
    assert not np.array_equal(value(name, X, Y * LENGTHS.square()), value(name, X, Y))


FORMS = {
    "arrays": lambda x: x.numpy(),
    "frames": lambda x: pandas.DataFrame(x.numpy()),
    "series": lambda x: pandas.Series(list(x.numpy()), [f"r{i}" for i in range(len(x))]),
    "lists of arrays": lambda x: list(x.numpy()),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", PROBES)
def test_each_probe_takes_every_form_with_the_very_same_result(name, form):
    make = FORMS[form]
    assert np.array_equal(value(name, make(X), make(Y)), value(name, X, Y))


MATCHED = sorted(set(PROBES) - ONE_SIDE - {
    "k_occurrence", "hubness_skewness", "antihub_share", "hub_share", "robin_hood_index",
    "noise_agreement", "int8_agreement", "pq_agreement",
})  # fmt: skip


@pytest.mark.parametrize("name", MATCHED)
def test_tables_whose_rows_have_other_names_are_refused(name):
    names = [f"r{i}" for i in range(N)]
    x, y = pandas.DataFrame(X.numpy(), names), pandas.DataFrame(Y.numpy(), names[::-1])
    with pytest.raises(ValueError, match=r"name them alike; .* (target|after)\.loc\["):
        value(name, x, y)
