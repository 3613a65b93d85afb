"""Run as a child: searches settings and kills itself, without warning, at a chosen moment.

python tune_then_die.py STUDY MOMENT, where MOMENT is one of those in ``MOMENTS``.
"""

from __future__ import annotations

import os
import sys

from align.data.embeddings import PairedEmbeddings
from align.fitting.tuning.setting import SettingScorer
from align.fitting.tuning.study import tune
from tests.encoders.cache.encode_then_die import die
from tests.helpers.planted import shared_factors

MOMENTS = ("inside a fold of the thirteenth trial", "halfway through a line of the journal")
TRIALS = 15


def run(study):
    """A search past its plain and its random trials."""
    pairs = PairedEmbeddings.from_arrays(*shared_factors(60, (8, 6), shared=4, noise=0.5))
    return tune(pairs, study=study, trials=TRIALS, dims=(2, 6), folds=2)


if __name__ == "__main__":
    study, moment = sys.argv[1:]
    tried = set()

    def die_late(scorer, cv, setting, fold, on_fold=SettingScorer.on_fold):
        tried.add(setting)
        if len(tried) == 13:
            if moment == MOMENTS[0]:
                die()
            with open(study, "ab") as file:  # as a write that was cut short
                file.write(b'{"op_code":8,"worker')
                os.fsync(file.fileno())
            die()
        return on_fold(scorer, cv, setting, fold)

    SettingScorer.on_fold = die_late
    run(study)
