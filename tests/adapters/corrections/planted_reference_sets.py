"""Corrections of a gallery that adapters are saved with."""

from align.adapters.corrections.hubness import CSLS, NNN, InvertedSoftmax
from align.adapters.corrections.reference_set import GalleryExpansion, ReferenceSet

REFERENCE_SETS = {
    "no reference set": None,
    "expansion": (GalleryExpansion(0.3, 20.0), None),
    "nnn": (None, NNN(8, 0.75)),
    "csls and expansion": (GalleryExpansion(0.15, 20.0), CSLS(10)),
    "inverted softmax": (None, InvertedSoftmax(10.0)),
}


def with_reference(adapter, pairs, reference):
    if reference is None:
        return adapter
    expansion, hubness = reference
    sides = adapter.source(pairs[0]), adapter.target(pairs[1])
    adapter.reference = ReferenceSet(*sides, expansion=expansion, hubness=hubness)
    return adapter
