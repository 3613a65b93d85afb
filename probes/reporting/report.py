"""The report: every probe in every state, with intervals and nulls, from one set of draws."""

from __future__ import annotations

import math
import platform
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor

from align._version import __version__
from align.data.embeddings import PairedEmbeddings
from align.data.escaping import plain
from align.metrics.bootstrap import resamples
from probes.estimates import Measured
from probes.reporting.document import Report
from probes.reporting.model import CONTROL, Change, Column, Provenance, Reading, ReportRow
from probes.reporting.resume import Ledger, Outcome, key_of
from probes.reporting.standard import STANDARD
from probes.reporting.states import CENTRING_FOLDS, Maps, measurable, states, trained_on
from probes.reporting.summaries import failures, hubs, view
from probes.space import K, Probe, Space

DRAWS = 1_000
LEVEL = 0.95
_NOT_COMMON = "not defined before alignment: the sides have {} and {} dimensions"
_NO_INTERVAL = "Too few items differ for an interval: in some draws the value is not defined."
_NOT_SEARCH = "as aligned: a correction changes the search and not the vectors"


def report(
    paired: PairedEmbeddings,
    adapter: Maps | None = None,
    *,
    probes: Sequence[Probe] = STANDARD,
    seed: int = 0,
    progress: bool = False,
    resume: str | Path | None = None,
) -> Report:
    """How far apart two sides are, in what way, and whether an adapter changed it.

    Every probe is read on the raw unit vectors, on centred ones, and, with an adapter, on aligned
    ones; probes of retrieval also with the adapter's correction, if it has one. Each value comes
    with a 95 % interval over pairs, groups drawn whole, and with what it would be if there were
    nothing to find.

    Pass pairs that the adapter was not fitted on; of an adapter that remembers its training pairs
    the report says how many of these were among them. Pairs that repeat an item of their group are
    left out, and above 5,000 pairs a random sample is measured; the report says so.

    Args:
        paired: Held-out pairs, at least 20 groups of them; widths of the sides may differ.
        adapter: Anything with ``source(x)`` and ``target(y)`` into one space; one that also has
            ``queries`` and ``gallery``, as ``align.Adapter``, is also measured as it searches.
        probes: What to measure; extend or shorten ``STANDARD`` as you like.
        seed: Seeds samples, folds, draws and nulls; the same seed gives the same report.
        progress: Show a progress bar on standard error.
        resume: A file to keep readings in while measuring; a run that was interrupted goes on from
            it, and a whole report removes it. Readings are told apart by the names of probes.

    Raises:
        ValueError: There are too few groups, a side is constant, a row has no direction, names of
            probes repeat, or the adapter refuses the vectors.
    """
    _check_names(probes)
    found, rules = measurable(paired, seed=seed)
    spaces = states(found, adapter, seed=seed)
    raw = spaces["raw"]
    generator = raw.generator("bootstrap")
    weights = torch.cat(list(resamples(raw.codes, DRAWS, generator)))
    versions = _versions()
    ledger = Ledger(
        None if resume is None else Path(resume), key_of(spaces.values(), seed, DRAWS, versions)
    )
    outcomes: dict[tuple[Column, str], Outcome] = {}
    for column, probe in _watched([(c, p) for c in spaces for p in probes], shown=progress):
        held = ledger.get(column, probe.name)
        if held is None:
            held = _read(probe, column, spaces[column], weights)
            ledger.put(column, probe.name, held)
        outcomes[column, probe.name] = held
    rows = tuple(
        _row(probe, {column: outcomes[column, probe.name] for column in spaces}) for probe in probes
    )
    # What is listed is what was found by the states that a search would use, not by the control.
    used = [space for column, space in spaces.items() if column != CONTROL and space.is_common]
    last = used[-1:]
    made = Report(
        _provenance(paired, found, rules, adapter, spaces, seed, versions),
        rows,
        {column: view(space) for column, space in spaces.items()},
        tuple(entry for space in last for entry in failures(space, found.ids)),
        tuple(entry for space in last for entry in hubs(space, found.ids)),
    )
    ledger.close()
    return made


def _check_names(probes: Sequence[Probe]) -> None:
    names = [probe.name for probe in probes]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice or not names:
        raise ValueError(
            f"a report needs at least one probe, each with a name of its own; got {len(names)} "
            f"with {twice} more than once. Rename them with dataclasses.replace."
        )


