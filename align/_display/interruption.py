"""What is kept of work that is interrupted: notes on the ``KeyboardInterrupt`` that stops it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_inside: ContextVar[bool] = ContextVar("inside work that says what is kept", default=False)


@contextmanager
def saying_what_is_kept(kept: Callable[[], str]) -> Iterator[None]:
    """Add what is kept, and how to go on, as a note to a ``KeyboardInterrupt`` from inside.

    Of works inside each other the outermost speaks, as what an inner one would give is lost too.
    ``kept`` is called at the moment of the interruption, and gives whole sentences.
    """
    if _inside.get():
        yield
        return
    token = _inside.set(True)
    try:
        yield
    except KeyboardInterrupt as interruption:
        interruption.add_note(kept())
        raise
    finally:
        _inside.reset(token)


@contextmanager
def saying_what_is_stored(stored: Callable[[], str]) -> Iterator[None]:
    """The same for what lasts whatever becomes of the work around it: both speak."""
    try:
        yield
    except KeyboardInterrupt as interruption:
        interruption.add_note(stored())
        raise


def notes_of(error: BaseException) -> tuple[str, ...]:
    """The notes that were added to an error, in order."""
    return tuple(getattr(error, "__notes__", ()))
