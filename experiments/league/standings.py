"""What the records of the league say together: tables for pages, and the two figures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from experiments.league.statistics import Standing, standing
from experiments.league.systems.ours import BEST_NAME, OURS
from experiments.pages import markdown_table
from experiments.record import read_record

SETTINGS: Mapping[str, tuple[int, ...]] = {
    "flickr8k": (100, 300, 1000, 3000, 5000),
    "emoji": (100, 300, 1000),
    "django_pseudocode": (100, 300, 1000, 5000),
    "conala": (100, 300, 1000),
    "cosqa": (100,),
    "stdlib_code": (100, 300, 1000, 3000),
    "stdlib_code_two": (100, 300, 1000, 3000),
    "en_fr": (100, 300, 1000, 5000),
    "en_ja": (100, 300, 1000, 5000),
}
Found = Mapping[tuple[str, int], Mapping[str, Any]]
"""The result of each setting that has a record."""


@dataclass(frozen=True, slots=True)
class Line:
    """One system over all settings that have a record and in which it is defined.

    Attributes:
        mean_rank: Over data sets, by its mean reciprocal rank; ``None`` where it is not everywhere.
        recall: Mean R@10 by number of pairs, with its correction, over data sets.
        plain: The same without.
        mean: Mean R@10 over all settings, with its correction.
        worse: Settings in which it is significantly below ``align.fit``, after Holm.
        better: Settings in which it is significantly above.
        settings: Settings in which it is defined.
        seconds: Mean seconds of one fit and of its tuning together, over settings.
    """

    mean_rank: float | None
    recall: Mapping[int, float]
    plain: Mapping[int, float]
    mean: float
    worse: int
    better: int
    settings: int
    seconds: float


def records() -> dict[tuple[str, int], Mapping[str, Any]]:
    """What there is, in the order of ``SETTINGS``."""
    found = {}
    for data, sizes in SETTINGS.items():
        for n in sizes:
            try:
                found[data, n] = read_record(f"league-{data}-{n}")["result"]
            except FileNotFoundError:
                continue
    return found


def entries(found: Found) -> Iterator[tuple[str, int, Mapping[str, Any]]]:
    """Data, pairs and entry of everything that was measured."""
    for (data, n), result in found.items():
        for entry in result["entries"]:
            yield data, n, entry


def standings(found: Found) -> Standing:
    """Systems that are defined on all data, ranked on each by their mean over numbers of pairs."""
    data = list(dict.fromkeys(name for name, _ in found))
    values: dict[str, dict[str, list[float]]] = {}
    for name, _, entry in entries(found):
        mrr = entry["metrics"]["mean_reciprocal_rank"]["value"]
        values.setdefault(entry["system"], {}).setdefault(name, []).append(mrr)
    whole = {
        system: [fmean(each[name]) for name in data]
        for system, each in values.items()
        if set(each) == set(data)
    }
    return standing(whole, data, BEST_NAME)


def lines(found: Found) -> dict[str, Line]:
    """One line a system, best mean rank first, then those that are not defined everywhere."""
    ranks = standings(found).mean_ranks
    sizes = sorted({n for _, n in found})
    by_system: dict[str, list[tuple[str, int, Mapping[str, Any]]]] = {}
    for each in entries(found):
        by_system.setdefault(each[2]["system"], []).append(each)

    def recall(own: list[tuple[str, int, Mapping[str, Any]]], kind: str) -> dict[int, float]:
        means = {}
        for n in sizes:
            at_n = [entry[kind]["recall_at_10"]["value"] for _, size, entry in own if size == n]
            if len(at_n) == sum(size == n for _, size in found):
                means[n] = fmean(at_n)
        return means

    order = [*ranks, *(name for name in by_system if name not in ranks)]
    made = {}
    for name in order:
        own = by_system[name]
        apart = [
            entry["behind"]["mean_reciprocal_rank"]["value"]
            for _, _, entry in own
            if entry["p_holm"] <= 0.05 and name not in OURS
        ]
        made[name] = Line(
            ranks.get(name),
            recall(own, "metrics"),
            recall(own, "plain"),
            fmean(entry["metrics"]["recall_at_10"]["value"] for _, _, entry in own),
            sum(each > 0 for each in apart),
            sum(each < 0 for each in apart),
            len(own),
            fmean(entry["fit_seconds"] + entry["tuning_seconds"] for _, _, entry in own),
        )
    return made


def everywhere() -> str:
    """Every system over all data: mean rank, mean R@10 by number of pairs, verdicts, seconds."""
    found = records()
    sizes = sorted({n for _, n in found})
    chance = {
        n: fmean(r["chance"]["recall_at_10"] for (_, size), r in found.items() if size == n)
        for n in sizes
    }
    count = {n: sum(size == n for _, size in found) for n in sizes}
    header = (
        "R@10, per cent",
        "mean rank",
        *(f"n = {n:,}, {count[n]} data set{'s' * (count[n] != 1)}" for n in sizes),
        "below / above `align.fit`",
        "seconds",
    )
    rows = []
    for name, line in lines(found).items():
        cells = [
            f"{100 * line.plain[n]:.1f} → {100 * line.recall[n]:.1f}" if n in line.recall else ""
            for n in sizes
        ]
        rank = "" if line.mean_rank is None else f"{line.mean_rank:.1f}"
        apart = "" if name in OURS else f"{line.worse} / {line.better} of {line.settings}"
        shown = f"**{name}**" if name in OURS else name
        rows.append((shown, rank, *cells, apart, f"{line.seconds:.1f}"))
    rows.append(("a random order", "", *(f"{100 * chance[n]:.1f}" for n in sizes), "", ""))
    return markdown_table(header, rows)


def recall() -> str:
    """R@1 / R@10 of every system on photos and captions, for a page."""
    found = {n: each for (data, n), each in records().items() if data == "flickr8k"}
    names = [entry["system"] for entry in next(iter(found.values()))["entries"]]
    rows = []
    for name in names:
        cells = []
        for result in found.values():
            entry = next(each for each in result["entries"] if each["system"] == name)
            at = [100 * entry["metrics"][f"recall_at_{k}"]["value"] for k in (1, 10)]
            cells.append(f"{at[0]:.1f} / {at[1]:.1f}")
        rows.append((f"**{name}**" if name in OURS else name, *cells))
    chance = [
        f"{100 * r['chance']['recall_at_1']:.1f} / {100 * r['chance']['recall_at_10']:.1f}"
        for r in found.values()
    ]
    rows.append(("a random order", *chance))
    return markdown_table(("R@1 / R@10, per cent", *(f"n = {n:,}" for n in found)), rows)


README = (300, 1000, 5000)


def readme() -> str:
    """Recall at 10 on photos and captions of a few systems, and of the best of all others."""
    found = {
        n: result for (data, n), result in records().items() if data == "flickr8k" and n in README
    }
    values = {
        n: {
            entry["system"]: entry["metrics"]["recall_at_10"]["value"]
            for entry in result["entries"]
        }
        for n, result in found.items()
    }
    best = [
        max((value, name) for name, value in each.items() if name not in OURS)
        for each in values.values()
    ]
    rows = [
        [name, *(f"{100 * each[name]:.1f}" for each in values.values())]
        for name in ("plain CCA", "linear heads, InfoNCE", BEST_NAME)
    ]
    rows[-1] = [f"**{cell}**" for cell in rows[-1]]
    rows.insert(-1, ["best of all others", *(f"{100 * value:.1f}, {name}" for value, name in best)])
    return markdown_table(("R@10, per cent", *(f"n = {n:,}" for n in values)), rows)


def above() -> str:
    """Every setting in which a system has a higher reciprocal rank than ``align.fit``."""
    rows = []
    for data, n, entry in entries(records()):
        behind = entry["behind"]["mean_reciprocal_rank"]
        if entry["system"] in OURS or behind["value"] >= 0:
            continue
        value, low, high = (-100 * behind[key] for key in ("value", "high", "low"))
        at_10 = -100 * entry["behind"]["recall_at_10"]["value"]
        rows.append(
            (
                f"`{data}`, {n:,}",
                entry["system"],
                f"{value:+.1f} [{low:+.1f}, {high:+.1f}]",
                f"{at_10:+.1f}",
                f"{entry['p_holm']:.2f}",
            )
        )
    return markdown_table(("setting", "system", "MRR, points", "R@10, points", "p (Holm)"), rows)


def budgets() -> str:
    """What each system chose from, and what is as published."""
    rows = []
    seen: set[str] = set()
    for _, _, entry in entries(records()):
        name = entry["system"]
        if name in seen:
            continue
        seen.add(name)
        tried = "by cross-validation" if name in OURS else f"{entry['tried']}"
        settings = ", ".join(entry["held_out"]) if entry["held_out"] else ""
        rows.append((name, tried, settings, entry["note"]))
    return markdown_table(("system", "configurations", "settings", "what it is"), rows)


def data_sets() -> str:
    """How many data sets have a record."""
    return str(len({data for data, _ in records()}))


def verdict() -> str:
    """The tests over data sets, in a sentence."""
    found = records()
    told = standings(found)
    names = list(told.mean_ranks)
    apart = [
        name
        for name in names
        if told.mean_ranks[name] - told.mean_ranks[BEST_NAME] > told.critical_difference
    ]
    others = len(names) - 1
    least = min(1.0, 2 * 0.5 ** len(told.data) * others)
    return (
        f"Over {len(told.data)} data sets and {len(found)} settings, {len(names)} systems that are "
        f"defined on all of them differ (Friedman, p = {told.friedman_p:.2g}). Mean ranks further "
        f"apart than {told.critical_difference:.1f} differ at 5 % (Nemenyi): {len(apart)} systems "
        f"are that far behind `align.fit`, {others - len(apart)} are not. One against one, by "
        f"Wilcoxon's signed ranks and adjusted for {others} systems (Holm), so few data sets "
        f"cannot give a p below {least:.2f}: what tells systems apart one by one is the test over "
        "queries within each setting, whose counts stand in the table."
    )
