"""``probes.compare``: the modality gap of several systems on the same pairs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from align._display.escaping import plain
from align._display.interruption import saying_what_is_kept
from align._display.progress import progress_bar
from align.data.embeddings import PairedEmbeddings
from align.data.paired_arguments import pairs_and_adapter
from align.metrics.bootstrap import resamples
from align.metrics.comparison.document import Comparison
from align.metrics.comparison.holm import with_adjusted_p
from align.metrics.comparison.values import ComparisonRow, Difference, Score, check_systems
from probes.pairing.retrieval import RECALL_AT_1, RECALL_AT_5, RECALL_AT_10
from probes.reporting.before_after import HEADLINES, unjudged
from probes.reporting.document import Report
from probes.reporting.formatting import FAMILIES
from probes.reporting.model import Column, Reading
from probes.reporting.report import DRAWS, percentiles, read_probe
from probes.reporting.resume import ProbeResult
from probes.reporting.selection import selected
from probes.reporting.standard import STANDARD
from probes.reporting.states import AdapterLike, measurable, states, trained_on
from probes.space import Probe, Space

System = PairedEmbeddings | Report | tuple[Any, ...]
"""Pairs; ``(source, target)``; ``(pairs, adapter)``; ``(source, target, adapter)``; a report."""

_LAST: tuple[Column, ...] = ("corrected", "aligned", "raw")
_SHARES = {probe.name for probe in (RECALL_AT_1, RECALL_AT_5, RECALL_AT_10)}
_NORMAL = 1.959964  # standard errors in half of a 95 % interval
_CAVEATS = {
    "": "",
    "direction": "",
    "width": "so do the dimensions",
    "raw": "perfect when raw by definition",
    "spread": "so do all cosines",
    "chance": "so does chance",
    "at chance": "both at chance",
}


@dataclass(frozen=True, slots=True, eq=False)
class _Measured:
    """The results of one system, by name of the probe."""

    results: Mapping[str, ProbeResult]
    widths: tuple[int, int]  # of the space they are read in
    is_raw: bool


def compare(
    systems: Mapping[str, System],
    *,
    probes: Sequence[Probe | str] = STANDARD,
    baseline: str | None = None,
    seed: int = 0,
    progress: bool | None = None,
) -> Comparison:
    """The modality gap of several systems on the same pairs, each beside the first of them.

    Systems are encoders, or adapters over them: every probe is read in the last state of each, raw
    without an adapter, aligned with one, and with the search corrected where that is all a probe
    looks at, so as a report does. Bootstrap draws of whole groups are the same for all systems, so
    that intervals of differences are paired: what all systems find hard does not widen them.

    The verdict rests on the headline rows of a report, or on all that are measured if none of these
    is. p is that of a t statistic, the difference over its bootstrap standard error with one degree
    of freedom less than there are groups, and never less than the ``2 ** (1 - groups)`` of a test
    of signs; it is adjusted by Holm's method over the rows that decide, and apart from them over
    all others.

    All systems need the same pairs, by id and group; pairs in another order are put in that of the
    first, and others are refused, since recall depends on the gallery. A ``Report`` made before
    keeps no draws: its differences are unpaired, made of both intervals and marked so; measure
    anew to have them paired. Pairs that repeat an item of their group in any system are left out.

    Args:
        systems: By name, at least two: a ``PairedEmbeddings``; a tuple with the arguments of
            ``probes.report``, that is ``(source, target)``, ``(pairs, adapter)`` or ``(source,
            target, adapter)``; or a ``Report``.
        probes: What to measure, as in ``probes.report``.
        baseline: Name of the system that the others are compared with; the first if left out.
        seed: Seeds samples, draws and nulls.
        progress: Whether to draw a progress bar; by default in a terminal or notebook.

    Raises:
        TypeError: A system is none of these, or a name is no text.
        ValueError: There are fewer than two systems, their pairs are not the same, or anything that
            ``probes.report`` refuses.

    Reference:
        Efron and Tibshirani 1993, An Introduction to the Bootstrap, section 16.2, for the
        statistic; Holm 1979, Scandinavian Journal of Statistics 6:65-70.

    Examples:
        >>> import numpy as np, probes
        >>> rng = np.random.default_rng(0)
        >>> captions = rng.standard_normal((80, 6))
        >>> near, far = (captions + noise * rng.standard_normal((80, 6)) for noise in (0.3, 3.0))
        >>> systems = {"far": (captions, far), "near": (captions, near)}
        >>> found = probes.compare(systems, probes=["recall_at_1"])
        >>> print(found.verdict)
        near beside far: better in Recall@1.
    """
    names = list(systems)
    first = check_systems(names, baseline)
    chosen = selected(probes)
    given = {
        name: _pairs(name, system)
        for name, system in systems.items()
        if not isinstance(system, Report)
    }
    reports = {name: system for name, system in systems.items() if isinstance(system, Report)}
    matched, rules = _same_pairs({name: pairs for name, (pairs, _) in given.items()}, seed)
    n, groups = _sizes(matched, reports)
    with saying_what_is_kept(
        lambda: "Nothing of the comparison is kept; run it again to start anew."
    ):
        measured = {
            name: _measure(name, matched[name], adapter, chosen, seed, progress)
            for name, (_, adapter) in given.items()
        }
    measured |= {name: _reported(report) for name, report in reports.items()}
    decisive = {probe.name for probe in chosen} & set(HEADLINES) or {p.name for p in chosen}
    rows = [
        _row(probe, {name: measured[name] for name in names}, first, groups, probe.name in decisive)
        for probe in chosen
    ]
    return Comparison(
        title=f"Modality gap, compared with {first}",
        systems=tuple(names),
        baseline=first,
        rows=with_adjusted_p(rows),
        parts={name: f"{name.capitalize()}: {text}" for name, text in FAMILIES.items()},
        lead=RECALL_AT_10.name,
        cautions=tuple(_cautions(matched, given, reports)),
        notes=(
            f"{n:,} pairs in {groups:,} groups; a gallery of {n:,}.",
            *rules,
            f"Intervals: {DRAWS:,} bootstrap draws of whole groups, the same for all systems. p: t "
            "statistic with the bootstrap standard error, adjusted by Holm's method over the rows "
            f"that decide, and apart from them over all others. Seed {seed}.",
            *(
                f"{name} is a report made before, without draws: its differences are unpaired."
                for name in reports
            ),
        ),
    )


def _pairs(name: str, system: Any) -> tuple[PairedEmbeddings, AdapterLike | None]:
    if isinstance(system, PairedEmbeddings):
        return system, None
    if isinstance(system, tuple) and len(system) in (2, 3):
        paired, adapter = pairs_and_adapter(
            system[0], system[1], system[2] if len(system) > 2 else None
        )
        if adapter is None or (hasattr(adapter, "source") and hasattr(adapter, "target")):
            return paired, adapter
        system = adapter
    raise TypeError(
        "a system must be PairedEmbeddings, (source, target), (pairs, adapter), (source, target, "
        f"adapter) or a Report; {name!r} is, or has as its adapter, {type(system).__name__}. "
        "Pass one of these."
    )


def _same_pairs(
    given: Mapping[str, PairedEmbeddings], seed: int
) -> tuple[dict[str, PairedEmbeddings], tuple[str, ...]]:
    """The pairs that all systems can be measured on, in one order, and what was left out."""
    if not given:
        return {}, ()
    name, reference = next(iter(given.items()))
    in_order = {}
    for other, paired in given.items():
        places = {each: row for row, each in enumerate(paired.ids)}
        groups = dict(zip(paired.ids, paired.groups, strict=True))
        if groups != dict(zip(reference.ids, reference.groups, strict=True)):
            raise ValueError(
                "only systems on the same pairs can be compared, with the same ids and groups; "
                f"{name!r} has {len(reference)} pairs, {list(reference.ids[:3])}..., and {other!r} "
                f"{len(paired)}, {list(paired.ids[:3])}... Encode the same pairs for both, or give "
                "both the same ids and groups."
            )
        in_order[other] = paired.take([places[each] for each in reference.ids])
    # Which items repeat depends on the encoder; what is left in all of them is measured.
    rules: list[str] = []
    ids = reference.ids
    rows = {each: row for row, each in enumerate(ids)}
    for paired in in_order.values():
        kept, why = measurable(paired.take([rows[each] for each in ids]), seed=seed)
        ids = kept.ids
        rules += why
    chosen = [rows[each] for each in ids]
    return {name: pairs.take(chosen) for name, pairs in in_order.items()}, tuple(
        dict.fromkeys(rules)
    )


def _sizes(
    matched: Mapping[str, PairedEmbeddings], reports: Mapping[str, Report]
) -> tuple[int, int]:
    """Pairs and groups, which are those of all systems."""
    sizes = {name: (len(p), len(set(p.groups))) for name, p in matched.items()}
    sizes |= {
        name: (report.provenance.pairs, report.provenance.groups)
        for name, report in reports.items()
    }
    if len(set(sizes.values())) > 1:
        raise ValueError(
            "a report can be compared only with systems on as many pairs and groups, since recall "
            f"depends on the gallery; (pairs, groups) are {sizes}. Measure all on the same pairs."
        )
    return next(iter(sizes.values()))


def _measure(
    name: str,
    paired: PairedEmbeddings,
    adapter: AdapterLike | None,
    chosen: Sequence[Probe],
    seed: int,
    progress: bool | None,
) -> _Measured:
    spaces = states(paired, adapter, seed=seed)
    raw = spaces["raw"]
    weights = torch.cat(list(resamples(raw.codes, DRAWS, raw.generator("bootstrap"))))
    results = {}
    with progress_bar(progress, total=len(chosen), unit="probe") as bar:
        for probe in chosen:
            bar.set_description(plain(f"{name}: {probe.label}"))
            column = _column(probe, spaces)
            results[probe.name] = read_probe(probe, column, spaces[column], weights)
            bar.update()
    used = spaces.get("aligned", raw)
    return _Measured(results, (used.source.shape[1], used.target.shape[1]), is_raw=adapter is None)


def _column(probe: Probe, spaces: Mapping[Column, Space]) -> Column:
    """The last state in which a probe is of its own."""
    for column in _LAST:
        if column in spaces and (column != "corrected" or probe.needs == "search"):
            return column
    raise AssertionError("every system has a raw state")


def _reported(report: Report) -> _Measured:
    results = {}
    for row in report.rows:
        reading = next((row.readings[c] for c in _LAST if c in row.readings), None)
        reason = next(iter(row.undefined.values()), "not in the report")
        results[row.name] = ProbeResult(reading, None, reason)
    about = report.provenance
    widths = (about.source_dim, about.target_dim) if about.dim is None else (about.dim, about.dim)
    return _Measured(results, widths, is_raw=about.adapter is None)


def _row(
    probe: Probe,
    systems: Mapping[str, _Measured],
    baseline: str,
    groups: int,
    decides: bool,
) -> ComparisonRow:
    absent = ProbeResult(None, None, "not in the report")
    results = {name: each.results.get(probe.name, absent) for name, each in systems.items()}
    readings = {name: r.reading for name, r in results.items() if r.reading is not None}
    differences = {}
    for name, reading in readings.items():
        if name == baseline or baseline not in readings:
            continue
        ours, theirs = systems[name], systems[baseline]
        reason = unjudged(
            probe,
            readings[baseline],
            reading,
            same_width=ours.widths == theirs.widths,
            with_raw=ours.is_raw or theirs.is_raw,
        )
        differences[name] = _difference(results[name], results[baseline], groups, _CAVEATS[reason])
    return ComparisonRow(
        probe.name,
        probe.label,
        probe.family,
        probe.better,
        is_share=probe.name in _SHARES,
        decides=decides,
        scores={name: Score(r.value, r.low, r.high, r.null) for name, r in readings.items()},
        undefined={name: r.reason for name, r in results.items() if r.reading is None},
        differences=differences,
    )


def _difference(ours: ProbeResult, theirs: ProbeResult, groups: int, caveat: str) -> Difference:
    assert ours.reading is not None and theirs.reading is not None  # asked of defined values only
    value = ours.reading.value - theirs.reading.value
    if ours.draws is not None and theirs.draws is not None:
        draws = _tensor(ours.draws) - _tensor(theirs.draws)
        low, high = percentiles(draws)
        error = float(draws.std())
        return Difference(value, low, high, _p(value, error, groups), caveat=caveat)
    errors = [_standard_error(each.reading) for each in (ours, theirs)]
    if None in errors:
        return Difference(value, is_paired=False, caveat=caveat)
    error = math.hypot(*(each for each in errors if each is not None))
    bounds = value - _NORMAL * error, value + _NORMAL * error
    return Difference(value, *bounds, _p(value, error, groups), is_paired=False, caveat=caveat)


def _standard_error(reading: Reading | None) -> float | None:
    if reading is None or reading.low is None or reading.high is None:
        return None
    return (reading.high - reading.low) / (2 * _NORMAL)


def _p(value: float, error: float, groups: int) -> float:
    """Two-sided p of a t statistic; no test of ``groups`` signs can give less than its floor."""
    from scipy.stats import t

    if value == 0:
        return 1.0
    floor = 2.0 ** (1 - groups)
    return floor if error == 0 else max(floor, float(2 * t.sf(abs(value) / error, groups - 1)))


def _tensor(draws: tuple[float, ...]) -> Tensor:
    return torch.tensor(draws, dtype=torch.float64)


def _cautions(
    matched: Mapping[str, PairedEmbeddings],
    given: Mapping[str, tuple[PairedEmbeddings, AdapterLike | None]],
    reports: Mapping[str, Report],
) -> list[str]:
    said = []
    for name, (_, adapter) in given.items():
        seen = None if adapter is None else trained_on(adapter, matched[name])
        if seen:
            said.append(
                f"{name} was trained on {seen:,} of the {len(matched[name]):,} pairs; its values "
                "are not held out."
            )
    said += [f"{name}: {report.caution}" for name, report in reports.items() if report.caution]
    return said
