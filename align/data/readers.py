"""Rows of text from CSV, TSV, JSON Lines, Parquet, or a folder of captioned images."""

from __future__ import annotations

import csv
import gzip
import json
import zlib
from codecs import BOM_UTF16_BE, BOM_UTF16_LE, BOM_UTF32_BE, BOM_UTF32_LE
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from align._advice import Advised
from align.data.pictures import SUFFIXES


class PairsError(ValueError):
    """Pairs that cannot be read, with every reason.

    Attributes:
        problems: One line per bad row; empty if the file as a whole cannot be read.
    """

    def __init__(self, message: str, problems: Sequence[str] = ()) -> None:
        advised = message if isinstance(message, Advised) else Advised(message)
        shown = [f"\n  {problem}" for problem in problems[:20]]
        advised = advised.followed_by("".join(shown))
        if rest := len(problems) - len(shown):
            more = f"\n  and {rest} more: "
            advised = advised.followed_by(
                f"{more}see .problems", command=f"{more}--skip-bad lists them all"
            )
        super().__init__(advised)
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True)
class TableRow:
    """One row of a table; without cells, it has a problem."""

    where: str  # its place for people, such as "row 3 (line 4)"; both count from 1
    cells: dict[str, object] = field(default_factory=dict)  # by column
    problem: str = ""
    name: str = ""  # what its table calls it, as the index of a frame does; may be empty


@dataclass(frozen=True, slots=True)
class Table:
    """A file, a folder or a frame read whole; bad rows are among its rows."""

    path: Path | str  # what messages call it
    folder: Path  # that image paths in its cells are relative to
    columns: tuple[str, ...]
    rows: tuple[TableRow, ...]


def read_table(path: Path, wanted: Sequence[str]) -> Table:
    """Rows of a .csv, .tsv, .jsonl, .jsonl.gz or .parquet file, of which ``wanted`` are needed."""
    check_there(path)
    name = path.name.lower()
    if name.endswith((".csv", ".tsv")):
        return read_csv(path, delimiter="," if name.endswith(".csv") else "\t")
    if name.endswith((".jsonl", ".jsonl.gz")):
        return read_jsonl(path)
    if name.endswith(".parquet"):
        return read_parquet(path, wanted)
    raise ValueError(
        "pairs are read from .csv, .tsv, .jsonl, .jsonl.gz, .parquet or a folder; "
        f"got {str(path)!r}. Convert the file, or check the path of the folder."
    )


def check_there(path: Path) -> None:
    """Raise ``FileNotFoundError`` where a path leads to nothing, before its suffix is looked at."""
    if not path.exists():
        raise FileNotFoundError(
            f"a file or folder to read must be there; {str(path)!r} is not. Check the path."
        )


def read_csv(path: Path, *, delimiter: str) -> Table:
    """Rows of a UTF-8 file with a header line; fields may be quoted and then span lines."""
    rows: list[TableRow] = []
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, delimiter=delimiter, strict=True)
        last = 0
        try:
            header = next(reader, [])
            last = reader.line_num
            for cells in reader:
                line, last = last + 1, reader.line_num
                if not cells:  # a blank line
                    continue
                where = f"row {len(rows) + 1} (line {line})"
                if len(cells) == len(header):
                    rows.append(TableRow(where, dict(zip(header, cells, strict=True))))
                else:
                    count = f"has {len(cells)} cells where the header has {len(header)}"
                    rows.append(TableRow(where, problem=count))
        except csv.Error as error:
            raise PairsError(
                f"{path} must follow the quoting rules of CSV; in the row that starts on line "
                f"{last + 1}: {error}. A field that begins with a double quote must end with one, "
                "with those inside doubled; for longer fields raise csv.field_size_limit first."
            ) from error
        except UnicodeDecodeError as error:
            raise _not_utf8(path, error) from error
    if not header:
        raise PairsError(
            f"{path} must start with a line that names its columns; it is empty. Write one."
        )
    check_once(path, header)
    return Table(path, path.parent, tuple(header), tuple(rows))


def read_jsonl(path: Path) -> Table:
    """Rows of a file with one JSON object per line, UTF-8, gzipped if its name ends in ``.gz``."""
    rows: list[TableRow] = []
    columns: dict[str, None] = {}
    opened = gzip.open if path.suffix.lower() == ".gz" else open
    try:
        with opened(path, "rt", encoding="utf-8-sig") as file:
            for line, text in enumerate(file, start=1):
                if not text.strip():
                    continue
                where = f"row {len(rows) + 1} (line {line})"
                try:
                    cells = json.loads(text, object_pairs_hook=_once)
                except (ValueError, RecursionError) as error:
                    rows.append(TableRow(where, problem=f"is not valid JSON: {error}"))
                    continue
                if isinstance(cells, dict):
                    rows.append(TableRow(where, cells))
                    columns.update(dict.fromkeys(cells))
                else:
                    kind = type(cells).__name__
                    rows.append(TableRow(where, problem=f"must be a JSON object; it is a {kind}"))
    except UnicodeDecodeError as error:
        raise _not_utf8(path, error) from error
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise PairsError(
            f"{path} must be a whole gzip file; {error}. Copy or compress it again."
        ) from error
    return Table(path, path.parent, tuple(columns), tuple(rows))


