"""The report: every probe in every state, with intervals and nulls, from one set of draws."""

from __future__ import annotations

import math
import platform
from collections.abc import Iterable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from threading import Lock
from typing import overload

import torch
from torch import Tensor

from align._display.escaping import plain
from align._display.interruption import saying_what_is_kept
from align._display.progress import progress_bar
from align._threads import share_out
from align._version import __version__
from align.data.embeddings import PairedEmbeddings, Vectors
from align.data.paired_arguments import pairs_and_adapter
from align.metrics.bootstrap import resamples
from align.metrics.subgroups import Subgroup, checked_labels
from probes.reporting.document import Report
from probes.reporting.model import (
    CONTROL,
    Change,
    Column,
    Provenance,
    Reading,
    ReportRow,
    View,
    effect_of,
)
from probes.reporting.resume import ProbeResult, ResultsFile, key_of
from probes.reporting.selection import selected
from probes.reporting.standard import STANDARD
from probes.reporting.states import CENTRING_FOLDS, AdapterLike, measurable, states, trained_on
from probes.reporting.summaries import by_label, failures, hubs, view
from probes.space import K, Probe, Space

DRAWS = 1_000


@overload
def report(
    pairs: PairedEmbeddings,
    adapter: AdapterLike | None = None,
    /,
    *,
    probes: Sequence[Probe | str] = STANDARD,
    by: Iterable[object] | None = None,
    seed: int = 0,
    progress: bool | None = None,
    resume: str | Path | None = None,
) -> Report: ...
@overload
def report(
    source: Vectors,
    target: Vectors,
    adapter: AdapterLike | None = None,
    /,
    *,
    probes: Sequence[Probe | str] = STANDARD,
    by: Iterable[object] | None = None,
    seed: int = 0,
    progress: bool | None = None,
    resume: str | Path | None = None,
) -> Report: ...
def report(
    pairs: PairedEmbeddings | Vectors,
    target: Vectors | AdapterLike | None = None,
    adapter: AdapterLike | None = None,
    /,
    *,
    probes: Sequence[Probe | str] = STANDARD,
    by: Iterable[object] | None = None,
    seed: int = 0,
    progress: bool | None = None,
    resume: str | Path | None = None,
) -> Report:
    """How far apart two sides are, in what way, and whether an adapter changed it.

    Every probe is read on the raw unit vectors, on centred ones, and, with an adapter, on aligned
    ones; probes of retrieval also with the adapter's correction, if it has one. Each value comes
    with a 95 % interval over pairs, groups drawn whole, and with what it would be if there were
    nothing to find.

    Call it as ``report(pairs)`` or ``report(pairs, adapter)``, or with two sides in any form that
    ``PairedEmbeddings.from_arrays`` takes, as ``report(source, target)`` or ``report(source,
    target, adapter)``: arrays, tensors, data frames, series or lists of vectors, ``Embeddings``.
    Rows of any norm will do: a report looks at directions, and divides rows by their norms.

    Pass pairs that the adapter was not fitted on; of an adapter that remembers its training pairs
    the report says how many of these were among them. Pairs that repeat an item of their group are
    left out, and above 5,000 pairs a random sample is measured; the report says so.

    Args:
        pairs: Held-out pairs, or their sources; at least 20 groups of them. The widths of the sides
            may differ.
        target: Their targets, ``(n, d_target)``, unless ``pairs`` holds both sides.
        adapter: Anything with ``source(x)`` and ``target(y)`` into one space; one that also has
            ``queries`` and ``gallery``, as ``align.Adapter``, is also measured as it searches.
        probes: What to measure, in that order: names of rows (``"recall_at_10"``), names of public
            functions, which stand for their rows (``"recall_at_k"``), or ``Probe`` objects. The
            verdict says which of its questions were not measured.
        by: What kind each pair is, a label for each of the pairs, such as a category or a language:
            the report then shows recall of each kind by itself (``report.subgroups``), in the last
            state that a search would use.
        seed: Seeds samples, folds, draws and nulls; the same seed gives the same report.
        progress: Whether to draw a progress bar; by default in a terminal or notebook.
        resume: A file to keep readings in while measuring; a run that was interrupted goes on from
            it, and a whole report removes it. Readings are told apart by the names of probes.

    Raises:
        TypeError: There is one side alone, or a probe is neither a name nor a ``Probe``.
        ValueError: The sides do not fit together, there are too few groups, a side is constant, a
            row has no direction, a probe is unknown or named twice, or the adapter refuses the
            vectors; or there are labels of subgroups and no state that can be searched.

    Examples:
        >>> import numpy as np, probes
        >>> rng = np.random.default_rng(0)
        >>> captions = rng.standard_normal((200, 8))
        >>> photos = captions + 0.1 * rng.standard_normal((200, 8)) + 2.0  # the same, moved away
        >>> report = probes.report(captions, photos, probes=["modality_gap", "recall_at_10"])
        >>> report.row("modality_gap").readings["raw"].value > 0.5
        True
    """
    chosen = selected(probes)
    paired, maps = pairs_and_adapter(pairs, target, adapter)
    if maps is not None and not (hasattr(maps, "source") and hasattr(maps, "target")):
        raise TypeError(
            "an adapter is what has source and target, as align.Adapter; got "
            f"{type(maps).__name__}. Pass two sides as report(source, target, adapter)."
        )
    labels = None if by is None else checked_labels(by, len(paired))
    measured, rules = measurable(paired, seed=seed)
    spaces = states(measured, maps, seed=seed)
    # Listed is what the last state that a search would use has retrieved, not the control.
    used = [space for column, space in spaces.items() if column != CONTROL and space.is_common]
    if labels is not None and not used:
        raise ValueError(
            "recall by subgroup needs sides that can be searched; got "
            f"{paired.source.shape[1]} and {paired.target.shape[1]} dimensions without an adapter. "
            "Pass an adapter, or leave by out."
        )
    raw = spaces["raw"]
    weights = torch.cat(list(resamples(raw.codes, DRAWS, raw.generator("bootstrap"))))
    packages = ("torch", "numpy", "scipy", "scikit-learn", "POT")
    versions = {"isthmus": __version__, "python": platform.python_version()}
    versions |= {name: version(name) for name in packages}
    path = None if resume is None else Path(resume)
    earlier = ResultsFile(path, key_of(spaces.values(), seed, DRAWS, versions))
    results: dict[str, dict[Column, ProbeResult]] = {probe.name: {} for probe in chosen}

    def kept() -> str:
        if path is None:
            return "Nothing of the report is kept; pass resume to keep what is measured."
        done = sum(map(len, results.values()))
        return (
            f"{done} of {len(spaces) * len(chosen)} readings are kept in {path}; "
            "run it again to go on from there."
        )

    with (
        saying_what_is_kept(kept),
        progress_bar(progress, total=len(spaces) * len(chosen), unit="probe") as bar,
    ):
        lock = Lock()

        def read(tasks: Iterator[tuple[Column, Probe]]) -> None:
            for column, probe in tasks:
                with lock:
                    bar.set_description(plain(f"{column}: {probe.label}"))
                known = earlier.get(column, probe.name)
                result = known or read_probe(probe, column, spaces[column], weights)
                with lock:
                    if known is None:
                        earlier.put(column, probe.name, result)
                    results[probe.name][column] = result
                    bar.update()

        # Each thread reads a probe by itself: most of what they do is too little to be shared.
        tasks = ((column, probe) for column in spaces for probe in chosen)
        share_out(tasks, read, alone=False)
    spectrum = any(probe.name in ("canonical_energy", "canonical_dims") for probe in chosen)
    views: dict[Column, View] = {}

    def see(columns: Iterator[Column]) -> None:
        for column in columns:
            views[column] = view(spaces[column], spectrum=spectrum)

    share_out(iter(spaces), see, alone=False)
    kinds: tuple[Subgroup, ...] = ()
    if labels is not None:
        label_of = dict(zip(paired.ids, labels, strict=True))
        kinds = by_label([label_of[name] for name in measured.ids], used[-1])
    finished = Report(
        Provenance(
            given=len(paired),
            pairs=len(measured),
            groups=len(set(measured.groups)),
            rules=rules,
            source_dim=paired.source.shape[1],
            target_dim=paired.target.shape[1],
            source_encoder=paired.source_fingerprint,
            target_encoder=paired.target_fingerprint,
            adapter=None if maps is None else _describe(maps),
            trained=None if maps is None else trained_on(maps, measured),
            dim=spaces["aligned"].source.shape[1] if "aligned" in spaces else None,
            centring=(
                f"means of the other {CENTRING_FOLDS - 1} of {CENTRING_FOLDS} folds of these "
                "pairs; an adapter centres with the means of its own training pairs"
            ),
            k=K,
            draws=DRAWS,
            seed=seed,
            versions=versions,
            side_names=paired.side_names,
        ),
        tuple(_row(probe, results[probe.name]) for probe in chosen),
        {column: views[column] for column in spaces},
        tuple(failures(used[-1], measured.ids)) if used else (),
        tuple(hubs(used[-1], measured.ids)) if used else (),
        kinds,
    )
    earlier.close()
    return finished


