"""Does anything semi-supervised or of the kernel kind earn a place at 100 to 500 pairs?

    python -m experiments.few_pairs --data flickr8k --n 300 [--draws 3] [--quick]

Each method ends in the same small search over regularised CCA (``few_pairs_systems``), and so does
the control, on the encoders' vectors; ``align.fit`` stands beside them. Unpaired items are the rest
of the training pool, its pairing forgotten: each has its partner among the items of the other side.
Nothing is chosen on the gallery. Several captions, where a photo has them, are more labels and not
the same data. The record is ``experiments/results/few_pairs-DATA-N.json``, with a figure beside it;
its seconds leave out covariances and graphs of the pool. A quick run is not written.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, get_args

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from align._files.cache import cache_folder
from align.adapters.adapter import Adapter
from align.data.embeddings import PairedEmbeddings
from align.encoders.cache.store import EmbeddingStore
from align.encoders.text import TextEncoder
from align.fitting.model_selection.fit import fit
from align.metrics.estimates import Estimate
from experiments.baselines import tuned_ridge
from experiments.datasets import flickr8k
from experiments.few_pairs_features import Kernel
from experiments.few_pairs_systems import (
    Variant,
    best_of,
    captions,
    kernel,
    plain,
    soft_pairs,
    spectral,
    spectral_beside,
    survey,
    unpaired_covariances,
)
from experiments.pages import markdown_table
from experiments.record import RESULTS, read_record, write_record
from experiments.tasks import Task, load_task
from experiments.trials import Fit, Row, Trial, on_draws, over_draws, summarise

FIT = 'align.fit, effort="fast"'
CONTROL = "control: RCCA by the small search"
DATA = ("flickr8k", "emoji")
CAPTIONS = 5
QUICK_PAIRS = 100

Closed = Callable[[PairedEmbeddings, int], Adapter]  # training pairs and a seed in
Texts = Callable[[PairedEmbeddings], Tensor]  # several texts of each source, (n, c, d)


@dataclass(frozen=True, slots=True)
class Config:
    """One run.

    Attributes:
        data: ``"flickr8k"`` or ``"emoji"``.
        n: Training pairs.
        draws: Training sets; set ``s`` is drawn from seed ``s``.
    """

    data: str
    n: int
    draws: int = 3


@dataclass(frozen=True, slots=True)
class Result:
    """The table.

    Attributes:
        gallery: Held-out pairs.
        pool: Pairs that training sets were drawn from; those not drawn are the unpaired items.
        rows: One per system; gains are those of ``align.fit`` over the system.
        gains: Metrics of each system minus those of the control.
        gains_over_fit: Metrics of each system minus those of ``align.fit``.
        cells: R@1 and R@10 of each system in each draw, mean of both directions, in [0, 1].
        chosen: What each method chose in each draw, in words.
    """

    gallery: int
    pool: int
    rows: tuple[Row, ...]
    gains: Mapping[str, Mapping[str, Estimate]]
    gains_over_fit: Mapping[str, Mapping[str, Estimate]]
    cells: Mapping[str, tuple[tuple[float, float], ...]]
    chosen: Mapping[str, tuple[str, ...]]


def run(config: Config) -> Result:
    """Load the task and compare on it.

    Raises:
        ValueError: The task does not exist, or has fewer than ``n`` training pairs.
        FileNotFoundError: The data of the task are not there.
    """
    texts = several_captions if config.data == "flickr8k" else None
    return compare_on(load_task(config.data), config, texts=texts)


def compare_on(
    task: Task[PairedEmbeddings], config: Config, *, texts: Texts | None = None
) -> Result:
    """Fit every system on draws from the pool of a task and evaluate each on its gallery.

    Args:
        task: Pool and gallery.
        config: Pairs and draws.
        texts: Several texts of each source, ``(n, c, d)``, where there are any.

    Raises:
        ValueError: The pool has fewer than ``n`` pairs.
    """
    chosen: dict[str, list[str]] = {}
    known = systems(task.pool, texts)

    def telling(name: str, system: Closed, pairs: PairedEmbeddings, seed: int) -> Adapter:
        fitted = system(pairs, seed)
        chosen.setdefault(name, []).append(fitted.card.method)
        return fitted

    told: dict[str, Fit] = {name: partial(telling, name, system) for name, system in known.items()}
    trials = on_draws(task, n=config.n, draws=config.draws, systems=lambda train: told)
    return Result(
        len(task.gallery),
        len(task.pool),
        tuple(summarise(name, found, trials[FIT]) for name, found in trials.items()),
        {name: _over(found, trials[CONTROL]) for name, found in trials.items() if name != CONTROL},
        {name: _over(found, trials[FIT]) for name, found in trials.items() if name != FIT},
        {name: tuple(map(_recalls, found)) for name, found in trials.items()},
        {name: tuple(found) for name, found in chosen.items()},
    )


def systems(items: PairedEmbeddings, texts: Texts | None) -> dict[str, Closed]:
    """``align.fit``, tuned ridge and the control, then the methods that are tried.

    Args:
        items: The pool; its pairing is looked at by none.
        texts: Several texts of each source, where there are any.
    """
    pool = survey(items)

    def soft(pairs: PairedEmbeddings, seed: int) -> Adapter:
        _, teacher = best_of([unpaired_covariances(pool, pairs)], pairs, seed)
        return best_of([soft_pairs(pool, pairs, seed, teacher)], pairs, seed)[0]

    def chosen(variants: Callable[[PairedEmbeddings, int], Sequence[Variant]]) -> Closed:
        return lambda pairs, seed: best_of(variants(pairs, seed), pairs, seed)[0]

    found: dict[str, Closed] = {
        "ridge both ways, tuned": lambda p, seed: tuned_ridge(p.source, p.target, seed=seed),
        FIT: lambda pairs, seed: fit(pairs, effort="fast"),
        CONTROL: chosen(lambda pairs, seed: [plain(pairs)]),
        "unpaired items in means and covariances": chosen(
            lambda pairs, seed: [unpaired_covariances(pool, pairs)]
        ),
        "soft pairs from a linear teacher's plan": soft,
        "spectral features": chosen(lambda pairs, seed: list(spectral(pool, pairs))),
        "spectral features beside the vectors": chosen(
            lambda pairs, seed: list(spectral_beside(pool, pairs))
        ),
    }
    for kind in get_args(Kernel):
        found[f"{kind} features"] = chosen(partial(_kernel, kind))
    if texts is not None:
        found["sources averaged over several texts"] = chosen(
            lambda pairs, seed: [captions(pairs, texts(pairs))]
        )
        found["each of several texts a pair"] = lambda pairs, seed: _each_a_pair(
            pairs, texts(pairs), seed
        )
    return found


def several_captions(pairs: PairedEmbeddings) -> Tensor:
    """All captions of the photos of Flickr8k's training pairs through MiniLM, ``(n, 5, d)``."""
    every = flickr8k("train", captions=CAPTIONS)
    rows = {name: row for row, name in enumerate(every.ids)}
    photos = [name.rpartition("#")[0] for name in pairs.ids]
    wanted = [rows[f"{photo}#{number}"] for photo in photos for number in range(CAPTIONS)]
    store = EmbeddingStore(cache_folder() / "store")
    return store.encode(TextEncoder("minilm"), every.take(wanted).source).reshape(
        len(pairs), CAPTIONS, -1
    )


