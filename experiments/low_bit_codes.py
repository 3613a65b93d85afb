"""Which codes of 1, 2 and 4 bits find the most: rotated or not, levels, product codes.

    python -m experiments.low_bit_codes [--quick]

Real token states of unit norm: words of captions of Flickr8k by MiniLM, asked for by other
captions, and patches of its photos by EfficientNet-Lite0, asked for by other photos. Every code is
decoded and scored exactly against queries that are not rounded, so that only the code makes a
difference: the share of the ten best by float32 that are among the ten best. ``as it is`` is
``align.LowBitVectors``; each other line changes one thing, and product codes are of tokens that are
not rotated. Written to ``experiments/results/low_bit_codes.json``; a quick run is not.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from align.data.multi_vector import MultiVector
from align.scoring.late_interaction import maxsim
from align.scoring.low_bits import LowBitVectors
from experiments.bench.low_bits import BITS, K, shared, unit
from experiments.datasets import flickr8k
from experiments.record import write_record
from experiments.tasks import LITE0, MINILM, token_states

# Best steps between equal levels, and best levels above zero, of a normal distribution, in standard
# deviations: Max 1960, tables II and I.
STEPS = {1: 1.596, 2: 0.9957, 4: 0.3352}
LEVELS = {
    2: (0.4528, 1.510),
    4: (0.1284, 0.3881, 0.6568, 0.9424, 1.256, 1.618, 2.069, 2.733),
}
ENTRIES = {1: 8, 2: 4}  # of a token that one byte of a product code stands for


@dataclass(frozen=True, slots=True)
class Config:
    """One run.

    Attributes:
        captions: Documents of words.
        photos: Documents of patches.
        queries: Captions, and photos, that ask.
        iterations: Of k-means, for product codes.
        seed: Of its starts.
    """

    captions: int = 2_000
    photos: int = 300
    queries: int = 50
    iterations: int = 8
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Result:
    """Shares of the ten best, in [0, 1], by data, code and bits."""

    recall: dict[str, dict[str, dict[int, float]]]


def run(config: Config) -> Result:
    """Every code on both data sets."""
    train, dev, q = flickr8k("train"), flickr8k("dev"), config.queries
    data = {
        "MiniLM words": (MINILM, dev.source[:q], train.source[: config.captions]),
        "EfficientNet-Lite0 patches": (LITE0, dev.target[:q], train.target[: config.photos]),
    }
    recall: dict[str, dict[str, dict[int, float]]] = {}
    for name, (spec, asked, items) in data.items():
        queries, documents = unit(token_states(spec, asked)), unit(token_states(spec, items))
        best = maxsim(queries, documents).topk(K).indices
        recall[name] = {}
        for code, decoded in codes(documents, config):
            for bits, tokens in decoded.items():
                found = maxsim(queries, MultiVector(tokens, documents.offsets)).topk(K).indices
                recall[name].setdefault(code, {})[bits] = shared(found, best)
    return Result(recall)


def codes(documents: MultiVector, config: Config) -> list[tuple[str, dict[int, Tensor]]]:
    """Names of codes, and what each makes of the tokens by bits."""
    turn = LowBitVectors.of(documents[:1], bits=1).rotation
    plain, turned = documents.tokens, documents.tokens @ turn
    mean = turned.mean(0)
    same = partial(of_items, documents=documents)
    return [
        ("as it is", {b: LowBitVectors.of(documents, bits=b).decoded().tokens for b in BITS}),
        ("not rotated", {b: equal_steps(plain, same(plain), b) for b in BITS}),
        (
            "mean taken off",
            {b: (equal_steps(turned - mean, same(turned - mean), b) + mean) @ turn.T for b in BITS},
        ),
        ("unequal levels", {b: nearest_level(turned, same(turned), b) @ turn.T for b in LEVELS}),
        (
            "product codes",
            {b: product_codes(plain / same(plain), b, config) * same(plain) for b in ENTRIES},
        ),
    ]


def of_items(rows: Tensor, documents: MultiVector) -> Tensor:
    """Root mean square entry of an item, for each of its rows, ``(T, 1)``."""
    power = rows.square().mean(1)
    means = torch.segment_reduce(power, "mean", lengths=documents.lengths, axis=0)
    return means.sqrt().repeat_interleave(documents.lengths)[:, None]


def equal_steps(rows: Tensor, spread: Tensor, bits: int) -> Tensor:
    """The nearest of equally distant levels."""
    most = 2**bits - 1
    step = spread * STEPS[bits]
    return ((rows / step + most / 2).round().clamp(0, most) - most / 2) * step


def nearest_level(rows: Tensor, spread: Tensor, bits: int) -> Tensor:
    """The nearest of the levels that are best for a normal distribution."""
    above = torch.tensor(LEVELS[bits])
    place = torch.bucketize((rows / spread).abs(), (above[1:] + above[:-1]) / 2)
    return above[place].copysign(rows) * spread


def product_codes(rows: Tensor, bits: int, config: Config) -> Tensor:
    """The nearest of 256 means for some entries of a token at a time."""
    generator = torch.Generator().manual_seed(config.seed)
    parts = []
    for part in torch.split(rows, ENTRIES[bits], dim=1):
        means = part[torch.randperm(len(part), generator=generator)[:256]]
        sample = part[torch.randperm(len(part), generator=generator)[: 2**14]]
        for _ in range(config.iterations):
            own = _nearest(sample, means)
            sums = torch.zeros_like(means).index_add_(0, own, sample)
            counts = own.bincount(minlength=len(means))[:, None]
            means = torch.where(counts > 0, sums / counts.clamp_min(1), means)
        parts.append(torch.cat([means[_nearest(some, means)] for some in part.split(2**14)]))
    return torch.cat(parts, dim=1)


def _nearest(rows: Tensor, means: Tensor) -> Tensor:
    return (rows @ means.T - means.square().sum(1) / 2).argmax(1)


def render(result: Result) -> list[Table]:
    """One table for each of the data sets."""
    tables = []
    for name, by_code in result.recall.items():
        table = Table("code", title=f"{name}: recall@10 without rescoring")
        for bits in BITS:
            table.add_column("1 bit" if bits == 1 else f"{bits} bits", justify="right")
        for code, by_bits in by_code.items():
            table.add_row(code, *(f"{by_bits[b]:.3f}" if b in by_bits else "" for b in BITS))
        tables.append(table)
    return tables


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print and write the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few documents, no record")
    told = parser.parse_args(arguments)
    config = Config(300, 60, 5, iterations=2) if told.quick else Config()
    result = run(config)
    console = Console()
    for table in render(result):
        console.print(table)
    if not told.quick:
        print(write_record("low_bit_codes", config=asdict(config), result=asdict(result)))


if __name__ == "__main__":
    main()
