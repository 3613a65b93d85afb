"""Where records of training go: each writer is a function of one record, to pass as ``log``."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Record = Mapping[str, float]
Log = Callable[[Record], None]


def jsonl(path: str | Path) -> Log:
    """Append each record to a file, as one line of JSON.

    A run that was killed and resumed writes the steps since its last checkpoint again, with the
    same numbers: of lines with one step, keep the last.

    Args:
        path: The file; its folder is made, and what it holds is kept.
    """
    file = Path(path).expanduser()
    file.parent.mkdir(parents=True, exist_ok=True)

    def write(record: Record) -> None:
        with file.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(dict(record)) + "\n")

    return write


def tensorboard(folder: str | Path) -> Log:
    """Write each number of a record as a scalar of its step, for TensorBoard.

    Args:
        folder: Of the event files.

    Raises:
        ImportError: The package ``tensorboard`` is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ImportError(
            "logging for TensorBoard needs the package tensorboard; importing it failed with: "
            f"{error}. Install it with pip install tensorboard, or log with jsonl."
        ) from error
    writer: Any = SummaryWriter(Path(folder).expanduser())

    def write(record: Record) -> None:
        for name, value in record.items():
            if name != "step":
                writer.add_scalar(name, value, int(record["step"]))
        writer.flush()

    return write
