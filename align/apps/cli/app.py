"""The command ``align``: its subcommands, its own options, and how errors reach the user."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from functools import wraps
from traceback import format_exception
from typing import Annotated, Any

import typer

from align._display.interruption import notes_of
from align.apps.cli.compare import compare
from align.apps.cli.curate import curate
from align.apps.cli.drift import drift
from align.apps.cli.evaluate import evaluate
from align.apps.cli.export import export
from align.apps.cli.fit import fit
from align.apps.cli.gap import gap
from align.apps.cli.index import index
from align.apps.cli.info import info
from align.apps.cli.learning_curve import learning_curve
from align.apps.cli.printing import complain, plain_streams, say
from align.apps.cli.scout import scout
from align.apps.cli.search import search
from align.apps.cli.serve import serve
from align.apps.cli.store import prune, stat, verify
from align.apps.cli.tune import tune
from align.apps.cli.update import update
from align.apps.cli.upgrade import upgrade
from align.apps.cli.usage import Command


def _interruptible(command: Callable[..., None]) -> Callable[..., None]:
    """The command, which says what is kept when it is interrupted; Typer would leave silently."""

    @wraps(command)
    def run(*arguments: Any, **options: Any) -> None:
        try:
            command(*arguments, **options)
        except KeyboardInterrupt as interruption:
            complain("interrupted", *notes_of(interruption))
            raise typer.Exit(130) from None

    return run


app = typer.Typer(
    help="Align two frozen encoders from a few thousand pairs, and search across them.",
    epilog="Exit codes: 0 done, 1 an error in the data or the files, 2 an error in the words of "
    "the command, 3 a drift by `align drift --exit-code`, 130 interrupted.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (
    curate, scout, learning_curve, fit, update, evaluate, compare, gap, index, search, serve,
    drift, tune, upgrade, export, info,
):  # fmt: skip
    app.command(cls=Command)(_interruptible(command))

store_app = typer.Typer(
    help="Inspect, verify and clean the cache of encoded items.", no_args_is_help=True
)
for care in (stat, verify, prune):
    store_app.command(cls=Command)(_interruptible(care))
app.add_typer(store_app, name="store")


def _version(wanted: bool) -> None:
    if wanted:
        from align._version import __version__

        say(f"isthmus {__version__}")
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
    with plain_streams():
        try:
            code = app(standalone_mode=False)
        except KeyboardInterrupt:
            complain("interrupted")
            code = 130
        except typer.Abort:
            complain("aborted")
            code = 1
        except _USAGE_ERROR as error:
            _explain(error)
            code = 2
        except Exception as error:
            _report(error, traceback="--debug" in sys.argv[1:] or not isinstance(error, _EXPECTED))
            code = 1
    sys.exit(code)


_EXPECTED = (
    ValueError, OSError, ImportError, AttributeError, RuntimeError, TypeError, KeyError,
)  # fmt: skip

# Typer exports of its usage errors only this one, and prints them with what was typed as it came.
_USAGE_ERROR: type[Exception] = typer.BadParameter.__mro__[1]


def _explain(error: Any) -> None:
    """Say what is wrong with the words of the command line, and how it is called."""
    message = error.format_message()  # empty where the help was shown instead
    if error.ctx is not None and message:
        complain(*error.ctx.get_usage().split("\n"))
    if message:
        complain(*f"error: {message}".split("\n"))


def _of_system(error: Exception) -> str | None:
    """What the system refused, in three parts; ``None`` for errors that have words of ours."""
    if not isinstance(error, OSError) or error.errno is None:
        return None
    advice = {
        errno.ENOENT: "Check the path.",
        errno.EACCES: "Change its permissions, or name another place.",
        errno.EPERM: "Change its permissions, or name another place.",
        errno.EROFS: "Name a place that can be written to.",
        errno.EISDIR: "Name a file.",
        errno.ENOTDIR: "Name a folder.",
        errno.ENOSPC: "Make room, or name a place on another disk.",
        errno.ENAMETOOLONG: "Choose a shorter name.",
    }.get(error.errno, "Run it again with --debug before the command to see where it failed.")
    where = "" if error.filename is None else f" {os.fspath(error.filename)!r}"
    reason = (error.strerror or "an unknown reason").lower()
    return f"the system must let files be read and written; it refused{where}: {reason}. {advice}"


def _report(error: Exception, *, traceback: bool) -> None:
    """Say what went wrong, in one message or with every call that led to it."""
    from align._advice import on_command_line

    said = f"error: {_of_system(error) or on_command_line(error)}"
    message = "".join(format_exception(error)).rstrip() if traceback else said
    complain(*message.split("\n"))
