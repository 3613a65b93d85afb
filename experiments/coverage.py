"""Coverage and width of every 95 % interval of a report.

    python -m experiments.coverage [--replicates 200]

Fresh pairs are drawn over and over: both sides are one isotropic cloud with noise twice as large,
moved apart along an axis. Each probe is read as a report reads it, with its interval. Two questions
are asked of an interval, and they have different answers for what is biased at this number of
pairs: how often it holds the **population's** value, here that of many pairs; and how often it
holds the **expected** value at this number of pairs, the mean over all replicates. Its width is
compared with that of the central 95 % of a normal law with the spread of the replicates: 1 is
right, 1.3 is 30 % too wide. A probe with a note says itself that its value is biased or its
interval wide.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from align.data.embeddings import PairedEmbeddings
from align.metrics.bootstrap import resamples
from align.metrics.evaluation import evaluate
from experiments.record import write_record
from probes.estimates import Measured
from probes.reporting.standard import STANDARD
from probes.space import Probe, Space

ENOUGH = 0.92
"""Coverage below this is too rare: 0.95 less two standard errors of 200 replicates."""

NORMAL = 1.96


@dataclass(frozen=True, slots=True)
class Config:
    """One run.

    Attributes:
        replicates: Data sets at ``n``.
        n: Pairs of each.
        d: Width of both sides.
        noise: Size of the noise next to what partners share.
        shift: How far each side is moved along the first axis.
        many: Pairs that stand for the population.
        large: Data sets of so many.
        draws: Bootstrap draws behind an interval.
        seed: Seeds everything.
    """

    replicates: int = 200
    n: int = 100
    d: int = 24
    noise: float = 2.0
    shift: float = 0.5
    many: int = 1000
    large: int = 4
    draws: int = 1000
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Coverage:
    """What the intervals of one probe were worth.

    Attributes:
        probe: Its name.
        population: Mean value of many pairs.
        expected: Mean value at this number of pairs.
        spread: Standard deviation of the values.
        of_population: Share of intervals that hold the value of many pairs.
        of_expected: Share of intervals that hold the expected value.
        width: Mean width over the width that the spread calls for.
        note: The first note of the reading, or nothing.
    """

    probe: str
    population: float
    expected: float
    spread: float
    of_population: float
    of_expected: float
    width: float | None
    note: str


@dataclass(frozen=True, slots=True)
class Result:
    """A line for each probe that has an interval."""

    lines: tuple[Coverage, ...]

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        rare = [each.probe for each in self.lines if each.of_expected < ENOUGH]
        biased = [
            each.probe for each in self.lines if each.of_population < ENOUGH and not each.note
        ]
        return {
            "misses the expected value": rare,
            "misses the population without a note": biased,
            "lines": [asdict(each) for each in self.lines],
        }


@dataclass(frozen=True, slots=True)
class _Seen:
    value: float
    low: float
    high: float
    note: str


def pairs(n: int, config: Config, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Unit vectors of both sides, ``(n, d)`` each."""
    shared = torch.randn(n, config.d, generator=rng)
    away = config.shift * F.one_hot(torch.tensor(0), config.d)
    sides = (
        F.normalize(shared + config.noise * torch.randn(n, config.d, generator=rng) + sign * away)
        for sign in (1, -1)
    )
    source, target = sides
    return source, target


def run(
    config: Config,
    *,
    probes: Sequence[Probe] = STANDARD,
    progress: Callable[[str], None] = lambda line: None,
) -> Result:
    """Read all probes on all data sets.

    Args:
        config: What to run.
        probes: What to read.
        progress: Told how far it is.
    """
    small: dict[str, list[_Seen]] = {}
    for replicate in range(config.replicates):
        _read(config.n, replicate, config, probes, small)
        if replicate % 20 == 19:
            progress(f"{replicate + 1} of {config.replicates} data sets")
    large: dict[str, list[_Seen]] = {}
    for replicate in range(config.large):
        _read(config.many, replicate, config, probes, large)
        progress(f"{replicate + 1} of {config.large} large data sets")
    return Result(tuple(_line(name, seen, large[name]) for name, seen in small.items()))


def _read(
    n: int, replicate: int, config: Config, probes: Sequence[Probe], into: dict[str, list[_Seen]]
) -> None:
    rng = torch.Generator().manual_seed(config.seed * 1_000_003 + replicate * 7919 + n)
    source, target = pairs(n, config, rng)
    space = Space(source, target, torch.arange(n), replicate)
    weights = torch.cat(list(resamples(space.codes, config.draws, rng)))
    for probe in probes:
        seen = _seen(probe.measure(space), weights)
        if seen is not None:
            into.setdefault(probe.name, []).append(seen)
    data = PairedEmbeddings.from_arrays(source, target)
    for name, each in evaluate(data, _AsTheyAre(), seed=replicate).mean.items():
        into.setdefault(f"evaluate: {name}", []).append(_Seen(each.value, each.low, each.high, ""))


class _AsTheyAre:
    """Leaves both sides where they are."""

    def queries(self, x: Any, /, *, side: str) -> Tensor:
        return self.gallery(x, side=side)

    def gallery(self, x: Any, /, *, side: str) -> Tensor:
        vectors: Tensor = x.vectors
        return vectors


def _seen(measured: Measured, weights: Tensor) -> _Seen | None:
    note = " ".join(measured.notes)
    if measured.replicate is None:
        if measured.interval is None:
            return None
        return _Seen(measured.value, *measured.interval, note)
    own = weights if measured.rows is None else weights[:, measured.rows]
    tails = torch.tensor([0.025, 0.975], dtype=torch.float64)
    low, high = measured.replicate(own).double().quantile(tails).tolist()
    return _Seen(measured.value, low, high, note)


def _line(name: str, seen: list[_Seen], large: list[_Seen]) -> Coverage:
    values = torch.tensor([each.value for each in seen], dtype=torch.float64)
    low = torch.tensor([each.low for each in seen], dtype=torch.float64)
    high = torch.tensor([each.high for each in seen], dtype=torch.float64)
    population = sum(each.value for each in large) / len(large)
    expected, spread = values.mean().item(), values.std().item()

    def held(value: float) -> float:
        return ((low <= value) & (value <= high)).double().mean().item()

    width = (high - low).mean().item() / (2 * NORMAL * spread) if spread > 0 else None
    return Coverage(
        name, population, expected, spread, held(population), held(expected), width, seen[0].note
    )


def table(result: Result) -> str:
    """The lines as Markdown."""
    shown = ["| probe | expected | population | covers expected | covers population | width |"]
    shown.append("|---|---|---|---|---|---|")
    for each in result.lines:
        width = "" if each.width is None else f"{each.width:.2f}"
        note = " (noted)" if each.note else ""
        shown.append(
            f"| {each.probe}{note} | {each.expected:.4g} | {each.population:.4g} | "
            f"{each.of_expected:.3f} | {each.of_population:.3f} | {width} |"
        )
    return "\n".join(shown)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run, print the table and write the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--replicates", type=int, default=Config().replicates)
    parser.add_argument("--quick", action="store_true", help="two replicates, no record")
    told: Any = parser.parse_args(arguments)
    config = Config(replicates=2 if told.quick else told.replicates)
    result = run(config, progress=lambda line: print(line, flush=True))
    print(table(result))
    if told.quick:
        return
    print(write_record("coverage", config=asdict(config), result=result.to_dict()))


if __name__ == "__main__":
    main()
