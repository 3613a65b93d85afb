"""``probes.drift``: what moved is said to have, and what did not is not."""

from __future__ import annotations

import json

import pytest
import torch
import torch.nn.functional as F

import probes
from align._display.lines import LONGEST
from align.adapters.calibration.calibration import Calibration
from align.adapters.calibration.confidence import Confidence
from align.adapters.calibration.domain import Domain, _distances
from align.adapters.closed_form.rcca import rcca
from align.adapters.training_items import TrainingItems
from align.data.embeddings import Embeddings, PairedEmbeddings
from probes.distribution.drift import _outside

D, WIDE = 12, 16


def draw(n, generator, *, shift=0.0, scale=1.0):
    """Items of which the first directions vary most, moved along the first."""
    spread = torch.linspace(2.0, 0.2, D)
    items = torch.randn(n, D, generator=generator) * spread * scale + 0.5
    items[:, 0] += shift
    return items


def adapter_on(source, target=None):
    """An adapter that remembers its pairs; the maps do not matter here."""
    if target is None:
        target = source @ torch.randn(D, WIDE, generator=torch.Generator().manual_seed(9))
    plain = rcca(source, target)
    return plain.replaced(training_items=TrainingItems.of(source, target))


def calibration_of(items, seed=0):
    """Of adapters that only tell what their items look like."""
    domain = Domain.of(items, [str(row) for row in range(len(items))], seed=seed)
    scores = Confidence(torch.arange(9.0), sharpness=1.0, spread=1.0, gallery=9)
    return Calibration(domain, domain, scores, scores)


@pytest.fixture
def few_draws(monkeypatch):
    """Enough to say how often a level is passed."""
    monkeypatch.setattr("probes.distribution.two_samples.DRAWS", 99)


