"""What the records of ``experiments.frontier`` say, for pages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from experiments.frontier import BEST, FAST, SETTINGS
from experiments.pages import markdown_table
from experiments.record import read_record

TOLD: Mapping[str, str] = {
    "flickr8k": "photos and captions, lite0 and MiniLM",
    "flickr8k_parts": "the same, lite0 + lite2, MiniLM + its input layer",
    "flickr8k_packaged": "the same, all packaged encoders: five of text, two of pictures",
    "django_pseudocode": "pseudo-code and lines of code, one encoder",
    "conala": "intents and snippets, one encoder",
    "cosqa": "web queries and functions, one encoder",
    "stdlib_code": "docstrings and code, one encoder",
    "stdlib_code_two": "docstrings and code, two encoders",
    "en_fr": "English and French captions, one English encoder",
    "en_ja": "English and Japanese sentences, two encoders",
    "emoji": "emoji names and pictures",
}


def _records() -> Iterator[tuple[str, int, dict[str, Any]]]:
    """Data, pairs and record of every setting that has one with a shortfall."""
    for data, sizes in SETTINGS.items():
        for n in sizes:
            try:
                found = read_record(f"frontier-{data}-{n}")
            except FileNotFoundError:
                continue
            if "below" in found["result"]:
                yield data, n, found


def simple_methods() -> str:
    """``align.fit`` beside the simple method that does best, every setting, for a page."""
    rows, before = [], ""
    for data, n, record in _records():
        found, draws = record["result"], record["config"]["draws"]
        means = {
            row["system"]: [row["metrics"][f"recall_at_{k}"]["value"] for k in (1, 10)]
            for row in found["rows"]
        }
        names = list(means)
        best = max(names[: names.index(FAST)], key=lambda name: sum(means[name]))
        told = f"{TOLD[data]} (`{data}`)" if data != before else ""
        shown = [_both(each) for each in (found["chance"], means[best], means[FAST], means[BEST])]
        size = f"{n:,}" if draws == 3 else f"{n:,}, {draws} draw{'s' * (draws > 1)}"
        worst = f"{100 * max(found['below']):+.1f}"
        rows.append(
            [told, size, shown[0], f"{best} {shown[1]}", shown[2], f"**{shown[3]}**", worst]
        )
        before = data
    header = ("data (`NAME`)", "pairs", "chance", "best simple method", "`fit`, fast", "`fit`",
              "R@1 below the best simple method of a draw, at most")  # fmt: skip
    return markdown_table(header, rows)


def one_number() -> str:
    """R@10 of ``align.fit`` on photos and captions at 1,000 pairs, in per cent."""
    return f"{_photos(1000)[BEST]:.1f}"


def at_5000() -> str:
    """The same at 5,000 pairs, beside the best simple method."""
    found = _photos(5000)
    ours = (FAST, BEST)
    value, name = max((each, name) for name, each in found.items() if name not in ours)
    beside = f"the best simple method ({name}) has {value:.1f} %"
    return f"{found[BEST]:.1f} % at 5,000 pairs, where {beside}"


def photos() -> str:
    """R@1 / R@10 of simple methods and of ``align.fit`` on photos and captions, for a page."""
    columns = {}
    for n in SETTINGS["flickr8k"]:
        found = read_record(f"frontier-flickr8k-{n}")["result"]
        columns[n] = {
            row["system"]: _both([row["metrics"][f"recall_at_{k}"]["value"] for k in (1, 10)])
            for row in found["rows"]
        } | {"a random order": _both(found["chance"])}
    names = list(next(iter(columns.values())))
    rows = [
        [f"**{n}**" if n == BEST else n, *(each[n] for each in columns.values())] for n in names
    ]
    return markdown_table(("R@1 / R@10, per cent", *(f"n = {n:,}" for n in columns)), rows)


def _photos(n: int) -> dict[str, float]:
    """R@10 of every system on photos and captions, in per cent."""
    rows = read_record(f"frontier-flickr8k-{n}")["result"]["rows"]
    return {row["system"]: 100 * row["metrics"]["recall_at_10"]["value"] for row in rows}


def _both(pair: Sequence[float]) -> str:
    return f"{100 * pair[0]:.1f} / {100 * pair[1]:.1f}"


def shortfall() -> str:
    """In how many draws ``align.fit`` lies within half a point of every simple method."""
    each = [(data, n, below) for data, n, r in _records() for below in r["result"]["below"]]
    worse = [(data, n, 100 * below) for data, n, below in each if below > 0.005]
    told = ", ".join(f"{below:.1f} (`{data}`, {n:,} pairs)" for data, n, below in worse)
    held = f"{len(each) - len(worse)} of {len(each)} draws"
    return f"{held}; in the others R@1 lay below by {told} points" if worse else held
