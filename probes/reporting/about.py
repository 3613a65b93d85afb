"""What a probe means, when it misleads and where it is from: read from the docstring behind it."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass

from align._display.escaping import plain
from probes.space import Better, Probe

SECTIONS = ("Meaning", "Beware", "Range", "Reference")
"""The sections of a docstring that say it. Range reads ``In [0, 1]; 0.5 with nothing there; higher
is better.``: the values there can be, the one of chance, and the direction."""

_RANGE = re.compile(
    r"(?:In )?(?P<range>[^;]+); (?P<nothing>[^;]+?),? with nothing there; "
    r"(?P<better>higher|lower|neither) is better\."
)


@dataclass(frozen=True, slots=True)
class About:
    """What the docstring of a probe says of it, a sentence or two each.

    Attributes:
        name: Of the probe.
        label: What a reader of a report sees.
        meaning: What it measures, in plain words.
        beware: When it misleads.
        range: The values that there can be.
        nothing: The value where there is nothing to find.
        better: Which direction is better.
        reference: Where it is from, and where ours differs.

    Examples:
        >>> import probes
        >>> about = probes.about("recall_at_10")
        >>> about.better, about.range
        ('higher', '[0, 1]')
    """

    name: str
    label: str
    meaning: str
    beware: str
    range: str
    nothing: str
    better: Better
    reference: str

    def __str__(self) -> str:
        words = "\n".join(f"{name}: {text}" for name, text in self._facts.items())
        return f"{plain(self.label)}. {self.meaning}\n{words}"

    def _repr_html_(self) -> str:
        from align._display.panel import Panel, render

        return render(Panel(self.label, self.meaning, facts=self._facts))

    @property
    def _facts(self) -> dict[str, str | int]:
        nothing = f"{self.nothing} with nothing there; {self.better} is better"
        return {
            "Beware": self.beware,
            "Range": f"{self.range}; {nothing}",
            "Reference": self.reference,
            "Name": self.name,
        }


def about(probe: str | Probe) -> About:
    """What a probe means, when it misleads, and where it is from; as its docstring says.

    The one source is the docstring of the public function behind the probe, in its sections
    Meaning, Beware, Range and Reference. ``print(probes.about("foscttm"))`` shows them.

    Args:
        probe: The name of a standard probe, such as ``"recall_at_10"``, or of the function behind
            one, such as ``"recall_at_k"``; or a probe of your own that has a ``function``.

    Raises:
        KeyError: No standard probe, nor a function behind one, has that name.
        ValueError: The probe has no function, or a section is missing from its docstring.

    Examples:
        >>> import probes
        >>> print(probes.about("modality_gap").meaning)
        How far apart the centres of the two clouds are.
    """
    from probes.reporting.standard import STANDARD

    if isinstance(probe, Probe):
        return _read(probe)
    by_name = {_function_name(each): each for each in reversed(STANDARD)}
    by_name |= {each.name: each for each in STANDARD}
    if probe not in by_name:
        raise KeyError(
            f"a standard probe has one of the names {[each.name for each in STANDARD]}; got "
            f"{probe!r}. Choose one of them, or pass the probe itself."
        )
    return _read(by_name[probe])


def about_or_none(name: str) -> About | None:
    """``about`` a row of a report; ``None`` for a probe that is not a standard one."""
    from probes.reporting.standard import STANDARD

    return next((_read(probe) for probe in STANDARD if probe.name == name), None)


def _read(probe: Probe) -> About:
    words = _sections(inspect.getdoc(probe.function) or "" if probe.function else "")
    found = _RANGE.fullmatch(words.get("Range", ""))
    missing = [name for name in SECTIONS if not words.get(name)]
    if missing or found is None:
        raise ValueError(
            f"the function of a probe must have the sections {list(SECTIONS)} in its docstring, "
            "with a range such as 'In [0, 1]; 0.5 with nothing there; higher is better.'; "
            f"{probe.name} has {list(words)}, with the range {words.get('Range')!r}. Add them, and "
            "pass the function to Probe."
        )
    return About(
        probe.name,
        probe.label,
        meaning=words["Meaning"],
        beware=words["Beware"],
        range=found["range"],
        nothing=found["nothing"],
        better=probe.better,
        reference=words["Reference"],
    )


def _function_name(probe: Probe) -> str:
    function = probe.function
    return str(getattr(getattr(function, "fget", function), "__name__", ""))


def _sections(docstring: str) -> dict[str, str]:
    """The words of each section, as one line without the marks of code."""
    words: dict[str, str] = {}
    for name in SECTIONS:
        section = re.search(rf"^{name}:\n((?:[ ]+.*\n?|\n)+)", docstring, re.MULTILINE)
        if section is not None:
            words[name] = " ".join(section[1].split()).replace("``", "")
    return words
