import json

import pytest
import torch
import torch.nn.functional as F

import probes
from align._display.interruption import notes_of
from align.data.embeddings import PairedEmbeddings
from align.metrics.comparison.document import Comparison
from probes.pairing.retrieval import RECALL_AT_5
from probes.reporting.before_after import HEADLINES
from tests.probes.paired_clouds import noisy_pairs, seeded

FEW = ("recall_at_10", "modality_gap", "gap_energy_share")


def compare(systems, **options) -> Comparison:
    return probes.compare(systems, **{"probes": FEW, **options})


def test_a_system_does_not_differ_from_itself(rng):
    pairs = noisy_pairs(rng, 60)
    for row in compare({"one": pairs, "same": pairs}).rows:
        difference = row.differences["same"]
        assert (difference.value, difference.low, difference.high) == (0.0, 0.0, 0.0)
        assert difference.p == difference.p_holm == 1.0
        assert row.outcome("same") == "no difference shown"


def test_a_system_whose_pairs_are_shuffled_finds_fewer_partners(rng):
    source, target = noisy_pairs(rng, 80, noise=0.3, shift=1.0)
    found = compare({"ours": (source, target), "shuffled": (source, target.roll(1, dims=0))})
    row = found.row("recall_at_10")
    assert row.outcome("shuffled") == "worse"
    assert row.differences["shuffled"].value < -0.5
    # The centroids are where they were.
    assert found.row("modality_gap").differences["shuffled"].value == pytest.approx(0, abs=0.05)
    assert found.verdict.startswith("ours finds more partners than shuffled: recall@10 +")


def test_values_and_intervals_are_those_of_a_report(rng):
    pairs = PairedEmbeddings.from_arrays(*noisy_pairs(rng, 60, shift=1.0))
    report = probes.report(pairs, probes=FEW)
    found = compare({"one": pairs, "two": noisy_pairs(seeded(1), 60)})
    for name in FEW:
        reading, score = report.row(name).readings["raw"], found.row(name).scores["one"]
        assert (score.value, score.low, score.high) == (reading.value, reading.low, reading.high)
        assert score.chance == reading.null


def test_an_adapter_is_read_as_aligned_and_its_change_is_that_of_a_report(rng):
    source, target = noisy_pairs(rng, 60, shift=1.0)

    class Centred:
        def source(self, x):
            return x.vectors - x.vectors.mean(dim=0)

        def target(self, y):
            return y.vectors - y.vectors.mean(dim=0)

    pairs = PairedEmbeddings.from_arrays(source, target)
    found = compare({"raw": pairs, "centred": (pairs, Centred()), "again": (source, target)})
    change = probes.report(pairs, Centred(), probes=FEW).row("gap_energy_share").change
    row = found.row("gap_energy_share")
    difference = row.differences["centred"]
    assert (difference.value, difference.low, difference.high) == pytest.approx(
        (change.value, change.low, change.high)
    )
    assert row.outcome("centred") == "better" and difference.is_paired
    assert row.differences["again"].value == 0


def test_paired_intervals_are_narrower_than_unpaired_ones_of_a_report(rng):
    pairs = noisy_pairs(rng, 100, noise=1.0)
    nearby = tuple(
        F.normalize(side + 0.05 * torch.randn(side.shape, generator=rng), dim=1) for side in pairs
    )
    paired = compare({"one": pairs, "two": nearby}).row("recall_at_10").differences["two"]
    report = probes.report(*pairs, probes=FEW)
    found = compare({"one": report, "two": nearby})
    unpaired = found.row("recall_at_10").differences["two"]
    assert unpaired.value == pytest.approx(paired.value)
    assert not unpaired.is_paired and paired.is_paired
    assert unpaired.high - unpaired.low > 2 * (paired.high - paired.low)
    assert "one is a report made before, without draws" in found.notes[-1]


def test_intervals_of_systems_that_are_alike_hold_nothing_in_95_of_100():
    repeats, held, small = 120, 0, 0
    for seed in range(repeats):
        rng = seeded(seed)
        shared = torch.randn(60, 8, generator=rng)
        one, two = (
            tuple(
                F.normalize(shared + 1.2 * torch.randn(60, 8, generator=rng), dim=1)
                for _ in range(2)
            )
            for _ in range(2)
        )
        found = compare({"one": one, "two": two}, probes=["recall_at_10"], seed=seed)
        difference = found.row("recall_at_10").differences["two"]
        held += difference.low <= 0 <= difference.high
        small += difference.p <= 0.05
    # Three standard deviations of 120 draws are 0.06.
    assert held / repeats > 0.89
    assert small / repeats < 0.11


