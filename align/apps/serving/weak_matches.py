"""The score that a match must exceed to say more than the best match of a random text.

An index finds something for every query: for a text without meaning too, and one score is as high
as another to who sees them the first time. So random texts are searched with, and the line is drawn
where 19 in 20 of their best scores lie below it.
"""

from __future__ import annotations

import math
import random
import string
from collections.abc import Sequence

FALSE_ALARMS = 0.05
"""Share of random texts whose best match lies above the line."""

TEXTS = 199
"""Random texts; one more than these are divided by the share without a rest."""


def random_texts(count: int = TEXTS, *, seed: int = 0) -> list[str]:
    """Texts of one to six words of random letters, the same for the same seed."""
    draw = random.Random(seed)
    return [
        " ".join(
            "".join(draw.choices(string.ascii_lowercase, k=draw.randint(2, 9)))
            for _ in range(draw.randint(1, 6))
        )
        for _ in range(count)
    ]


def line_of(best_scores: Sequence[float], *, false_alarms: float = FALSE_ALARMS) -> float:
    """The score that the best match of one more random text exceeds with that probability at most.

    Split conformal prediction: the order statistic of rank ``ceil((n + 1) (1 - false_alarms))``;
    the bound holds at every ``n``, whatever the law of the scores, for texts drawn alike.

    Args:
        best_scores: The best score of each of ``n`` random texts; the line is infinite where ``n``
            is too small for the probability.
        false_alarms: The probability, in (0, 1).

    Reference:
        Vovk, Gammerman and Shafer 2005, Algorithmic Learning in a Random World, section 4.2;
        Lei et al. 2018, arXiv:1604.04173, section 2.2.
    """
    rank = math.ceil((len(best_scores) + 1) * (1 - false_alarms) - 1e-9)
    return sorted(best_scores)[rank - 1] if rank <= len(best_scores) else math.inf
