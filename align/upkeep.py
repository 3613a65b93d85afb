"""Looking after an embedding store: what it holds, what is broken, and making it smaller."""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from align.plain import plain
from align.shards import (
    Label,
    Shard,
    encoder_folder,
    leftovers,
    shard_paths,
    shelf_folders,
)

MERGED_BYTES = 64 * 2**20  # shards are merged up to this size; those over half of it are left alone


@dataclass(frozen=True, slots=True)
class StoreStat:
    """What a store holds of one encoder, in one kind and dtype.

    Attributes:
        fingerprint: Of the encoder.
        kind: ``"pooled"`` or ``"tokens"``.
        dtype: ``"float32"`` or ``"float16"``.
        items: Distinct items.
        shards: Readable files.
        bytes: Their size on disk.
    """

    fingerprint: str
    kind: str
    dtype: str
    items: int
    shards: int
    bytes: int


@dataclass(frozen=True, slots=True)
class StoreProblem:
    """A file that the store cannot use.

    Attributes:
        path: The file.
        reason: What is wrong with it.
        lost: Its content is no use to anyone, so ``prune`` removes it. False for a file that could
            not be opened, which may be sound.
    """

    path: Path
    reason: str
    lost: bool

    def __str__(self) -> str:
        return plain(f"{self.path}: {self.reason}")


def _readable(folder: Path) -> Iterator[Shard]:
    """The shards in ``folder`` that open, oldest first."""
    for path in shard_paths(folder):
        try:
            yield Shard(path)
        except (ValueError, OSError):
            continue


def _problem(root: Path, path: Path) -> StoreProblem | None:
    """What is wrong with the shard at ``path``, after reading all of it; ``None`` if nothing is."""
    try:
        shard = Shard(path)
        if shard.label.folder(root) != path.parent:
            raise ValueError("it belongs to another encoder, kind or dtype")
        shard.check_payload()
    except FileNotFoundError:
        return None  # pruned by another process since it was listed
    except ValueError as reason:
        return StoreProblem(path, str(reason), lost=True)
    except OSError as reason:
        return StoreProblem(path, str(reason), lost=False)
    return None


def stat(root: Path) -> list[StoreStat]:
    """What the store at ``root`` holds, one entry per encoder, kind and dtype."""
    stats = []
    for folder in shelf_folders(root):
        shelf: dict[Label, list[Shard]] = defaultdict(list)
        for shard in _readable(folder):
            shelf[shard.label].append(shard)
        for label, shards in shelf.items():
            names = {name for shard in shards for name in shard.names}
            size = sum(shard.size for shard in shards)
            stats.append(
                StoreStat(label.fingerprint, label.kind, label.dtype, len(names), len(shards), size)
            )
    return sorted(stats, key=lambda s: (s.fingerprint, s.kind, s.dtype))


def verify(root: Path, *, older_than: float) -> list[StoreProblem]:
    """Every shard that is unreadable or differs from its checksum, and every stale scratch file."""
    problems = [
        problem
        for folder in shelf_folders(root)
        for path in shard_paths(folder)
        if (problem := _problem(root, path)) is not None
    ]
    return problems + [
        StoreProblem(path, "left by a writer that was killed", lost=True)
        for path in leftovers(root, older_than=older_than)
    ]


def prune(root: Path, *, drop: Collection[str], older_than: float) -> int:
    """Drop encoders, remove what ``verify`` lists, merge small shards; the bytes freed."""
    if isinstance(drop, str):
        raise TypeError(
            f"drop must be a collection of fingerprints; got the string {drop!r}. Pass [{drop!r}]."
        )
    unknown = [name for name in drop if not encoder_folder(root, name).is_dir()]
    if unknown:
        raise ValueError(
            f"drop must name fingerprints in the store; it has none of {unknown}. "
            f"It holds {sorted({entry.fingerprint for entry in stat(root)})}."
        )
    freed = 0
    for name in drop:
        folder = encoder_folder(root, name)
        freed += sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        shutil.rmtree(folder)
    for problem in verify(root, older_than=older_than):
        freed += _remove(problem.path) if problem.lost else 0
    for folder in shelf_folders(root):
        freed += _compact(folder, list(_readable(folder)))
    return freed


def _remove(path: Path) -> int:
    """Delete a file that another process may delete as well; the bytes freed."""
    try:
        size = path.stat().st_size
        path.unlink()
    except FileNotFoundError:
        return 0
    return size


def _compact(folder: Path, shards: Sequence[Shard]) -> int:
    """Merge small shards, oldest first, and keep one copy of each item; the bytes freed.

    The merged shard is written before the old ones go, so a kill leaves duplicates, never a hole.
    """
    seen: set[bytes] = set()
    batches: list[list[tuple[Shard, list[int]]]] = [[]]
    filled = 0
    for shard in shards:
        fresh = [row for row, name in enumerate(shard.names) if name not in seen]
        seen.update(shard.names)
        if shard.size > MERGED_BYTES // 2 and len(fresh) == len(shard):
            continue
        if filled + shard.size > MERGED_BYTES:
            batches.append([])
            filled = 0
        batches[-1].append((shard, fresh))
        filled += shard.size
    return sum(_merge(folder, batch) for batch in batches)


def _merge(folder: Path, parts: Sequence[tuple[Shard, list[int]]]) -> int:
    """Put the given rows of several shards into a new one and remove the old; the bytes freed."""
    if len(parts) < 2 and all(len(rows) == len(shard) for shard, rows in parts):
        return 0
    named = [(shard.names, rows) for shard, rows in parts]
    names = [held[row] for held, rows in named for row in rows]
    cost = 0
    if names:
        label = parts[0][0].label
        if label.kind == "tokens":
            items = [shard.tokens(row) for shard, rows in parts for row in rows]
            vectors = torch.cat(items)
            offsets = torch.tensor([0, *(len(item) for item in items)]).cumsum(0)
        else:
            vectors = torch.cat(
                [shard.vectors[torch.tensor(rows)] for shard, rows in parts if rows]
            )
            offsets = None
        cost = Shard.write(folder, label, names, vectors, offsets).stat().st_size
    return sum(_remove(shard.path) for shard, _ in parts) - cost
