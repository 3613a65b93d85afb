"""Run as a child: saves one adapter after another over a folder, until it is killed.

python save_for_ever.py FOLDER, with ``aside`` behind it for a system that cannot exchange folders.
"""

from __future__ import annotations

import sys

import torch

from align._files import atomic
from align.adapters.adapter import Adapter
from align.adapters.card import Card
from align.adapters.maps.linear import IdentityMap, LinearMap


def adapter(number):
    """The weights say what the card says: which of the adapters this is."""
    maps = LinearMap(torch.zeros(3), torch.full((3, 3), float(number))), IdentityMap(3)
    return Adapter(*maps, Card("numbered", number + 1, 3, 3))


def number_of(found):
    """Which adapter this is, by its card and by its weights."""
    return found.card.n_pairs - 1, int(found.state_dict()["source_map.weight"][0, 0])


if __name__ == "__main__":
    folder, *aside = sys.argv[1:]
    if aside:
        atomic._exchange = lambda one, other: False
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for number in range(1_000_000):
        adapter(number).save(folder)
