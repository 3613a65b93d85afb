"""What a verdict says first, of pairs and adapters whose relation was planted."""

import pytest
import torch
import torch.nn.functional as F

from tests.probes.reporting.verdict_cases import (
    Corrects,
    Moves,
    a_weak_signal,
    centred,
    cloud,
    cones,
    first_axis,
    first_columns,
    half_wrong,
    noisy,
    opened,
    read,
    related,
    rotation,
    same,
    shuffled,
    to_line,
    to_point,
    unit,
    verdict_of,
    with_duplicates,
    with_hubs,
    with_outliers,
)

SHARED = "The two sides share a space, without an offset."
OFFSET = "The two sides share a space, with an offset between them."
UNRELATED = "The two sides are not aligned."
CLOSED = "The gap is closed in offset and in shape, and pairs are found across it."
NEAR = "However near the clouds are, the two sides are not aligned."
WEAK = "The two sides are only weakly related"
LITTLE = "The adapter changed little, and retrieval is no better than before."
HARM = "The adapter harms retrieval: recall@10 falls from "
DESTROYED = "The adapter destroys the pairing: recall@10 falls from "
COLLAPSED = "The adapter collapses the space: "


def of_opened(after=same, **rest):
    """The gap of an offset and a rotation, closed but for what ``after`` does."""
    pair, back = opened()
    return pair, Moves(lambda x: after(back(x)), **rest)


def one_shuffled(pair):
    return pair[0], shuffled(pair[1])


def widths(pair, width=9):
    return pair[0], pair[1] @ cloud(pair[1].shape[1], width, 3)


# name, pair, adapter, groups, how the verdict begins
WITHOUT_AN_ADAPTER = {
    "equal sides": (lambda: (cloud(), cloud()), SHARED),
    "related sides": (related, SHARED),
    "related sides, few pairs": (lambda: related(20, 8), SHARED),
    "related sides, 25 of one law": (lambda: related(25, 16, seed=100), SHARED),
    "another scale": (lambda: (related()[0], 1000 * related()[1]), SHARED),
    "outliers": (with_outliers, SHARED),
    "narrow cones": (cones, SHARED),
    "every second pair wrong": (half_wrong, SHARED),
    "pure offset": (lambda: related(shift=3.0), OFFSET),
    "duplicates": (with_duplicates, OFFSET),
    "hubs": (with_hubs, OFFSET),
    "offset and rotation": (lambda: opened()[0], UNRELATED),
    "shuffled pairs": (lambda: one_shuffled(related()), UNRELATED),
    "shuffled pairs with an offset": (lambda: one_shuffled(related(shift=3.0)), UNRELATED),
    "noise": (lambda: (cloud(seed=1), cloud(seed=2)), UNRELATED),
    "noise, few pairs": (lambda: (cloud(20, 8, 1), cloud(20, 8, 2)), UNRELATED),
    "noise, 25 of one law": (lambda: (cloud(25, 16, 0), cloud(25, 16, 1)), UNRELATED),
    "one dimension": (
        lambda: (cloud(30, 1, 1), cloud(30, 1, 1) + 0.1 * cloud(30, 1, 2)), UNRELATED,
    ),
    "a side on one line": (
        lambda: (to_line(related()[0]), related()[1]), "The vectors have collapsed: the source",
    ),
    "two widths": (
        lambda: widths(related()), "The two sides are related, but have no common space",
    ),
    "two widths of noise": (
        lambda: widths((cloud(seed=1), cloud(seed=2))), "The two sides show no relation",
    ),
}  # fmt: skip

