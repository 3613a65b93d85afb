"""SVG as matplotlib writes it, made fit to stand inside an HTML page."""

from __future__ import annotations

import re
from collections.abc import Mapping
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

_NUMBER = re.compile(r"-?\d+\.\d{3,}")
_HREF = "{http://www.w3.org/1999/xlink}href"


def inline_svg(text: str, *, name: str, label: str, variables: Mapping[str, str]) -> str:
    """The drawing without metadata, style sheets or style attributes; its ids begin with ``name``.

    A strict content security policy allows it, its rules do not leak into the page, and drawings
    of other names can stand beside it. Coordinates are rounded to a hundredth of a point.

    ``text`` is what matplotlib wrote with ``svg.fonttype: none``, ``name`` holds letters, digits,
    spaces and hyphens, ``label`` is what a reader hears who cannot see it, and ``variables`` map
    colours, such as ``#123456``, to the CSS variables that replace them.
    """
    root = ElementTree.fromstring(text)
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in ("metadata", "style"):
                parent.remove(child)
    for element in root.iter():
        _unstyle(element, variables)
    for element in root.iter("g"):
        _share_paint(element)
    _rename(root, name.replace(" ", "-"))
    width, height = root.get("viewBox", "").split()[2:]
    pixels = 1.4  # per point: the labels get the size of small text on a page
    root.attrib = {
        "viewBox": f"0 0 {width} {height}",
        "width": f"{pixels * float(width):.0f}",
        "height": f"{pixels * float(height):.0f}",
        "stroke-linejoin": "round",
        "role": "img",
        "aria-label": label,
    }
    return ElementTree.tostring(root, encoding="unicode", short_empty_elements=False)


def _unstyle(element: Element, variables: Mapping[str, str]) -> None:
    """Turn the style attribute into attributes, which no policy forbids, and round numbers."""
    # Spaces between elements are layout; those inside a label are not.
    element.tail = None
    if element.tag not in ("text", "tspan"):
        element.text = None
    for rule in element.attrib.pop("style", "").split(";"):
        key, _, value = (part.strip() for part in rule.partition(":"))
        if key == "font":
            element.attrib.update(_font(value))
        elif key and key != "font-family":  # the page has its own
            variable = variables.get(value)
            element.set(key, f"var({variable}, {value})" if variable else value)
    for key, value in element.attrib.items():
        if key in ("d", "x", "y", "width", "height", "transform", "points"):
            element.set(key, _NUMBER.sub(_rounded, " ".join(value.split())))


def _font(shorthand: str) -> dict[str, str]:
    """Size and weight of a CSS font, as older versions of matplotlib write it; not its family."""
    font = re.match(r"(?P<before>.*?)(?P<size>[\d.]+px)\s", shorthand)
    if font is None:
        return {}
    weight = re.search(r"\d+|bold", font["before"])
    return {"font-size": font["size"]} | ({"font-weight": weight[0]} if weight else {})


def _rounded(digits: re.Match[str]) -> str:
    return f"{float(digits[0]):.2f}".rstrip("0").rstrip(".")


def _share_paint(group: Element) -> None:
    """Say once what all marks of a group have in common: there may be hundreds."""
    marks = list(group)
    if len(marks) < 2 or any(mark.tag != "use" for mark in marks):
        return
    for key in ("fill", "fill-opacity", "stroke", "stroke-opacity", "stroke-width"):
        values = {mark.get(key) for mark in marks}
        if len(values) == 1 and None not in values:
            group.set(key, values.pop() or "")
            for mark in marks:
                del mark.attrib[key]


def _rename(root: Element, name: str) -> None:
    """Number the ids that something refers to, and drop the others."""
    numbers: dict[str, str] = {}

    def renamed(reference: re.Match[str]) -> str:
        return "#" + numbers.setdefault(reference[1], f"{name}-{len(numbers) + 1}")

    for element in root.iter():
        if _HREF in element.attrib:
            element.set("href", element.attrib.pop(_HREF))
        for key in ("href", "clip-path"):
            if key in element.attrib:
                element.set(key, re.sub("#([^)]+)", renamed, element.attrib[key]))
    for element in root.iter():
        old = element.attrib.pop("id", None)
        if old in numbers:
            element.set("id", numbers[old])
