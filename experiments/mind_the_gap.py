"""Mind the Gap: can a small projection join two frozen encoders of code, or of two languages?

    ISTHMUS_DATA=... python -m experiments.mind_the_gap [--data conala --n 300] [--quick]

The projection network of Yadav and McMillan 2024 (arXiv:2410.23437), as printed, tuned, and as a
second reading has it (two hidden layers), beside words alone (BM25), the encoders as they are (on
the data where both sides go through one sentence-transformers model that row *is* the shared
encoder), and the closed form of ``align.fit``. DPR, which the paper compares with, has no weights
in any package and is absent.

Tuning is that of the league (``experiments.league``): four settings and four corrections of the
gallery a system, on a fifth of the training pairs of the first draw. Records are
``experiments/results/mind_the_gap-DATA-N.json``, the figure ``mind_the_gap.png``; what a query
costs is in ``mind_the_gap-speed.json``. Settings whose record is of this commit are not run again,
and a quick run is not written.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch

from align.data.embeddings import PairedEmbeddings
from align.encoders.spec import load_encoder
from align.fitting.model_selection.fit import fit
from align.metrics.estimates import MEANS, Estimate
from experiments.league.setting import Config, Entry, on_task
from experiments.league.standings import entries
from experiments.league.standings import records as league_records
from experiments.league.systems import closed_forms, info_nce, mind_the_gap, ours
from experiments.league.systems.peer import Peer, Setting, shortened
from experiments.lexical import Overlap, bm25_scores, evaluate_bm25, overlap
from experiments.pages import markdown_table, percent
from experiments.record import RESULTS, is_current, read_record, write_record
from experiments.tasks import MINILM, Task, load_task, raw_task
from experiments.trials import draw

SETTINGS: Mapping[str, tuple[int, ...]] = {
    "django_pseudocode": (100, 300, 1000, 3000, 10000),
    "stdlib_code": (300, 1000, 3000),
    "stdlib_code_two": (300, 1000, 3000),
    "conala": (100, 300, 1000),
    "en_fr": (100, 300, 1000, 5000),
    "en_ja": (300, 1000, 5000),
}
TOLD: Mapping[str, str] = {
    "django_pseudocode": "pseudo-code and Python, one encoder",
    "stdlib_code": "docstrings and Python, one encoder",
    "stdlib_code_two": "docstrings and Python, two encoders",
    "conala": "intents and snippets, one encoder",
    "en_fr": "English and French, one English encoder",
    "en_ja": "English and Japanese, two encoders",
}
STYLES = {
    "raw cosine": "grey",
    "centred cosine": "black",
    mind_the_gap.PEER.name: "tab:red",
    info_nce.LINEAR.name: "tab:blue",
    ours.BEST_NAME: "tab:orange",
}
SPEED = "mind_the_gap-speed"
BM25, SHOWN = "BM25, words alone", 1000
QUICK = ("conala", 60)


@dataclass(frozen=True, slots=True)
class Result:
    """One setting.

    Attributes:
        gallery: Held-out pairs.
        pool: Pairs that training sets were drawn from.
        chance: Accuracy at 1, 5 and 10 and reciprocal rank of a random order of the gallery.
        bm25: The same of words alone, which no training pair changes.
        entries: The systems; see ``experiments.league.setting.Entry``.
        words: What words explain of the result of ``align.fit``, first draw.
    """

    gallery: int
    pool: int
    chance: Mapping[str, float]
    bm25: Mapping[str, Estimate]
    entries: tuple[Entry, ...]
    words: Overlap


@dataclass(frozen=True, slots=True)
class Cost:
    """What a query costs on one thread.

    Attributes:
        one_ms: Median time of one query after another, in ms.
        together: Queries a second, all of the gallery's at once.
    """

    one_ms: float
    together: float


def systems() -> tuple[Peer[Any], ...]:
    """The rows of a table, ours last."""
    named = {peer.name: peer for peer in closed_forms.PEERS}
    return (
        named["raw cosine"],
        named["centred cosine"],
        mind_the_gap.PRINTED,
        mind_the_gap.PEER,
        mind_the_gap.TWO_LAYERS,
        info_nce.LINEAR,
        ours.FAST,
        ours.BEST,
    )


def run(config: Config, peers: Sequence[Peer[Any]]) -> Result:
    """Every system on the draws of one setting, and words alone."""
    task, items = load_task(config.data), raw_task(config.data).gallery
    found = on_task(task, config, peers, None)
    words = evaluate_bm25(task.gallery, items)
    adapter = fit(draw(task.pool, config.n, seed=0), effort="fast")
    return Result(
        found.gallery,
        found.pool,
        found.chance,
        {name: words.mean[name] for name in MEANS},
        found.entries,
        overlap(task.gallery, items, adapter),
    )


def speed(
    task: Task[PairedEmbeddings], texts: Sequence[str], codes: Sequence[str]
) -> dict[str, Cost]:
    """What each step of a query costs: encoding, adapting, searching, and BM25 in their place."""
    train = draw(task.pool, min(SHOWN, len(task.pool)), seed=0)
    encoder = load_encoder(MINILM)
    network = mind_the_gap.fit(train, Setting(20, 1e-3), 0)
    adapter = fit(train, effort="fast")
    queries = task.gallery.source[: len(texts)]
    items = adapter.gallery(task.gallery.target, side="target")
    mapped = adapter.queries(queries, side="source")
    steps: dict[str, tuple[Callable[[int], object], Callable[[], object]]] = {
        "encode by MiniLM": (
            lambda at: encoder.encode([texts[at]], progress=False),
            lambda: encoder.encode(list(texts), progress=False),
        ),
        "adapt, network": (
            lambda at: network.queries(queries[at : at + 1], side="source"),
            lambda: network.queries(queries, side="source"),
        ),
        "adapt, `align.fit`": (
            lambda at: adapter.queries(queries[at : at + 1], side="source"),
            lambda: adapter.queries(queries, side="source"),
        ),
        "search by inner product": (
            lambda at: (mapped[at : at + 1] @ items.T).topk(10),
            lambda: (mapped @ items.T).topk(10),
        ),
        "BM25, index included": (
            lambda at: bm25_scores(texts[at : at + 1], codes),
            lambda: bm25_scores(texts, codes),
        ),
    }
    return {name: _cost(*step, len(texts)) for name, step in steps.items()}


def _cost(one: Callable[[int], object], every: Callable[[], object], n: int) -> Cost:
    taken = []
    for at in range(min(n, 100)):
        start = time.perf_counter()
        one(at)
        taken.append(time.perf_counter() - start)
    every()
    start = time.perf_counter()
    every()
    return Cost(1e3 * median(taken), n / (time.perf_counter() - start))


def records() -> Iterator[tuple[str, int, dict[str, Any]]]:
    """Data, pairs and result of every record that is there."""
    for data, sizes in SETTINGS.items():
        for n in sizes:
            try:
                yield data, n, read_record(f"mind_the_gap-{data}-{n}")["result"]
            except FileNotFoundError:
                continue


def accuracy() -> str:
    """Accuracy at 1, 5, 10 and reciprocal rank of every system at ``SHOWN`` pairs, for a page."""
    rows = []
    for data, n, result in records():
        if n != SHOWN:
            continue
        told = f"{TOLD[data]} (`{data}`)"
        rows.append((f"**{told}**, gallery of {result['gallery']:,}", *[""] * 7))
        rows.append(
            (
                "a random order",
                *(f"{100 * result['chance'][name]:.1f}" for name in MEANS),
                "",
                "",
                "",
            )
        )
        rows.append((BM25, *_four(result["bm25"]), "", "", ""))
        for entry in result["entries"]:
            name = entry["system"]
            if name == closed_forms.PEERS[0].name and "one encoder" in TOLD[data]:
                name = "raw cosine: one shared encoder"
            rows.append(
                (
                    f"**{name}**" if name in ours.OURS else name,
                    *_four(entry["metrics"]),
                    f"{entry['fit_seconds'] + entry['tuning_seconds']:.1f}",
                    f"{entry['trained'] / 1e6:.1f} M" if entry["trained"] else "0",
                    f"{entry['query_microseconds']:.0f}",
                )
            )
    header = ("per cent", "acc@1", "acc@5", "acc@10", "MRR", "seconds, tuning included",
              "trained parameters", "µs a query")  # fmt: skip
    return markdown_table(header, rows)


def _four(metrics: Mapping[str, Mapping[str, float]]) -> list[str]:
    first, *others = (metrics[name] for name in MEANS)
    return [percent(first), *(f"{100 * each['value']:.1f}" for each in others)]


def curve() -> str:
    """Accuracy at 1 against the number of pairs, the league's records among them, for a page."""
    points = _points()
    sizes = sorted({n for each in points.values() for own in each.values() for n in own})
    rows = [
        [f"`{data}`, {system}", *(f"{own[n]:.1f}" if n in own else "" for n in sizes)]
        for data, systems in points.items()
        for system, own in systems.items()
        if system in (mind_the_gap.PEER.name, ours.BEST_NAME)
    ]
    return markdown_table(("acc@1, per cent", *(f"n = {n:,}" for n in sizes)), rows)


