"""An adapter of each kind that can be saved, from pairs of widths 6 and 6, and rows for it."""

from __future__ import annotations

import torch
from torch import nn

from align.adapters.adapter import Adapter
from align.adapters.card import Card
from align.adapters.closed_form.asif import asif
from align.adapters.closed_form.centering import centering
from align.adapters.closed_form.csa import csa
from align.adapters.closed_form.rcca import rcca
from align.adapters.corrections.preference import Preference
from align.adapters.maps.linear import AffineMap, IdentityMap, LinearMap
from align.adapters.maps.parts import Parts
from align.adapters.recipes.formulas import rcca_maps
from align.adapters.recipes.moments import paired_moments
from align.adapters.trainable import instructed, linear_heads, projection_network, residual
from tests.adapters.blended import blend


def identity(source, target):
    return Adapter(IdentityMap(6), IdentityMap(6), Card("identity", len(source), 6, 6))


def affine(source, target):
    found = rcca(source, target).source_map
    maps = AffineMap(found.mean, found.weight, target.mean(dim=0)), IdentityMap(6)
    return Adapter(*maps, Card("affine", len(source), 6, 6))


def rooted(source, target):
    moments = paired_moments(source, target, roots=(True, False))
    maps = rcca_maps(moments, (1.0, 1.0), 0.5, dim=3)
    return Adapter(*maps, Card("rcca", len(source), 6, 6))


METHODS = {
    "identity": identity,
    "affine": affine,
    "linear": rcca,
    "signed root": rooted,
    "one shared weight": centering,
    "relative": lambda x, y: asif(x, y, k=7, power=3.0),
    "weighted": csa,
    "blend": blend,
}


def trained(adapter):
    """The same with weights that are no zeros."""
    generator = torch.Generator().manual_seed(1)
    for each in adapter.parameters():
        nn.init.normal_(each, std=0.3, generator=generator)
    return adapter


def of_parts(source, target, *, root=True):
    first = rcca(source, target, dim=4)
    parts = Parts((4, 2), (0.75, 0.25))
    target_map = LinearMap(first.target_map.mean, first.target_map.weight, root=root, parts=parts)
    return Adapter(first.source_map, target_map, Card("parts", len(source), 6, 6))


def shifted(kind, size=None):
    def make(source, target):
        generator = torch.Generator().manual_seed(0)
        return trained(
            residual(of_parts(source, target), kind=kind, size=size, generator=generator)
        )

    return make


def with_instructions(source, target):
    """Sources of 6 with instructions of 3, above a shift; targets of two kinds."""
    made = instructed(shifted("mlp", 9)(source, target), 3, scaled=True)
    weight = torch.arange(6.0).reshape(3, 2) / 4 - 0.5
    return trained(made.replaced(preference=Preference(weight, (4, 2))))


def networks(source, target):
    drawn = torch.Generator().manual_seed(0)
    return trained(projection_network(6, 6, hidden=10, dim=4, generator=drawn))


def heads(source, target):
    return linear_heads(6, 6, dim=4, generator=torch.Generator().manual_seed(0))


EVERY_KIND = METHODS | {
    "parts": of_parts,
    "linear shift": shifted("linear"),
    "low-rank shift": shifted("low_rank", 2),
    "shift of one hidden layer": shifted("mlp", 12),
    "instructions and a preference": with_instructions,
    "unscaled instructions": lambda x, y: trained(instructed(of_parts(x, y), 3)),
    "projection network": networks,
    "linear heads": heads,
}


def rows_of(adapter, side, n, rng):
    """Rows ``(n, d_in)`` of a side; some lack a part, or an instruction."""
    side_map = adapter.source_map if side == "source" else adapter.target_map
    x = torch.randn(n, side_map.d_in, generator=rng)
    if side == "target":
        x[::3, 4:] = 0
        x[1::3, :4] = 0
    elif side_map.d_in > 6:
        x[::2, 6:] = 0
    return x
