"""Token vectors in 1, 2 and 4 bits: bytes, what they find before and after rescoring, and time.

    python -m experiments.bench.low_bits [--quick]

Real token states, of unit norm: words of the captions of Flickr8k by MiniLM, asked for by other
captions, and patches of its photos by EfficientNet-Lite0, asked for by other photos. What the ten
best by float32 are is taken as the truth; candidates by codes are scored again by the same vectors
in int8 and in float16 (``align.cascade``). Queries come one at a time, and systems take turns on
each. A last case has the shape in which maxsim-lut publishes its times, of drawn tokens: documents
of 240 tokens, queries of 32, 128 dimensions. Written to
``experiments/results/low_bits.json``; a quick run is not.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table

from align.data.multi_vector import MultiVector
from align.retrieval.cascade import cascade
from align.scoring.late_interaction import topk
from align.scoring.low_bits import Bits, LowBitVectors
from align.scoring.topk import Neighbours
from experiments.bench.fit_cost import Spread, spread
from experiments.bench.maxsim_systems import clustered_tokens
from experiments.datasets import flickr8k
from experiments.pages import markdown_table
from experiments.record import read_record, write_record
from experiments.tasks import LITE0, MINILM, token_states

K = 10
BITS: tuple[Bits, ...] = (4, 2, 1)


@dataclass(frozen=True, slots=True)
class Config:
    """One run.

    Attributes:
        captions: Documents of words.
        photos: Documents of patches.
        queries: Captions, and photos, that ask; each fewer than the dev split has.
        candidates: Documents per query that are scored again.
        shape: Documents, their tokens, tokens of a query, and dimensions of the last case.
        seed: Of its tokens.
    """

    captions: int = 6_000
    photos: int = 2_000
    queries: int = 50
    candidates: tuple[int, ...] = (20, 50)
    shape: tuple[int, int, int, int] = (1_000, 240, 32, 128)
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Line:
    """One way to store the documents of a case.

    Attributes:
        system: "float32", "int8", or bits.
        bytes_per_item: Tokens, offsets and scales.
        recall: Share of the ten best by float32 that are found without rescoring.
        rescored: The same after rescoring by float16, by number of candidates.
        rescored_by_int8: The same after rescoring by int8.
        milliseconds: Of the ten best of one query, without rescoring.
        milliseconds_rescored: With, by int8, by number of candidates.
        nanoseconds_per_token: Median time over the tokens of all documents.
    """

    system: str
    bytes_per_item: float
    recall: float
    rescored: dict[int, float]
    rescored_by_int8: dict[int, float]
    milliseconds: Spread
    milliseconds_rescored: dict[int, Spread]
    nanoseconds_per_token: float


@dataclass(frozen=True, slots=True)
class Case:
    """All ways to store the same documents.

    Attributes:
        name: What they are.
        documents: Their number.
        tokens: Of all of them.
        asked: Tokens of a query, on average.
        dim: Of a token.
        rotation_bytes: What the codes of any number of bits share.
        lines: One per way.
    """

    name: str
    documents: int
    tokens: int
    asked: float
    dim: int
    rotation_bytes: int
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class Result:
    """Everything that is measured."""

    cases: tuple[Case, ...]


def run(config: Config) -> Result:
    """Words, patches, and a shape that others time."""
    train, dev, q = flickr8k("train"), flickr8k("dev"), config.queries
    words = [
        unit(token_states(MINILM, items))
        for items in (dev.source[:q], train.source[: config.captions])
    ]
    cases = [case("MiniLM words", *words, config)]
    patches = [
        unit(token_states(LITE0, items))
        for items in (dev.target[:q], train.target[: config.photos])
    ]
    cases.append(case("EfficientNet-Lite0 patches", *patches, config))
    n, t, s, d = config.shape
    asked, documents = clustered_tokens([t] * n, d=d, queries=20, s=s, seed=config.seed)
    cases.append(case("clustered tokens", MultiVector.from_equal(asked), documents, config))
    return Result(tuple(cases))


def unit(tokens: MultiVector) -> MultiVector:
    """Tokens of unit norm, float32."""
    return MultiVector(F.normalize(tokens.tokens.float(), dim=1), tokens.offsets)


def case(name: str, queries: MultiVector, documents: MultiVector, config: Config) -> Case:
    """One query after another, all ways in turn."""
    int8, half = documents.quantized(), documents.to(dtype=torch.float16)
    coded = {bits: LowBitVectors.of(documents, bits=bits) for bits in BITS}
    counts = [n for n in config.candidates if n <= len(documents)]
    calls: dict[tuple[str, int], Callable[[MultiVector], Neighbours]] = {
        ("float32", 0): lambda query: topk(query, documents, K),
        ("int8", 0): lambda query: topk(query, int8, K),
    }
    for bits, first in coded.items():
        calls[_bits(bits), 0] = partial(first, n=K)
        for n in counts:
            calls[_bits(bits), n] = partial(cascade, documents=int8, k=K, candidates=n, first=first)
    seconds: dict[tuple[str, int], list[float]] = {key: [] for key in calls}
    found: dict[tuple[str, int], list[Neighbours]] = {key: [] for key in calls}
    for row in range(len(queries)):
        for key, call in calls.items():
            start = time.perf_counter()
            found[key].append(call(queries[row : row + 1]))
            seconds[key].append(time.perf_counter() - start)
    taken = {key: spread([each * 1e3 for each in times]) for key, times in seconds.items()}
    best = {key: torch.cat([each.indices for each in some]) for key, some in found.items()}
    truth = best["float32", 0]

    def line(system: str, bytes_: float, first: LowBitVectors | None) -> Line:
        rescored = {
            n: shared(cascade(queries, half, K, candidates=n, first=first).indices, truth)
            for n in counts
            if first is not None
        }
        times = taken[system, 0]
        return Line(
            system,
            bytes_ / len(documents),
            shared(best[system, 0], truth),
            rescored,
            {n: shared(best[system, n], truth) for n in rescored},
            times,
            {n: taken[system, n] for n in rescored},
            times.p50 * 1e6 / len(documents.tokens),
        )

    rotation = coded[BITS[0]].rotation.nbytes
    lines = [
        line("float32", documents.nbytes, None),
        line("int8", int8.nbytes, None),
        *(line(_bits(bits), first.nbytes - rotation, first) for bits, first in coded.items()),
    ]
    asked = len(queries.tokens) / len(queries)
    sizes = len(documents), len(documents.tokens), asked, documents.dim, rotation
    return Case(name, *sizes, tuple(lines))


def _bits(bits: int) -> str:
    return "1 bit" if bits == 1 else f"{bits} bits"


def shared(found: torch.Tensor, truth: torch.Tensor) -> float:
    """Share of each row of ``truth`` that is in the same row of ``found``, on average."""
    return float((found[:, :, None] == truth[:, None]).any(1).double().mean())


def render(case: Case) -> Table:
    """One case, to be printed."""
    counts = sorted({n for line in case.lines for n in line.rescored})
    table = Table(
        title=f"{case.name}: {case.documents:,} documents, {case.tokens:,} tokens of {case.dim} "
        f"dimensions; {case.asked:.1f} tokens a query",
        caption=f"The rotation takes {case.rotation_bytes:,} bytes once.",
    )
    table.add_column("storage")
    for name in (
        "bytes/item", "recall@10", *(f"of {n}" for n in counts), *(f"by int8, {n}" for n in counts),
        "ms", *(f"ms, {n}" for n in counts), "ns/token",
    ):  # fmt: skip
        table.add_column(name, justify="right")
    for line in case.lines:
        table.add_row(
            line.system,
            f"{line.bytes_per_item:,.0f}",
            f"{line.recall:.3f}",
            *(_cell(line.rescored, n, "{:.3f}") for n in counts),
            *(_cell(line.rescored_by_int8, n, "{:.3f}") for n in counts),
            f"{line.milliseconds.p50:.2f}",
            *(
                _cell({m: each.p50 for m, each in line.milliseconds_rescored.items()}, n, "{:.2f}")
                for n in counts
            ),
            f"{line.nanoseconds_per_token:.1f}",
        )
    return table


def _cell(values: dict[int, float], n: int, form: str) -> str:
    return form.format(values[n]) if n in values else ""


def codes() -> str:
    """Bytes, recall and milliseconds of vectors in few bits, for a page."""
    rows = []
    for case in read_record("low_bits")["result"]["cases"][:2]:
        for line in case["lines"]:
            rescored = line["rescored"].get("20")
            ms = line["milliseconds_rescored"].get("50")
            rows.append(
                [
                    f"{case['name']}, {line['system']}",
                    f"{line['bytes_per_item']:,.0f}",
                    f"{line['recall']:.3f}",
                    "" if rescored is None else f"{rescored:.3f}",
                    f"{line['milliseconds']['p50']:.1f}",
                    "" if ms is None else f"{ms['p50']:.1f}",
                ]
            )
    header = ("", "bytes an item", "recall@10", "20 rescored", "ms", "ms, 50 rescored")
    return markdown_table(header, rows)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print and write the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few documents, no record")
    told = parser.parse_args(arguments)
    config = Config(300, 60, 5, shape=(100, 240, 32, 128)) if told.quick else Config()
    result = run(config)
    console = Console(width=150)
    for each in result.cases:
        console.print(render(each))
    if not told.quick:
        print(write_record("low_bits", config=asdict(config), result=asdict(result)))


if __name__ == "__main__":
    main()
