"""The two figures of the league: mean ranks with their critical difference, and recall by cost."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from experiments.league.standings import Line, lines, records, standings
from experiments.league.statistics import Standing
from experiments.league.systems.ours import OURS
from experiments.record import RESULTS


def draw(folder: Path = RESULTS) -> None:
    """``league.png``, the critical-difference diagram, and ``league_cost.png``, recall by cost."""
    found = records()
    if found:
        _critical_difference(standings(found), folder / "league.png")
        _cost(lines(found), folder / "league_cost.png")


def _critical_difference(told: Standing, path: Path) -> None:
    """Mean ranks as points; shaded is what lies within the critical difference of the best."""
    from matplotlib.figure import Figure

    names = list(told.mean_ranks)
    best = min(told.mean_ranks.values())
    drawn = Figure(figsize=(8.5, 0.28 * len(names) + 1.2), layout="constrained")
    axes = drawn.add_subplot()
    axes.axvspan(best, best + told.critical_difference, color="tab:green", alpha=0.12)
    for at, (name, rank) in enumerate(told.mean_ranks.items()):
        axes.plot(rank, at, "o", color="tab:orange" if name in OURS else "tab:blue")
        axes.annotate(
            f"{rank:.1f}", (rank, at), (7, 0), textcoords="offset points", va="center", fontsize=8
        )
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.invert_yaxis()
    axes.set_xlim(0.5, len(names) + 0.5)
    axes.set_xlabel(f"mean rank over {len(told.data)} data sets, 1 is best")
    told_apart = (
        f"shaded: within the critical difference ({told.critical_difference:.1f}) of the best"
    )
    axes.set_title(told_apart, fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x", alpha=0.3)
    drawn.savefig(path, dpi=130)


def _cost(found: Mapping[str, Line], path: Path) -> None:
    """Mean recall at 10 against seconds of a fit with its tuning; numbers name the systems."""
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(9.5, 5.0), layout="constrained")
    axes = drawn.add_subplot()
    everywhere = {name: line for name, line in found.items() if line.mean_rank is not None}
    for at, (name, line) in enumerate(everywhere.items(), start=1):
        colour = "tab:orange" if name in OURS else "tab:blue"
        value = 100 * line.mean
        axes.plot(line.seconds, value, "o", color=colour, label=f"{at}  {name}")
        place = line.seconds, value
        axes.annotate(str(at), place, (4, 3), textcoords="offset points", fontsize=8)
    axes.set_xscale("log")
    axes.set(xlabel="seconds of a fit, tuning included, mean over settings")
    axes.set(ylabel="recall at 10, per cent, mean over settings")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.3)
    drawn.legend(loc="outside right upper", fontsize=7, handlelength=0, title="by mean rank")
    drawn.savefig(path, dpi=130)
