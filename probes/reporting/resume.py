"""What an interrupted report had already measured, so that the next run goes on from there."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import torch

from align._files.codec import decode, dumps
from probes.reporting.model import Column, Reading
from probes.space import Space


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """What one probe gave in one state."""

    reading: Reading | None  # None where the probe is not defined
    draws: tuple[float, ...] | None  # values under the bootstrap draws, if there are any
    reason: str  # why it is not defined


class ResultsFile:
    """Results in a file, one JSON line each, written as they come.

    A line that a kill cut short, or whose digest is another, is measured again. A file of other
    data, of another seed or version, as ``key_of`` tells, is begun anew; anything else is left as
    it is and raises ``FileExistsError``. A ``path`` of ``None`` writes nothing.
    """

    def __init__(self, path: Path | None, key: str) -> None:
        self._path = path
        self._results: dict[tuple[str, str], ProbeResult] = {}
        if path is None:
            return
        _check_ours(path, key)
        lines = list(_whole_lines(path))
        if lines[:1] != [{"key": key}]:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps({"key": key}) + "\n", encoding="utf-8")
            return
        for line in lines[1:]:
            if line.pop("digest", None) == _digest(line):
                result = decode(ProbeResult, line["outcome"], "a resumed result", "remove the file")
                self._results[line["state"], line["probe"]] = result
        # The end of the file may be a line cut short, which must not run into the next.
        with path.open("a", encoding="utf-8") as file:
            file.write("\n")

    def get(self, column: Column, probe: str) -> ProbeResult | None:
        """The result of the probe of that name in an earlier run, or ``None``."""
        return self._results.get((column, probe))

    def put(self, column: Column, probe: str, result: ProbeResult) -> None:
        """Write a result of the probe of that name."""
        if self._path is not None:
            line = {"state": column, "probe": probe, "outcome": result}
            line["digest"] = _digest(line)
            with self._path.open("a", encoding="utf-8") as file:
                file.write(dumps(line) + "\n")

    def close(self) -> None:
        """Remove the file: the report is whole."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)


def key_of(spaces: Iterable[Space], *words: object) -> str:
    """A digest of every vector and group of the states, and of what else changes a result."""
    digest = blake2b(repr(words).encode(), digest_size=16)
    for space in spaces:
        searched = [side for search in space.searches for side in search]
        for part in (space.source, space.target, space.codes, *searched):
            digest.update(part.contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _digest(line: dict[str, Any]) -> str:
    return blake2b(dumps(line, sort_keys=True).encode(), digest_size=16).hexdigest()


def _check_ours(path: Path, key: str) -> None:
    """Raise unless ``path`` is free, or a file and no link that begins as ours do."""
    if not path.exists() and not path.is_symlink():
        return
    if path.is_file() and not path.is_symlink():
        own = json.dumps({"key": key}).encode() + b"\n"
        with path.open("rb") as file:
            first = file.read(len(own))
        if own.startswith(first) or re.fullmatch(rb'\{"key": "[0-9a-f]{32}"\}\n', first):
            return
    raise FileExistsError(
        "resume must name a new file, or one that an interrupted report left; "
        f"{str(path)!r} is another file. Nothing was changed. Choose another name."
    )


def _whole_lines(path: Path) -> Iterator[dict[str, Any]]:
    text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    for line in text.splitlines():
        try:
            data = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(data, dict):
            yield data
