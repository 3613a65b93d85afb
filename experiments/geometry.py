"""Does geometry track retrieval? Probes beside recall over many pairs of encoders.

    ISTHMUS_DATA=... python -m experiments.geometry [--quick]

Xu and Leiva 2025 (arXiv:2506.08774) measure the gap of modalities by distances of clouds. A cell
here is a pair of frozen encoders (or layers) on one data set with n training pairs. Each is
measured three times: **before** training, on training pairs alone, by probes that need no common
space, and by those that do where the widths agree; then ``align.fit(effort="fast")`` is fitted and
recall taken on held-out pairs; then probes are taken **after**, on the held-out pairs as the
adapter maps them. Two questions: which probe, known before, predicts recall; and which, known
after, tracks it?

Galleries are 450 held-out pairs, one of each group, so that recall means the same in all cells.
Agreement is Spearman's rank correlation with recall at 10, three times: over all cells; within each
data set; and within each data set and n, where only the encoders differ. Intervals (95 %) resample
encoder pairs of a data set with all their n together, since those cells are no independent draws.
The record is ``experiments/results/geometry.json``, with two figures; cells are kept below the
cache folder for the commit that made them. A quick run is not written.

Which similarity is best, four standard and two learned, is ``experiments.compare_similarities``.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from scipy.stats import rankdata
from tqdm import tqdm

from align._files.cache import cache_folder
from experiments.encoder_pairs import DATA, encoder_pairs
from experiments.geometry_cells import SIZES, Cell, K, kept, one_of_each_group
from experiments.geometry_tables import figures
from experiments.record import RESULTS, commit, write_record

GALLERY = 450  # pairs of each cell that recall is taken on
DRAWS = 500


@dataclass(frozen=True, slots=True)
class Config:
    """One run.

    Attributes:
        data: Data sets.
        sizes: Training pairs, as far as a pool goes.
        seed: Of draws and of the galleries.
    """

    data: tuple[str, ...] = DATA
    sizes: tuple[int, ...] = SIZES
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Agreement:
    """Rank correlation of a probe with recall, with both bounds of its interval.

    Attributes:
        cells: How many there are.
        over_all: Over all cells.
        within_data: Ranks taken within data sets.
        within_n: Ranks taken within data sets and n.
    """

    cells: int
    over_all: tuple[float, float, float]
    within_data: tuple[float, float, float]
    within_n: tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Result:
    """Every cell and every agreement.

    Attributes:
        gallery: Held-out pairs of each cell.
        chance: Recall at 10 of a random order.
        cells: All of them.
        before: Agreement of each probe known before training.
        after: Agreement of each probe known after it.
    """

    gallery: int
    chance: float
    cells: tuple[Cell, ...]
    before: Mapping[str, Agreement]
    after: Mapping[str, Agreement]


def run(config: Config, folder: Path | None) -> Result:
    """Measure every cell, from its file where there is one.

    Args:
        config: What to run.
        folder: Where cells are kept; ``None`` keeps nothing.
    """
    cells = []
    for pair in tqdm(list(encoder_pairs(config.data)), desc="pairs of encoders"):
        gallery = one_of_each_group(pair.gallery, GALLERY, seed=config.seed)
        for n in config.sizes:
            if n <= len(pair.pool):
                path = None if folder is None else folder / f"{pair.slug}-{n}.json"
                cells.append(kept(path, pair, gallery, n, config.seed))
    return summarised(cells)


def summarised(cells: Sequence[Cell]) -> Result:
    """The agreement of every probe with recall."""
    before, after = ({name: None for each in cells for name in getattr(each, when)}
                     for when in ("before", "after"))  # fmt: skip
    found = {
        when: {
            name: agreement([each for each in cells if name in getattr(each, when)], name, when)
            for name in names
        }
        for when, names in (("before", before), ("after", after))
    }
    return Result(GALLERY, K / GALLERY, tuple(cells), found["before"], found["after"])


def agreement(cells: Sequence[Cell], name: str, when: str) -> Agreement:
    """Rank correlations of one probe with recall, intervals by encoder pairs of a data set."""
    values = np.array([getattr(each, when)[name] for each in cells])
    recall = np.array([each.recall for each in cells])
    clusters = _numbered(f"{each.data} {each.encoders}" for each in cells)
    blocks = (
        np.zeros(len(cells), dtype=int),
        _numbered(each.data for each in cells),
        _numbered(f"{each.data} {each.n}" for each in cells),
    )
    spans = [_interval(values, recall, block, clusters) for block in blocks]
    return Agreement(len(cells), *spans)


def _interval(
    values: np.ndarray, recall: np.ndarray, block: np.ndarray, clusters: np.ndarray
) -> tuple[float, float, float]:
    generator = np.random.default_rng(0)
    members = [np.flatnonzero(clusters == each) for each in range(clusters.max() + 1)]
    drawn = []
    for _ in range(DRAWS):
        picked = generator.integers(len(members), size=len(members))
        rows = np.concatenate([members[each] for each in picked])
        drawn.append(rank_correlation(values[rows], recall[rows], block[rows]))
    low, high = np.quantile(drawn, [0.025, 0.975])
    return rank_correlation(values, recall, block), float(low), float(high)


def rank_correlation(x: np.ndarray, y: np.ndarray, block: np.ndarray) -> float:
    """Pearson's correlation of ranks taken within blocks and centred there; 0 without spread.

    With one block it is Spearman's. Blocks of one or two rows tell next to nothing and count so.
    """
    a, b = np.zeros(len(x)), np.zeros(len(x))
    for each in np.unique(block):
        rows = block == each
        for values, ranks in ((x, a), (y, b)):
            own = rankdata(values[rows])
            ranks[rows] = (own - own.mean()) / len(own)
    norm = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / norm) if norm > 0 else 0.0


def _numbered(names: Iterator[str]) -> np.ndarray:
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(name, len(numbers)) for name in names])


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, write the record and figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one data set, 100 pairs, no record")
    quick: bool = parser.parse_args(arguments).quick
    config = Config(("conala",), (100,)) if quick else Config()
    folder = None if quick else cache_folder() / "geometry" / commit()
    result = run(config, folder)
    for when in ("before", "after"):
        for name, each in getattr(result, when).items():
            print(f"{when:7} {name:36} {each.cells:4} cells, within n {each.within_n[0]:+.2f}")
    if quick:
        return
    print(write_record("geometry", config=asdict(config), result=asdict(result)))
    figures(RESULTS)


if __name__ == "__main__":
    main()
