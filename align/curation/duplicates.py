"""Rows that repeat an earlier row: which is kept in place of each, and how alike they are."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from align._checks import check_length, check_matrix, check_no_zero_rows
from align._display.lines import count, one_line
from align.adapters.maps.linear import directions
from align.scoring.inner_products import inner_products
from align.scoring.ties import first_largest

LEVEL = 1e-6  # what rounding of float32 takes equal cosines apart
ROWS = 256


@dataclass(frozen=True, slots=True, eq=False)
class Duplicates:
    """For each row the row that is kept in its place; nothing is removed by itself.

    In order, a row that is similar enough to one that was kept before is a duplicate of the most
    similar such row; any other row is kept. So each duplicate is like the row that stands for it,
    and no two kept rows are alike. ``pairs.take(duplicates.kept)`` applies it.

    Attributes:
        stands_in: The row kept in place of each, ``(n,)`` int64; itself where it is kept.
        similarity: How alike the two are, ``(n,)`` float64; 1 where a row is kept.
        rule: What counted as alike, in words.
    """

    stands_in: Tensor
    similarity: Tensor
    rule: str

    def __repr__(self) -> str:
        dropped = f"{len(self.dropped):,} repeat earlier ones"
        return one_line("Duplicates", count(len(self), "row"), dropped, self.rule)

    @property
    def kept(self) -> Tensor:
        """Rows to keep, in order, int64."""
        return (self.stands_in == torch.arange(len(self))).nonzero().flatten()

    @property
    def dropped(self) -> Tensor:
        """Rows that repeat a kept one, in order, int64."""
        return (self.stands_in != torch.arange(len(self))).nonzero().flatten()

    @property
    def clusters(self) -> tuple[tuple[int, ...], ...]:
        """Rows that are represented by one, the kept one first; only where there are several."""
        members: dict[int, list[int]] = {}
        for row in self.dropped.tolist():
            kept = int(self.stands_in[row])
            members.setdefault(kept, [kept]).append(row)
        return tuple(tuple(members[kept]) for kept in sorted(members))

    def __len__(self) -> int:
        return len(self.stands_in)


def equal_items(*sides: Sequence[Any]) -> Duplicates:
    """Rows whose items are the same on every side: texts by letter, files byte by byte.

    White space around a text does not count. Items of other kinds are compared as they are.

    Args:
        *sides: One sequence of ``n`` items per side; paths are read.

    Raises:
        ValueError: The sides differ in length, or there is none.
        TypeError: An item is neither text, path nor hashable.
        OSError: A file cannot be read.
    """
    common_length(sides)
    files: dict[Path, str] = {}
    keys = [tuple(_key(item, files) for item in items) for items in zip(*sides, strict=True)]
    return _first_of_equal(keys, "the same items")


def equal_vectors(*sides: Tensor) -> Duplicates:
    """Rows whose vectors are the same to the last bit on every side, ``(n, d)`` each.

    Raises:
        ValueError: The sides differ in length, or there is none.
    """
    common_length(sides)
    raw = [side.detach().cpu().contiguous().view(torch.uint8).numpy() for side in sides]
    keys = [tuple(row.tobytes() for row in rows) for rows in zip(*raw, strict=True)]
    return _first_of_equal(keys, "the same vectors")


@torch.no_grad()
def near_vectors(*sides: Tensor, threshold: float = 0.95) -> Duplicates:
    """Rows whose cosine is at least ``threshold`` on every side; the least is their similarity.

    Exact: each row is compared with all rows kept before it, in memory for 256 times ``n`` cosines
    and time for ``n * n``. Cosines that differ by less than 1e-6, which is rounding, are equal.

    Args:
        *sides: Vectors of ``n`` rows per side, ``(n, d)``.
        threshold: In (0, 1]. What a cosine means differs between encoders: look at the rows.

    Raises:
        ValueError: The sides are not finite matrices of equally many non-zero rows, there is none,
            or ``threshold`` is out of range.
    """
    n = common_length(sides)
    check_threshold(threshold)
    for number, side in enumerate(sides):
        check_matrix(f"side {number}", side)
        check_no_zero_rows(f"side {number}", side)
    rows = [directions(side.float()) for side in sides]
    stands_in, likeness = torch.arange(n), torch.ones(n, dtype=torch.float64)
    kept = torch.zeros(0, dtype=torch.int64)
    for block in torch.split(torch.arange(n), ROWS):
        inside = _least_cosine(rows, block, block)
        before = _least_cosine(rows, block, kept)
        enough = threshold - LEVEL
        fresh = _kept_in_block(inside >= enough, (before >= enough).any(dim=1))
        # Rows kept so far, in order: those of earlier blocks, then those above in this one.
        above = torch.ones_like(inside, dtype=torch.bool).tril(-1)
        earlier = inside.masked_fill(~(above & fresh), -torch.inf)
        cosines = torch.cat([before, earlier], dim=1)[~fresh]
        nearest = first_largest(cosines, within=LEVEL)
        stands_in[block[~fresh]] = torch.cat([kept, block])[nearest]
        likeness[block[~fresh]] = cosines.gather(1, nearest[:, None])[:, 0].double()
        kept = torch.cat([kept, block[fresh]])
    return Duplicates(stands_in, likeness, f"cosine of at least {threshold:g}")


def check_threshold(threshold: float) -> None:
    """Raise ``ValueError`` unless ``threshold`` lies in (0, 1]."""
    if not 0 < threshold <= 1:
        raise ValueError(
            f"threshold must lie in (0, 1], where 1 is equal; got {threshold}. Pass 0.9 or so."
        )


def _least_cosine(rows: Sequence[Tensor], left: Tensor, right: Tensor) -> Tensor:
    products = [inner_products(side[left], side[right]) for side in rows]
    return torch.stack(products).amin(dim=0)


def _kept_in_block(alike: Tensor, repeats: Tensor) -> Tensor:
    """Which rows of a block repeat none of an earlier block and none kept above."""
    fresh = ~repeats
    above = alike.tril(-1)
    for row in (above.any(dim=1) & fresh).nonzero().flatten().tolist():
        fresh[row] = not (above[row] & fresh).any()
    return fresh


def common_length(sides: Sequence[Sequence[Any] | Tensor]) -> int:
    """Rows of each side; raise ``ValueError`` unless there is a side and all have as many."""
    if not sides:
        raise ValueError("duplicates are looked for on at least one side; got none. Pass one.")
    for number, side in enumerate(sides):
        check_length(f"side {number}", side, len(sides[0]))  # type: ignore[arg-type]  # has len
    return len(sides[0])


def _key(item: Any, files: dict[Path, str]) -> Hashable:
    """What two items share exactly if they are equal; a file is read once."""
    if isinstance(item, Path):
        if item not in files:
            files[item] = hashlib.sha256(item.read_bytes()).hexdigest()
        return "file", files[item]
    key: Hashable = item.strip() if isinstance(item, str) else item
    return key


def _first_of_equal(keys: Sequence[Hashable], rule: str) -> Duplicates:
    first: dict[Hashable, int] = {}
    stands_in = [first.setdefault(key, row) for row, key in enumerate(keys)]
    return Duplicates(
        torch.tensor(stands_in, dtype=torch.int64), torch.ones(len(keys), dtype=torch.float64), rule
    )
