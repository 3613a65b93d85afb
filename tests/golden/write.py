"""Writes the golden files anew: ``python -m tests.golden.write``, from the root of the repository.

They are small files of every kind that a release has saved, and ``expected.json`` is what reading
them gave then. Write them only where a major version of a kind changed, and say so in the commit:
a test that fails on them means that users' files cannot be read any more.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

import torch

import align
import probes
from align.adapters.adapter import Adapter
from align.adapters.card import Card
from align.adapters.closed_form.rcca import rcca
from align.adapters.corrections.hubness import CSLS
from align.adapters.corrections.preference import Preference
from align.adapters.corrections.reference_set import Expansion, ReferenceSet
from align.adapters.maps.linear import LinearMap
from align.adapters.maps.parts import Parts
from align.adapters.multi_vector.aspects import Heads, Reduction, Resampler, TokenAspects
from align.adapters.multi_vector.meta_tokens import MetaTokens
from align.adapters.trainable import instructed, residual
from tests.golden.planted import FOLDER, READERS, TEXTS, encoder, numbers, pairs, tokens


def corrected(adapter: Adapter) -> Adapter:
    """The same with a correction of galleries."""
    data = pairs()
    sides = adapter.source(data.source[:6]), adapter.target(data.target[:6])
    adapter.reference = ReferenceSet(*sides, expansion=Expansion(0.25, 10.0), hubness=CSLS(3))
    return adapter


def with_instructions() -> Adapter:
    """A residual below an instruction, targets of two parts, and a preference among them."""
    fitted = rcca(pairs().source, pairs().target, dim=3)
    target = LinearMap(numbers(1, 5, 6)[0] / 8, numbers(5, 3, 7), parts=Parts((3, 2), (0.75, 0.25)))
    made = Adapter(fitted.source_map, target, Card("by hand", 24, 4, 5))
    generator = torch.Generator().manual_seed(0)
    made = residual(made, kind="low_rank", size=2, sides="source", generator=generator)
    made = instructed(made, 2, scaled=True).replaced(
        preference=Preference(numbers(2, 2, 8), (3, 2))
    )
    with torch.no_grad():
        for number, weight in enumerate(made.source_map.parameters()):
            weight.copy_(numbers(*weight.shape, number) / 16)
    return made


def head(adapter: Adapter) -> MetaTokens:
    """Two aspects a side: of token states, and of pooled vectors."""
    reduction = Reduction(numbers(1, 5, 9)[0] / 16, torch.linalg.qr(numbers(5, 2, 10)).Q)
    source = TokenAspects(reduction, Resampler(numbers(2, 2, 11), numbers(2, 2, 12)))
    target = Heads(numbers(1, 3, 13)[0] / 16, numbers(6, 2, 14).reshape(2, 3, 2))
    return MetaTokens(adapter, source, target, mix=0.25, asking=2, card={"made": "by hand"})


def write(folder: Path) -> None:
    """Every kind of file, and what reading each gives."""
    data = pairs()
    corrected(align.fit(data, effort="fast", folds=3)).save(folder / "adapter")
    adapter = corrected(rcca(data.source, data.target, dim=3))
    with_instructions().save(folder / "instructed")
    head(adapter).save(folder / "meta_tokens")
    tokens(4).quantized().save(folder / "multi_vector.safetensors")
    align.LowBitVectors.of(tokens(4), bits=2).save(folder / "low_bits.safetensors")
    index = align.Index.create(folder / "index", adapter)
    records = [{"row": i, "even": i % 2 == 0} for i in range(len(data))]
    index.add(data.ids, data.target, metadata=records)
    index.delete(["3"])
    index.save()
    align.EmbeddingStore(folder / "store").encode(encoder(), TEXTS)
    chosen = [probe for probe in probes.STANDARD if probe.name == "modality_gap"]
    probes.report(data, adapter, probes=chosen).save(folder / "report.json")
    start = residual(adapter)
    config = align.TrainConfig(steps=2, batch_size=8)
    align.train(start, data, config=config, checkpoint=folder / "training.safetensors")
    align.tune(data, study=folder / "tuning.journal", trials=3, folds=2)


def main() -> None:
    """Replace the golden files beside this script."""
    with tempfile.TemporaryDirectory() as scratch:
        write(Path(scratch))
        expected = {name: read(Path(scratch) / name) for name, read in READERS.items()}
        for name in READERS:
            old, new = FOLDER / name, Path(scratch) / name
            shutil.rmtree(old) if old.is_dir() else old.unlink(missing_ok=True)
            (shutil.copytree if new.is_dir() else shutil.copy)(new, old)
    text = json.dumps(expected, indent=1, ensure_ascii=False)
    (FOLDER / "expected.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
