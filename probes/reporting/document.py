"""A report: its values, and every form in which they can be shown or saved."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from align._files.codec import Schema, decode, dumps
from probes.reporting.before_after import headlines
from probes.reporting.model import ReportValues
from probes.reporting.text import NARROW, frame, markdown, printed, renderable
from probes.reporting.verdict import verdict

if TYPE_CHECKING:
    from pandas import DataFrame
    from rich.console import Console, ConsoleOptions

    from align._display.figure import Figure
    from align.data.pairs import Pairs

# Version of the JSON: the major one is raised whenever a field changes its name or meaning.
SCHEMA = Schema("", 2, 1)
FORMATS = (".html", ".md", ".json", ".txt")


@dataclass(frozen=True, slots=True)
class Report(ReportValues):
    """The modality gap of some held-out pairs: raw, centred, aligned, and what it means.

    ``print(report)`` shows the table and the verdict. Made by ``probes.report``. Its fields are
    those of ``ReportValues``; what renders them takes these values and knows no ``Report``.
    """

    @property
    def verdict(self) -> str:
        """One paragraph in words: what to beware of, what follows, and what it follows from."""
        return verdict(self)

    def __str__(self) -> str:
        return printed(self)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Any]:
        yield renderable(self, narrow=options.max_width < NARROW)

    def to_markdown(self) -> str:
        """The verdict, the table and the provenance as GitHub-flavoured Markdown."""
        return markdown(self)

    def to_frame(self) -> DataFrame:
        """One line per probe and state; ``ImportError`` unless pandas is installed."""
        return frame(self)

    def figures(self) -> dict[str, Figure]:
        """The figures by name; ``ImportError`` unless matplotlib is installed."""
        from probes.reporting.html.plots import figures

        return figures(self)

    def to_html(self, pairs: Pairs | None = None) -> str:
        """One self-contained page with the verdict, the figures, the table, failures and hubs.

        Args:
            pairs: The items behind the ids, to show texts and thumbnails; ids alone without.

        Raises:
            ImportError: matplotlib is not installed.
            ValueError: The report names an id that is not among the pairs.
        """
        from probes.reporting.html.page import page

        return page(self, pairs)

    def to_json(self) -> str:
        """The whole report as JSON; ``Report.from_json`` reads it back.

        The verdict and the headline (before, after, by chance) stand first, for programs that want
        no more. They follow from the rest, so that ``from_json`` works them out anew.
        """
        derived = {
            "schema": SCHEMA.value,
            "caution": self.caution,
            "verdict": self.verdict,
            "headline": headlines(self),
        }
        return dumps(derived | asdict(self), ensure_ascii=False, indent=1)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The report that ``to_json`` wrote.

        Raises:
            ValueError: ``text`` is not JSON, of another schema version, or a field does not fit.
        """
        data = json.loads(text)
        schema = data.pop("schema", None) if isinstance(data, dict) else None
        newer = SCHEMA.is_newer(schema, "a report")
        for derived in ("caution", "verdict", "headline"):
            data.pop(derived, None)
        report: Self = decode(cls, data, "report", "make the report again", newer=newer)
        return report

    def save(self, path: str | Path, pairs: Pairs | None = None) -> None:
        """Write the report whole or not at all, in the format that the name ends in.

        That is ``.html``, with the items of ``pairs`` as in ``to_html``, ``.md``, ``.json`` or
        ``.txt``; another ending of ``path`` raises ``ValueError``.
        """
        from align._files.atomic import atomic_file

        rendered: dict[str, Callable[[], str]] = {
            ".html": partial(self.to_html, pairs),
            ".md": self.to_markdown,
            ".json": self.to_json,
            ".txt": self.__str__,
        }
        text = rendered[check_format(path)]()
        with atomic_file(Path(path)) as scratch:
            scratch.write_text(text, encoding="utf-8")


def check_format(path: str | Path) -> str:
    """The ending of a file that a report can be saved as, here and now."""
    ending = Path(path).suffix.lower()
    if ending not in FORMATS:
        raise ValueError(
            f"a report can be saved as {', '.join(FORMATS)}; got {str(path)!r}. "
            "Choose one of these endings."
        )
    if ending == ".html" and find_spec("matplotlib") is None:
        raise ImportError(
            "a page needs matplotlib for its figures, which is not installed. "
            "Run `pip install 'isthmus[report]'`, or save the report as .md or .json."
        )
    return ending
