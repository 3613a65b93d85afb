"""A report with made-up numbers, as probes would make it: for tests of what reports become."""

from dataclasses import replace

import numpy as np

from probes.reporting.document import Report
from probes.reporting.model import (
    CanonicalCorrelations,
    Change,
    Clouds,
    Curve,
    Failure,
    Histogram,
    Hub,
    Provenance,
    Reading,
    ReportRow,
    View,
    effect_of,
)

STATES = ("raw", "aligned", "corrected", "centred")
NOT_COMMON = "not defined before alignment: the sides have 384 and 1280 dimensions"
NOT_SEARCH = "as aligned: a correction changes the search and not the vectors"
SMALL = "There are fewer pairs than twice the dimensions, so the estimate is too high."

# name, label, family, better, needs, null, p, values of raw, centred, aligned, corrected
ROWS = (
    ("gap_energy_share", "Gap energy share", "offset", "lower", "common space", 0.0, 0.001,
     (0.4312, 0.0021, 0.0138)),
    ("centroid_gap", "Centroid gap", "offset", "lower", "common space", 0.0, 0.001,
     (0.8714, 0.0317, 0.1022)),
    ("modality_auc", "Modality classifier, AUC", "offset", "lower", "common space", 0.5, 0.005,
     (0.9998, 0.8123, 0.7345)),
    ("sinkhorn_divergence_centred", "Sinkhorn divergence, centred", "distribution", "lower",
     "common space", 0.00012, 0.005, (0.1731, 0.1689, 0.0214)),
    ("mmd", "MMD²", "distribution", "lower", "common space", 0.0, 0.005,
     (0.6123, 0.0456, -0.0000312)),
    ("foscttm", "FOSCTTM", "pairing", "lower", "common space", 0.5, None,
     (0.4987, 0.4712, 0.0312)),
    ("recall_at_1", "Recall@1", "pairing", "higher", "search", 0.001, None,
     (0.0011, 0.0032, 0.2312, 0.2533)),
    ("recall_at_10", "Recall@10", "pairing", "higher", "search", 0.01, None,
     (0.0102, 0.0211, 0.6321, 0.6712)),
    ("median_rank", "Median rank", "pairing", "lower", "search", 500.5, None,
     (1498.5, 1367, 5, 4)),
    ("canonical_energy", "Held-out canonical energy", "structure", "higher", "sides", 0.41, 0.005,
     (12.31, 12.29, 14.02)),
    ("mutual_knn", "Mutual kNN", "structure", "higher", "sides", 0.01, 0.001,
     (0.1312, 0.1402, 0.2914)),
    ("linear_cka_unbiased", "Linear CKA, unbiased", "structure", "higher", "sides", 0.0, None,
     (0.2814, 0.2811, 0.5421)),
    ("hubness_skewness_target", "Hubness skewness, target", "pathology", "lower", "search", 0.31,
     None, (7.312, 4.102, 1.523, 0.512)),
    ("effective_rank_source", "Effective rank, source", "pathology", "neither", "sides", None, None,
     (141.2, 183.4, 61.3)),
)  # fmt: skip


EXTREMES = {
    "gap_energy_share": 1.0, "centroid_gap": 2.0, "modality_auc": 1.0, "foscttm": 0.0,
    "sinkhorn_divergence_centred": 2.0, "mmd": 2.0, "recall_at_1": 1.0, "recall_at_10": 1.0,
    "median_rank": 1.0, "canonical_energy": 32.0, "mutual_knn": 1.0, "linear_cka_unbiased": 1.0,
    "hubness_skewness_target": 9.85,
}  # fmt: skip


def example_report(
    *, common=False, adapter=True, pairs=1000, failures=24, hubs=8, seed=0, trained=0
):
    """A report of ``pairs`` pairs ``"0"``, ``"1"``, ...

    Args:
        common: Whether both sides have one width, so that all probes are defined when raw.
        adapter: Whether there are aligned and corrected states.
        pairs: Number of pairs.
        failures: Number of failures.
        hubs: Number of hubs.
        seed: Seeds the points and curves.
        trained: How many of the pairs the adapter was trained on.
    """
    rng = np.random.default_rng(seed)
    states = STATES if adapter else ("raw", "centred")
    views = {state: _view(rng, state, pairs, common) for state in states}
    rows = tuple(_row(fields, states, pairs, common) for fields in ROWS)
    return Report(
        Provenance(
            given=pairs + 12, pairs=pairs, groups=pairs - 40,
            rules=("12 of the pairs given repeat an item of their group and are left out.",),
            source_dim=384, target_dim=384 if common else 1280,
            source_encoder="text:all-MiniLM-L6-v2@8b3219a9", target_encoder=None,
            adapter="rcca; held-out recall@10 0.63" if adapter else None,
            trained=trained if adapter else None,
            dim=256 if adapter else None,
            centring="means of the other 4 of 5 folds of these pairs",
            k=10, draws=1000, seed=seed,
            versions={"isthmus": "0.2.0", "python": "3.11.7", "torch": "2.13.0"},
        ),
        rows, views, _failures(rng, pairs, failures), _hubs(rng, pairs, hubs),
    )  # fmt: skip


