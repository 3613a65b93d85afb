"""What a file or folder of ours is, and what it says of itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from align.data.sides import SIDE_NAMES, SIDES

if TYPE_CHECKING:
    from align.adapters.card import Card

Facts = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Inspected:
    """What is at a path.

    Attributes:
        kind: In words: ``"adapter"``, ``"index"``, ...
        facts: What it says of itself, by name, ready for JSON; ``None`` where nobody knows.
        bytes: Of all its files.
        written: When it was written last, in UTC.
    """

    kind: str
    facts: Facts
    bytes: int
    written: datetime

    def to_dict(self) -> Facts:
        """One object for JSON."""
        written = self.written.isoformat(timespec="seconds")
        return {"kind": self.kind, **self.facts, "written": written, "bytes": self.bytes}


def inspect(path: Path) -> Inspected:
    """What is at ``path``: an adapter, head, index, store, checkpoint, study, report or vectors.

    Raises:
        FileNotFoundError: There is nothing.
        ValueError: It is nothing that isthmus wrote, or it is damaged.
    """
    there = path.expanduser()
    if not there.exists():
        raise FileNotFoundError(
            f"a file or folder to look at must be there; {str(path)!r} is not. Check the path."
        )
    for is_one, describe in _FOLDERS if there.is_dir() else _FILES:
        if is_one(there):
            kind, facts = describe(there)
            files = [each for each in _files(there) if each.is_file()]
            written = max(each.stat().st_mtime for each in files)
            size = sum(each.stat().st_size for each in files)
            return Inspected(kind, facts, size, datetime.fromtimestamp(written, UTC))
    holds = _contents(there)
    raise ValueError(
        "info looks at what isthmus wrote: an adapter, a head of meta tokens, an index, a store, a "
        f"checkpoint, a study, a report as .json or a MultiVector; {str(path)!r} {holds} and is "
        "none. Name the folder that --out or --store named."
    )


def _contents(path: Path) -> str:
    if not path.is_dir():
        return "is another kind of file"
    names = sorted(each.name for each in path.iterdir())
    return f"holds {names[:5]}" if names else "is empty"


def _files(path: Path) -> list[Path]:
    return [path] if path.is_file() else list(path.rglob("*"))


def _holds(*names: str) -> Callable[[Path], bool]:
    return lambda folder: all((folder / name).exists() for name in names)


def _of_card(card: Card) -> Facts:
    """How an adapter came to be, and how it did on pairs that were held out."""
    held = card.held_out
    numbers = None
    if held is not None:
        numbers = {
            "mean_reciprocal_rank": held.mrr,
            "mean_reciprocal_rank_at_random": held.chance_mrr,
            "recall_at_10": held.recall_at_10,
            "recall_at_10_at_random": held.chance_at_10,
            "gallery": card.fold_gallery,
        }
    named = dict(zip(SIDES, card.side_names, strict=True))
    return {
        "verdict": card.verdict or None,
        "sides": None if card.side_names == SIDE_NAMES else named,
        "encoders": dict(card.encoders),
        "fingerprints": {"source": card.source_fingerprint, "target": card.target_fingerprint},
        "widths": {"source": card.d_source, "target": card.d_target},
        "pairs": card.n_pairs,
        "groups": card.n_groups or None,
        "method": card.method,
        "better_than_chance": card.better_than_chance,
        "held_out": numbers,
        "versions": dict(card.versions),
    }


def _adapter(folder: Path) -> tuple[str, Facts]:
    from align.adapters.adapter import load

    adapter = load(folder.absolute())
    kind = "upgrade, an adapter" if adapter.card.method.startswith("upgrade: ") else "adapter"
    facts = {"dim": adapter.source_map.dim, "dim_of_an_index": adapter.components().d_search}
    return kind, facts | _of_card(adapter.card)


def _head(folder: Path) -> tuple[str, Facts]:
    from align.adapters.multi_vector.meta_tokens import load_meta_tokens

    head = load_meta_tokens(folder)
    own = {
        "vectors": {"query": head.asking, "item": head.vectors},
        "mix": head.mix.item(),
        "dim": head.adapter.source_map.dim,
    }
    words = {name: head.card.get(name) for name in ("verdict", "better_than_chance")}
    return "head of meta tokens", own | _of_card(head.adapter.card) | words


def _index(folder: Path) -> tuple[str, Facts]:
    from align.adapters.multi_vector.meta_tokens import MetaTokens
    from align.retrieval.index.index import Index

    index = Index.open(folder)
    facts: Facts = {
        "items": len(index),
        "modalities": {name or "not said": count for name, count in index.modalities.items()},
        "side": index.side,
        "dtype": index.dtype,
        "dim": index.dim,
        "bytes_of_vectors": index.nbytes,
    }
    held = index.adapter
    if held is None:
        return "index", facts
    behind = held.adapter if isinstance(held, MetaTokens) else held
    kind = "adapter" if behind is held else "head of meta tokens"
    return "index", facts | {"searched_through": kind} | _of_card(behind.card)


def _store(folder: Path) -> tuple[str, Facts]:
    from dataclasses import asdict

    from align.encoders.cache.store import EmbeddingStore

    encoders = [asdict(each) for each in EmbeddingStore(folder).stat()]
    return "store", {"items": sum(each["items"] for each in encoders), "encoders": encoders}


def _tensors(path: Path) -> tuple[str, Facts]:
    from align._files.tensors import SCHEMA, open_tensors
    from align.data.multi_vector import MultiVector
    from align.fitting.training.checkpoints import SCHEMA as TRAINING

    tensors, words = open_tensors(path, again="Write it again.", mapped=True)
    if str(words[SCHEMA]).startswith(TRAINING.name):
        return "checkpoint of a training run", {"schema": words[SCHEMA], "tensors": len(tensors)}
    held = MultiVector.open(path)
    facts = {
        "schema": words[SCHEMA], "items": len(held), "vectors": len(held.tokens), "dim": held.dim,
        "dtype": str(held.tokens.dtype).removeprefix("torch."),
    }  # fmt: skip
    return "MultiVector", facts


def _report(path: Path) -> tuple[str, Facts]:
    from dataclasses import asdict

    from probes.reporting.document import Report

    report = Report.from_json(path.read_text(encoding="utf-8"))
    return "report of a gap", {"verdict": report.verdict, **asdict(report.provenance)}


def _study(path: Path) -> tuple[str, Facts]:
    with path.open("rb") as file:
        return "study of tune", {"steps": sum(1 for _ in file)}


def _is_tensors(path: Path) -> bool:
    from align._files.tensors import SCHEMA, open_tensors

    try:
        _, words = open_tensors(path, again="", mapped=True)
    except (ValueError, OSError):
        return False
    return words.get(SCHEMA, "").startswith("isthmus-")


def _is_report(path: Path) -> bool:
    from align._files.strict_json import parse

    try:
        data = parse(path.read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError):
        return False
    return isinstance(data, dict) and {"schema", "headline", "provenance"} <= set(data)


def _is_study(path: Path) -> bool:
    from align.fitting.tuning.study import JOURNAL

    with path.open("rb") as file:
        return file.read(len(JOURNAL)) == JOURNAL


_Kinds = tuple[tuple[Callable[[Path], bool], Callable[[Path], tuple[str, Facts]]], ...]
# A head and an index hold an adapter, each in a folder of its own, so the order is free.
_FOLDERS: _Kinds = (
    (_holds("meta_tokens.json"), _head),
    (_holds("index.json"), _index),
    (_holds("config.json", "card.json"), _adapter),
    (_holds("store.sqlite"), _store),
)
_FILES: _Kinds = ((_is_tensors, _tensors), (_is_study, _study), (_is_report, _report))


def lines_of(found: Inspected) -> list[str]:
    """A line for each fact that is known; what is inside a fact stands indented below it."""
    named = {"written": f"{found.written:%Y-%m-%d %H:%M} UTC", "size": size_in_words(found.bytes)}
    return [found.kind, *lines_of_facts({**found.facts, **named}, indent="  ")]


def lines_of_facts(facts: Mapping[str, Any], *, indent: str = "") -> list[str]:
    """A line for each fact that is known, by its name."""
    known = _known(facts)
    width = max((len(name) for name, value in known.items() if not _is_nested(value)), default=0)
    lines = []
    for name, value in known.items():
        label = name.replace("_", " ")
        if isinstance(value, Mapping):
            lines += [f"{indent}{label}", *lines_of_facts(value, indent=indent + "  ")]
        elif _is_nested(value):
            lines.append(f"{indent}{label}")
            for each in value:
                lines.append(f"{indent}  " + ", ".join(f"{k} {_shown(v)}" for k, v in each.items()))
        else:
            lines.append(f"{indent}{label:<{width}}  {_shown(value)}")
    return lines


def _known(facts: Mapping[str, Any]) -> Facts:
    """The facts that say something, also inside others."""
    found = {
        name: _known(value) if isinstance(value, Mapping) else value
        for name, value in facts.items()
    }
    return {name: value for name, value in found.items() if value not in (None, {}, [], "")}


def _is_nested(value: object) -> bool:
    return isinstance(value, Mapping) or (
        isinstance(value, list) and all(isinstance(each, Mapping) for each in value)
    )


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def size_in_words(count: int) -> str:
    """Bytes as people read them."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} bytes"
