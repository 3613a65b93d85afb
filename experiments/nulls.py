"""Size of every p-value at 0.05, where there is nothing to find.

    python -m experiments.nulls --pairs 60 --groups single [--replicates 200]

A probe with a p-value is measured on data of which its null is true, over and over; the share of
replicates with ``p <= 0.05`` is its size. Three laws serve, each of which makes some nulls true:

- **one law**: swapping the sides of a pair changes nothing; partners depend on each other in every
  other replicate. For all that asks which side is which: gap, mixing, classifier, transport, MMD,
  energy;
- **strangers**: both sides have a law of their own and nothing to do with each other. For all that
  asks who belongs to whom: retrieval, placements, margins, neighbours, CKA, RSA, canonical
  correlation, Procrustes, clusters;
- **turned**: each group may as well be turned around. For the mean cosine.

``compare`` is asked about two adapters that are equally good. Each law comes with single pairs and
with tight groups of three, for 60 and 300 pairs, raw and centred; ``uneven`` are groups of one to
four. Laws are skewed and far from isotropic. A true size of 0.05 shows as less than 0.02 or more
than 0.08 in 2 % of settings with 200 replicates: a setting outside goes on to 600, and both sizes
are written down.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from align.data.embeddings import Embeddings, PairedEmbeddings, Vectors
from align.metrics.comparison.compare import compare
from experiments.record import write_record
from probes.pathology.clusters import cluster_probe
from probes.reporting.standard import STANDARD
from probes.reporting.states import states
from probes.space import Probe, Space

LEVEL = 0.05
WITHIN = (0.02, 0.08)
MORE = 3
"""Times as many replicates for a size outside ``WITHIN``."""

Law = Literal["one law", "strangers", "turned"]
Sizes = Literal["single", "threes", "uneven"]
State = Literal["raw", "centred"]

TURNED = ("mean_cosine_source", "mean_cosine_target")
COMPARED = "compare"
"""Name under which the test of ``align.metrics.evaluation.compare`` is written down."""

LABELS = 3


@dataclass(frozen=True, slots=True)
class Config:
    """One run.

    Attributes:
        replicates: Data sets per setting.
        pairs: Numbers of pairs.
        groups: How pairs fall into groups.
        states: States of a report.
        d: Width of both sides.
        seed: Seeds all data.
    """

    replicates: int = 200
    pairs: tuple[int, ...] = (60, 300)
    groups: tuple[Sizes, ...] = ("single", "threes")
    states: tuple[State, ...] = ("raw", "centred")
    d: int = 8
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Size:
    """How often a probe called nothing something.

    Attributes:
        probe: Its name.
        groups: How pairs fell into groups.
        n: Pairs.
        state: State of a report.
        share: Of replicates with ``p <= 0.05``.
        replicates: How many there were.
        at_first: The share of the replicates that every setting had.
    """

    probe: str
    groups: Sizes
    n: int
    state: State
    share: float
    replicates: int
    at_first: float

    @property
    def is_outside(self) -> bool:
        """Whether the size is not what it should be."""
        return not WITHIN[0] <= self.share <= WITHIN[1]


@dataclass(frozen=True, slots=True)
class Result:
    """All sizes, in the order of the standard report."""

    sizes: tuple[Size, ...]

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "level": LEVEL,
            "within": list(WITHIN),
            "outside": [asdict(each) for each in self.sizes if each.is_outside],
            "sizes": [asdict(each) for each in self.sizes],
        }


def codes_of(n: int, groups: Sizes) -> Tensor:
    """Group code of each pair, ``(n,)`` int64."""
    if groups == "single":
        return torch.arange(n)
    if groups == "threes":
        return torch.arange(n) // 3
    return (
        torch.arange(n // 10 + 1).repeat_interleave(10)[:n] * 4
        + torch.tensor([0, 1, 1, 2, 2, 2, 3, 3, 3, 3]).repeat(n // 10 + 1)[:n]
    )


def draw(
    law: Law, codes: Tensor, d: int, rng: torch.Generator, *, alike: bool = True
) -> tuple[Tensor, Tensor]:
    """Both sides of pairs of which the null is true, ``(n, d)`` each.

    Args:
        law: Which null.
        codes: Group code of each pair, ``(n,)`` int64.
        d: Width.
        rng: Source of the data.
        alike: Whether partners depend on each other under ``one law``.
    """
    scales = 1 / torch.arange(1, d + 1).sqrt()
    g = int(codes.max()) + 1

    def cloud(tight: float = 0.3) -> Tensor:
        of_group = torch.randn(g, d, generator=rng)
        noise = torch.randn(len(codes), d, generator=rng)
        mixed = torch.where(
            (torch.bincount(codes) == 1)[codes, None], noise, of_group[codes] + tight * noise
        )
        return mixed

    if law == "turned":
        # One sign for all rows of a group.
        return cloud() * scales, cloud() * scales
    if law == "strangers":
        return cloud().exp() * scales, cloud().exp() * scales.flip(0) - 1
    if not alike:
        return cloud().exp() * scales, cloud().exp() * scales
    shared = cloud()
    return (shared + 0.7 * cloud()).exp() * scales, (shared + 0.7 * cloud()).exp() * scales


def law_of(probe: Probe) -> Law:
    """The law that makes the null of a probe true."""
    if probe.name in TURNED:
        return "turned"
    return "one law" if probe.family in ("offset", "distribution") else "strangers"


class _Noisy:
    """An adapter that sees the source through noise of its own; two of them are equally good."""

    def __init__(self, noise: Tensor, d: int) -> None:
        self.noise = noise
        self.d = d

    def queries(self, x: Vectors, /, *, side: Literal["source", "target"]) -> Tensor:
        return self._map(x, side)

    def gallery(self, x: Vectors, /, *, side: Literal["source", "target"]) -> Tensor:
        return self._map(x, side)

    def _map(self, x: Vectors, side: str) -> Tensor:
        rows = x.vectors if isinstance(x, Embeddings) else x
        moved = rows + self.noise if side == "source" else rows
        return F.normalize(moved, dim=1)


def p_of_compare(codes: Tensor, d: int, rng: torch.Generator) -> float:
    """p of the mean reciprocal rank of two adapters that are equally good."""
    source, target = draw("one law", codes, d, rng)
    noises = torch.randn(2, len(codes), d, generator=rng)
    data = PairedEmbeddings.from_arrays(source, target, groups=[f"{code}" for code in codes])
    a, b = (_Noisy(noise, d) for noise in noises)
    p = compare({"a": a, "b": b}, data).row("mean_reciprocal_rank").differences["b"].p
    assert p is not None  # every metric of ranks has one
    return p


def p_values(
    probes: Sequence[Probe], n: int, groups: Sizes, config: Config, replicate: int
) -> dict[tuple[str, State], float]:
    """p of each probe in each state on one data set per law; probes without a p are left out."""
    codes = codes_of(n, groups)
    found: dict[tuple[str, State], float] = {}
    for law in ("one law", "strangers", "turned"):
        wanted = [probe for probe in probes if law_of(probe) == law]
        if not wanted:
            continue
        rng = torch.Generator().manual_seed(hash_of(config.seed, law, groups, n, replicate))
        source, target = draw(law, codes, config.d, rng, alike=replicate % 2 == 1)
        data = PairedEmbeddings.from_arrays(source, target, groups=[f"{c}" for c in codes])
        spaces = states(data, None, seed=replicate)
        for state in config.states:
            for probe in wanted:
                p = _p(probe, spaces[state])
                if p is not None:
                    found[probe.name, state] = p
    return found


def hash_of(*parts: object) -> int:
    """A seed that depends on all parts and on no run of Python."""
    from hashlib import sha256

    return int.from_bytes(sha256(" ".join(map(str, parts)).encode()).digest()[:7], "big")


def _p(probe: Probe, space: Space) -> float | None:
    null = probe.measure(space).null
    return None if null is None else null.p


def probes_of(n: int, groups: Sizes) -> list[Probe]:
    """The standard probes and the clusters, with labels that mean nothing."""
    codes = codes_of(n, groups)
    labels = [f"label {code % LABELS}" for code in codes.tolist()]
    return [*STANDARD, cluster_probe(labels)]


def run(config: Config, *, progress: Callable[[str], None] = lambda line: None) -> Result:
    """Every size.

    Args:
        config: What to run.
        progress: Told of each setting that is done.
    """
    sizes: list[Size] = []
    for groups in config.groups:
        for n in config.pairs:
            sizes += _setting(n, groups, config)
            progress(f"{groups}, {n} pairs")
    return Result(tuple(sizes))


def _setting(n: int, groups: Sizes, config: Config) -> list[Size]:
    probes = probes_of(n, groups)
    hits: dict[tuple[str, State], list[bool]] = {}
    for replicate in range(config.replicates):
        for key, p in p_values(probes, n, groups, config, replicate).items():
            hits.setdefault(key, []).append(p <= LEVEL)
        hits.setdefault((COMPARED, "raw"), []).append(_compared(n, groups, config, replicate))
    # What has no p is not asked again.
    probes = [each for each in probes if any(name == each.name for name, _ in hits)]
    at_first = {key: sum(each) / len(each) for key, each in hits.items()}
    again = {key for key, share in at_first.items() if not WITHIN[0] <= share <= WITHIN[1]}
    for replicate in range(config.replicates, MORE * config.replicates):
        if not again:
            break
        wanted = [each for each in probes if any(name == each.name for name, _ in again)]
        for key, p in p_values(wanted, n, groups, config, replicate).items():
            if key in again:
                hits[key].append(p <= LEVEL)
        if (COMPARED, "raw") in again:
            hits[COMPARED, "raw"].append(_compared(n, groups, config, replicate))
    return [
        Size(name, groups, n, state, sum(each) / len(each), len(each), at_first[name, state])
        for (name, state), each in hits.items()
    ]


def _compared(n: int, groups: Sizes, config: Config, replicate: int) -> bool:
    rng = torch.Generator().manual_seed(hash_of(config.seed, COMPARED, groups, n, replicate))
    return p_of_compare(codes_of(n, groups), config.d, rng) <= LEVEL


def table(result: Result) -> str:
    """Sizes as Markdown, a line for each probe and state."""
    columns = list(dict.fromkeys((each.groups, each.n) for each in result.sizes))
    lines: Mapping[tuple[str, str], dict[tuple[str, int], Size]] = {}
    lines = {}
    for each in result.sizes:
        lines.setdefault((each.probe, each.state), {})[each.groups, each.n] = each
    shown = ["| probe | state | " + " | ".join(f"{g}, {n}" for g, n in columns) + " |"]
    shown.append("|---|---|" + "---|" * len(columns))
    for (name, state), found in lines.items():
        cells = [f"{found[c].share:.3f}" if c in found else "" for c in columns]
        shown.append(f"| {name} | {state} | " + " | ".join(cells) + " |")
    return "\n".join(shown)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run, print the sizes and write the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=60)
    parser.add_argument("--groups", choices=get_args(Sizes), default="single")
    parser.add_argument("--replicates", type=int, default=Config().replicates)
    parser.add_argument("--quick", action="store_true", help="two replicates, no record")
    told: Any = parser.parse_args(arguments)
    replicates = 2 if told.quick else told.replicates
    config = Config(replicates=replicates, pairs=(told.pairs,), groups=(told.groups,))
    result = run(config, progress=lambda line: print(line, flush=True))
    print(table(result))
    if told.quick:
        return
    name = f"nulls-{told.groups}-{told.pairs}"
    print(write_record(name, config=asdict(config), result=result.to_dict()))


if __name__ == "__main__":
    main()
