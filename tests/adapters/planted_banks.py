"""Corrections of a gallery that adapters are saved with."""

from align.adapters.bank import Bank, Expansion
from align.hubness import CSLS, NNN, InvertedSoftmax

BANKS = {
    "no bank": None,
    "expansion": (Expansion(0.3, 20.0), None),
    "nnn": (None, NNN(8, 0.75)),
    "csls and expansion": (Expansion(0.15, 20.0), CSLS(10)),
    "inverted softmax": (None, InvertedSoftmax(10.0)),
}


def with_bank(adapter, pairs, bank):
    if bank is None:
        return adapter
    expansion, hubness = bank
    sides = adapter.source(pairs[0]), adapter.target(pairs[1])
    adapter.bank = Bank(*sides, expansion=expansion, hubness=hubness)
    return adapter
