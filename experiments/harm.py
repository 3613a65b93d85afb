"""What ``align.fit`` takes away where there is nothing to learn, beside what it adds elsewhere.

    python -m experiments.harm [--draws 6]

Both sides come from encoders of one width, so that the raw cosine is there to lose. Four cases:
true pairs of real data; the same pairs with half of the partners exchanged, and with all of them;
and planted pairs of which nothing is better than the raw cosine. Each adapter is judged on true
pairs that it has not seen, by how much its R@1 lies above the raw cosine's. The record is
``experiments/results/harm.json``.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from align.adapters.adapter import Adapter
from align.data.embeddings import PairedEmbeddings
from align.fitting.model_selection.fit import fit
from align.metrics.chance import without_chance_warnings
from align.metrics.evaluation import evaluate
from experiments.baselines import raw_cosine
from experiments.pages import markdown_table
from experiments.record import read_record, write_record
from experiments.tasks import Task, load_task
from experiments.trials import draw

DATA = ("django_pseudocode", "conala", "stdlib_code", "en_fr")
PAIRS = (40, 100, 300)
EXCHANGED = {"true pairs": 0.0, "half exchanged": 0.5, "all exchanged": 1.0}
PLANTED = "planted, raw cosine best"
WIDTH, GALLERY = 64, 500
NOISES = (0.9, 1.3, 1.8)  # of the planted pairs, in turn


@dataclass(frozen=True, slots=True)
class Cell:
    """What fitting does in one case at one number of pairs, over data sets and draws.

    Attributes:
        case: A key of ``EXCHANGED``, or ``PLANTED``.
        data: The task, or the case again.
        n: Training pairs.
        kept: Share of draws in which the encoders were left as they are.
        mean: Mean of R@1 above the raw cosine's, in points.
        worst: The least of it.
    """

    case: str
    data: str
    n: int
    kept: float
    mean: float
    worst: float


def run(draws: int) -> tuple[Cell, ...]:
    """Fit on every case and judge."""
    found = []
    for case, data, task in _cases():
        for n in PAIRS:
            gains, kept = [], 0
            for seed in range(draws):
                train, gallery = task(n, seed)
                with without_chance_warnings(), warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    adapter = fit(train, effort="fast")
                kept += adapter.card.method == "identity"
                raw = _recall(gallery, raw_cosine(train, seed))
                gains.append(100 * (_recall(gallery, adapter) - raw))
            found.append(Cell(case, data, n, kept / draws, fmean(gains), min(gains)))
            print(found[-1])
    return tuple(found)


def _cases() -> Iterator[tuple[str, str, Any]]:
    for name in DATA:
        task = load_task(name)
        for case, share in EXCHANGED.items():
            yield (
                case,
                name,
                lambda n, seed, task=task, share=share: _exchanged(task, n, seed, share),
            )
    yield PLANTED, PLANTED, _planted


def _exchanged(
    task: Task[PairedEmbeddings], n: int, seed: int, share: float
) -> tuple[PairedEmbeddings, PairedEmbeddings]:
    """A draw of the pool, this share of its targets in another order, and the gallery."""
    train = draw(task.pool, n, seed=seed)
    moved = torch.randperm(n, generator=torch.Generator().manual_seed(seed))[: round(share * n)]
    partner = torch.arange(n)
    partner[moved] = moved.roll(1)
    exchanged = PairedEmbeddings.from_arrays(train.source, train.target[partner])
    return exchanged, task.gallery


def _planted(n: int, seed: int) -> tuple[PairedEmbeddings, PairedEmbeddings]:
    """Isotropic sources, and targets that are these and isotropic noise."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n + GALLERY, WIDTH, generator=generator)
    noise = torch.randn(n + GALLERY, WIDTH, generator=generator)
    pairs = PairedEmbeddings.from_arrays(x, x + NOISES[seed % len(NOISES)] * noise)
    return pairs.take(range(n)), pairs.take(range(n, n + GALLERY))


def _recall(gallery: PairedEmbeddings, fitted: Adapter) -> float:
    found = evaluate(gallery, fitted)
    both = found.source_to_target.metrics, found.target_to_source.metrics
    return fmean(metrics["recall_at_1"].value for metrics in both)


def render(cells: Sequence[Cell]) -> Table:
    """The table as it is printed."""
    table = Table(title="R@1 of align.fit above the raw cosine's, in points")
    for name in ("case", "data", "pairs", "left as they are", "mean", "worst"):
        table.add_column(name, justify="left" if name in ("case", "data") else "right")
    for cell in cells:
        table.add_row(
            cell.case,
            "" if cell.data == cell.case else cell.data,
            str(cell.n),
            f"{100 * cell.kept:.0f} %",
            f"{cell.mean:+.1f}",
            f"{cell.worst:+.1f}",
        )
    return table


def losses() -> str:
    """R@1 of ``align.fit`` above the raw cosine's in every case, for a page."""
    found = read_record("harm")["result"]
    sizes = sorted({each["n"] for each in found})
    rows = []
    for case, data in dict.fromkeys((each["case"], each["data"]) for each in found):
        own = {each["n"]: each for each in found if (each["case"], each["data"]) == (case, data)}
        cells = [f"{own[n]['mean']:+.1f} ({own[n]['worst']:+.1f})" for n in sizes]
        kept = ", ".join(f"{100 * own[n]['kept']:.0f} %" for n in sizes)
        rows.append([case, "" if data == case else f"`{data}`", *cells, kept])
    header = ("case", "data", *(f"{n} pairs" for n in sizes), "left as they are")
    return markdown_table(header, rows, words=2)


def main(arguments: Sequence[str] | None = None) -> None:
    """Fit, print the table and write the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=6, help="training sets a cell")
    parser.add_argument("--quick", action="store_true", help="one draw, no record")
    told: Any = parser.parse_args(arguments)
    cells = run(1 if told.quick else told.draws)
    Console(width=120).print(render(cells))
    if told.quick:
        return
    print(
        write_record("harm", config={"draws": told.draws}, result=[asdict(cell) for cell in cells])
    )


if __name__ == "__main__":
    main()
