"""What the golden files were made of, exact in float32 everywhere, and what they must give."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import align
import probes
from align.data.embeddings import PairedEmbeddings
from align.data.multi_vector import MultiVector
from align.fitting.training.checkpoints import read as read_checkpoint

FOLDER = Path(__file__).parent
TEXTS = ("a dog", "a cat", "two cats on a mat")


def numbers(n: int, d: int, salt: int) -> Tensor:
    """``(n, d)`` float32; rows differ and none is zero."""
    i, j = torch.arange(n)[:, None], torch.arange(d)
    return ((i * i * 7 + j * 13 + i * j * (5 + salt) + i * salt) % 97 - 48.5) / 32


def pairs(n: int = 24) -> PairedEmbeddings:
    """Pairs of widths 4 and 3 that share three coordinates."""
    shared = numbers(n, 3, 1)
    source = torch.cat([shared + numbers(n, 3, 2) / 8, numbers(n, 1, 3)], dim=1)
    return PairedEmbeddings.from_arrays(source, shared + numbers(n, 3, 4) / 8)


def tokens(n: int = 24) -> MultiVector:
    """One to three token states of width 5 of each of ``n`` items."""
    return MultiVector.pack([numbers(1 + i % 3, 5, i) for i in range(n)])


def encoder(function: Callable[[list[Any]], Tensor] | None = None) -> align.CallableEncoder:
    """Of texts, by their lengths; or by another function of that name."""
    return align.CallableEncoder(
        function or (lambda items: torch.tensor([[float(len(each)), 1.5] for each in items])),
        name="golden lengths",
        dim=2,
    )


def refuse(items: list[Any]) -> Tensor:
    """A function that an encoder whose items are all in the store never calls."""
    raise AssertionError(f"these are in the store: {items}")


def adapter(path: Path) -> Any:
    """Vectors of both roles."""
    loaded, data = align.load(path), pairs()
    return {
        "queries": loaded.queries(data.source[:2]).tolist(),
        "gallery": loaded.gallery(data.target[:2]).tolist(),
        "trained on": int(loaded.trained_on(data).sum()),
        "verdict": loaded.card.verdict,
    }


def instructed(path: Path) -> Any:
    """Vectors of sources with instructions."""
    loaded, data = align.load(path), pairs()
    x = align.with_instructions(data.source[:2], numbers(2, 2, 5))
    y = torch.cat([data.target[:2], torch.zeros(2, 2)], dim=1)
    return {"queries": loaded.queries(x).tolist(), "gallery": loaded.gallery(y).tolist()}


def meta_tokens(path: Path) -> Any:
    """Vectors of both roles of a head."""
    loaded, data = align.load_meta_tokens(path), pairs()
    return {
        "queries": loaded.queries(data.source[:2], tokens(2)).tokens.tolist(),
        "gallery": loaded.gallery(data.target[:2]).tokens.tolist(),
    }


def multi_vector(path: Path) -> Any:
    """The tokens of int8 items."""
    loaded = MultiVector.open(path)
    return {"items": [item.tolist() for item in loaded], "scales": loaded.scales.tolist()}


def low_bits(path: Path) -> Any:
    """What the codes stand for, and what they find."""
    loaded = align.LowBitVectors.open(path)
    found = loaded(tokens(2), 3)
    return {
        "tokens": loaded.decoded().tokens.tolist(),
        "indices": found.indices.tolist(),
        "values": found.values.tolist(),
    }


def index(path: Path) -> Any:
    """Hits, their records, and what is wrong with the folder."""
    opened = align.Index.open(path)
    found = opened.search(pairs().source[:2], k=3)
    assert opened.verify() == []
    return [[[hit.id, hit.score, hit.metadata] for hit in hits] for hits in found]


def store(path: Path) -> Any:
    """Vectors that are in the store, so that no encoder runs."""
    opened = align.EmbeddingStore(path)
    return opened.encode(encoder(refuse), TEXTS).tolist()


def report(path: Path) -> Any:
    """What the report says."""
    loaded = probes.Report.from_json(path.read_text(encoding="utf-8"))
    return {
        row.name: {state: reading.value for state, reading in row.readings.items()}
        for row in loaded.rows
    }


def checkpoint(path: Path) -> Any:
    """How far a training run had come, and what it had learned."""
    tensors, said = read_checkpoint(path, {})
    return {"step": said["step"], "tensors": {name: list(t.shape) for name, t in tensors.items()}}


def journal(path: Path) -> Any:
    """A search that is as long as it was: nothing is tried anew."""
    found = align.tune(pairs(), study=path, trials=3, folds=2)
    return [[trial.number, trial.mrr, dict(trial.params)] for trial in found.trials]


READERS = {
    "adapter": adapter,
    "instructed": instructed,
    "meta_tokens": meta_tokens,
    "multi_vector.safetensors": multi_vector,
    "low_bits.safetensors": low_bits,
    "index": index,
    "store": store,
    "report.json": report,
    "training.safetensors": checkpoint,
    "tuning.journal": journal,
}
"""What each file or folder beside this one gives, by its name."""
