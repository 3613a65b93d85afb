"""What a report holds: plain values, so that it goes to JSON and comes back the same."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from probes.reporting.figure_data import View
from probes.reporting.schema import decode, encode

if TYPE_CHECKING:
    from pandas import DataFrame
    from rich.console import Console, ConsoleOptions

    from align.data.pairs import Pairs
    from probes.reporting.html.plots import Figure

SCHEMA = 2
"""Version of the JSON; raised whenever a field changes its name or meaning."""

Column = Literal["raw", "aligned", "corrected", "centred"]
COLUMNS: tuple[Column, ...] = ("raw", "aligned", "corrected", "centred")
"""Before and after first; the centred state is a control, and no result, so that it comes last."""

CONTROL: Column = "centred"
Direction = Literal["source to target", "target to source"]
FORMATS = (".html", ".md", ".json", ".txt")


@dataclass(frozen=True, slots=True)
class Reading:
    """One value of one probe in one state of the pairs.

    Attributes:
        value: The estimate.
        low: Lower 95 % bound, or ``None`` where no interval could be made.
        high: Upper 95 % bound.
        null: Expected value with nothing there, or ``None``.
        p: Chance of such a value under the null, or ``None``.
        n: Pairs it was measured on.
        notes: Why it is not to be trusted, if it is not.
    """

    value: float
    low: float | None
    high: float | None
    null: float | None
    p: float | None
    n: int
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Change:
    """A value after alignment minus the value before, on the same bootstrap draws.

    Attributes:
        value: The difference.
        low: Lower 95 % bound.
        high: Upper 95 % bound.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Row:
    """One probe in every state.

    Attributes:
        name: Identifier of the probe.
        label: What a reader sees.
        family: The question it belongs to.
        better: Which direction is better.
        scale: What a value depends on besides what is asked; see ``Probe.scale``.
        interval: How the intervals were made.
        null: What the null is; empty if there is none.
        readings: The value in each state where it is defined.
        undefined: Why it is not defined, in each state where it is not.
        change: Aligned minus raw, where both are defined and share their draws.
    """

    name: str
    label: str
    family: Literal["offset", "distribution", "pairing", "structure", "pathology"]
    better: Literal["lower", "higher", "neither"]
    scale: Literal["fixed", "width", "spread", "raw"]
    interval: str
    null: str
    readings: dict[str, Reading]
    undefined: dict[str, str]
    change: Change | None


@dataclass(frozen=True, slots=True)
class Failure:
    """A query whose own match came late.

    Attributes:
        id: The pair.
        direction: What was searched.
        rank: Place of the best match, 1 is best.
        score: Score of its own pair.
        best_id: The pair whose item came first instead.
        best_score: Its score.
    """

    id: str
    direction: Direction
    rank: int
    score: float
    best_id: str
    best_score: float


@dataclass(frozen=True, slots=True)
class Hub:
    """A gallery item that is among the best of many queries.

    Attributes:
        id: The pair of the item.
        direction: What was searched.
        count: Queries that have it in their top k.
        wrong: Those of them that it does not belong to.
    """

    id: str
    direction: Direction
    count: int
    wrong: int


@dataclass(frozen=True, slots=True)
class Provenance:
    """What was measured, and by what.

    Attributes:
        given: Pairs handed in.
        pairs: Pairs measured; also the size of the gallery.
        groups: Groups among them.
        rules: Which pairs were left out and by which rule, whole sentences.
        source_dim: Width of source vectors.
        target_dim: Width of target vectors.
        source_encoder: Fingerprint of the source encoder, or ``None`` if unknown.
        target_encoder: Fingerprint of the target encoder, or ``None`` if unknown.
        adapter: What the adapter says of itself, or ``None`` without one.
        trained: How many of the pairs measured the adapter was trained on, or ``None`` without an
            adapter or where it does not remember.
        dim: Width of the shared space, or ``None`` without an adapter.
        centring: Where the means of the centred state come from.
        k: Neighbourhood size of hubs and neighbours.
        draws: Bootstrap draws behind each interval.
        seed: Seeds samples, draws and nulls.
        versions: Versions of what could change a number.
    """

    given: int
    pairs: int
    groups: int
    rules: tuple[str, ...]
    source_dim: int
    target_dim: int
    source_encoder: str | None
    target_encoder: str | None
    adapter: str | None
    trained: int | None
    dim: int | None
    centring: str
    k: int
    draws: int
    seed: int
    versions: dict[str, str]


