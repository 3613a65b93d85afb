from dataclasses import replace

import pytest
import torch

from align.curation.mismatches import mismatches
from align.data.embeddings import PairedEmbeddings
from tests.helpers.planted import shared_factors

N = 600


@pytest.fixture(scope="module")
def shuffled():
    """Pairs of which one in ten got the target of another of them."""
    source, target = shared_factors(N, (20, 16), shared=12, noise=0.3)
    wrong = torch.arange(0, N, 10)
    target[wrong] = target[wrong.roll(1)]
    return PairedEmbeddings.from_arrays(source, target), wrong


def test_shuffled_pairs_fit_no_better_than_chance_and_true_ones_do(shuffled):
    pairs, wrong = shuffled
    found = mismatches(pairs)
    true = torch.ones(N, dtype=torch.bool)
    true[wrong] = False
    assert found.chance[true].median() < 0.02
    assert 0.3 < found.chance[wrong].mean() < 0.7
    assert found.chance.min() > 0 and found.chance.max() <= 1


def test_planted_mismatches_are_found(shuffled):
    pairs, wrong = shuffled
    found = mismatches(pairs, cut=0.1)
    hit = torch.isin(found.suspects, wrong)
    assert hit.double().mean() > 0.8 and hit.sum() > 0.8 * len(wrong)
    assert found.chance[found.suspects].diff().max() <= 0
    assert found.chance[found.suspects].min() >= 0.1


def test_the_share_of_mismatches_is_estimated(shuffled):
    assert mismatches(shuffled[0]).share == pytest.approx(0.1, abs=0.05)
    clean = PairedEmbeddings.from_arrays(*shared_factors(N, (20, 16), shared=12, noise=0.3))
    assert mismatches(clean).share < 0.01
    unrelated = replace(clean, target=clean.target.flip(0))
    assert mismatches(unrelated).share > 0.85


def test_the_answer_does_not_depend_on_how_a_side_is_turned(shuffled, rng):
    pairs, _ = shuffled
    turn = torch.linalg.qr(torch.randn(20, 20, generator=rng))[0]
    turned = replace(pairs, source=pairs.source @ turn)
    gap = mismatches(pairs).chance - mismatches(turned).chance
    assert gap.abs().max() < 0.01


def test_pairs_of_one_group_are_not_held_against_each_other():
    """Twins are one photo: the other's caption scores as high, and must not count."""
    source, target = shared_factors(200, (20, 16), shared=12, noise=0.1)
    twice = PairedEmbeddings.from_arrays(
        source.repeat(2, 1), target.repeat(2, 1), groups=[str(i % 200) for i in range(400)]
    )
    found = mismatches(twice)
    assert found.chance.median() <= 1 / (1 + 78)


def test_options_out_of_range_are_refused(shuffled):
    pairs, _ = shuffled
    with pytest.raises(ValueError, match=r"cut must lie in \(0, 1\]; got 0"):
        mismatches(pairs, cut=0)
    with pytest.raises(ValueError, match="folds must lie in"):
        mismatches(pairs, folds=1)
    few = pairs.take(range(6))
    with pytest.raises(ValueError, match=r"pairs of two groups.*fold 0 holds 1 pairs of one"):
        mismatches(few, folds=6)
