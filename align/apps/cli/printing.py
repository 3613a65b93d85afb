"""What commands print: JSON for programs, tables for people.

Commands print by these functions alone, so that no foreign text steers a terminal.
"""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

from align._display.escaping import plain, plain_json, plain_lines

if TYPE_CHECKING:
    from rich.table import Table

    from align.apps.cli.console import PlainConsole
    from align.metrics.estimates import Estimate


def say(*lines: object) -> None:
    """Print lines on standard output; a line feed inside one is spelled out."""
    for line in lines:
        typer.echo(plain(line))


def complain(*lines: object) -> None:
    """Print lines on standard error; a line feed inside one is spelled out."""
    for line in lines:
        typer.echo(plain(line), err=True)


def print_json(value: object) -> None:
    """Print a value as JSON on standard output."""
    typer.echo(plain_json(value))


def console() -> PlainConsole:
    """Standard output for tables and reports, as wide as the terminal."""
    from align.apps.cli.console import PlainConsole

    return PlainConsole()


def table(title: str, *columns: str) -> Table:
    """An empty table; columns of numbers stand to the right."""
    from rich import box
    from rich.table import Table

    grid = Table(title=title or None, box=box.SIMPLE_HEAD, title_justify="left")
    for column in columns:
        numeric = (
            column in ("score", "confidence", "gallery", "MRR", "items", "MB") or "@" in column
        )
        grid.add_column(column, justify="right" if numeric else "left", overflow="fold")
    return grid


def percent(estimate: Estimate) -> str:
    """An estimate in per cent, with half of its 95 % interval."""
    return f"{100 * estimate.value:.1f} ± {50 * (estimate.high - estimate.low):.1f}"


@contextmanager
def plain_streams() -> Iterator[None]:
    """Make what Python itself prints plain too: log records and warnings.

    Also lets a stream of a small alphabet, such as a Windows console or a pipe under ``LANG=C``,
    spell what it lacks instead of failing. For the process of a command line, not for a library.
    """
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")
    records, shown = logging.getLogRecordFactory(), warnings.showwarning
    logging.setLogRecordFactory(_PlainRecord)
    warnings.showwarning = _show_warning
    try:
        yield
    finally:
        logging.setLogRecordFactory(records)
        warnings.showwarning = shown


class _PlainRecord(logging.LogRecord):
    def getMessage(self) -> str:
        return plain_lines(super().getMessage())


def _show_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int,
    file: Any = None, line: str | None = None,
) -> None:  # fmt: skip
    from align._advice import on_command_line

    said = on_command_line(message) if isinstance(message, Warning) else message
    typer.secho(
        plain(f"{category.__name__}: {said}"),
        err=True, fg=typer.colors.YELLOW, bold=True, color=sys.stderr.isatty(),
    )  # fmt: skip