@dataclass(frozen=True, slots=True)
class Report:
    """The modality gap of some held-out pairs: raw, centred, aligned, and what it means.

    ``print(report)`` shows the table and the verdict. Made by ``probes.report``.

    Attributes:
        provenance: What was measured, and by what.
        rows: One per probe.
        views: What the figures show, by state.
        failures: The worst-ranked queries of the last state that can be searched, worst first.
        hubs: The most frequent answers of that state, most frequent first.
    """

    provenance: Provenance
    rows: tuple[Row, ...]
    views: dict[str, View]
    failures: tuple[Failure, ...]
    hubs: tuple[Hub, ...]

    @property
    def columns(self) -> tuple[Column, ...]:
        """The states that anything was measured in, in order; the control comes last."""
        return tuple(column for column in COLUMNS if column in self.views)

    @property
    def searched(self) -> Column | None:
        """The state of ``failures`` and ``hubs``: the last to be searched, the control aside."""
        found = [c for c in self.columns if c != CONTROL and self.views[c].recall is not None]
        return found[-1] if found else None

    @property
    def caution(self) -> str:
        """What must be read before any value: that pairs were trained on; empty if none were."""
        made = self.provenance
        if not made.trained:
            return ""
        were = "were" if made.trained > 1 else "was"
        return (
            f"{made.trained:,} of the {made.pairs:,} pairs {were} trained on; these values are not "
            "held out."
        )

    @property
    def verdict(self) -> str:
        """One paragraph in words: what to beware of, what follows, and what it follows from."""
        from probes.reporting.verdict import verdict

        return verdict(self)

    @property
    def about_training(self) -> str:
        """Whether the adapter was trained on these pairs, in a sentence; empty without one."""
        if self.provenance.adapter is None or self.caution:
            return self.caution
        if self.provenance.trained is None:
            return "The adapter does not remember its training pairs: keep test pairs apart."
        return "None of these pairs were trained on."

    def row(self, name: str) -> Row:
        """The row of one probe.

        Args:
            name: Identifier of the probe.

        Raises:
            KeyError: There is none of that name.
        """
        for row in self.rows:
            if row.name == name:
                return row
        raise KeyError(
            f"a report has one row per probe; none is named {name!r}. "
            f"It has {[row.name for row in self.rows]}."
        )

    def __str__(self) -> str:
        from probes.reporting.text import printed

        return printed(self)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Any]:
        from probes.reporting.text import NARROW, renderable

        yield renderable(self, narrow=options.max_width < NARROW)

    def to_markdown(self) -> str:
        """The verdict, the table and the provenance as GitHub-flavoured Markdown."""
        from probes.reporting.text import markdown

        return markdown(self)

    def to_frame(self) -> DataFrame:
        """One line per probe and state; needs pandas.

        Raises:
            ImportError: pandas is not installed.
        """
        from probes.reporting.text import frame

        return frame(self)

    def figures(self) -> dict[str, Figure]:
        """The figures by name; needs matplotlib.

        Raises:
            ImportError: matplotlib is not installed.
        """
        from probes.reporting.html.plots import figures

        return figures(self)

    def to_html(self, pairs: Pairs | None = None) -> str:
        """One self-contained page with the verdict, the figures, the table, failures and hubs.

        Args:
            pairs: The items behind the ids, to show texts and thumbnails; ids alone without.

        Raises:
            ImportError: matplotlib is not installed.
        """
        from probes.reporting.html.page import page

        return page(self, pairs)

    def to_json(self) -> str:
        """The whole report as JSON; ``Report.from_json`` reads it back.

        The verdict and the headline (before, after, by chance) stand first, for programs that want
        no more. They follow from the rest, so that ``from_json`` works them out anew.
        """
        from probes.reporting.headline import headlines

        told = {
            "schema": SCHEMA,
            "caution": self.caution,
            "verdict": self.verdict,
            "headline": [encode(each) for each in headlines(self)],
        }
        return json.dumps({**told, **encode(self)}, ensure_ascii=False, indent=1)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The report that ``to_json`` wrote.

        Args:
            text: JSON.

        Raises:
            ValueError: It is not JSON, of another schema version, or a field does not fit.
        """
        data = json.loads(text)
        found = data.pop("schema", None) if isinstance(data, dict) else None
        if found != SCHEMA:
            raise ValueError(
                f"a report must be of schema {SCHEMA}; got {found!r}. "
                "Read it with the version of isthmus that wrote it."
            )
        for derived in ("caution", "verdict", "headline"):
            data.pop(derived, None)
        return decode(cls, data)

    def save(self, path: str | Path, pairs: Pairs | None = None) -> None:
        """Write the report whole or not at all, in the format that the name ends in.

        Args:
            path: A file that ends in ``.html``, ``.md``, ``.json`` or ``.txt``.
            pairs: The items behind the ids, for ``.html``.

        Raises:
            ValueError: The name ends in something else.
        """
        from align._files.atomic import atomic_file

        written: dict[str, Callable[[], str]] = {
            ".html": partial(self.to_html, pairs),
            ".md": self.to_markdown,
            ".json": self.to_json,
            ".txt": self.__str__,
        }
        text = written[check_format(path)]()
        with atomic_file(Path(path)) as scratch:
            scratch.write_text(text, encoding="utf-8")


def check_format(path: str | Path) -> str:
    """The ending of a file that a report can be saved as.

    Args:
        path: The file.

    Raises:
        ValueError: The name ends in something else.
        ImportError: The page needs matplotlib, which is not installed.
    """
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