def read_probe(probe: Probe, column: Column, space: Space, weights: Tensor) -> ProbeResult:
    """What a probe gives in a state, with its values under bootstrap weights, ``(b, n)``."""
    if column == "corrected" and probe.needs != "search":
        reason = "as aligned: a correction changes the search and not the vectors"
        return ProbeResult(None, None, reason)
    if probe.needs != "sides" and not space.is_common:
        reason = (
            f"not defined before alignment: the sides have {space.source.shape[1]} and "
            f"{space.target.shape[1]} dimensions"
        )
        return ProbeResult(None, None, reason)
    try:
        measured = probe.measure(space)
    except ValueError as error:
        return ProbeResult(None, None, f"not defined here: {error}")
    if not math.isfinite(measured.value):
        raise ArithmeticError(
            f"a probe must give a finite number or raise; {probe.name} gave {measured.value} on "
            f"{space.n} {column} pairs. This is a defect of the probe: please report it."
        )
    draws, notes, rows = None, measured.notes, measured.rows
    low, high = measured.interval or (None, None)
    if measured.replicate is not None:
        draws = measured.replicate(weights if rows is None else weights[:, rows])
        if bool(draws.isfinite().all()):
            low, high = percentiles(draws)
        else:
            draws = None
            notes = (
                *notes,
                "Too few items differ for an interval: in some draws the value is not defined.",
            )
    null = None if measured.null is None else measured.null.value
    extreme = probe.extreme(space) if callable(probe.extreme) else probe.extreme
    reading = Reading(
        measured.value,
        low,
        high,
        null=null,
        p=None if measured.null is None else measured.null.p,
        n=space.n if rows is None else len(rows),
        notes=notes,
        effect=effect_of(measured.value, null, extreme, opposite=probe.opposite),
    )
    return ProbeResult(reading, None if draws is None else tuple(draws.tolist()), "")


