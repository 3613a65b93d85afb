"""How commands answer: JSON for programs, tables for people, a spinner while they wait."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from align.evaluation import Estimate

_NUMERIC = {"score", "gallery", "MRR", "items", "shards", "MB"}


def print_json(value: object) -> None:
    """Print a value as JSON on standard output."""
    typer.echo(json.dumps(value, ensure_ascii=False, indent=2))


def console() -> Console:
    """Standard output, as wide as the terminal."""
    from rich.console import Console

    return Console()


def table(title: str, *columns: str) -> Table:
    """An empty table; columns of numbers stand to the right."""
    from rich import box
    from rich.table import Table

    made = Table(title=title or None, box=box.SIMPLE_HEAD, title_justify="left")
    for column in columns:
        numeric = column in _NUMERIC or "@" in column
        made.add_column(column, justify="right" if numeric else "left", overflow="fold")
    return made


def percent(estimate: Estimate) -> str:
    """An estimate in per cent, with half of its 95 % interval."""
    return f"{100 * estimate.value:.1f} ± {50 * (estimate.high - estimate.low):.1f}"


@contextmanager
def working(what: str) -> Iterator[None]:
    """A spinner on standard error while something has no steps to count."""
    from rich.console import Console

    with Console(stderr=True).status(what):
        yield
