"""What a line and a panel say of pairs and of vectors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from align._display.lines import count, one_line, quoted, shortened, size
from align._display.parts import Cell, Panel, Table, Tile
from align.data.item_cells import item_cell, item_words, kinds
from align.data.sides import SIDE_NAMES, RawPairs, SideNames, directions_of

if TYPE_CHECKING:
    from torch import Tensor

SHOWN = 5  # pairs, from the first


class _Rows(Protocol):
    def __len__(self) -> int: ...
    @property
    def ids(self) -> tuple[str, ...]: ...
    @property
    def groups(self) -> tuple[str, ...]: ...


class _Pairs(RawPairs, _Rows, Protocol):
    @property
    def skipped(self) -> tuple[str, ...]: ...


class _PairedEmbeddings(_Rows, Protocol):
    @property
    def source(self) -> Tensor: ...
    @property
    def target(self) -> Tensor: ...
    @property
    def source_fingerprint(self) -> str | None: ...
    @property
    def target_fingerprint(self) -> str | None: ...
    @property
    def domains(self) -> tuple[str, ...] | None: ...
    @property
    def source_modality(self) -> Tensor | None: ...
    @property
    def target_modality(self) -> Tensor | None: ...
    @property
    def source_parts(self) -> tuple[int, ...] | None: ...
    @property
    def target_parts(self) -> tuple[int, ...] | None: ...
    @property
    def instructions(self) -> Tensor | None: ...
    @property
    def encoders(self) -> Mapping[str, str]: ...
    @property
    def side_names(self) -> SideNames: ...


def pairs_line(pairs: _Pairs) -> str:
    """``Pairs(5,000, text → image, 1,000 groups)``."""
    return one_line(
        "Pairs",
        f"{len(pairs):,}",
        _of_sides(pairs),
        _groups(pairs),
        f"{len(pairs.skipped):,} skipped" if pairs.skipped else "",
    )


def pairs_panel(pairs: _Pairs) -> Panel:
    """Sizes, what the sides are, and the first pairs."""
    sides = tuple(map(brief, pairs.side_names))
    modalities = zip(sides, (pairs.source_modality, pairs.target_modality), strict=True)
    facts = {
        f"{side} modalities": ", ".join(
            f"{kind} ({n:,})" for kind, n in Counter(names).most_common()
        )
        for side, names in modalities
        if names is not None
    }
    columns = ["id", *sides]
    cells: list[list[Cell]] = [
        [brief(pairs.ids[row]), item_cell(pairs.source[row]), item_cell(pairs.target[row])]
        for row in range(min(SHOWN, len(pairs)))
    ]
    named: list[tuple[str, Sequence[str] | None]] = [("instruction", pairs.instructions)]
    if _groups(pairs):
        named.append(("group", pairs.groups))
    for name, values in named:
        if values is not None:
            columns.append(name)
            for row, line in enumerate(cells):
                line.append(shortened(values[row], 80))
    table = Table(columns, cells, title=_first(len(pairs), "pair"))
    return Panel(
        f"Pairs: {_of_sides(pairs)}",
        tiles=_tiles(pairs, pairs.skipped),
        facts=facts,
        tables=[table] if cells else [],
        warning=f"{count(len(pairs.skipped), 'row was', 'rows were')} skipped: "
        f"{shortened(pairs.skipped[0], 200)}"
        if pairs.skipped
        else "",
    )


def composite_line(item: Mapping[str, Any]) -> str:
    """``Composite(title: a red shoe, photo: 1.png)``."""
    named = (f"{shortened(name, 20)}: {shortened(item_words(item[name]), 30)}" for name in item)
    return one_line("Composite", *named)


def composite_panel(item: Mapping[str, Any]) -> Panel:
    """Its parts: pictures small, texts short."""
    rows: list[list[Cell]] = [[brief(name), item_cell(part)] for name, part in item.items()]
    return Panel("Composite", tables=[Table(["part", "item"], rows)])


def brief(text: str) -> str:
    """An id or a name, cut to what a cell holds."""
    return shortened(text, 60)


def named_sides(names: SideNames) -> str:
    """``"caption → image"``, or nothing where nobody gave the sides other names."""
    return "" if names == SIDE_NAMES else shortened(directions_of(names)[0], 40)


def paired_line(pairs: _PairedEmbeddings) -> str:
    """``PairedEmbeddings(5,000 pairs, caption → image, 384 → 1,280 dimensions, 1,000 groups)``."""
    return one_line(
        "PairedEmbeddings",
        count(len(pairs), "pair"),
        named_sides(pairs.side_names),
        f"{pairs.source.shape[1]:,} → {pairs.target.shape[1]:,} dimensions",
        _groups(pairs),
        count(len(set(pairs.domains)), "domain") if pairs.domains is not None else "",
        "with instructions" if pairs.instructions is not None else "",
    )


def paired_panel(pairs: _PairedEmbeddings) -> Panel:
    """Sizes, and where the vectors of each side come from."""
    encoders = [
        pairs.encoders.get("source") or pairs.source_fingerprint,
        pairs.encoders.get("target") or pairs.target_fingerprint,
    ]
    source, target = map(brief, pairs.side_names)
    sides = [
        _side_row(source, pairs.source, encoders[0], pairs.source_parts),
        _side_row(target, pairs.target, encoders[1], pairs.target_parts),
    ]
    facts: dict[str, str | int] = {}
    if pairs.domains is not None:
        facts["domains"] = len(set(pairs.domains))
    for side, masks in ((source, pairs.source_modality), (target, pairs.target_modality)):
        if masks is not None:
            facts[f"{side} modalities"] = len(set(masks.tolist()))
    if pairs.instructions is not None:
        facts["instructions"] = f"vectors of {pairs.instructions.shape[1]:,} dimensions"
    if len(pairs):
        facts["ids"] = _some(pairs.ids)
    columns = ["side", "dimensions", "dtype", "encoder"]
    return Panel(
        "PairedEmbeddings",
        tiles=_tiles(pairs, ()),
        facts=facts,
        tables=[Table(columns, sides, numeric=(1,))],
    )


def embeddings_line(vectors: Tensor, encoder: str | None) -> str:
    """``Embeddings(5,000 x 384, float32, 'text:...')``."""
    n, d = vectors.shape
    named = quoted(encoder, 80) if encoder else ""
    return one_line("Embeddings", f"{n:,} x {d:,}", _dtype(vectors), named)


def embeddings_panel(
    vectors: Tensor, ids: Sequence[str], *, fingerprint: str | None, spec: str | None
) -> Panel:
    """The shape, and the encoder that the vectors come from."""
    n, d = vectors.shape
    facts: dict[str, str | int] = {
        "encoder": spec or "not recorded",
        "fingerprint": fingerprint or "not recorded",
        "dtype": _dtype(vectors),
        "ids": _some(ids),
    }
    return Panel(
        "Embeddings", tiles=[Tile("items", f"{n:,}"), Tile("dimensions", f"{d:,}")], facts=facts
    )


def multi_vector_line(n: int, tokens: Tensor, nbytes: int) -> str:
    """``MultiVector(1,000 items, 23,456 vectors of 128 dimensions, float32, 12.0 MB)``."""
    total, d = tokens.shape
    return one_line(
        "MultiVector",
        count(n, "item"),
        f"{count(total, 'vector')} of {count(d, 'dimension')}",
        _dtype(tokens),
        size(nbytes),
    )


def multi_vector_panel(n: int, tokens: Tensor, nbytes: int) -> Panel:
    """How many vectors there are of how many items, and what they take."""
    total, d = tokens.shape
    mean = f"{total / n:.1f} an item" if n else ""
    return Panel(
        "MultiVector",
        tiles=[
            Tile("items", f"{n:,}"),
            Tile("vectors", f"{total:,}", mean),
            Tile("dimensions", f"{d:,}"),
            Tile("size", size(nbytes), _dtype(tokens)),
        ],
    )


def _of_sides(pairs: _Pairs) -> str:
    """``"text → image"``."""
    sides = (pairs.source, pairs.source_modality), (pairs.target, pairs.target_modality)
    return " → ".join(
        kinds(items) if modality is None else "|".join(sorted(set(modality))) or "nothing"
        for items, modality in sides
    )


def _groups(pairs: _Rows) -> str:
    n = len(set(pairs.groups))
    return count(n, "group") if n < len(pairs) else ""


def _tiles(pairs: _Rows, skipped: Sequence[str]) -> list[Tile]:
    groups = len(set(pairs.groups))
    each = "each pair its own" if groups == len(pairs) else f"{len(pairs) / groups:.1f} pairs each"
    tiles = [Tile("pairs", f"{len(pairs):,}"), Tile("groups", f"{groups:,}", each)]
    return [*tiles, Tile("skipped rows", f"{len(skipped):,}")] if skipped else tiles


def _side_row(
    side: str,
    vectors: Tensor,
    encoder: str | None,
    parts: tuple[int, ...] | None,
) -> list[Cell]:
    d = f"{vectors.shape[1]:,}"
    if parts is not None and len(parts) > 1:
        d += f" ({' + '.join(f'{each:,}' for each in parts[:8])}{' + …' if len(parts) > 8 else ''})"
    return [side, d, _dtype(vectors), shortened(encoder or "not recorded", 120)]


def _dtype(vectors: Tensor) -> str:
    device = "" if vectors.device.type == "cpu" else f" on {vectors.device}"
    return str(vectors.dtype).removeprefix("torch.") + device


def _some(ids: Sequence[str]) -> str:
    return ", ".join(map(brief, ids[:SHOWN])) + (", …" if len(ids) > SHOWN else "")


def _first(n: int, noun: str) -> str:
    return f"the first {SHOWN} of {n:,} {noun}s" if n > SHOWN else ""
