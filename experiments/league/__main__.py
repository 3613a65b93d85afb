"""Every method here and every peer, on all data and numbers of pairs, tuned and judged alike.

    ISTHMUS_DATA=... python -m experiments.league [--data emoji conala] [--n 300] [--quick]

Each system is fitted on the same draws of training pairs and judged on the same held-out gallery,
both directions. **Tuning**: each has at most four settings, and each of those is tried with no
correction of the gallery and with three, of the kinds that ``align.fit`` chooses from; what is best
by reciprocal rank on a fifth of the pairs of draw 0 is kept for all draws of that number of pairs.
``align.fit`` chooses by its own cross-validation in every draw. The gallery chooses nothing. Every
value that a choice was made by is in the record, and every system is also judged without a
correction.

Cells are kept one by one below the cache folder for the commit that made them, so that a run that
was stopped goes on. Records are ``experiments/results/league-DATA-N.json``; a setting whose record
is of this commit is not run again, and a quick run is not written.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict

from align._files.cache import cache_folder
from experiments.league import figures
from experiments.league.setting import Config, run
from experiments.league.standings import SETTINGS
from experiments.league.systems import dense, everyone
from experiments.league.systems.peer import shortened
from experiments.record import commit, is_current, write_record

QUICK = ("emoji", 60)
ORDER = (300, 1000, 100, 5000, 3000)  # of numbers of pairs: a run may be stopped at any time


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is left of the league, then draw its figures."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.league", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--data", nargs="+", choices=tuple(SETTINGS), help="some data sets alone")
    parser.add_argument("--n", type=int, nargs="+", help="some numbers of training pairs alone")
    parser.add_argument("--draws", type=int, default=3, help="training sets drawn")
    parser.add_argument("--quick", action="store_true", help="one tiny setting, no record")
    told = parser.parse_args(arguments)
    peers = everyone()
    if told.quick:
        config = Config(*QUICK, draws=1)
        print(run(config, [shortened(peer, 2) for peer in peers], None))
        return
    if missing := dense.missing():
        raise ModuleNotFoundError(
            "records of the league hold every system, so all of their packages must be installed; "
            f"got no {', '.join(missing)}. Run: pip install -e '.[frontier]'"
        )
    chosen = [
        (data, n)
        for n in ORDER
        for data, sizes in SETTINGS.items()
        if n in sizes and (not told.data or data in told.data) and (not told.n or n in told.n)
    ]
    for data, n in chosen:
        name = f"league-{data}-{n}"
        if is_current(name):
            continue
        config = Config(data, n, told.draws)
        folder = cache_folder() / "league" / commit() / f"{data}-{n}"
        result = run(config, peers, folder)
        print(result)
        print(write_record(name, config=asdict(config), result=asdict(result)))
    figures.draw()


if __name__ == "__main__":
    main()
