"""A report: its values, and every form in which they can be shown or saved."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from align._files.codec import Schema, decode, dumps
from probes.reporting.before_after import headlines
from probes.reporting.items import ReportItems, items_behind
from probes.reporting.model import ReportValues
from probes.reporting.text import frame, line, markdown, printed, printed_whole, renderable, summary
from probes.reporting.verdict import verdict

if TYPE_CHECKING:
    from pandas import DataFrame
    from rich.console import Console, ConsoleOptions

    from align._display.figure import Figure
    from align.data.pairs import Pairs

SCHEMA = Schema("", 2, 2)
"""Version of the JSON: the major one is raised whenever a field changes its name or meaning. 2.1
added the effect of each reading and the names of the sides, 2.2 the subgroups."""

FORMATS = (".html", ".md", ".json", ".txt")
FILE_WIDTH = 100  # columns of a report in a .txt file


@dataclass(frozen=True, slots=True, repr=False)
class Report(ReportValues):
    """The modality gap of some held-out pairs: raw, centred, aligned, and what it means.

    A notebook shows the verdict, the headline and tables to unfold; ``print(report)`` shows the
    verdict, the headline and some of what else differs from chance, ``report.summary()`` a few
    lines, and ``report.plot("clouds")`` a figure; ``to_frame`` and ``save`` have all of it. Made by
    ``probes.report``. Its fields are those of ``ReportValues``; what renders them takes these
    values and knows no ``Report``.

    Attributes:
        items: Texts and pictures behind the ids, put there by ``with_items``; they are shown, and
            neither compared nor written to JSON.

    Examples:
        >>> import numpy as np, probes
        >>> captions = np.random.default_rng(0).standard_normal((60, 4))
        >>> report = probes.report(captions, captions + 1.0, probes=["gap_energy_share"])
        >>> report.row("gap_energy_share").better
        'lower'
    """

    items: ReportItems | None = field(default=None, compare=False)

    @property
    def verdict(self) -> str:
        """One paragraph in words: what to beware of, what follows, and what it follows from."""
        return verdict(self)

    def with_items(self, pairs: Pairs) -> Self:
        """The same report, which shows the texts and pictures of its worst searches and hubs.

        In a notebook, in ``to_html`` and in ``save``; of the pairs only these few are kept.

        Args:
            pairs: The pairs that were embedded, or any that hold the ids that the report names.

        Raises:
            ValueError: The report names an id that is not among the pairs.
        """
        return replace(self, items=items_behind(self, pairs))

    def __repr__(self) -> str:
        return line(self)

    def __str__(self) -> str:
        return printed(self)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Any]:
        yield renderable(self, options.max_width)

    def _repr_html_(self) -> str:
        from align._display.panel import render
        from probes.reporting.panel import report_panel

        return render(report_panel(self, self.items), most_bytes=90_000)

    def summary(self) -> str:
        """What to paste in a chat or a log: what follows, and six values beside chance.

        A text of up to ten lines: the pairs and states, what must be read first (that pairs were
        trained on) if anything must, what follows from all families together, and each headline
        raw → aligned. For values see ``row``, ``to_frame`` and ``to_json``.
        """
        return summary(self)

    def plot(self, name: str) -> Figure:
        """One of the figures of the report, on a white ground.

        A notebook shows it as the value of a cell, once; it belongs to no pyplot. Save it with
        ``report.plot("clouds").savefig("clouds.png")``.

        Args:
            name: ``"clouds"`` (two principal axes), ``"along the gap"`` (the line through both
                centroids), ``"cosines"`` (true against false pairs), ``"recall"`` (against k),
                ``"k-occurrence"`` (hubs), or ``"canonical spectrum"``.

        Raises:
            ValueError: There is no figure of that name.
            ImportError: matplotlib is not installed.
        """
        from probes.reporting.html.plots import figure

        return figure(name, self)

    def to_markdown(self) -> str:
        """The verdict, the table and the provenance as GitHub-flavoured Markdown."""
        return markdown(self)

    def to_frame(self) -> DataFrame:
        """One line per probe and state; ``ImportError`` unless pandas is installed."""
        return frame(self)

    def to_html(self) -> str:
        """One self-contained page with the verdict, the figures, the table, failures and hubs.

        It shows the texts and pictures behind the ids if the report has them: see ``with_items``.

        Raises:
            ImportError: matplotlib is not installed.
        """
        from probes.reporting.html.page import page

        return page(self, self.items)

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
        values = {each.name: getattr(self, each.name) for each in fields(ReportValues)}
        return dumps(derived | values, ensure_ascii=False, indent=1)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The report that ``to_json`` wrote; it holds no items.

        Raises:
            ValueError: ``text`` is not JSON, of another schema version, or a field does not fit.
        """
        data = json.loads(text)
        schema = data.pop("schema", None) if isinstance(data, dict) else None
        newer = SCHEMA.is_newer(schema, "a report")
        for derived in ("caution", "verdict", "headline"):
            data.pop(derived, None)
        values = decode(ReportValues, data, "report", "make the report again", newer=newer)
        return cls(**{each.name: getattr(values, each.name) for each in fields(ReportValues)})

    def save(self, path: str | Path) -> None:
        """Write the report whole or not at all, in the format that the name ends in.

        That is ``.html``, as ``to_html``, ``.md``, ``.json`` or ``.txt``; another ending of
        ``path`` raises ``ValueError``.
        """
        from align._files.atomic import atomic_file

        rendered: dict[str, Callable[[], str]] = {
            ".html": self.to_html,
            ".md": self.to_markdown,
            ".json": self.to_json,
            ".txt": lambda: printed_whole(self, FILE_WIDTH),
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
