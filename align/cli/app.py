"""The command ``align``: its subcommands, its own options, and how errors reach the user."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from align.cli.curate import curate
from align.cli.evaluate import evaluate
from align.cli.fit import fit
from align.cli.gap import gap
from align.cli.index import index
from align.cli.search import search
from align.cli.serve import serve
from align.cli.store import prune, stat, verify
from align.cli.tune import tune
from align.cli.upgrade import upgrade

app = typer.Typer(
    help="Align two frozen encoders from a few thousand pairs, and search across them.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (curate, fit, evaluate, gap, index, search, serve, tune, upgrade):
    app.command()(command)

store_app = typer.Typer(help="Look after the cache of encoded items.", no_args_is_help=True)
for care in (stat, verify, prune):
    store_app.command()(care)
app.add_typer(store_app, name="store")


def _version(wanted: bool) -> None:
    if wanted:
        from align import __version__

        typer.echo(f"isthmus {__version__}")
        raise typer.Exit


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")] = False,
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", callback=_version, is_eager=True),
    ] = False,
) -> None:
    """Align two frozen encoders from a few thousand pairs, and search across them."""


def main() -> None:
    """Run the command line; errors are one message and exit code 1, tracebacks only by --debug."""
    try:
        app()
    except KeyboardInterrupt:
        typer.echo("interrupted; what was encoded so far is kept", err=True)
        sys.exit(130)
    except (ValueError, OSError, ImportError, AttributeError, RuntimeError, TypeError) as error:
        if "--debug" in sys.argv[1:]:
            raise
        typer.echo(f"error: {error}", err=True)
        sys.exit(1)
