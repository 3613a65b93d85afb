"""Two samples under the same permutations: a classifier and a kernel."""

from __future__ import annotations

import pytest
import torch
from sklearn.metrics import roc_auc_score

import probes
from probes.distribution.two_samples import TwoSamples, _areas, _distances


def test_the_kernel_gives_what_mmd_gives_for_samples_of_one_length(rng):
    x, y = torch.randn(50, 4, generator=rng), torch.randn(50, 4, generator=rng) + 0.4
    of_all = TwoSamples.of(x, y, seed=0).mmd
    # mmd leaves out pairs of one row: their similarity is the difference.
    assert of_all == pytest.approx(probes.mmd(x, y), abs=2e-3)


def test_an_area_is_that_of_scikit_learn_within_each_fold(rng, monkeypatch):
    import probes.distribution.two_samples as module

    x = torch.randn(90, 3, generator=rng, dtype=torch.float64)
    labels = torch.zeros(1, 90, dtype=torch.float64)
    labels[0, :30] = 1
    x[:30] += 0.7
    x -= x.mean(dim=0)
    scored, folds = [], []
    real, dealt = module.numbers_below, module.folds_of
    monkeypatch.setattr(module, "numbers_below", lambda s: scored.append(s) or real(s))
    monkeypatch.setattr(module, "folds_of", lambda *a, **k: folds.extend(dealt(*a, **k)) or folds)
    area = _areas(x, labels, seed=0).item()
    total = sum(
        roc_auc_score(labels[0, inside], scores[0]) * labels[0, inside].sum()
        for (_, inside), scores in zip(folds, scored, strict=True)
    )
    assert area == pytest.approx(float(total / 30), abs=1e-12)
    assert area > 0.75


def test_distances_of_any_labels_are_those_of_the_samples_they_name(rng):
    x = torch.randn(40, 3, generator=rng, dtype=torch.float64)
    labels = torch.zeros(2, 40, dtype=torch.float64)
    labels[0, :15] = 1
    labels[1, 5:20] = 1
    both = _distances(x, labels)
    turned = _distances(torch.cat([x[5:20], x[:5], x[20:]]), labels[:1])
    assert both[1].item() == pytest.approx(turned.item(), abs=2e-6)


def test_p_of_both_is_uniform_where_all_rows_are_of_one_law(rng, monkeypatch):
    monkeypatch.setattr("probes.distribution.two_samples.DRAWS", 99)
    p = torch.tensor(
        [
            TwoSamples.of(
                torch.randn(30, 3, generator=rng), torch.randn(60, 3, generator=rng), seed=seed
            ).p
            for seed in range(150)
        ]
    )
    for level in (0.1, 0.3, 0.6):
        share = (p <= level).double().mean().item()
        assert abs(share - level) < 3.5 * (level * (1 - level) / 150) ** 0.5
