"""Corrections of a gallery that adapters are saved with."""

from align.adapters.corrections.hubness import CSLS, NNN, BalancedSoftmax, InvertedSoftmax
from align.adapters.corrections.reference_set import Expansion, ReferenceSet

REFERENCE_SETS = {
    "no reference set": None,
    "expansion": (Expansion(0.3, 20.0), None),
    "nnn": (None, NNN(8, 0.75)),
    "csls and expansion": (Expansion(0.15, 20.0), CSLS(10)),
    "inverted softmax": (None, InvertedSoftmax(10.0)),
    "balanced softmax": (None, BalancedSoftmax(10.0)),
    "expansion of queries": (None, None, Expansion(0.2, 15.0)),
    "everything": (Expansion(0.15, 20.0), BalancedSoftmax(15.0), Expansion(0.1, 20.0)),
}


def with_reference(adapter, pairs, reference):
    if reference is None:
        return adapter
    expansion, hubness, *rest = reference
    sides = adapter.source(pairs[0]), adapter.target(pairs[1])
    adapter.reference = ReferenceSet(
        *sides, expansion=expansion, hubness=hubness, query_expansion=rest[0] if rest else None
    )
    return adapter