def test_pairs_in_another_order_are_put_in_the_order_of_the_first(rng):
    pairs = PairedEmbeddings.from_arrays(*noisy_pairs(rng, 40))
    found = compare({"one": pairs, "turned": pairs.take(range(39, -1, -1))})
    assert all(row.differences["turned"].value == 0 for row in found.rows)


def test_an_item_that_one_encoder_repeats_is_left_out_for_all(rng):
    source, target = noisy_pairs(rng, 40)
    groups = [f"photo {i // 2}" for i in range(40)]
    alike = target.clone()
    alike[1] = alike[0]
    one, two = (
        PairedEmbeddings.from_arrays(source, side, groups=groups) for side in (target, alike)
    )
    found = compare({"one": one, "two": two})
    assert found.notes[0] == "39 pairs in 20 groups; a gallery of 39."
    assert "1 of 40 pairs repeat an item of their group" in found.notes[1]


def test_other_pairs_are_refused(rng):
    pairs = PairedEmbeddings.from_arrays(*noisy_pairs(rng, 40))
    fewer = pairs.take(range(30))
    with pytest.raises(ValueError, match=r"'one' has 40 pairs.* and 'two' 30"):
        compare({"one": pairs, "two": fewer})
    with pytest.raises(ValueError, match="as many pairs and groups"):
        compare({"one": pairs, "two": probes.report(fewer, probes=FEW)})
    other = PairedEmbeddings.from_arrays(*noisy_pairs(rng, 40), groups=["a", "b"] * 20)
    with pytest.raises(ValueError, match="the same ids and groups"):
        compare({"one": pairs, "two": other})


@pytest.mark.parametrize("system", ["folder", ("a",), (torch.eye(3), torch.eye(3), "adapter")])
def test_what_is_no_system_is_refused(rng, system):
    with pytest.raises(TypeError, match="a system must be PairedEmbeddings"):
        compare({"one": noisy_pairs(rng, 40), "two": system})


def test_one_system_is_not_compared(rng):
    with pytest.raises(ValueError, match="at least two systems"):
        compare({"one": noisy_pairs(rng, 40)})


def test_sides_of_two_widths_have_their_reason_in_place_of_a_value(rng):
    source, target = noisy_pairs(rng, 40)
    found = compare({"one": (source, target), "uneven": (source, target[:, :5])})
    row = found.row("recall_at_10")
    assert "8 and 5 dimensions" in row.undefined["uneven"]
    assert row.differences == {} and row.outcome("uneven") == ""
    assert found.verdict == "Nothing that decides could be compared between uneven and one."


def test_a_quantity_that_depends_on_the_width_is_neither_better_nor_worse(rng):
    source, target = noisy_pairs(rng, 60, d=12, noise=0.1)
    found = compare(
        {"wide": (source, target), "narrow": (source[:, :4], target[:, :4])},
        probes=["canonical_energy"],
    )
    row = found.row("canonical_energy")
    assert row.differences["narrow"].caveat == "so do the dimensions"
    assert row.outcome("narrow") == "differs"


def test_the_headline_decides_and_else_everything(rng):
    systems = {"one": noisy_pairs(rng, 40), "two": noisy_pairs(rng, 40)}
    found = compare(systems)
    assert {row.name for row in found.deciding} == set(FEW) & set(HEADLINES)
    only = compare(systems, probes=[RECALL_AT_5, "mean_reciprocal_rank"])
    assert [row.name for row in only.deciding] == ["recall_at_5", "mean_reciprocal_rank"]


def test_a_comparison_is_repeatable_and_json_ready(rng):
    systems = {"one": noisy_pairs(rng, 40), "two": noisy_pairs(rng, 40)}
    assert compare(systems) == compare(systems)
    assert compare(systems) != compare(systems, seed=1)
    assert json.loads(compare(systems).to_json())["baseline"] == "one"


def test_an_interrupted_comparison_says_that_nothing_of_it_is_kept(rng, monkeypatch):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("probes.reporting.comparison.read_probe", interrupted)
    pairs = noisy_pairs(rng, 40)
    with pytest.raises(KeyboardInterrupt) as stopped:
        compare({"one": pairs, "two": pairs})
    assert notes_of(stopped.value)[0].startswith("Nothing of the comparison is kept")
