import math

import numpy as np
import pytest
import torch

import align
from align.adapters.calibration.confidence import CONSIDERED, ENOUGH, Confidence, _rest
from align.adapters.calibration.thinned import KEPT, thinned
from align.adapters.closed_form.rcca import rcca
from align.data.embeddings import PairedEmbeddings

SHARPNESS = 12.0


def planted(q, m, *, seed, sharpness=SHARPNESS):
    """Normal scores ``(q, m)`` and the right item of each query, drawn from their softmax."""
    generator = torch.Generator().manual_seed(seed)
    scores = 0.15 * torch.randn(q, m, generator=generator)
    right = torch.multinomial(torch.softmax(sharpness * scores, 1), 1, generator=generator)[:, 0]
    return scores, right


def on_diagonal(scores, right):
    """The same with the right item of row ``i`` in column ``i``."""
    rows = torch.arange(len(scores))
    swapped = scores.clone()
    swapped[rows, rows], swapped[rows, right] = scores[rows, right], scores[rows, rows]
    return swapped


@pytest.fixture(scope="module")
def known():
    galleries = [on_diagonal(*planted(200, 200, seed=seed)) for seed in range(10)]
    return Confidence.of(galleries)


def judged(known, m, *, seed=99, q=1500):
    """The confidence of first hits among ``m`` items, and whether they are right."""
    scores, right = planted(q, m, seed=seed)
    best = scores.topk(min(m, CONSIDERED), dim=1)
    found = [known.probabilities(row, m)[0] for row in best.values.tolist()]
    return torch.tensor(found), best.indices[:, 0] == right


def test_a_planted_sharpness_and_spread_are_found(known):
    assert known.sharpness == pytest.approx(SHARPNESS, rel=0.05)
    assert known.spread == pytest.approx(0.15, rel=0.02)
    assert known.gallery == 200


@pytest.mark.parametrize("m", [40, 200, 1000, 5000])
def test_confidence_means_what_it_says_in_a_gallery_of_any_size(known, m):
    confidence, right = judged(known, m)
    order = confidence.argsort()
    for part in order.chunk(4):
        expected = confidence[part].mean().item()
        error = math.sqrt(expected * (1 - expected) / len(part))
        assert right[part].double().mean().item() == pytest.approx(expected, abs=3.5 * error)


def test_the_probabilities_of_a_whole_gallery_are_its_softmax(known):
    scores = [0.5, 0.4, 0.4, -0.2]
    expected = torch.softmax(known.sharpness * torch.tensor(scores, dtype=torch.float64), 0)
    assert known.probabilities(scores, 4) == pytest.approx(expected.tolist())


def test_confidence_rises_with_the_score_and_the_margin_and_falls_with_the_size(known):
    def first(*scores, size=4):
        return known.probabilities(scores, size)[0]

    low, high = first(0.5, 0.4, 0.3, 0.2), first(0.6, 0.4, 0.3, 0.2)
    assert low < high
    assert first(0.5, 0.45, 0.3, 0.2) < low < first(0.5, 0.35, 0.3, 0.2)
    row = torch.linspace(0.5, 0.2, CONSIDERED).tolist()
    sizes = [first(*row, size=size) for size in (CONSIDERED, 200, 1000, 10**6)]
    assert sizes == sorted(sizes, reverse=True) and len(set(sizes)) == 4


def test_hits_behind_the_considered_ones_change_no_confidence(known):
    row = torch.linspace(0.5, 0.2, CONSIDERED + 30).tolist()
    short, long = (known.probabilities(row[:k], 500) for k in (CONSIDERED, len(row)))
    assert long[:CONSIDERED] == short and long[-1] < long[CONSIDERED - 1]


@pytest.mark.parametrize("sharpness", [0.0, 0.5, 3.0, 8.0, 40.0])
def test_what_is_not_looked_at_weighs_as_much_as_normal_scores_would(sharpness):
    scores = -np.sort(-np.random.default_rng(0).standard_normal((300, 2000)), axis=1)
    apart = scores[:, CONSIDERED:] - scores[:, CONSIDERED - 1 : CONSIDERED]
    expected = np.exp(sharpness * apart).sum(axis=1).mean()
    assert _rest(sharpness, 2000, CONSIDERED) == pytest.approx(expected, rel=0.1)


def test_scores_that_tell_nothing_give_every_item_the_same_confidence():
    scores = torch.randn(300, 300, generator=torch.Generator().manual_seed(0))
    known = Confidence.of([scores - 2 * torch.eye(300)])
    assert known.sharpness == 0
    assert known.probabilities([0.9, 0.5], 2) == [0.5, 0.5]
    assert known.probabilities([0.5] * CONSIDERED, 1000)[0] == pytest.approx(1 / 1000)


def test_scores_that_tell_everything_leave_a_doubt():
    known = Confidence.of([torch.eye(20)])
    first = known.probabilities([1.0] + [0.0] * 19, 20)[0]
    assert math.isfinite(known.sharpness) and 0.9 < first < 1


@pytest.mark.parametrize("q", [1, 2, 3])
def test_few_queries_do(q):
    known = Confidence.of([torch.eye(q)])
    assert math.isfinite(known.sharpness) and math.isfinite(known.spread)
    assert known.probabilities([0.5, 0.1], 2)[0] >= 0.5


