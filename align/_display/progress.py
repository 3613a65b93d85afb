"""Progress bars on stderr, drawn where somebody watches: one rule for everything that takes long.

``progress`` means the same everywhere: ``True`` draws, ``False`` does not, and ``None`` draws in a
terminal, if that is what stderr is, or a notebook, after a second of work and inside no other bar.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from align._display.escaping import plain

if TYPE_CHECKING:
    from tqdm import tqdm

PATIENCE = 1.0  # seconds of work before a bar that nobody asked for

_inside: ContextVar[bool] = ContextVar("inside a progress bar", default=False)


@contextmanager
def progress_bar(
    progress: bool | None, *, total: int | None, unit: str, label: str = "", initial: int = 0
) -> Iterator[tqdm[Any]]:
    """A bar of ``total`` steps, which its ``update`` moves; it is there, but silent, if not drawn.

    Args:
        progress: Whether to draw; ``None`` decides as the module says.
        total: Steps in all, those of earlier calls included, or ``None`` if that is not known.
        unit: Name of a step.
        label: What stands before the bar.
        initial: Steps of earlier calls.
    """
    drawn = (is_watched() and not _inside.get()) if progress is None else progress
    bar = _kind(drawn)(
        total=total,
        desc=plain(label) or None,
        unit=unit,
        initial=initial,
        disable=not drawn,
        delay=PATIENCE if progress is None else 0,
        dynamic_ncols=True,
    )
    token = _inside.set(True)
    try:
        with bar:
            yield bar
    finally:
        _inside.reset(token)


class Stages:
    """One bar that shows one stage after another, each with steps of its own."""

    def __init__(self, bar: tqdm[Any]) -> None:
        self._bar = bar

    def begin(self, name: str, steps: int = 1) -> None:
        """Start a stage of about so many steps."""
        self._bar.set_description(plain(name), refresh=False)
        self._bar.reset(total=steps)

    def step(self) -> None:
        """Count one step; a stage that takes more than was thought is longer."""
        if self._bar.total is not None and self._bar.n >= self._bar.total:
            self._bar.total = self._bar.n + 1
        self._bar.update()


@contextmanager
def staged(progress: bool | None) -> Iterator[Stages]:
    """``Stages`` of something that takes long; ``progress`` as in ``progress_bar``."""
    with progress_bar(progress, total=None, unit="step") as bar:
        yield Stages(bar)


def is_watched() -> bool:
    """Whether what is drawn on stderr is seen as it is drawn: in a terminal, or in a notebook."""
    return sys.stderr.isatty() or _in_notebook()


def _in_notebook() -> bool:
    """Whether a Jupyter kernel runs this code; IPython is not imported to find out."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return "IPKernelApp" in getattr(shell, "config", ())


def _kind(drawn: bool) -> Any:
    """The widget of ``tqdm.auto`` in a notebook that can show it, the line of text elsewhere."""
    if drawn and _in_notebook():
        from importlib.util import find_spec

        if find_spec("ipywidgets") is not None:  # tqdm.auto warns where it is missing
            from tqdm.auto import tqdm as widget

            return widget
    from tqdm import tqdm

    return tqdm


def import_tqdm_auto() -> None:
    """Import ``tqdm.auto`` without the advice to install ipywidgets that it has in a notebook.

    transformers imports it for bars that are not drawn here, and the advice would stand below the
    first cell that loads an encoder. Call this before transformers is imported.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="IProgress not found")
        import tqdm.auto  # noqa: F401
