"""Shares of the parts of a vector: planted encoders of which one knows nothing."""

import pytest
import torch

from align.data.embeddings import PairedEmbeddings
from align.fitting.model_selection import part_weights as shares
from align.fitting.model_selection.part_weights import choose_parts
from tests.helpers.planted import shared_factors


def paired(source, target, **parts):
    return PairedEmbeddings.from_arrays(source, target, **parts)


@pytest.fixture
def sides():
    return shared_factors(300, (12, 10), shared=6, noise=0.5)


def test_a_part_of_pure_noise_loses_its_share(sides, rng):
    source, target = sides
    noise = torch.randn(len(source), 40, generator=rng)
    data = paired(torch.cat([source, noise], dim=1), target, source_parts=(12, 40))
    (parts, plain), tried = choose_parts(data, folds=3, seed=0, weigh=True)
    assert plain is None
    assert parts.shares[0] >= 0.75
    assert len(tried) == 5 and sum(step.chosen for step in tried) == 1


def test_parts_that_know_the_same_stay_even(sides):
    source, target = sides
    data = paired(source, torch.cat([target, 7 * target], dim=1), target_parts=(10, 10))
    (plain, parts), _ = choose_parts(data, folds=3, seed=0, weigh=True)
    assert plain is None
    assert parts.shares == (0.5, 0.5)


def test_without_weighing_shares_are_even_and_nothing_is_tried(sides, rng):
    source, target = sides
    noise = torch.randn(len(source), 40, generator=rng)
    data = paired(torch.cat([source, noise], dim=1), target, source_parts=(12, 40))
    (parts, _), tried = choose_parts(data, folds=3, seed=0, weigh=False)
    assert parts.shares == (0.5, 0.5) and tried == []


def test_a_side_with_a_block_for_each_kind_stays_even(sides):
    source, target = sides
    blocks = torch.zeros(len(target), 20)
    blocks[:150, :10], blocks[150:, 10:] = target[:150], target[150:]
    data = paired(source, blocks, target_parts=(10, 10))
    (_, parts), tried = choose_parts(data, folds=3, seed=0, weigh=True)
    assert parts.shares == (0.5, 0.5) and tried == []


def test_groups_that_the_sample_misses_cost_folds_and_no_error(sides, monkeypatch):
    source, target = sides
    monkeypatch.setattr(shares, "SAMPLE", 40)
    groups = ["large"] * 150 + ["other"] * 149 + ["alone"]
    both = torch.cat([source, source], dim=1)
    data = paired(both, target, groups=groups, source_parts=(12, 12))
    (parts, _), tried = choose_parts(data, folds=3, seed=0, weigh=True)
    assert len(parts.shares) == 2 and tried