def _read(probe: Probe, column: Column, space: Space, weights: Tensor) -> Outcome:
    if column == "corrected" and probe.needs != "search":
        return Outcome(None, None, _NOT_SEARCH)
    if probe.needs != "sides" and not space.is_common:
        widths = space.source.shape[1], space.target.shape[1]
        return Outcome(None, None, _NOT_COMMON.format(*widths))
    try:
        measured = probe.measure(space)
    except ValueError as error:
        return Outcome(None, None, f"not defined here: {error}")
    if not math.isfinite(measured.value):
        raise ArithmeticError(
            f"a probe must give a finite number or raise; {probe.name} gave {measured.value} on "
            f"{space.n} {column} pairs. This is a defect of the probe: please report it."
        )
    draws = _draws(measured, weights)
    notes = measured.notes
    if draws is not None and not bool(draws.isfinite().all()):
        draws, notes = None, (*notes, _NO_INTERVAL)
    low, high = (measured.interval or (None, None)) if draws is None else _percentiles(draws)
    null = measured.null
    n = space.n if measured.rows is None else len(measured.rows)
    reading = Reading(
        measured.value, low, high,
        None if null is None else null.value, None if null is None else null.p,
        n, notes,
    )  # fmt: skip
    return Outcome(reading, None if draws is None else tuple(draws.tolist()), "")


def _row(probe: Probe, found: dict[Column, Outcome]) -> ReportRow:
    readings: dict[str, Reading] = {}
    undefined: dict[str, str] = {}
    for column, each in found.items():
        if each.reading is None:
            undefined[column] = each.reason
        else:
            readings[column] = each.reading
    return ReportRow(
        probe.name, probe.label, probe.family, probe.better, probe.scale, probe.interval,
        probe.null,
        readings, undefined, _change(found.get("raw"), found.get("aligned")),
    )  # fmt: skip


def _draws(measured: Measured, weights: Tensor) -> Tensor | None:
    if measured.replicate is None:
        return None
    return measured.replicate(weights if measured.rows is None else weights[:, measured.rows])


def _percentiles(draws: Tensor) -> tuple[float, float]:
    tails = draws.new_tensor([(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    low, high = draws.quantile(tails).tolist()
    return low, high


def _change(before: Outcome | None, after: Outcome | None) -> Change | None:
    if before is None or after is None or before.draws is None or after.draws is None:
        return None
    assert before.reading is not None and after.reading is not None  # they have draws
    moved = torch.tensor(after.draws, dtype=torch.float64) - torch.tensor(
        before.draws, dtype=torch.float64
    )
    return Change(after.reading.value - before.reading.value, *_percentiles(moved))


def _provenance(
    given: PairedEmbeddings,
    found: PairedEmbeddings,
    rules: tuple[str, ...],
    adapter: Maps | None,
    spaces: dict[Column, Space],
    seed: int,
    versions: dict[str, str],
) -> Provenance:
    return Provenance(
        given=len(given),
        pairs=len(found),
        groups=len(set(found.groups)),
        rules=rules,
        source_dim=given.source.shape[1],
        target_dim=given.target.shape[1],
        source_encoder=given.source_fingerprint,
        target_encoder=given.target_fingerprint,
        adapter=None if adapter is None else _described(adapter),
        trained=None if adapter is None else trained_on(adapter, found),
        dim=spaces["aligned"].source.shape[1] if "aligned" in spaces else None,
        centring=(
            f"means of the other {CENTRING_FOLDS - 1} of {CENTRING_FOLDS} folds of these pairs; "
            "an adapter centres with the means of its own training pairs"
        ),
        k=K,
        draws=DRAWS,
        seed=seed,
        versions=versions,
    )


def _versions() -> dict[str, str]:
    packages = ("torch", "numpy", "scipy", "scikit-learn", "POT")
    found = {name: version(name) for name in packages}
    return {"isthmus": __version__, "python": platform.python_version(), **found}


def _described(adapter: Maps) -> str:
    card = getattr(adapter, "card", None)
    return type(adapter).__name__ if card is None else f"{card.method}; {card.verdict}"


def _watched(
    steps: Sequence[tuple[Column, Probe]], *, shown: bool
) -> Iterator[tuple[Column, Probe]]:
    from tqdm import tqdm

    with tqdm(total=len(steps), unit="probe", disable=not shown) as bar:
        for column, probe in steps:
            bar.set_description(plain(f"{column}: {probe.label}"))
            yield column, probe
            bar.update()
