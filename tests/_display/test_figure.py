"""One style and one set of colours for every figure, on paper and on a dark screen."""

from __future__ import annotations

import re
from pathlib import Path

import matplotlib
import pytest

import align
import probes
from align._display.figure import COLOURS, DARK, dark_figures, empty_figure, own_style

HOME = Path(align._display.__file__).parent / "figure.py"


def test_every_role_has_a_colour_on_a_dark_ground_too() -> None:
    assert set(DARK) == set(COLOURS) and not set(DARK.values()) & set(COLOURS.values())
    for role, colour in DARK.items():
        assert f"--figure-{role}: {colour};" in dark_figures()


def test_colours_of_figures_are_written_down_in_one_place() -> None:
    figures = {*COLOURS.values(), *DARK.values()} - {DARK["ink"], DARK["muted"], DARK["rule"]}
    packages = [Path(each.__file__).parent for each in (align, probes)]
    files = [
        file
        for folder in packages
        for ending in ("py", "css")
        for file in folder.rglob(f"*.{ending}")
    ]
    found = {
        file.name: written
        for file in files
        if file != HOME
        and (written := figures & set(re.findall(r"#\w{6}", file.read_text("utf-8"))))
    }
    assert not found


def test_the_style_is_left_behind() -> None:
    before = matplotlib.rcParams["axes.titleweight"]
    with own_style():
        assert matplotlib.rcParams["axes.titleweight"] == "bold"
        assert empty_figure(3, 2).get_size_inches().tolist() == pytest.approx([3, 2])
    assert matplotlib.rcParams["axes.titleweight"] == before