def _kernel(kind: Kernel, pairs: PairedEmbeddings, seed: int) -> list[Variant]:
    return list(kernel(pairs, seed, kind=kind))


def _each_a_pair(pairs: PairedEmbeddings, texts: Tensor, seed: int) -> Adapter:
    """Every text with the target of its source; texts of one source share a group."""
    c = texts.shape[1]
    more = PairedEmbeddings.from_arrays(
        texts.flatten(0, 1),
        pairs.target.repeat_interleave(c, dim=0),
        groups=[name for name in pairs.groups for _ in range(c)],
    )
    return best_of([plain(more)], more, seed)[0]


def _over(found: Sequence[Trial], reference: Sequence[Trial]) -> dict[str, Estimate]:
    """Metrics of one system minus those of another, paired by draw and query."""
    return over_draws(
        [each.evaluation for each in found], minus=[each.evaluation for each in reference]
    )


def _recalls(found: Trial) -> tuple[float, float]:
    both = found.evaluation.source_to_target.metrics, found.evaluation.target_to_source.metrics
    at_1, at_10 = (
        sum(metrics[name].value for metrics in both) / 2 for name in ("recall_at_1", "recall_at_10")
    )
    return at_1, at_10


def render(config: Config, result: Result) -> Table:
    """The table as it is printed: per cent, with 95 % intervals."""
    table = Table(
        title=f"{config.data}: {config.n:,} training pairs of {result.pool:,}, {result.gallery:,} "
        f"in the gallery; mean of both directions and {config.draws} draws, per cent",
        caption=r"\[low, high]: 95 % bootstrap interval over queries and draws",
    )
    table.add_column("system", no_wrap=True)
    for name in ("R@1", "R@10", "R@10 minus control's", "minus align.fit's", "fit s"):
        table.add_column(name, justify="right")
    for row in result.rows:
        gains = (table_of.get(row.system) for table_of in (result.gains, result.gains_over_fit))
        table.add_row(
            row.system,
            f"{100 * row.metrics['recall_at_1'].value:.1f}",
            f"{100 * row.metrics['recall_at_10'].value:.1f}",
            *("" if gain is None else _shown(gain["recall_at_10"]) for gain in gains),
            f"{row.fit_seconds:.1f}",
        )
    return table