def read_parquet(path: Path, wanted: Sequence[str]) -> Table:
    """Rows of a Parquet file, of which only the ``wanted`` columns are read."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ImportError(
            "reading Parquet needs pyarrow, which is not installed. "
            "Run: pip install 'isthmus[parquet]'"
        ) from error
    try:
        with path.open("rb") as file:
            parquet = pyarrow.parquet.ParquetFile(file)
            columns = tuple(parquet.schema_arrow.names)
            check_once(path, columns)
            table = parquet.read(columns=[name for name in columns if name in wanted])
    except pyarrow.ArrowException as error:
        raise PairsError(f"{path} must be a Parquet file; {error}. Write it again.") from error
    cells = table.to_pylist()
    rows = tuple(TableRow(f"row {number}", row) for number, row in enumerate(cells, start=1))
    return Table(path, path.parent, columns, rows)


def read_folder(folder: Path) -> Table:
    """Images with captions beside them, as columns ``id``, ``caption`` and ``image``.

    ``photo.jpg`` is described by ``photo.txt``, one caption per line, blank lines aside; folders
    inside ``folder`` are searched too, hidden files and folders are not. An id is the path of the
    image in ``folder``, ``#``, and the number of the caption from 0.
    """
    if not folder.is_dir():
        raise NotADirectoryError(
            f"images and captions must lie in a folder; {folder} is none. Check the path."
        )
    rows: list[TableRow] = []
    files = sorted(
        path for path in folder.rglob("*") if path.is_file() and is_visible(path, folder)
    )
    check_names(files)
    images: dict[Path, list[Path]] = defaultdict(list)
    for path in files:
        if path.suffix.lower() in SUFFIXES:
            images[path.with_suffix("")].append(path)
    for stem, same_name in images.items():
        captions, problem = _captions(stem, same_name)
        for image in same_name:
            name = image.relative_to(folder).as_posix()
            if problem:
                rows.append(TableRow(name, problem=problem))
            for number, caption in enumerate(captions):
                cells = {"id": f"{name}#{number}", "caption": caption, "image": name}
                rows.append(TableRow(f"{name}, caption {number + 1}", dict(cells)))
    for path in files:
        if path.suffix.lower() == ".txt" and path.with_suffix("") not in images:
            name = path.relative_to(folder).as_posix()
            rows.append(TableRow(name, problem="has no image of the same name beside it"))
    return Table(folder, folder, ("id", "caption", "image"), tuple(rows))


def _captions(stem: Path, images: Sequence[Path]) -> tuple[list[str], str]:
    """The captions of the images called ``stem``, or why there are none."""
    path = stem.with_name(stem.name + ".txt")
    if len(images) > 1:
        return [], f"is one of {len(images)} images of this name, so {path.name} is unclear"
    try:
        lines = read_text(path).split("\n")
    except FileNotFoundError:
        return [], f"has no captions: {path.name} is missing"
    except PairsError:
        return [], f"has no readable captions: {path.name} is not UTF-8"
    captions = [line for line in lines if line.strip()]
    return captions, "" if captions else f"has no captions: {path.name} is blank"


def check_once(path: Path | str, columns: Sequence[str]) -> None:
    """Raise ``PairsError`` where a table names a column twice."""
    if len(set(columns)) < len(columns):
        raise PairsError(
            f"{path} must name each column once; got {list(columns)}. Rename the repeated ones."
        )


def _once(members: list[tuple[str, object]]) -> dict[str, object]:
    """A JSON object, of which ``json`` would keep the last of members of one name."""
    row = dict(members)
    if len(row) < len(members):
        names = [name for name, _ in members]
        twice = sorted({name for name in names if names.count(name) > 1})
        raise ValueError(f"it names {twice} more than once")
    return row


def read_text(path: Path) -> str:
    """A text file in UTF-8, or in UTF-16 or UTF-32 that begins with a byte-order mark."""
    data = path.read_bytes()
    # The mark of UTF-32 begins with that of UTF-16.
    marks = {"utf-32": (BOM_UTF32_LE, BOM_UTF32_BE), "utf-16": (BOM_UTF16_LE, BOM_UTF16_BE)}
    encoding = next((name for name in marks if data.startswith(marks[name])), "utf-8-sig")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise PairsError(
            f"{path} must be text in UTF-8, or in UTF-16 with a byte-order mark; line {line} has "
            f"bytes that are not {encoding.removesuffix('-sig')}, as text in Windows-1252 (cp1252) "
            "or Latin-1 has. Convert it: iconv -f cp1252 -t utf-8."
        ) from error
    if "\0" in text:
        raise PairsError(
            f"{path} must be text in UTF-8, or in UTF-16 with a byte-order mark; it holds zero "
            "bytes, as UTF-16 without the mark does. Convert it: iconv -f utf-16le -t utf-8."
        )
    return text.replace("\r\n", "\n").replace("\r", "\n")


def check_names(files: Sequence[Path]) -> None:
    """Raise ``PairsError`` where the name of a file is not UTF-8: no id could be made of it."""
    bad = [repr(str(file)) for file in files if not in_utf8(str(file))]
    if bad:
        raise PairsError(
            f"names of files must be in UTF-8; {len(bad)} are not. Rename them, as convmv does:",
            bad,
        )


def in_utf8(text: str) -> bool:
    """Whether UTF-8 can hold a text; a lone surrogate has no form in it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_visible(path: Path, folder: Path) -> bool:
    """Whether neither a file nor a folder above it, inside ``folder``, is hidden."""
    return not any(part.startswith(".") for part in path.relative_to(folder).parts)


def _not_utf8(path: Path, error: UnicodeDecodeError) -> PairsError:
    return PairsError(
        f"{path} must be UTF-8 text; {error.reason}. Convert it, for example with iconv."
    )