def test_no_more_queries_are_looked_at_than_are_enough():
    block = torch.eye(ENOUGH // 2)
    assert Confidence.of([block] * 2 + [-block]).sharpness > 0


@pytest.mark.parametrize("coverage", [0.5, 0.8, 0.9, 0.95])
def test_the_line_is_reached_by_right_items_as_often_as_it_says(coverage):
    generator = torch.Generator().manual_seed(0)
    reached = []
    for _ in range(400):
        right = torch.randn(60, generator=generator)
        known = Confidence(thinned(right.sort().values), sharpness=1.0, spread=1.0, gallery=60)
        line = torch.tensor(known.line(coverage), dtype=torch.float64)
        reached.append(1 - torch.special.ndtr(line).item())
    assert np.mean(reached) == pytest.approx(coverage, abs=0.02)


def test_a_line_for_too_high_a_coverage_is_refused():
    known = Confidence(torch.arange(9.0), sharpness=1.0, spread=1.0, gallery=9)
    assert known.line(0.9) == 0.0
    with pytest.raises(ValueError, match=r"at most 0.900, .* on 9 queries; got 0.95. Lower it"):
        known.line(0.95)
    with pytest.raises(ValueError, match=r"coverage must lie in \(0, 1\); got 90"):
        known.line(90)


def test_a_thinned_sample_keeps_its_shares():
    values = torch.randn(20_000, generator=torch.Generator().manual_seed(0)).sort().values
    kept = thinned(values)
    assert len(kept) == KEPT and kept.equal(kept.sort().values)
    for share in (0.05, 0.5, 0.95):
        assert kept.quantile(share).item() == pytest.approx(values.quantile(share).item(), abs=0.02)
    assert thinned(values[:KEPT]).equal(values[:KEPT])


@pytest.fixture(scope="module")
def pairs():
    generator = torch.Generator().manual_seed(0)
    shared = torch.randn(1500, 24, generator=generator)

    def seen(d):
        own = torch.randn(24, d, generator=generator)
        return shared @ own + 5 * torch.randn(1500, d, generator=generator)

    return PairedEmbeddings.from_arrays(seen(40), seen(32))


def test_fit_calibrates_both_directions_from_pairs_it_holds_out(pairs):
    train, test = pairs.split(test=0.5)
    adapter = align.fit(train, effort="fast")
    for side, scores in (
        ("source", adapter.queries(test.source) @ adapter.gallery(test.target).T),
        (
            "target",
            adapter.queries(test.target, side="target")
            @ adapter.gallery(test.source, side="source").T,
        ),
    ):
        known = adapter.calibration.confidence(side)
        first = [
            known.probabilities(row, len(scores))[0]
            for row in scores.sort(dim=1, descending=True).values.tolist()
        ]
        right = (scores.argmax(dim=1) == torch.arange(len(scores))).double().mean().item()
        assert np.mean(first) == pytest.approx(right, abs=0.06) and 0.1 < right < 0.9
        reached = (scores.diagonal() >= known.line(0.9)).double().mean().item()
        assert reached == pytest.approx(0.9, abs=0.04)


def test_an_adapter_made_by_hand_is_calibrated_on_held_out_pairs(pairs, tmp_path):
    train, held_out = pairs.split(test=0.5)
    plain = rcca(train.source, train.target)
    assert plain.calibration is None
    adapter = plain.calibrated(held_out)
    assert plain.calibration is None and adapter.source_map is plain.source_map
    adapter.save(tmp_path / "adapter")
    again, known = align.load(tmp_path / "adapter").calibration, adapter.calibration
    for side in ("source", "target"):
        one, other = again.confidence(side), known.confidence(side)
        assert one.scores.equal(other.scores)
        assert (one.sharpness, one.spread, one.gallery) == (
            other.sharpness,
            other.spread,
            other.gallery,
        )


def test_each_group_is_asked_once(pairs):
    adapter = rcca(pairs.source[:500], pairs.target[:500])
    rest = pairs.take(range(500, 700))
    groups = [str(row // 4) for row in range(200)]
    grouped = PairedEmbeddings.from_arrays(rest.source, rest.target, groups=groups)
    assert adapter.calibrated(rest).calibration.confidence("source").gallery == 200
    assert adapter.calibrated(grouped).calibration.confidence("source").gallery == 50


def test_pairs_that_calibrate_nothing_are_refused(pairs):
    adapter = rcca(pairs.source[:500], pairs.target[:500])
    with pytest.raises(ValueError, match=r"fitted on 10 of these 100, .* held_out.take"):
        adapter.calibrated(pairs.take(range(490, 590)))
    with pytest.raises(ValueError, match=r"at least 20 held-out pairs .* got 19 of 19"):
        adapter.calibrated(pairs.take(range(500, 519)))
    one = PairedEmbeddings.from_arrays(
        pairs.source[500:600], pairs.target[500:600], groups=["a"] * 100
    )
    with pytest.raises(ValueError, match=r"of several groups.* got 100 of 1"):
        adapter.calibrated(one)