WITH_AN_ADAPTER = {
    "the offset removed": (
        lambda: (related(shift=3.0), Moves(same, lambda y: y - 3 * first_axis(16))), CLOSED,
    ),
    "offset and rotation removed": (of_opened, CLOSED),
    "two widths brought together": (
        lambda: ((related()[0], F.pad(related()[1], (0, 5))), Moves(same, first_columns(16))),
        CLOSED,
    ),
    "an offset left": (
        lambda: of_opened(lambda x: x + 2 * first_axis(16)),
        "Pairs are found across, and an offset",
    ),
    "a shape left": (
        lambda: of_opened(lambda x: x * torch.linspace(0.2, 2, 16)),
        "Pairs are found across, and a difference in shape ",
    ),
    "noise brought together": (
        lambda: ((cloud(seed=1) + 3, cloud(seed=2)), Moves(lambda x: x - 3)), NEAR,
    ),
    "shuffled pairs brought together": (
        lambda: (one_shuffled(related(shift=3.0)), Moves(same, lambda y: y - 3 * first_axis(16))),
        NEAR,
    ),
    "nothing done": (lambda: (related(), Moves(same)), LITTLE),
    "both sides turned alike": (
        lambda: (related(), Moves(lambda x: x @ rotation(16), lambda y: y @ rotation(16))), LITTLE,
    ),
    "only centroids moved": (
        lambda: (related(noise=0.1, shift=1.0), Moves(same, lambda y: y - first_axis(16))),
        "Only the centroids moved",
    ),
    "cones opened": (
        lambda: (cones(noise=1.0), Moves(centred, centred)),
        "The clouds lie together as they did, and pairs are found more often.",
    ),
    "noise added": (lambda: (related(noise=0.1), Moves(noisy(1.2))), HARM),
    "much noise added": (lambda: (related(noise=0.1), Moves(noisy(2.5))), HARM),
    "dimensions cut off": (
        lambda: (related(d=64), Moves(first_columns(8), first_columns(8))),
        "The adapter harms retrieval: recall@1 falls from 1.00",
    ),
    "pairs shuffled": (lambda: (related(noise=0.1), Moves(shuffled)), DESTROYED),
    "a side turned away": (lambda: (related(), Moves(lambda x: -x)), DESTROYED),
    "everything on one line": (lambda: (related(noise=0.1), Moves(to_line, to_line)), HARM),
    "the source on one line": (lambda: (related(noise=0.1), Moves(to_line)), HARM),
    "everything at one point": (lambda: (related(noise=0.1), Moves(to_point, to_point)), COLLAPSED),
    "a correction that spoils": (
        lambda: (
            related(),
            Corrects(same, same, lambda z: unit(z) + 0.8 * cloud(*z.shape, seed=4)),
        ),
        "The correction of the search harms retrieval: recall@10 falls from 1.00",
    ),
    "trained on": (
        lambda: of_opened(trained=150),
        "150 of the 200 pairs were trained on; these values are not held out. On these pairs the "
        "gap is closed",
    ),
    "trained on, and harmed": (
        lambda: (related(noise=0.1), Moves(noisy(1.2), trained=200)),
        f"200 of the 200 pairs were trained on; these values are not held out. {HARM}",
    ),
    "trained on others": (lambda: of_opened(trained=0), CLOSED),
}  # fmt: skip


@pytest.mark.parametrize("case", WITHOUT_AN_ADAPTER.values(), ids=WITHOUT_AN_ADAPTER)
def test_the_verdict_on_two_sides_begins_with_what_was_planted(case):
    pair, begins = case
    assert verdict_of(pair()).startswith(begins)


@pytest.mark.parametrize("case", WITH_AN_ADAPTER.values(), ids=WITH_AN_ADAPTER)
def test_the_verdict_on_an_adapter_begins_with_what_it_does(case):
    planted, begins = case
    assert verdict_of(*planted()).startswith(begins)


def test_there_are_thirty_cases_and_more():
    assert len(WITHOUT_AN_ADAPTER) + len(WITH_AN_ADAPTER) >= 30


def test_groups_are_no_reason_to_doubt_related_sides():
    assert verdict_of(related(), groups=[str(row // 4) for row in range(200)]).startswith(SHARED)


@pytest.mark.parametrize("seed", range(0, 400, 50))
def test_twenty_five_pairs_of_one_law_do_not_differ_in_shape(seed):
    text = verdict_of(related(25, 16, seed=seed))
    assert "clouds do not differ in shape" in text


def test_a_loss_of_recall_is_named_with_both_values_and_chance():
    report = read(related(noise=0.1), Moves(noisy(2.5)))
    readings = report.row("recall_at_10").readings
    before, after = (f"{readings[state].value:.3g}" for state in ("raw", "aligned"))
    assert before == "1" and float(after) < 0.7
    assert f"recall@10 falls from 1.00 to {after}" in report.verdict
    assert "by chance 0.050" in report.verdict.partition(".  ")[0]


def test_a_collapse_is_named_beside_the_harm_with_its_side():
    both = verdict_of(related(noise=0.1), Moves(to_line, to_line))
    assert f"{COLLAPSED}the source side fills" in both and "and the target side fills" in both
    one = verdict_of(related(noise=0.1), Moves(same, to_line))
    assert f"{COLLAPSED}the target side fills" in one and "source side fills" not in one


def test_a_collapse_before_alignment_is_not_blamed_on_the_adapter():
    pair = to_line(related()[0]), to_line(related()[1])
    text = verdict_of(pair, Moves(same))
    assert text.startswith("The space has collapsed before alignment: the source side")


def test_an_adapter_that_opens_what_had_collapsed_is_not_blamed():
    pair = to_line(related()[0]), related()[1]
    assert "collapse" not in verdict_of(pair, Moves(lambda x: x + cloud(200, 16, 9)))


def test_hubs_are_named_where_they_are():
    assert "a few hubs crowd the answers" in verdict_of(with_hubs())


def test_a_weak_signal_is_not_called_found():
    report = read(a_weak_signal())
    assert 0.02 < report.row("recall_at_10").readings["raw"].value < 0.06
    assert report.verdict.startswith(WEAK) and "pairs are seldom found" in report.verdict
    assert "no canonical dimension carries over" in report.verdict
