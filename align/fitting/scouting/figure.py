"""Score against cost, one mark for each pair of encoders."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from align._display.figure import COLOURS, empty_figure, own_style
from align._display.lines import shortened

if TYPE_CHECKING:
    from align._display.figure import Axes, Figure
    from align.fitting.scouting.encoder_pair import EncoderPair

_LONGEST = 88  # of a name in the key


def draw(pairs: Sequence[EncoderPair], *, cheapest: EncoderPair, chance: float) -> Figure:
    """Two panels that share the score: against dimensions, and against milliseconds per item.

    ``pairs`` are all of them, the best first, ``cheapest`` is the one of fewest dimensions that
    cannot be told from it, and ``chance`` the score of a random order.
    """
    costs: tuple[tuple[str, Callable[[EncoderPair], float]], ...] = (
        ("dimensions of both sides", lambda pair: sum(pair.dims)),
        ("milliseconds to encode a pair", lambda pair: 1000 * sum(pair.seconds)),
    )
    with own_style():
        figure = empty_figure(8.0, 4.2)
        panels = figure.subplots(1, 2, sharey=True)
        for axes, (label, cost) in zip(panels, costs, strict=True):
            _draw(axes, pairs, cheapest, cost)
            axes.axhline(chance, color=COLOURS["ink"], linestyle="dotted", label="chance")
            axes.set_xlim(left=0)
            axes.xaxis.set_major_formatter(lambda cost, _: f"{cost:,.0f}")
            axes.set_xlabel(label)
        panels[0].set_ylabel("mean reciprocal rank, held out")
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper left", ncols=1)
    return figure


def _draw(
    axes: Axes,
    pairs: Sequence[EncoderPair],
    cheapest: EncoderPair,
    cost: Callable[[EncoderPair], float],
) -> None:
    best = pairs[0]
    others = [pair for pair in pairs if pair is not best and pair is not cheapest]
    behind = [pair for pair in others if not pair.within_noise]
    alike = [pair for pair in others if pair.within_noise]
    kinds = [
        ("muted", "o", 4, "behind the best", behind),
        ("source", "o", 4, "within the noise of the best", alike),
        ("target", "D", 7, f"best: {_name(best)}", [best]),
    ]
    if cheapest is not best:
        kinds.append(("corrected", "s", 7, f"cheapest of these: {_name(cheapest)}", [cheapest]))
    for role, marker, size, label, some in kinds:
        axes.errorbar(
            [cost(pair) for pair in some], [pair.mrr for pair in some],
            yerr=[1.96 * pair.error for pair in some],
            fmt=marker, markersize=size, color=COLOURS[role], elinewidth=0.6, label=label,
        )  # fmt: skip


def _name(pair: EncoderPair) -> str:
    return shortened(pair.together, _LONGEST).replace("$", r"\$")