def _row(probe: Probe, results: dict[Column, ProbeResult]) -> ReportRow:
    return ReportRow(
        probe.name,
        probe.label,
        probe.family,
        probe.better,
        probe.scale,
        probe.interval,
        probe.null,
        readings={column: r.reading for column, r in results.items() if r.reading is not None},
        undefined={column: r.reason for column, r in results.items() if r.reading is None},
        change=_change(results["raw"], results.get("aligned")),
    )


def percentiles(draws: Tensor) -> tuple[float, float]:
    """Both bounds of the 95 % interval of draws, ``(b,)``."""
    low, high = draws.quantile(draws.new_tensor([(1 - 0.95) / 2, (1 + 0.95) / 2])).tolist()
    return low, high


def _change(before: ProbeResult, after: ProbeResult | None) -> Change | None:
    if after is None or before.draws is None or after.draws is None:
        return None
    assert before.reading is not None and after.reading is not None  # they have draws
    first, last = (torch.tensor(each.draws, dtype=torch.float64) for each in (before, after))
    return Change(after.reading.value - before.reading.value, *percentiles(last - first))


def _describe(adapter: AdapterLike) -> str:
    card = getattr(adapter, "card", None)
    return type(adapter).__name__ if card is None else f"{card.method}; {card.verdict}"