def _points() -> dict[str, dict[str, dict[int, float]]]:
    """Accuracy at 1, per cent, by data, system and n, of the same tuning and draws."""
    both = league_records() | {(data, n): result for data, n, result in records()}
    in_order = {key: both[key] for key in sorted(both)}
    found: dict[str, dict[str, dict[int, float]]] = {}
    for data, n, entry in entries(in_order):
        if data in TOLD and entry["system"] in STYLES:
            own = found.setdefault(data, {}).setdefault(entry["system"], {})
            own[n] = 100 * entry["metrics"]["recall_at_1"]["value"]
    return found


def lexical() -> str:
    """What words explain, at ``SHOWN`` pairs, for a page."""
    rows = []
    for data, n, result in records():
        if n != SHOWN:
            continue
        words = result["words"]
        rows.append(
            (
                f"`{data}`",
                *(f"{100 * words[name]['value']:.1f}" for name in ("bm25", "adapter", "both")),
                f"{100 * words['alike']:.0f} % ({100 * words['alike_at_random']:.0f} %)",
                f"{100 * words['repeated']:.0f} %",
            )
        )
    header = (
        "acc@1, per cent",
        "BM25",
        "`align.fit`, fast",
        "both together",
        "misses that are the answer but for names (random items)",
        "repeated targets",
    )
    return markdown_table(header, rows)


