"""How numbers of a report are written for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from probes.reporting.model import Reading

_MINUS = "\N{MINUS SIGN}"


def number(value: float) -> str:
    """Three digits, thousands grouped, a true minus sign.

    Args:
        value: Any finite number.
    """
    size = abs(value)
    if size == 0:
        text = "0"
    elif size < 0.0005:
        text = f"{size:.1e}"
    elif size < 0.9995:
        text = f"{size:.3f}"
    elif size < 99.95:
        text = f"{size:#.3g}"
    else:
        text = f"{size:,.0f}"
    return (_MINUS if value < 0 and text.strip("0.") else "") + text


def interval(reading: Reading) -> str:
    """The value with its 95 % interval: ``0.43 [0.41, 0.45]``.

    Args:
        reading: A reading; one without an interval gives the value alone.
    """
    if reading.low is None or reading.high is None:
        return number(reading.value)
    return f"{number(reading.value)} [{number(reading.low)}, {number(reading.high)}]"