def with_side_names(report, source, target):
    """The report of sides that are called something else."""
    provenance = replace(report.provenance, side_names=(source, target))
    return replace(report, provenance=provenance)


def with_reading(report, name, state, **changes):
    """The report with some fields of one reading changed."""
    rows = tuple(
        replace(row, readings=row.readings | {state: replace(row.readings[state], **changes)})
        if row.name == name
        else row
        for row in report.rows
    )
    return replace(report, rows=rows)


def _row(fields, states, pairs, common):
    name, label, family, better, needs, null, p, values = fields
    readings, undefined = {}, {}
    raw, centred, aligned, *corrected = values
    for state, value in zip(STATES, (raw, aligned, *(corrected or [None]), centred), strict=True):
        if state not in states:
            continue
        if state == "corrected" and needs != "search":
            undefined[state] = NOT_SEARCH
        elif state in ("raw", "centred") and needs != "sides" and not common:
            undefined[state] = NOT_COMMON
        else:
            spread = 0.03 * abs(value) + 0.002
            bounded = name != "mutual_knn"
            readings[state] = Reading(
                float(value),
                value - spread if bounded else None,
                value + spread if bounded else None,
                null, p, 500 if name == "mmd" else pairs,
                (SMALL,) if name.startswith(("linear_cka", "canonical")) else (),
                effect_of(value, null, EXTREMES.get(name)),
            )  # fmt: skip
    change = None
    if {"raw", "aligned"} <= set(readings):
        moved = readings["aligned"].value - readings["raw"].value
        change = Change(moved, moved - 0.02, moved + 0.02)
    return ReportRow(
        name, label, family, better, "fixed", "bootstrap over pairs",
        "random pairing" if null is not None else "", readings, undefined, change,
    )  # fmt: skip


def _view(rng, state, pairs, common):
    before = state in ("raw", "centred")
    searched = common or not before
    geometric = searched and state != "corrected"
    gap = {"raw": 0.8, "centred": 0.0, "aligned": 0.08, "corrected": 0.08}[state]
    quality = {"raw": 0.1, "centred": 0.3, "aligned": 2.2, "corrected": 2.6}[state]
    return View(
        clouds=_clouds(rng, gap) if geometric else None,
        cosines=_cosines(rng, quality) if geometric else None,
        recall=_recall(pairs, quality) if searched else None,
        occurrence=_occurrence(rng, pairs, 1.6 / (1 + quality)) if searched else None,
        spectrum=None if state == "corrected" else _spectrum(0.02 if before else 0.015),
    )


def _clouds(rng, gap, n=400):
    spread = np.array([0.2, 0.12])
    source = rng.normal(size=(n, 2)) * spread - [gap / 2, 0]
    target = rng.normal(size=(n, 2)) * spread[::-1] + [gap / 2, 0]
    return Clouds(_points(source), _points(target), _numbers(source[:, 0]), _numbers(target[:, 0]))


def _cosines(rng, quality):
    true = 0.1 + 0.15 * quality + 0.12 * rng.normal(size=1000)
    false = 0.1 + 0.11 * rng.normal(size=20_000)
    edges = np.linspace(min(true.min(), false.min()), max(true.max(), false.max()), 61)
    shares = [np.histogram(found, edges, density=True)[0] for found in (true, false)]
    return Histogram(_numbers(edges), *map(_numbers, shares))


def _recall(pairs, quality):
    k = np.unique(np.geomspace(1, pairs, 100).round())
    chance = k / pairs
    return Curve(_numbers(k), _numbers(chance ** (1 / (1 + 2 * quality))), _numbers(chance))


def _occurrence(rng, pairs, sigma):
    share = (np.arange(100) + 0.5) / 100
    popularity = rng.lognormal(0, sigma, size=2 * pairs)
    counts = np.sort(rng.poisson(10 * popularity / popularity.mean()))[::-1]
    chance = np.sort(rng.poisson(10, size=2 * pairs))[::-1]
    at = (share * len(counts)).astype(int)
    return Curve(_numbers(share), _numbers(counts[at]), _numbers(chance[at]))


def _spectrum(decay, dims=64):
    at = np.arange(dims)
    held_out = 0.86 * np.exp(-decay * 2.2 * at) - 0.04
    train = 0.97 * np.exp(-decay * at)
    return CanonicalCorrelations(_numbers(held_out), _numbers(train), _numbers(0.03 * np.sin(at)))


def _failures(rng, pairs, count):
    ranks = np.sort(rng.integers(200, pairs, size=count))[::-1]
    sides = ("source to target", "target to source")
    return tuple(
        Failure(str(at), sides[at % 2], int(rank), 0.1 - 0.01 * (at % 7), str(pairs - 1 - at), 0.61)
        for at, rank in enumerate(ranks)
    )


def _hubs(rng, pairs, count):
    counts = np.sort(rng.integers(60, 200, size=count))[::-1]
    sides = ("source to target", "target to source")
    return tuple(
        Hub(str(3 * at), sides[at % 2], int(found), int(found) - 1 - at % 2)
        for at, found in enumerate(counts)
    )


def _numbers(values):
    return tuple(float(f"{value:.5g}") for value in values)


def _points(values):
    return tuple(_numbers(point) for point in values)
