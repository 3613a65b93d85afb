"""Masked and softened contrastive losses of mixed modalities."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch

from align.fitting.losses.contrastive import info_nce
from align.fitting.losses.modality_aware import mac, mamcl, skipped_rows
from tests.helpers.planted import unit_sides

TARGETS = torch.tensor(
    [1, 2, 1, 3, 2, 1, 2]
)  # The fourth is a text with an image: of its own kind.
SOURCES = torch.tensor([1, 1, 2, 2, 1, 2, 1])
GROUPS = torch.tensor([0, 1, 0, 2, 3, 4, 5])


drawn = partial(unit_sides, n=7, d=5)


def by_hand(source, target, modality, temperature, groups):
    losses = []
    for u in range(len(source)):
        e = [math.exp(float(source[u] @ row) / temperature) for row in target]
        wrong = [
            e[v]
            for v in range(len(source))
            if groups[v] != groups[u] and modality[v] == modality[u]
        ]
        if wrong:
            losses.append(-math.log(e[u] / (e[u] + sum(wrong))))
    return sum(losses) / len(losses)


def test_only_targets_of_the_same_mask_are_negatives(rng):
    source, target = drawn(rng)
    rows = torch.arange(7)
    found = mamcl(source, target, TARGETS, temperature=0.3)
    assert found.item() == pytest.approx(by_hand(source, target, TARGETS, 0.3, rows), rel=1e-12)
    grouped = mamcl(source, target, TARGETS, temperature=0.3, groups=GROUPS)
    assert grouped.item() == pytest.approx(by_hand(source, target, TARGETS, 0.3, GROUPS), rel=1e-12)


def test_the_reverse_direction_is_masked_by_the_sources(rng):
    source, target = drawn(rng)
    rows = torch.arange(7)
    found = mamcl(source, target, TARGETS, temperature=0.3, source_modality=SOURCES, symmetric=True)
    forward = by_hand(source, target, TARGETS, 0.3, rows)
    backward = by_hand(target, source, SOURCES, 0.3, rows)
    assert found.item() == pytest.approx((forward + backward) / 2, rel=1e-12)


@pytest.mark.parametrize("positives", ["own", "sum", "mean"])
@pytest.mark.parametrize("groups", [None, GROUPS], ids=["own groups", "shared groups"])
@pytest.mark.parametrize("symmetric", [False, True])
def test_with_one_modality_both_are_info_nce_to_the_bit(positives, groups, symmetric, rng):
    source, target = drawn(rng)
    one = torch.full((7,), 3)
    options = {"groups": groups, "positives": positives, "symmetric": symmetric}
    expected = info_nce(source, target, temperature=0.1, **options)
    masked = mamcl(source, target, one, temperature=0.1, source_modality=one, **options)
    assert masked.equal(expected)
    soft = mac(source, target, TARGETS, within=0.1, across=0.1, source_modality=SOURCES, **options)
    assert soft.equal(expected)


def test_targets_of_other_modalities_do_not_move_the_gradient_of_a_modality(rng):
    source, target = drawn(rng)
    texts = TARGETS == 1

    def gradient(source, target, modality):
        target = target.clone().requires_grad_()
        mamcl(source, target, modality, temperature=0.2).backward()
        return target.grad

    alone = gradient(source[texts], target[texts], TARGETS[texts])
    among_others = gradient(source, target, TARGETS)[texts]
    # Six rows count in the mean, of which three are texts.
    torch.testing.assert_close(among_others, alone * 3 / 6)


@pytest.mark.parametrize("positives", ["sum", "mean"])
def test_group_members_of_another_modality_are_masked_too(positives, rng):
    source, target = drawn(rng, n=4)
    modality, groups = torch.tensor([1, 2, 1, 2]), torch.tensor([0, 0, 1, 2])
    found = mamcl(source, target, modality, temperature=0.3, groups=groups, positives=positives)
    alone = mamcl(source, target, modality, temperature=0.3)
    torch.testing.assert_close(found, alone)


def test_rows_without_a_negative_are_counted():
    assert skipped_rows(TARGETS) == 1
    assert skipped_rows(SOURCES) == 0
    assert skipped_rows(TARGETS, groups=torch.tensor([0, 1, 0, 2, 1, 0, 1])) == 7
    assert skipped_rows(torch.arange(4)) == 4
    assert skipped_rows(torch.ones(4, dtype=torch.int64), groups=torch.tensor([0, 0, 0, 1])) == 0


def test_a_batch_in_which_no_row_has_a_negative_is_refused(rng):
    source, target = drawn(rng)
    with pytest.raises(ValueError, match="a row with a negative of its own modality; all 7 rows"):
        mamcl(source, target, torch.arange(7), temperature=0.1)
    with pytest.raises(ValueError, match="all 7 rows have none"):
        mamcl(
            source, target, TARGETS, temperature=0.1, source_modality=torch.arange(7),
            symmetric=True,
        )  # fmt: skip


def test_mac_divides_by_one_temperature_within_and_another_across(rng):
    source, target = drawn(rng)
    expected = 0.0
    for u in range(7):
        e = [
            math.exp(float(source[u] @ target[v]) / (0.2 if TARGETS[v] == TARGETS[u] else 0.7))
            for v in range(7)
        ]
        expected -= math.log(e[u] / sum(e)) / 7
    found = mac(source, target, TARGETS, within=0.2, across=0.7)
    assert found.item() == pytest.approx(expected, rel=1e-12)
    both = mac(
        source, target, TARGETS, within=0.2, across=0.7, source_modality=SOURCES, symmetric=True
    )
    reverse = mac(target, source, SOURCES, within=0.2, across=0.7)
    torch.testing.assert_close(both, (found + reverse) / 2)


def test_temperatures_can_be_learned_beside_masks(rng):
    source, target = drawn(rng)
    masked = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    source.requires_grad_()

    def hard(source, temperature):
        return mamcl(
            source, target, TARGETS, temperature=temperature, groups=GROUPS,
            source_modality=SOURCES, symmetric=True,
        )  # fmt: skip

    assert torch.autograd.gradcheck(hard, (source, masked))
    other = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)

    def soft(source, within, across):
        return mac(source, target, TARGETS, within=within, across=across, groups=GROUPS)

    assert torch.autograd.gradcheck(soft, (source, masked, other))


@pytest.mark.parametrize("modality", [TARGETS[:3], TARGETS.float()], ids=str)
def test_modalities_that_do_not_fit_are_refused(modality, rng):
    source, target = drawn(rng)
    for loss in (
        lambda: mamcl(source, target, modality, temperature=0.1),
        lambda: mac(source, target, modality, within=0.1, across=0.1),
    ):
        with pytest.raises(ValueError, match="target_modality must be one int64 code per row"):
            loss()
    with pytest.raises(ValueError, match="target_modality must be one int64 code per row"):
        skipped_rows(TARGETS.float())


def test_the_reverse_direction_needs_the_modality_of_sources(rng):
    source, target = drawn(rng)
    with pytest.raises(ValueError, match="source_modality must be given"):
        mamcl(source, target, TARGETS, temperature=0.1, symmetric=True)
    with pytest.raises(ValueError, match="source_modality must be given"):
        mac(source, target, TARGETS, within=0.1, across=0.1, symmetric=True)


def test_temperatures_that_are_not_positive_are_refused(rng):
    source, target = drawn(rng)
    with pytest.raises(ValueError, match="temperature must be finite and above 0"):
        mamcl(source, target, TARGETS, temperature=0.0)
    with pytest.raises(ValueError, match="within must be finite and above 0"):
        mac(source, target, TARGETS, within=0.0, across=1.0)
    with pytest.raises(ValueError, match="across must be finite and above 0"):
        mac(source, target, TARGETS, within=1.0, across=-1.0)
