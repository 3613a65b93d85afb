"""What the record of ``experiments.geometry`` says: tables for a page, and its figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.geometry_cells import HELD_OUT, PAIRED, SIZES, Cell
from experiments.pages import markdown_table
from experiments.record import read_record


def before() -> str:
    """Which probe, measured before training, predicts recall, for a page."""
    return _table("before")


def after() -> str:
    """Which probe tracks recall after alignment, for a page."""
    return _table("after")


def _table(when: str) -> str:
    found = read_record("geometry")["result"][when]
    ordered = sorted(found.items(), key=lambda item: -abs(item[1]["within_n"][0]))
    rows = []
    for name, each in ordered:
        spans = (each["over_all"], each["within_data"], each["within_n"])
        paired = "by cross-validation" if name == HELD_OUT else "yes" if name in PAIRED else "no"
        rows.append(
            (
                name,
                paired,
                str(each["cells"]),
                *(f"{v:+.2f} [{low:+.2f}, {high:+.2f}]" for v, low, high in spans),
            )
        )
    header = ("probe", "knows the pairs", "cells", "over all cells", "within data sets",
              "within data sets and n")  # fmt: skip
    return markdown_table(header, rows)


def spaces() -> str:
    """Geometry before and after at 1,000 pairs, a mean over pairs of encoders, for a page."""
    cells = [Cell(**each) for each in read_record("geometry")["result"]["cells"]]
    names = ("centroid gap", "Wasserstein, centred", "modality mixing", "FOSCTTM")
    rows = []
    for data in dict.fromkeys(each.data for each in cells):
        own = [each for each in cells if each.data == data and each.n == 1000]
        if not own:
            continue
        common = [each for each in own if each.raw is not None]
        shown = []
        for name in names:
            first = np.mean([each.before[name] for each in common]) if common else None
            last = np.mean([each.after[name] for each in own])
            shown.append(f"{'-' if first is None else f'{first:.2f}'} → {last:.2f}")
        recalls = [100 * each.recall for each in own]
        raws = [100 * each.raw for each in common if each.raw is not None]
        raw = f"{np.mean(raws):.0f}" if raws else "-"
        count = f"{len(own)}, {len(common)} of one width"
        rows.append((f"`{data}`", count, *shown, f"{raw} → {np.mean(recalls):.0f}"))
    return markdown_table(("data", "pairs of encoders", *names, "R@10, %"), rows)


def figures(folder: Path) -> None:
    """Probe against recall, one panel a probe, before and after, as PNG, from the record."""
    found = read_record("geometry", folder=folder)["result"]
    cells = [Cell(**each) for each in found["cells"]]
    for when, name in (("before", "geometry_before.png"), ("after", "geometry_after.png")):
        _scatter(cells, found[when], when, folder / name)


def _scatter(cells: Sequence[Cell], agreements: Mapping[str, Any], when: str, path: Path) -> None:
    from matplotlib.figure import Figure

    names = sorted(agreements, key=lambda name: -abs(agreements[name]["within_n"][0]))
    rows = -(-len(names) // 4)
    drawn = Figure(figsize=(11.0, 2.5 * rows), layout="constrained")
    panels = drawn.subplots(rows, 4, squeeze=False, sharey=True)
    colours = {data: f"C{at}" for at, data in enumerate(dict.fromkeys(c.data for c in cells))}
    for axes, name in zip(panels.flat, names, strict=False):
        for data, colour in colours.items():
            own = [each for each in cells if each.data == data and name in getattr(each, when)]
            x = [getattr(each, when)[name] for each in own]
            y = [100 * each.recall for each in own]
            size = [6 + 10 * SIZES.index(each.n) if each.n in SIZES else 6 for each in own]
            axes.scatter(x, y, s=size, c=colour, alpha=0.6, linewidth=0, label=data)
        value, low, high = agreements[name]["within_n"]
        told = f"within data and n: {value:+.2f} [{low:+.2f}, {high:+.2f}]"
        axes.set_title(f"{name}\n{told}", fontsize=8)
        axes.tick_params(labelsize=7)
        axes.spines[["top", "right"]].set_visible(False)
    for axes in list(panels.flat)[len(names) :]:
        axes.set_visible(False)
    for row in panels:
        row[0].set_ylabel("R@10 after, %", fontsize=8)
    handles, labels = panels[0][0].get_legend_handles_labels()
    drawn.legend(handles, labels, loc="outside lower center", ncols=len(labels), fontsize=8,
                 title="larger points: more training pairs", title_fontsize=8)  # fmt: skip
    drawn.savefig(path, dpi=120)