def costs() -> str:
    """What a query costs, step by step, for a page."""
    found = read_record(SPEED)["result"]
    rows = [
        (name, f"{each['one_ms']:.2f}", f"{each['together']:,.0f}") for name, each in found.items()
    ]
    return markdown_table(("step", "ms, one query", "queries a second, all at once"), rows)


def figure(path: Path) -> None:
    """Accuracy at 1 against pairs, one panel a data set, as PNG."""
    from matplotlib.figure import Figure

    points = _points()
    words = {data: 100 * found["bm25"]["recall_at_1"]["value"] for data, _, found in records()}
    rows = -(-len(points) // 3)
    drawn = Figure(figsize=(10.0, 3.1 * rows), layout="constrained")
    panels = drawn.subplots(rows, 3, squeeze=False)
    for axes, (data, systems) in zip(panels.flat, points.items(), strict=False):
        for system, own in systems.items():
            colour, shown = STYLES[system], list(own.values())
            axes.plot(list(own), shown, "o-", color=colour, markersize=4, label=system)
        if data in words:
            axes.axhline(words[data], color="tab:green", linestyle="--", label=BM25)
        axes.set(xscale="log", xlabel="training pairs", ylabel="accuracy at 1, %", ylim=(0, 100))
        axes.set_title(TOLD[data], fontsize=9)
        axes.spines[["top", "right"]].set_visible(False)
    for axes in list(panels.flat)[len(points) :]:
        axes.set_visible(False)
    handles: dict[str, Any] = {}
    for axes in drawn.axes:
        handles |= dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    drawn.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=4, fontsize=8)
    drawn.savefig(path, dpi=130)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is left, write records, draw the figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", choices=tuple(SETTINGS), help="one data set alone")
    parser.add_argument("--n", type=int, help="one number of training pairs alone")
    parser.add_argument("--draws", type=int, default=3, help="training sets drawn")
    parser.add_argument("--quick", action="store_true", help="one tiny setting, no record")
    told = parser.parse_args(arguments)
    if told.quick:
        print(run(Config(*QUICK, draws=1), [shortened(peer, 2) for peer in systems()]))
        return
    torch.set_num_threads(1)
    for data, sizes in SETTINGS.items():
        for n in sizes:
            name = f"mind_the_gap-{data}-{n}"
            if told.data not in (None, data) or told.n not in (None, n) or is_current(name):
                continue
            config = Config(data, n, told.draws)
            result = run(config, systems())
            print(write_record(name, config=asdict(config), result=asdict(result)), flush=True)
    if not is_current(SPEED):
        items = raw_task("django_pseudocode").gallery
        texts, codes = ([str(item) for item in side] for side in (items.source, items.target))
        found = speed(load_task("django_pseudocode"), texts, codes)
        content = {name: asdict(each) for name, each in found.items()}
        write_record(SPEED, config={"data": "django_pseudocode", "n": SHOWN}, result=content)
    figure(RESULTS / "mind_the_gap.png")


if __name__ == "__main__":
    main()
