"""Search pictures by text through two encoders that never met: the whole walk on real data.

Run ``make demo``, or ``python -m experiments.demo``. Everything lands in ``demo-output/``.
"""

from __future__ import annotations

import argparse
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.table import Table

from align.apps.cli.console import PlainConsole

if TYPE_CHECKING:
    from align.adapters.adapter import Adapter
    from align.data.embeddings import PairedEmbeddings

QUERIES = (
    "something to eat with chopsticks",
    "I am so tired I could sleep for a week",
    "a slow animal with a house on its back",
    "it is raining and I forgot my coat",
    "winning first place in a race",
    "tools for fixing a broken chair",
    "a trip to the seaside",
    "music for a party",
)
SHOWN = 5
SOURCE = "text:minilm"
TARGET = "image:efficientnet-lite0"


@dataclass(frozen=True, slots=True)
class Config:
    """What the demo runs on.

    Attributes:
        language: Language of the names and keywords.
        test: Share of the emoji held out, by group.
        seed: Seeds the split, the folds and the trained baseline.
        out: Where the adapter, the index and the picture go.
    """

    language: str = "en"
    test: float = 0.25
    seed: int = 0
    out: Path = Path("demo-output")


@dataclass(slots=True)
class Stages:
    """Seconds per stage."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def time(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


def run(config: Config, console: PlainConsole) -> dict[str, Any]:
    """Encode, split, fit, compare, save, index and search; returns what was measured."""
    stages = Stages()
    with stages.time("load libraries"):
        import align
        from align._files.cache import cache_folder
        from align.adapters.closed_form.procrustes import procrustes
        from align.adapters.closed_form.rcca import cca
        from align.data.examples.emoji import emoji_entries
        from align.retrieval.picture_paths import path_to_keep
        from experiments.contact_sheet import contact_sheet

    with stages.time("unpack emoji"):
        pairs = align.emoji_pairs(config.language)
        names = {entry.id: entry.name[config.language] for entry in emoji_entries()}
    console.print(
        f"{len(pairs):,} emoji: pictures through EfficientNet-lite0 (1280-d), names and keywords "
        "through all-MiniLM-L6-v2 (384-d).\nThe two networks have never seen each other's data.\n"
    )
    text, image = align.load_encoder(SOURCE), align.load_encoder(TARGET)
    with stages.time("encode"):
        store = align.EmbeddingStore(cache_folder() / "store")
        data = pairs.encode(text, image, store=store, progress=True)
    train, test = data.split(test=config.test, seed=config.seed)

    systems: dict[str, Any] = {}
    with stages.time("fit the baselines"):
        for name, method in (("CCA", cca), ("Procrustes", procrustes)):
            systems[name] = method(train.source, train.target)
        systems["Mind the Gap network"] = _trained_once(train, config.seed, cache_folder())
    with stages.time("fit isthmus"):
        adapter = align.fit(train, seed=config.seed)
    systems["isthmus (align.fit)"] = adapter
    with stages.time("evaluate"):
        scores = {name: align.evaluate(test, system) for name, system in systems.items()}
    console.print(_score_table(scores, len(train), len(test)))
    console.print(f"{adapter.card.verdict}.\n")

    with stages.time("save, index, search"):
        adapter.save(config.out / "adapter")
        unseen = set(test.ids)
        rows = [row for row, name in enumerate(pairs.ids) if name in unseen]
        pairs.take(rows).to_csv(config.out / "held-out.csv")
        _clear(config.out / "index")
        index = align.Index.create(config.out / "index", adapter)
        index.add(
            data.ids,
            align.Embeddings(data.target, data.target_fingerprint, data.ids),
            metadata=[
                {"path": path_to_keep(path, index.folder), "name": names[id]}
                for id, path in zip(data.ids, pairs.target, strict=True)
            ],
            modality="image",
        )
        index.save()
        asked = align.Embeddings(text.encode(QUERIES), text.fingerprint, QUERIES)
        answers = index.search(asked, k=SHOWN)
    picture_of = dict(zip(pairs.ids, pairs.target, strict=True))
    with stages.time("draw the picture"):
        contact_sheet(
            [
                (query, [picture_of[hit.id] for hit in hits])
                for query, hits in zip(QUERIES, answers, strict=True)
            ],
            config.out / "answers.png",
            captions=[
                [names[hit.id] + (" *" if hit.id in unseen else "") for hit in hits]
                for hits in answers
            ],
            title=f"{len(index):,} pictures searched by text. * not among the training pairs",
        )
    for query, hits in zip(QUERIES, answers, strict=True):
        console.print(f"{query}: {', '.join(names[hit.id] for hit in hits)}")
    console.print(_time_table(stages.seconds))
    for what, path in (("adapter", "adapter"), ("index", "index"), ("picture", "answers.png")):
        console.print(f"{what:8} {config.out / path}")
    console.print(
        f"\nThe gap before and after, as a page with the pictures:\n"
        f"align gap {config.out}/adapter {config.out}/held-out.csv --source caption --target image "
        f"--id id --group group --store {cache_folder() / 'store'} -o {config.out}/gap.html\n"
        f"\nAnother search, and all of them as a web page on this machine:\n"
        f"align search {config.out}/index 'a red fruit'\n"
        f"align serve {config.out}/index --store {cache_folder() / 'store'}",
        soft_wrap=True,
    )  # fmt: skip
    return {
        "scores": {name: found.to_dict() for name, found in scores.items()},
        "seconds": stages.seconds,
        "answers": {
            query: [hit._asdict() for hit in hits]
            for query, hits in zip(QUERIES, answers, strict=True)
        },
        "card": adapter.card.to_dict(),
    }


def _clear(index: Path) -> None:
    """Remove the index of an earlier demo, and nothing else.

    Raises:
        FileExistsError: The folder holds anything else, or is a link.
    """
    from align.retrieval.storage.manifest import read_manifest

    if not index.is_symlink() and (not index.exists() or not any(index.iterdir())):
        return
    try:
        ours = {index / file.path for file in read_manifest(index).all_files}
    except (OSError, ValueError):
        ours = set()
    ours |= {index / "index.json", index / "index.lock"} if ours else set()
    held = [path for path in index.rglob("*") if path.is_symlink() or not path.is_dir()]
    foreign = sorted(str(path) for path in held if path not in ours)
    if index.is_symlink() or foreign:
        raise FileExistsError(
            f"the demo writes its index to a new folder or over its earlier one; {index} holds "
            f"{foreign[:5]} or is a link. Choose another --out, or move those away."
        )
    shutil.rmtree(index)


def _trained_once(train: PairedEmbeddings, seed: int, folder: Path) -> Adapter:
    """The trained baseline; its weights are kept, so that a second demo loads them."""
    from safetensors.torch import load_file, save_file

    from align._files.atomic import atomic_file
    from experiments.league.systems import mind_the_gap
    from experiments.league.systems.peer import Setting

    longest = Setting(400, 1e-3)

    digest = sha256(train.source.numpy().tobytes())
    digest.update(train.target.numpy().tobytes())
    digest.update(f"mind the gap {longest} {seed}".encode())
    path = folder / "demo" / f"{digest.hexdigest()[:16]}.safetensors"
    if path.exists():
        heads = mind_the_gap.fit(train, replace(longest, length=1), seed)
        heads.load_state_dict(load_file(path))
        return heads
    heads = mind_the_gap.fit(train, longest, seed)
    with atomic_file(path) as scratch:
        save_file(heads.state_dict(), scratch)
    return heads


def _score_table(scores: dict[str, Any], n_train: int, n_test: int) -> Table:
    table = Table(
        title=f"fitted on {n_train:,} emoji, tested on {n_test:,} of other groups\n"
        "per cent, mean of both directions, half of the 95 % interval",
        box=box.SIMPLE_HEAD,
        title_justify="left",
    )
    table.add_column("")
    for name in ("R@1", "R@5", "R@10", "MRR"):
        table.add_column(name, justify="right")
    keys = ("recall_at_1", "recall_at_5", "recall_at_10", "mean_reciprocal_rank")
    table.add_row("before (widths differ)", "-", "-", "-", "-", style="dim")
    chance = next(iter(scores.values())).chance
    table.add_row("chance", *(f"{100 * chance[key]:.1f}" for key in keys), style="dim")
    for name, found in scores.items():
        cells = []
        for key in keys:
            value = found.mean[key]
            cells.append(f"{100 * value.value:.1f} ± {50 * (value.high - value.low):.1f}")
        table.add_row(name, *cells, style="bold" if "isthmus" in name else "")
    return table


def _time_table(seconds: dict[str, float]) -> Table:
    table = Table(title="seconds", box=box.SIMPLE_HEAD, title_justify="left", show_header=False)
    table.add_column("")
    table.add_column("", justify="right")
    for name, value in seconds.items():
        table.add_row(name, f"{value:.1f}")
    table.add_row("all", f"{sum(seconds.values()):.1f}", style="bold")
    return table


def main() -> None:
    """Parse the command line, run, and keep the numbers beside the picture."""
    standard = Config()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=standard.out)
    parser.add_argument("--seed", type=int, default=standard.seed)
    parser.add_argument("--language", choices=("en", "fr", "ja"), default=standard.language)
    asked = parser.parse_args()
    config = Config(language=asked.language, seed=asked.seed, out=asked.out)
    result = run(config, PlainConsole())
    from experiments.record import write_record

    settings = {**asdict(config), "out": str(config.out)}
    write_record("demo", config=settings, result=result, folder=config.out)


if __name__ == "__main__":
    main()