def _shown(gain: Estimate) -> str:
    return rf"{100 * gain.value:+.1f} \[{100 * gain.low:+.1f}, {100 * gain.high:+.1f}]"


CELLS = (("flickr8k", 100), ("flickr8k", 300), ("flickr8k", 500), ("emoji", 100), ("emoji", 300))
FITTED = 'align.fit, effort="fast"'


def gains() -> str:
    """R@10 of the control, and by how much every method exceeds it, for a page."""
    names: list[str] = []
    columns = []
    header = ["R@10"]
    for data, n in CELLS:
        record = read_record(f"few_pairs-{data}-{n}")
        found, draws = record["result"], record["config"]["draws"]
        control = next(row for row in found["rows"] if row["system"] == CONTROL)
        cells = {CONTROL: f"{100 * control['metrics']['recall_at_10']['value']:.1f}"}
        for name, gain in found["gains"].items():
            value, low, high = (100 * gain["recall_at_10"][key] for key in ("value", "low", "high"))
            cells[name] = f"{value:+.1f} [{low:+.1f}, {high:+.1f}]"
        names += [row["system"] for row in found["rows"] if row["system"] not in names]
        columns.append(cells)
        header.append(f"`{data}`, {n}" + (", one draw" if draws == 1 else ""))
    order = [CONTROL, FITTED, *(name for name in names if name not in (CONTROL, FITTED))]
    rows = [[name, *(cells.get(name, "") for cells in columns)] for name in order]
    return markdown_table(header, rows)


def draw_figure(config: Config, result: Result, path: Path) -> None:
    """Gain in recall at 10 of each method over the control, with its interval, as a PNG."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    names = list(result.gains)
    figure, axis = pyplot.subplots(figsize=(8, 0.35 * len(names) + 1.4), layout="constrained")
    for at, name in enumerate(names):
        gain = result.gains[name]["recall_at_10"]
        axis.plot([100 * gain.low, 100 * gain.high], [at, at], color="tab:blue")
        axis.plot([100 * gain.value], [at], "o", color="tab:blue")
    axis.axvline(0, color="grey", linewidth=1)
    axis.set_yticks(range(len(names)), names)
    axis.invert_yaxis()
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis="y", alpha=0.3)
    axis.set_xlabel("recall at 10 minus that of the control, points, 95 % interval")
    figure.suptitle(f"{config.data}, {config.n:,} pairs, {config.draws} draws")
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def main(arguments: Sequence[str] | None = None) -> None:
    """Compare, print the table, write the record and the figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", choices=DATA, default="flickr8k")
    parser.add_argument("--n", type=int, default=300, help="training pairs")
    parser.add_argument("--draws", type=int, default=3, help="training sets drawn")
    parser.add_argument("--quick", action="store_true", help="few pairs, one draw, no record")
    told: Any = parser.parse_args(arguments)
    config = Config(told.data, told.n, told.draws)
    if told.quick:
        config = replace(config, n=min(told.n, QUICK_PAIRS), draws=1)
    torch.set_num_threads(1)
    result = run(config)
    Console(width=150).print(render(config, result))
    if not told.quick:
        name = f"few_pairs-{config.data}-{config.n}"
        print(write_record(name, config=asdict(config), result=asdict(result)))
        draw_figure(config, result, RESULTS / f"{name}.png")


if __name__ == "__main__":
    main()
