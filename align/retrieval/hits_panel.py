"""What a line, a printed table and a panel show of hits: rank, score, picture or text, and id."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from align._display.lines import count, one_line, quoted, shortened
from align._display.parts import Cell, Panel, Table
from align.data.item_cells import item_cell, item_words, picture_cell, video_cell
from align.retrieval.moments import FIELD as MOMENTS
from align.retrieval.moments import clock
from align.retrieval.picture_paths import picture_path

TABLES = 6  # queries whose hits are shown, from the first
FEW = 5  # hits of each where there are several queries


class _Hit(Protocol):
    @property
    def id(self) -> str | int: ...
    @property
    def score(self) -> float: ...
    @property
    def modality(self) -> str | None: ...
    @property
    def metadata(self) -> Mapping[str, Any]: ...
    @property
    def confidence(self) -> float | None: ...
    @property
    def second(self) -> float | None: ...


class _Hits(Protocol):
    query: Any
    folder: Path | None

    def __len__(self) -> int: ...
    def __getitem__(self, at: slice, /) -> Sequence[_Hit]: ...


def hit_line(hit: _Hit) -> str:
    """``Hit('42', 0.713, 41 % sure, image, path='a.jpg')``."""
    sure = "" if hit.confidence is None else f"{sureness(hit.confidence)} sure"
    at = "" if hit.second is None else f"at {clock(hit.second)}"
    fields = (
        f"{shortened(name, 20)}={_value(held, 40)}"
        for name, held in hit.metadata.items()
        if name != MOMENTS
    )
    return one_line("Hit", _id(hit), _score(hit), sure, hit.modality or "", at, *fields)


def hits_line(hits: Sequence[_Hit], *, query: Any) -> str:
    """``Hits(10 for 'a red dog': '42' 0.713, '17' 0.702, ...)``."""
    best = ", ".join(f"{_id(hit)} {_score(hit)}" for hit in hits[:8])
    return one_line("Hits", f"{len(hits)}{_for(query)}" + (f": {best}" if best else ""))


def hits_text(hits: Sequence[_Hit], *, query: Any) -> str:
    """A small table for a terminal."""
    head = count(len(hits), "hit") + _for(query)
    if not hits:
        return head
    shown = [
        [f"{rank:>4}", f"{_scores(hit)}  {shortened(hit.id, 30)}  {_words(hit)}".rstrip()]
        for rank, hit in enumerate(hits, start=1)
    ]
    return "\n".join([head, *("  ".join(row) for row in shown)])


def hits_panel(hits: Sequence[_Hit], *, query: Any, folder: Path | None) -> Panel:
    """A table of the hits, pictures small and texts short, below the query."""
    facts: dict[str, Cell] = {}
    if query is not None and not isinstance(query, str):
        facts["query"] = item_cell(query)
    words = f" for {quoted(query, 120)}" if isinstance(query, str) else ""
    return Panel(
        f"{count(len(hits), 'hit')}{words}",
        facts=facts,
        tables=[_table(hits, folder)] if hits else [],
    )


def results_line(results: Sequence[_Hits]) -> str:
    """``SearchResults(3 queries, 10 hits each)``."""
    return one_line("SearchResults", *_sizes(results))


def results_text(results: Sequence[_Hits]) -> str:
    """The hits of each of the first queries, one table below the other."""
    shown = [
        hits_text(hits[:FEW] if len(results) > 1 else hits[:], query=hits.query)
        for hits in results[:TABLES]
    ]
    left = len(results) - len(shown)
    if left:
        shown.append(f"and {count(left, 'more query', 'more queries')}")
    return "\n\n".join(shown)


def results_panel(results: Sequence[_Hits]) -> Panel:
    """A table for each of the first queries."""
    if len(results) == 1:
        [hits] = results
        return hits_panel(hits[:], query=hits.query, folder=hits.folder)
    tables = [
        _table(hits[:FEW], hits.folder, title=_title(number, hits), of=len(hits))
        for number, hits in enumerate(results[:TABLES], start=1)
    ]
    left = len(results) - len(tables)
    more = f"{count(left, 'more query is', 'more queries are')} not shown." if left else ""
    return Panel(", ".join(_sizes(results)), sentence=more, tables=tables)


def item_table(hits: Sequence[_Hit], folder: Path | None, *, title: str) -> Table:
    """Items without a rank: the table of hits without its first two columns."""
    table = _table(hits, folder, title=title)
    return Table(table.columns[2:], [row[2:] for row in table.rows], title=title)


def _sizes(results: Sequence[_Hits]) -> list[str]:
    lengths = sorted({len(hits) for hits in results})
    queries = count(len(results), "query", "queries")
    if not lengths:
        return [queries]
    if len(lengths) == 1:
        return [queries, f"{count(lengths[0], 'hit')}{' each' if len(results) > 1 else ''}"]
    return [queries, f"{lengths[0]:,} to {lengths[-1]:,} hits each"]


def _title(number: int, hits: _Hits) -> str:
    if hits.query is None:
        return f"query {number}"
    is_text = isinstance(hits.query, str)
    return f"{number}. {quoted(hits.query, 120) if is_text else item_words(hits.query)}"


def _table(hits: Sequence[_Hit], folder: Path | None, *, title: str = "", of: int = 0) -> Table:
    kinds = {hit.modality for hit in hits}
    known = any(hit.confidence is not None for hit in hits)
    fields = [_fields(hit) for hit in hits]
    rows: list[list[Cell]] = []
    for rank, (hit, held) in enumerate(zip(hits, fields, strict=True), start=1):
        row: list[Cell] = [rank, _score(hit), _item(hit, folder), shortened(hit.id, 60)]
        if known:
            row.append("" if hit.confidence is None else sureness(hit.confidence))
        row += [hit.modality or ""] if len(kinds) > 1 else []
        rows.append([*row, held] if any(fields) else row)
    columns = ["", "score", "item", "id", *(["confidence"] if known else [])]
    columns += ["modality"] if len(kinds) > 1 else []
    columns += ["metadata"] if any(fields) else []
    note = f"the best {len(hits)} of {of:,}" if of > len(hits) else ""
    if not any(row[2] for row in rows):  # nothing but ids is known of the items
        columns.remove("item")
        rows = [[*row[:2], *row[3:]] for row in rows]
    return Table(columns, rows, title=title, numeric=(1,), note=note)


def _item(hit: _Hit, folder: Path | None) -> Cell:
    """The picture that the metadata name, or the text; empty where they name neither."""
    path, text = hit.metadata.get("path"), hit.metadata.get("text")
    if isinstance(path, str) and hit.modality == "video":
        file = Path(path) if folder is None else picture_path(path, folder)
        second = hit.second or 0.0
        return video_cell(file, second, words=f"{file.name} at {clock(second)}")
    is_image = "image" in (hit.modality or "").split("|")
    if isinstance(path, str) and (is_image or (hit.modality is None and text is None)):
        return picture_cell(Path(path) if folder is None else picture_path(path, folder))
    if isinstance(text, str):
        return item_cell(text)
    return shortened(path, 200) if isinstance(path, str) else ""


def _words(hit: _Hit) -> str:
    """What a terminal shows of the item."""
    named = (hit.metadata.get(field) for field in ("text", "path"))
    words = next((each for each in named if isinstance(each, str)), "")
    words = "" if words == hit.id else shortened(words, 60)
    return words if hit.second is None else f"{words} at {clock(hit.second)}".lstrip()


def _fields(hit: _Hit) -> str:
    """What else is stored of an item, in short."""
    at = [] if hit.second is None else [f"at {clock(hit.second)}"]
    others = [(k, v) for k, v in hit.metadata.items() if k not in ("path", "text", MOMENTS)]
    return shortened(
        ", ".join([*at, *(f"{shortened(k, 30)}={_value(v, 40)}" for k, v in others[:8])]), 120
    )


def _value(value: Any, longest: int) -> str:
    words = item_words(value)
    return quoted(words, longest) if isinstance(value, str) else shortened(words, longest)


def _for(query: Any) -> str:
    if query is None:
        return ""
    return f" for {quoted(query) if isinstance(query, str) else shortened(item_words(query), 40)}"


def _score(hit: _Hit) -> str:
    try:
        return f"{float(hit.score):.3f}"
    except (TypeError, ValueError):  # of a searcher that is not ours
        return shortened(hit.score, 12)


def _scores(hit: _Hit) -> str:
    """The score, and the confidence where there is one."""
    return _score(hit) + ("" if hit.confidence is None else f"  {sureness(hit.confidence):>6}")


def sureness(confidence: float) -> str:
    """A probability in per cent; ``"< 1 %"`` below one of them."""
    return "< 1 %" if confidence < 0.01 else f"{100 * confidence:.0f} %"


def _id(hit: _Hit) -> str:
    return quoted(hit.id, 30) if isinstance(hit.id, str) else shortened(hit.id, 30)
