import json

import numpy as np
import pytest
import torch
from scipy import stats

import align
from align.data.embeddings import PairedEmbeddings
from align.metrics.comparison.compare import PARTS, RawCosine, compare
from align.metrics.estimates import MEANS
from align.metrics.evaluation import NotHeldOut, evaluate
from tests.metrics.comparison.ranked import Noisy, Same, Shuffled, pairs, planted


def test_a_better_adapter_is_better_by_the_difference_of_the_metrics(rng):
    paired = pairs(rng, n=150, noise=0.2)
    good, bad = evaluate(paired, Same()), evaluate(paired, Noisy(2.0))
    found = compare({"bad": Noisy(2.0), "good": Same()}, paired)
    assert len(found.rows) == len(MEANS) * len(PARTS)
    for part, of_good, of_bad in [
        ("source_to_target", good.source_to_target.metrics, bad.source_to_target.metrics),
        ("target_to_source", good.target_to_source.metrics, bad.target_to_source.metrics),
        ("mean", good.mean, bad.mean),
    ]:
        for name in MEANS:
            row = found.row(name, part)
            difference = row.differences["good"]
            assert difference.value == pytest.approx(of_good[name].value - of_bad[name].value)
            assert 0 < difference.low < difference.value < difference.high, name
            assert difference.p == pytest.approx(1 / 10_001), name
            assert row.outcome("good") == "better"
            assert row.scores["good"].value == of_good[name].value
            assert (row.scores["bad"].low, row.scores["bad"].high) == (
                of_bad[name].low,
                of_bad[name].high,
            )
    swapped = compare({"bad": bad, "good": good}, baseline="good").row("recall_at_1")
    there, back = found.row("recall_at_1").differences["good"], swapped.differences["bad"]
    assert back.value == pytest.approx(-there.value)
    assert (back.low, back.high) == pytest.approx((-there.high, -there.low))
    assert back.p == there.p
    assert swapped.outcome("bad") == "worse"


def test_an_adapter_does_not_differ_from_itself(rng):
    found = compare({"one": Same(), "same": Same()}, pairs(rng))
    for row in found.rows:
        difference = row.differences["same"]
        assert (difference.value, difference.low, difference.high) == (0.0, 0.0, 0.0)
        assert difference.p == difference.p_holm == 1.0
        assert row.outcome("same") == "no difference shown"
    assert "No difference in partners found is shown between same and one" in found.verdict


def test_a_system_with_other_pairs_than_its_own_is_worse(rng):
    paired = pairs(rng, n=120)
    found = compare({"ours": Same(), "shuffled": Shuffled()}, paired)
    assert {row.outcome("shuffled") for row in found.rows} == {"worse"}
    assert found.verdict.startswith("ours finds more partners than shuffled: recall@10 +")


def test_chance_stands_beside_every_score(rng):
    found = compare({"one": Same(), "two": Noisy(1.0)}, pairs(rng, n=50))
    chance = [score.chance for score in found.row("recall_at_5").scores.values()]
    assert chance == pytest.approx([0.1, 0.1])


def test_a_small_gallery_is_led_by_the_first_place(rng):
    systems = {"one": Same(), "two": Noisy(1.0)}
    assert compare(systems, pairs(rng, n=60)).lead == "recall_at_1"
    assert compare(systems, pairs(rng, n=120)).lead == "recall_at_10"


def test_adapters_that_are_alike_are_rarely_told_apart(rng):
    groups = torch.arange(30).repeat_interleave(5)
    p = []
    for seed in range(60):
        a, b = (
            planted(
                torch.randint(1, 100, (30,), generator=rng)[groups],
                torch.randint(1, 100, (30,), generator=rng),
                groups,
            )
            for _ in range(2)
        )
        row = compare({"b": b, "a": a}, seed=seed).row("mean_reciprocal_rank")
        p.append(row.differences["a"].p)
    assert stats.kstest(p, "uniform").pvalue > 0.01


