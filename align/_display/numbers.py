"""Numbers as people read them."""

from __future__ import annotations


def number(value: float) -> str:
    """Three digits of a finite number, thousands grouped, a true minus sign."""
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
    return ("\N{MINUS SIGN}" if value < 0 and text.strip("0.") else "") + text