@pytest.fixture(scope="module")
def train():
    return draw(400, torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def adapter(train):
    return adapter_on(train)


@pytest.mark.parametrize("whole", [False, True])
def test_a_stream_of_the_same_law_has_not_moved_and_one_that_was_shifted_has(
    adapter, train, rng, whole
):
    reference = train if whole else None
    same = probes.drift(adapter, draw(150, rng), reference=reference)
    assert (same.action, same.drifted) == ("nothing", False)
    assert same.columns == (D if whole else 8)
    moved = probes.drift(adapter, draw(150, rng, shift=3.0), reference=reference)
    assert moved.action == "refit" and moved.p == pytest.approx(1 / 500)
    assert moved.test.auc > 0.8 > same.test.auc


def test_half_of_a_stream_replaced_is_noticed_and_a_little_calls_for_no_pairs(adapter, rng):
    part = torch.cat([draw(100, rng), draw(100, rng, shift=4.0)])
    assert probes.drift(adapter, part).action == "refit"
    little = probes.drift(adapter, draw(1_000, rng, shift=0.5))
    assert little.action == "watch" and little.test.mmd < 0.01


def test_a_change_of_spread_that_no_plane_separates_is_noticed_by_the_kernel(adapter, train, rng):
    # Around its mean direction each item lies nearer; the means stay where they were.
    middle = F.normalize(train, dim=1).mean(dim=0)
    fresh = F.normalize(draw(300, rng), dim=1)
    found = probes.drift(adapter, middle + 0.4 * (fresh - middle), reference=train)
    assert found.test.mmd_p < 0.01


def test_a_few_items_of_another_kind_are_noticed_one_by_one(train, rng):
    calibrated = adapter_on(train).replaced(calibration=calibration_of(train))
    strange = draw(20, rng)
    strange[:, -1] += 4  # where items hardly vary
    few = probes.drift(calibrated, torch.cat([draw(180, rng), strange]))
    assert few.test.p > 0.05 and few.outside.share > 0.08 and few.drifted
    assert few.p == pytest.approx(5 * few.outside.p) and few.action == "watch"
    none = probes.drift(calibrated, draw(150, rng))
    assert none.outside.share < 0.1 and none.action == "nothing"
    assert "out of domain" in str(none) and "5.0 % where nothing moved" in none._repr_html_()


def test_the_number_of_flagged_items_has_the_level_that_is_stated(rng):
    """Items share the distances they are compared with: their number is more than binomial."""
    law = Domain.of(draw(2_000, rng), [str(row) for row in range(2_000)])
    parts = law.mean, law.axes, law.precisions
    scores = Confidence(torch.arange(9.0), sharpness=1.0, spread=1.0, gallery=9)
    adapter, alarms = adapter_on(draw(60, rng)), 0
    for _ in range(150):
        distances = _distances(F.normalize(draw(40, rng), dim=1), *parts).sort().values
        domain = Domain(*parts, distances)
        known = adapter.replaced(calibration=Calibration(domain, domain, scores, scores))
        alarms += _outside(known, draw(200, rng), "source").p <= 0.1
    assert 4 <= alarms <= 27  # 15 on average; binomial gives 37


def test_norms_do_not_count(adapter, rng):
    new = draw(60, rng)
    lengths = 1 + torch.rand(60, 1, generator=rng)
    assert probes.drift(adapter, new * lengths).test.auc == pytest.approx(
        probes.drift(adapter, new).test.auc, abs=1e-3
    )


def test_the_level_holds_for_streams_that_did_not_move(rng, few_draws):
    def p(seed):
        source, new = draw(100, rng), draw(40, rng)
        return probes.drift(adapter_on(source), new, seed=seed).p

    alarms = sum(p(seed) <= 0.1 for seed in range(120))
    assert 4 <= alarms <= 22  # 12 on average; each bound is passed once in 300


def test_the_captions_of_a_photo_do_not_pass_for_independent_draws(rng, few_draws):
    """Five near-equal captions a photo, on both sides: without their groups, chance looks real."""

    def captions(photos):
        rows = draw(photos, rng).repeat_interleave(5, dim=0)
        return rows + 0.02 * torch.randn(rows.shape, generator=rng)

    alarms = {"groups": 0, "none": 0}
    for seed in range(40):
        source = captions(60)
        photos = torch.randn(60, WIDE, generator=rng).repeat_interleave(5, dim=0)
        adapter, new = adapter_on(source, photos), captions(40)
        groups = [str(row // 5) for row in range(len(new))]
        alarms["groups"] += probes.drift(adapter, new, groups=groups, seed=seed).drifted
        pairs = PairedEmbeddings.from_arrays(source, photos)
        alarms["none"] += probes.drift(adapter, new, reference=pairs, seed=seed).drifted
    assert alarms["groups"] <= 6 and alarms["none"] >= 15


def test_a_class_label_that_all_items_share_makes_no_group(rng):
    labels = torch.eye(WIDE)[:2].repeat(100, 1)
    found = probes.drift(adapter_on(draw(200, rng), labels), draw(100, rng))
    assert found.known == 200


def test_frequent_items_are_not_taken_for_a_drift(rng, few_draws):
    """Words of a Zipf law: the distinct ones of a long sample are rarer than those of a short."""
    words = draw(2_000, rng)
    words = words[words[:, 0].argsort()]  # so that frequency is a direction
    chances = 1 / (1 + torch.arange(2_000.0))

    def stream(n):
        return words[torch.multinomial(chances, n, replacement=True, generator=rng)]

    drifted = [
        probes.drift(adapter_on(stream(800), torch.randn(800, WIDE, generator=rng)), stream(150))
        for _ in range(20)
    ]
    assert sum(each.drifted for each in drifted) <= 4


def test_the_other_side_is_compared_with_its_own_items(train, adapter, rng):
    weight = torch.randn(D, WIDE, generator=torch.Generator().manual_seed(9))
    assert not probes.drift(adapter, draw(100, rng) @ weight, side="target").drifted
    with pytest.raises(ValueError, match="target embeddings must have 16 columns"):
        probes.drift(adapter, draw(100, rng), side="target")


def test_groups_of_the_reference_count(adapter, train, rng):
    groups = [f"{row // 4}" for row in range(len(train))]
    pairs = PairedEmbeddings.from_arrays(train, train, groups=groups)
    assert probes.drift(adapter, draw(50, rng), reference=pairs).known == 100


def test_what_is_shown_says_what_was_compared_and_what_to_do(adapter, rng):
    found = probes.drift(adapter, draw(150, rng, shift=3.0))
    assert repr(found).startswith("Drift(refit, p 0.002, AUC 0.")
    assert "make sure that the same encoder made them" in found.recommendation
    assert all(len(line) <= LONGEST for line in str(found).split("\n"))
    assert "add pairs of that kind" in found._repr_html_()
    again = json.loads(json.dumps(found.to_dict()))
    assert again["action"] == "refit" and again["test"]["auc"] == found.test.auc
    known = Embeddings(draw(60, rng, shift=3.0), "text/x", tuple(map(str, range(60))))
    assert "same encoder" not in probes.drift(adapter, known).recommendation


def test_vectors_of_another_encoder_are_refused(adapter, rng):
    from dataclasses import replace

    named = adapter.replaced(card=replace(adapter.card, source_fingerprint="text/a"))
    other = Embeddings(draw(60, rng), "text/b", tuple(map(str, range(60))))
    with pytest.raises(ValueError, match="fitted on vectors of text/a"):
        probes.drift(named, other)


@pytest.mark.parametrize(
    ("said", "options", "rows"),
    [
        ("level must lie in", {"level": 0.0}, 60),
        ("at least 20 different items .* got 12 new items", {}, 12),
        ("side must be", {"side": "queries"}, 60),
        ("must come from one encoder", {"reference": torch.randn(30, 5)}, 60),
    ],
)
def test_what_cannot_be_compared_is_refused(adapter, rng, said, options, rows):
    with pytest.raises(ValueError, match=said):
        probes.drift(adapter, draw(rows, rng), **options)


def test_an_adapter_that_remembers_nothing_needs_a_reference(adapter, train, rng):
    bare = adapter.replaced(training_items=None)
    with pytest.raises(ValueError, match="Pass the training vectors as reference"):
        probes.drift(bare, draw(60, rng))
    assert not probes.drift(bare, draw(60, rng), reference=train).drifted