def test_intervals_of_systems_that_are_alike_hold_nothing_in_95_of_100(rng):
    groups, repeats = torch.arange(50), 150
    held = 0
    for seed in range(repeats):
        a, b = (planted(*torch.randint(1, 100, (2, 50), generator=rng), groups) for _ in range(2))
        difference = compare({"b": b, "a": a}, seed=seed).row("mean_reciprocal_rank").differences
        held += difference["a"].low <= 0 <= difference["a"].high
    # Binomial with 150 draws: three standard deviations below 0.95, less 1.5 points that a
    # percentile interval of 50 pairs is known to lack.
    assert 0.95 - 3 * (0.95 * 0.05 / repeats) ** 0.5 - 0.015 < held / repeats <= 1.0


def test_the_p_value_is_that_of_all_swaps_of_scipy(rng):
    groups = torch.arange(11)
    a, b = (planted(*torch.randint(1, 6, (2, 11), generator=rng), groups) for _ in range(2))
    found = compare({"b": b, "a": a}).row("mean_reciprocal_rank").differences["a"]

    def values(evaluation):
        forth, back = evaluation.source_to_target.ranks, evaluation.target_to_source.ranks
        return ((1 / forth.double() + 1 / back.double()) / 2).numpy()

    def statistic(x, y, axis):
        return (x - y).mean(axis=axis)

    exact = stats.permutation_test(
        (values(a), values(b)), statistic, permutation_type="samples", n_resamples=np.inf
    )
    assert found.value == pytest.approx(exact.statistic)
    # 10,000 random swaps: four standard errors.
    assert found.p == pytest.approx(exact.pvalue, abs=4 * 0.5 / 100)


def test_the_interval_is_that_of_the_paired_bootstrap_of_scipy(rng):
    paired = pairs(rng, n=80, noise=1.0)
    systems = {"one": Noisy(1.5), "two": Same()}
    found = compare(systems, paired).row("recall_at_5", "source_to_target").differences["two"]
    one, two = (
        (evaluate(paired, system).source_to_target.ranks <= 5).double().numpy()
        for system in systems.values()
    )
    wanted = stats.bootstrap(
        (two, one),
        lambda x, y, axis: (x - y).mean(axis=axis),
        paired=True,
        method="percentile",
        n_resamples=4000,
        rng=np.random.default_rng(0),
    ).confidence_interval
    slack = (wanted.high - wanted.low) / 10
    assert found.low == pytest.approx(wanted.low, abs=slack)
    assert found.high == pytest.approx(wanted.high, abs=slack)


def test_captions_and_photos_weigh_the_same_in_the_mean():
    # What 100 captions win, 20 photos lose: equal weight to both directions leaves nothing.
    groups = torch.arange(20).repeat_interleave(5)
    first, second = torch.ones(20, dtype=torch.int64), torch.full((20,), 2)
    found = compare(
        {
            "b": planted(second[groups], first, groups),
            "a": planted(first[groups], second, groups),
        }
    )
    assert found.row("recall_at_1", "source_to_target").differences["a"].value == 1.0
    back = found.row("recall_at_1", "target_to_source").differences["a"]
    assert back.value == -1.0 and back.p < 0.001
    mean = found.row("recall_at_1", "mean").differences["a"]
    assert (mean.value, mean.low, mean.high, mean.p) == (0.0, 0.0, 0.0, 1.0)


def test_three_systems_are_each_compared_with_the_baseline(rng):
    paired = pairs(rng, n=100)
    three = compare({"a": Noisy(3.0), "b": Same(), "c": Noisy(1.0)}, paired, baseline="b")
    assert three.others == ("a", "c")
    assert set(three.row("recall_at_1").differences) == {"a", "c"}
    two = compare({"b": Same(), "c": Noisy(1.0)}, paired)
    ours, alone = (found.row("recall_at_1").differences["c"] for found in (three, two))
    assert (ours.value, ours.low, ours.high, ours.p) == (
        alone.value, alone.low, alone.high, alone.p,
    )  # fmt: skip


