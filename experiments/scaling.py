"""How seconds grow with n: encode, fit, report, index, search, each from hundreds of items up.

    ISTHMUS_DATA=... python -m experiments.scaling [--quick]

Vectors are those of Flickr8k, captions and photos, both turned by a fixed random rotation and cut
to 256 dimensions, so that every size has the same widths. There are 7,000 pairs. Larger numbers
are drawn from them with replacement, each row with noise of its own of half its norm, so that no
two are equal and neighbours are still neighbours: their times are measured, and recall on them
would mean nothing, so none is given. Encoding is of real captions and not resampled.

Above the time that everything takes to begin, seconds follow a power of n: the slope of a line in
log-log through the sizes of at least 5,000, or through all where there are fewer than three. Each
time is the median of three where one takes less than two seconds, else of one. Written to
``experiments/results/scaling.json`` with a figure; a quick run is not.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from shutil import rmtree
from statistics import linear_regression, median
from tempfile import TemporaryDirectory

import torch
import torch.nn.functional as F
from torch import Tensor

from align.data.embeddings import PairedEmbeddings
from align.data.encoding import Encoder, encode_items
from align.encoders.cache.store import EmbeddingStore
from align.encoders.spec import load_encoder
from align.fitting.model_selection.fit import Effort, fit
from align.retrieval.index.index import Index
from experiments.datasets import flickr8k
from experiments.pages import markdown_table
from experiments.record import RESULTS, read_record, write_record
from experiments.tasks import MINILM, load_task
from probes.reporting.report import report

DIM = 256
NOISE = 0.5  # norm of what is added to a resampled unit vector
REPEATED = 2.0  # seconds below which a time is the median of three
LARGE = 5_000  # from here on the slope is taken
K, ASKED = 10, 100  # hits, and queries asked one after another

FIT, FIT_BEST = 'fit, effort="fast"', "fit"
REPORT, INDEX, SEARCH = "report", "index and save", f"search, {ASKED} queries, one at a time"
ENCODE, AGAIN = "encode texts", "the same texts again, from the store"
SIZES: Mapping[str, tuple[int, ...]] = {
    ENCODE: (100, 300, 1_000, 3_000),
    AGAIN: (100, 300, 1_000, 3_000),
    FIT: (300, 1_000, 5_000, 20_000, 100_000, 300_000, 1_000_000),
    FIT_BEST: (300, 1_000, 5_000, 20_000, 100_000),
    REPORT: (300, 1_000, 5_000, 20_000, 100_000),
    INDEX: (300, 1_000, 5_000, 20_000, 100_000, 300_000, 1_000_000),
    SEARCH: (300, 1_000, 5_000, 20_000, 100_000, 300_000, 1_000_000),
}
QUICK = (100, 300)  # sizes of a quick run


@dataclass(frozen=True, slots=True)
class Config:
    """One run.

    Attributes:
        sizes: Items by what is done with them.
        seed: Of the rotation, of what is drawn and of the noise.
    """

    sizes: Mapping[str, tuple[int, ...]] = field(default_factory=lambda: dict(SIZES))
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Curve:
    """Seconds of one thing at each size.

    Attributes:
        sizes: Items.
        seconds: Of each size.
        slope: Power of n that the seconds follow, from ``LARGE`` items on where there are three.
    """

    sizes: tuple[int, ...]
    seconds: tuple[float, ...]
    slope: float


@dataclass(frozen=True, slots=True)
class Result:
    """All curves, and how many of the vectors are real.

    Attributes:
        real: Pairs that were encoded; sizes above it are resampled.
        threads: Threads of torch.
        curves: By what was done.
    """

    real: int
    threads: int
    curves: Mapping[str, Curve]


def run(config: Config) -> Result:
    """Measure one thing after another, the smallest size first.

    Raises:
        FileNotFoundError: Flickr8k is not there.
    """
    task = load_task("flickr8k")
    source, target = (
        _narrowed(torch.cat([getattr(part, side) for part in (task.pool, task.gallery)]), at)
        for at, side in enumerate(("source", "target"))
    )
    captions = list(flickr8k("train").source)
    encoder = load_encoder(MINILM)
    # What is loaded once is not charged to the first size.
    encode_items(encoder, captions[:8], store=None, progress=False)
    curves = {}
    for name, sizes in config.sizes.items():
        seconds = []
        for n in sizes:
            with TemporaryDirectory() as folder:
                if name in (ENCODE, AGAIN):
                    once = encoding(name, encoder, captions[:n], Path(folder))
                else:
                    sides = resampled((source, target), n, seed=config.seed)
                    once = working(name, sides, Path(folder))
                seconds.append(timed(once))
            print(f"{name}, {n:,}: {seconds[-1]:.3f} s", flush=True)
        curves[name] = Curve(tuple(sizes), tuple(seconds), slope(sizes, seconds))
    return Result(len(source), torch.get_num_threads(), curves)


def resampled(sides: tuple[Tensor, Tensor], n: int, *, seed: int) -> tuple[Tensor, Tensor]:
    """The first ``n`` rows of both sides, or ``n`` drawn from them with noise of their own.

    Args:
        sides: Unit vectors, row-matched, ``(m, d)`` each.
        n: Rows wanted; up to ``m`` they are real.
        seed: Of draws and noise.

    Returns:
        Unit vectors ``(n, d)``; both sides of a row come from the same pair.
    """
    m = len(sides[0])
    if n <= m:
        return sides[0][:n], sides[1][:n]
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randint(m, (n,), generator=generator)

    def drawn(side: Tensor) -> Tensor:
        noise = torch.randn(n, side.shape[1], generator=generator)
        return F.normalize(side[rows] + NOISE * F.normalize(noise, dim=1), dim=1)

    return drawn(sides[0]), drawn(sides[1])


def slope(sizes: Sequence[int], seconds: Sequence[float]) -> float:
    """The power of n that seconds follow: least squares in log-log, of large sizes if there are."""
    points = [(n, each) for n, each in zip(sizes, seconds, strict=True) if n >= LARGE]
    if len(points) < 3:
        points = list(zip(sizes, seconds, strict=True))
    x, y = zip(*((math.log(n), math.log(each)) for n, each in points), strict=True)
    return linear_regression(x, y).slope


def timed(once: Callable[[], object]) -> float:
    """Seconds of a call; the median of three where that is short."""
    taken: list[float] = []
    while len(taken) < 3:
        start = time.perf_counter()
        once()
        taken.append(time.perf_counter() - start)
        if taken[0] >= REPEATED:
            break
    return median(taken)


def _narrowed(x: Tensor, seed: int) -> Tensor:
    """Unit vectors in ``DIM`` dimensions, by a fixed random rotation that is cut short."""
    generator = torch.Generator().manual_seed(seed)
    rotation = torch.linalg.qr(torch.randn(x.shape[1], x.shape[1], generator=generator)).Q
    centred = F.normalize(x.float() - x.float().mean(dim=0), dim=1)
    return F.normalize(centred @ rotation[:, :DIM], dim=1)


def working(name: str, sides: tuple[Tensor, Tensor], folder: Path) -> Callable[[], object]:
    """What is done once with these pairs; ``folder`` takes what is written."""
    source, target = sides
    if name in (FIT, FIT_BEST):
        effort: Effort = "fast" if name == FIT else "best"
        pairs = PairedEmbeddings.from_arrays(source, target)
        return lambda: fit(pairs, effort=effort)
    if name == REPORT:
        return lambda: report(PairedEmbeddings.from_arrays(source, target), progress=False)
    ids = list(map(str, range(len(target))))

    def indexed() -> Index:
        rmtree(folder / "index", ignore_errors=True)
        made = Index.create(folder / "index")
        made.add(ids, target)
        made.save()
        return made

    if name == INDEX:
        return indexed
    made = indexed()

    def searched() -> None:
        for at in range(min(ASKED, len(source))):
            made.search(source[at : at + 1], k=K)

    return searched


def encoding(
    name: str, encoder: Encoder, texts: Sequence[str], folder: Path
) -> Callable[[], object]:
    """What encodes these texts, or takes them from a store in ``folder`` that holds them."""
    if name == ENCODE:
        return lambda: encode_items(encoder, texts, store=None, progress=False)
    store = EmbeddingStore(folder)
    encode_items(encoder, texts, store=store, progress=False)
    return lambda: encode_items(encoder, texts, store=store, progress=False)


def table() -> str:
    """Seconds at each size, from the record, for a page."""
    found = read_record("scaling")["result"]
    curves = found["curves"]
    sizes = sorted({n for curve in curves.values() for n in curve["sizes"]})
    rows = []
    for name, curve in curves.items():
        known = dict(zip(curve["sizes"], curve["seconds"], strict=True))
        cells = [f"{known[n]:.2g}" if n in known else "" for n in sizes]
        rows.append((name, *cells, f"{curve['slope']:.2f}"))
    return markdown_table(("seconds", *(f"{n:,}" for n in sizes), "power of n"), rows)


def figure(result: Result, path: Path) -> None:
    """Seconds against n, both logarithmic, as PNG."""
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(7.5, 4.6), layout="constrained")
    axes = drawn.add_subplot()
    for (name, curve), mark in zip(result.curves.items(), "os^Dv<>", strict=False):
        label = f"{name}: n^{curve.slope:.2f}"
        axes.plot(curve.sizes, curve.seconds, f"{mark}-", markersize=4, label=label)
    axes.axvline(result.real, color="grey", linewidth=1, linestyle="dotted")
    axes.annotate(
        "resampled", (result.real, axes.get_ylim()[1]), (4, -12), textcoords="offset points",
        fontsize=8, color="grey",
    )  # fmt: skip
    axes.set(xscale="log", yscale="log", xlabel="items or pairs", ylabel="seconds")
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=8, title=f"slope from {LARGE:,} on, where there are three sizes")
    drawn.savefig(path, dpi=130)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, write the record and the figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a few hundred items, no record")
    quick: bool = parser.parse_args(arguments).quick
    config = Config(dict.fromkeys(SIZES, QUICK)) if quick else Config()
    result = run(config)
    for name, curve in result.curves.items():
        print(f"{name}: seconds follow n^{curve.slope:.2f}")
    if quick:
        return
    figure(result, RESULTS / "scaling.png")
    print(write_record("scaling", config=asdict(config), result=asdict(result)))


if __name__ == "__main__":
    main()
