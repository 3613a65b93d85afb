"""How often ``probes.drift`` calls a stream moved that was not, and what else it notices.

    python -m experiments.drift --what alarms
    python -m experiments.drift --what power

**alarms**: items of one data set are split at random into training items and a stream, over and
over; the share of splits with ``p`` at or below a level is to be that level. By the eight numbers
that an adapter remembers of each training item, and for two sets by whole vectors.

**power**: captions of photos, or photos, are trained on. The stream is of another kind, a part of
it is, or it is shifted along a random direction by a share of the spread of the items. Told are the
share of splits in which it was noticed at 0.05, and mean AUC and MMD².

Nothing is tuned on these numbers but the MMD² from which ``drift`` advises to refit.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from align.adapters.calibration.calibration import Calibration
from align.adapters.calibration.confidence import Confidence
from align.adapters.calibration.domain import Domain
from align.adapters.closed_form.centering import centering
from align.adapters.training_items import TrainingItems
from align.data.embeddings import PairedEmbeddings
from align.data.sides import Side
from experiments.record import write_record
from experiments.tasks import load_task
from probes.distribution.drift import Drift, drift

What = Literal["alarms", "power"]

ALARMS: Mapping[str, tuple[str, Side]] = {
    "captions": ("flickr8k", "source"),
    "photos": ("flickr8k", "target"),
    "emoji names": ("emoji", "source"),
    "docstrings": ("stdlib_code", "source"),
    "other captions": ("en_fr", "source"),
}
WHOLE = ("captions", "other captions")


@dataclass(frozen=True, slots=True)
class Config:
    """One run.

    Attributes:
        what: False alarms, or power.
        splits: Random splits of each data set into training items and a stream.
        known: Training items.
        new: Items of the stream.
        seed: Seeds the splits.
    """

    what: What = "alarms"
    splits: int = 200
    known: int = 500
    new: int = 100
    seed: int = 0


def run(config: Config) -> list[dict[str, Any]]:
    """A row for each data set, or for each stream that moved."""
    return list(_alarms(config) if config.what == "alarms" else _power(config))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run and write ``results/drift-WHAT.json``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--what", choices=get_args(What), default="alarms")
    parser.add_argument("--splits", type=int)
    parser.add_argument("--quick", action="store_true", help="two splits, no record")
    what = parser.parse_args(arguments)
    config = Config(what.what) if what.what == "alarms" else Config("power", 10, 1_000, 200)
    splits = 2 if what.quick else what.splits
    if splits is not None:
        config = Config(config.what, splits, config.known, config.new)
    rows = run(config)
    for row in rows:
        print(row)
    if what.quick:
        return
    print(write_record(f"drift-{config.what}", config=asdict(config), result=rows))


def _alarms(config: Config) -> Iterator[dict[str, Any]]:
    for name, (task, side) in ALARMS.items():
        pairs = _one_of_each_group(load_task(task).pool)
        items = getattr(pairs, side).float()
        for whole in (False, True)[: 1 + (name in WHOLE)]:
            found = [
                _asked(items[known], items[new], whole=whole)
                for known, new in _splits(len(items), config)
            ]
            p = [each.p for each in found]
            yield {
                "items": name,
                "compared by": found[0].columns,
                "at 0.05": fmean(each <= 0.05 for each in p),
                "at 0.01": fmean(each <= 0.01 for each in p),
                "splits": len(p),
            }


def _power(config: Config) -> Iterator[dict[str, Any]]:
    photos, emoji = load_task("flickr8k").pool, load_task("emoji").pool
    sides: tuple[tuple[str, Side, dict[str, PairedEmbeddings]], ...] = (
        ("captions", "source", {
            "emoji names": emoji,
            "docstrings": load_task("stdlib_code").pool,
            "questions on code": load_task("conala").pool,
            "other captions": load_task("en_fr").pool,
        }),
        ("photos", "target", {"emoji pictures": emoji}),
    )  # fmt: skip
    for trained, side, others in sides:
        items = getattr(photos, side).float()
        moved: list[tuple[str, Any]] = [("none", lambda new, generator: new)]
        for name, pairs in others.items():
            shares = (1.0, 0.5, 0.25, 0.1) if pairs is emoji else (1.0,)
            other = getattr(pairs, side).float()
            moved += [(f"{share:.0%} {name}", _replacing(other, share)) for share in shares]
        moved += [
            (f"shift by {share:g} of the spread", _shifting(items, share))
            for share in (0.1, 0.2, 0.4, 0.8)
        ]
        for name, move in moved:
            for whole in (False, True):
                found = []
                for seed, (known, new) in enumerate(_splits(len(items), config)):
                    generator = torch.Generator().manual_seed(seed)
                    found.append(_asked(items[known], move(items[new], generator), whole=whole))
                yield {
                    "trained on": trained,
                    "stream": name,
                    "compared by": found[0].columns,
                    "noticed": fmean(each.drifted for each in found),
                    "refit": fmean(each.action == "refit" for each in found),
                    "auc": round(fmean(each.test.auc for each in found), 3),
                    "out of domain": round(fmean(each.outside.share for each in found), 3),
                    "mmd": round(fmean(each.test.mmd for each in found), 4),
                    "splits": len(found),
                }


def _asked(known: Tensor, new: Tensor, *, whole: bool) -> Drift:
    domain = Domain.of(known, [str(row) for row in range(len(known))])
    unused = Confidence(known.new_zeros(1), sharpness=1.0, spread=1.0, gallery=1)
    adapter = centering(known, known).replaced(
        training_items=TrainingItems.of(known, known),
        calibration=Calibration(domain, domain, unused, unused),
    )
    return drift(adapter, new, reference=known if whole else None)


def _splits(n: int, config: Config) -> Iterator[tuple[Tensor, Tensor]]:
    for split in range(config.splits):
        order = torch.randperm(n, generator=torch.Generator().manual_seed(config.seed + split))
        yield order[: config.known], order[config.known : config.known + config.new]


def _one_of_each_group(pairs: PairedEmbeddings) -> PairedEmbeddings:
    first = {group: row for row, group in reversed(list(enumerate(pairs.groups)))}
    return pairs.take(sorted(first.values()))


def _replacing(other: Tensor, share: float) -> Any:
    def moved(new: Tensor, generator: torch.Generator) -> Tensor:
        count = round(share * len(new))
        rows = torch.randperm(len(other), generator=generator)[:count]
        return torch.cat([new[: len(new) - count], other[rows]])

    return moved


def _shifting(items: Tensor, share: float) -> Any:
    spread = items.std(dim=0).norm()

    def moved(new: Tensor, generator: torch.Generator) -> Tensor:
        along = torch.randn(new.shape[1], generator=generator)
        return new + share * spread * along / along.norm()

    return moved


if __name__ == "__main__":
    main()
