"""A comparison: its values, and every form in which they can be shown or saved."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from align._files.atomic import atomic_file
from align._files.codec import dumps
from align.metrics.comparison.text import frame, line, markdown, printed
from align.metrics.comparison.values import ComparisonValues
from align.metrics.comparison.wording import verdict

if TYPE_CHECKING:
    from pandas import DataFrame

    from align._display.figure import Figure

SCHEMA = 1  # of the JSON; raised whenever a field changes its name or meaning
FORMATS = (".html", ".md", ".json", ".txt", ".png", ".svg")
_DRAWN = (".html", ".png", ".svg")


@dataclass(frozen=True, slots=True, repr=False)
class Comparison(ComparisonValues):
    """Some systems on the same pairs: a row per quantity, a column per system, and differences.

    Made by ``align.compare`` and ``probes.compare``. ``print`` shows the verdict and the rows that
    decide. Its fields are those of ``ComparisonValues``.
    """

    @property
    def verdict(self) -> str:
        """What is shown of each system beside the baseline, in words.

        A difference is shown where its 95 % interval leaves out 0 and its p-value, adjusted by
        Holm's method over all differences that decide, is at most 0.05.
        """
        return verdict(self)

    def __repr__(self) -> str:
        return line(self)

    def __str__(self) -> str:
        return printed(self)

    def _repr_html_(self) -> str:
        from align.metrics.comparison.page import panel

        return panel(self)

    def to_markdown(self) -> str:
        """The verdict and a table per part as GitHub-flavoured Markdown."""
        return markdown(self)

    def to_frame(self) -> DataFrame:
        """One line per row and system; ``ImportError`` unless pandas is installed."""
        return frame(self)

    def plot(self) -> Figure:
        """The differences that decide, with their intervals; no window and no pyplot.

        Raises:
            ImportError: matplotlib is not installed.
            ValueError: No row that decides has a difference.
        """
        from align.metrics.comparison.forest import forest

        return forest(self)

    def to_html(self) -> str:
        """One page with the tables and the figure; ``ImportError`` unless matplotlib is there."""
        from align.metrics.comparison.page import page

        return page(self)

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON; the verdict stands first."""
        rows = [
            asdict(row) | {"outcomes": {name: row.outcome(name) for name in self.others}}
            for row in self.rows
        ]
        return {"schema": SCHEMA, "verdict": self.verdict} | asdict(self) | {"rows": rows}

    def to_json(self) -> str:
        """``to_dict`` as JSON."""
        return dumps(self.to_dict(), ensure_ascii=False, indent=1)

    def save(self, path: str | Path) -> None:
        """Write the comparison whole or not at all, in the format that the name ends in.

        That is ``.html``, ``.md``, ``.json`` or ``.txt``, or ``.png`` or ``.svg`` for the figure;
        another ending of ``path`` raises ``ValueError``.
        """
        texts: dict[str, Callable[[], str]] = {
            ".html": self.to_html,
            ".md": self.to_markdown,
            ".json": self.to_json,
            ".txt": self.__str__,
        }
        ending = check_format(path)
        text = texts[ending]() if ending in texts else None
        figure = self.plot() if text is None else None
        with atomic_file(Path(path)) as scratch:
            if text is not None:
                scratch.write_text(text, encoding="utf-8")
            if figure is not None:
                figure.savefig(scratch, format=ending[1:], dpi=150, facecolor="white")


def check_format(path: str | Path) -> str:
    """The ending of a file that a comparison can be saved as, here and now."""
    ending = Path(path).suffix.lower()
    if ending not in FORMATS:
        raise ValueError(
            f"a comparison can be saved as {', '.join(FORMATS)}; got {str(path)!r}. "
            "Choose one of these endings."
        )
    if ending in _DRAWN and find_spec("matplotlib") is None:
        raise ImportError(
            f"{ending} needs matplotlib for its figure, which is not installed. "
            "Run `pip install 'isthmus[report]'`, or save the comparison as .md or .json."
        )
    return ending