def test_an_adapter_over_other_encoders_brings_its_own_data_in_any_order(rng):
    paired = pairs(rng, n=90, noise=1.0)
    wide = torch.cat([paired.source, torch.zeros(90, 3)], dim=1)
    other = PairedEmbeddings.from_arrays(wide, torch.cat([paired.target, torch.zeros(90, 3)], 1))
    turned = other.take(range(89, -1, -1))
    found = compare({"ours": (paired, Same()), "wide": (turned, Same())})
    assert found.row("mean_reciprocal_rank").differences["wide"].value == pytest.approx(0)
    assert found.row("mean_reciprocal_rank").differences["wide"].high < 1e-9


def test_a_system_may_bring_two_arrays(rng):
    paired = pairs(rng)
    sides = paired.source.numpy(), paired.target.numpy()
    found = compare({"ours": (paired, Same()), "arrays": (*sides, Same())})
    assert found.row("recall_at_1").differences["arrays"].value == 0
    with pytest.raises(TypeError, match="got a tuple of 1"):
        compare({"ours": (paired, Same()), "odd": (paired,)})


def test_no_adapter_is_the_raw_cosine(rng):
    paired = pairs(rng)
    longer = PairedEmbeddings.from_arrays(3 * paired.source, paired.target)
    found = compare({"raw": None, "cosine": RawCosine()}, longer)
    assert found.row("recall_at_1").differences["cosine"].value == 0
    uneven = PairedEmbeddings.from_arrays(paired.source, paired.target[:, :5])
    with pytest.raises(ValueError, match="one width; 'raw', which is None, has 8 and 5"):
        compare({"raw": None, "also": None}, uneven)


def test_a_system_that_has_seen_the_pairs_is_named(rng):
    paired = pairs(rng, n=200)
    train, test = paired.split(test=0.5)
    kept, seen = align.fit(train, effort="fast"), align.fit(test, effort="fast")
    with pytest.warns(NotHeldOut, match="seen has seen the answers: 100 of the 100"):
        found = compare({"kept": kept, "seen": seen}, test)
    assert found.cautions == (
        "seen has seen the answers: 100 of the 100 pairs were trained on; these values are not "
        "held out.",
    )
    assert found.cautions[0] in str(found)


def test_evaluations_of_other_pairs_are_refused(rng):
    paired = pairs(rng)
    fewer = evaluate(paired.take(range(50)), Same())
    with pytest.raises(ValueError, match="only systems on the same pairs can be compared"):
        compare({"all": evaluate(paired, Same()), "fewer": fewer})
    with pytest.raises(ValueError, match=r"'one' has 60.* and 'two' 50"):
        compare({"one": (paired, Same()), "two": (paired.take(range(50)), Same())})


@pytest.mark.parametrize(
    ("systems", "options", "error", "message"),
    [
        ({"one": Same()}, {}, ValueError, "at least two systems; got \\['one'\\]"),
        ({"one": Same(), "two": Same()}, {}, ValueError, "'one' has NoneType"),
        ({"one": Same(), 2: Same()}, {}, TypeError, "must be text; got 2 of type int"),
        ({"one": Same(), "two": Same()}, {"baseline": "x"}, ValueError, "one of the systems"),
    ],
)
def test_what_cannot_be_compared_is_refused(systems, options, error, message):
    with pytest.raises(error, match=message):
        compare(systems, **options)


def test_what_maps_nothing_is_refused(rng):
    with pytest.raises(TypeError, match="'two' is str"):
        compare({"one": Same(), "two": "folder"}, pairs(rng))


def test_a_comparison_is_repeatable_and_json_ready(rng):
    paired = pairs(rng)
    systems = {"one": Same(), "two": Noisy(1.0)}
    found = compare(systems, paired, seed=3)
    assert found == compare(systems, paired, seed=3)
    assert found != compare(systems, paired, seed=4)
    data = json.loads(found.to_json())
    assert data["verdict"] == found.verdict
    assert data["rows"][0]["outcomes"] == {"two": found.rows[0].outcome("two")}
