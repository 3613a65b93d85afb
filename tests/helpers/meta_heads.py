"""Small heads of random aspects over an adapter fitted to planted pairs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from align.adapters.closed_form.rcca import rcca
from align.adapters.corrections.hubness import NNN
from align.adapters.corrections.reference_set import ReferenceSet
from align.adapters.maps.linear import directions
from align.adapters.multi_vector.aspects import Heads, Reduction, Resampler, Selector, TokenAspects
from align.adapters.multi_vector.meta_tokens import MetaTokens
from align.data.multi_vector import MultiVector
from tests.helpers.planted import rotation, shared_factors

WIDTHS = (6, 5)
TOKEN_WIDTHS = (7, 9)
KINDS = [
    ("tokens", "tokens"),
    ("heads", "tokens"),
    ("tokens", "heads"),
    ("heads", "heads"),
    ("tokens", "selected"),
    ("selected", "heads"),
]
NONE = (None, None)


@dataclass
class Made:
    """A head and 30 pairs that it can take."""

    head: MetaTokens
    sides: tuple[Tensor, Tensor]
    tokens: tuple[MultiVector | None, MultiVector | None]


def random_tokens(n, d, rng, *, longest=6):
    """``n`` items of 1 to ``longest`` tokens of any length, ``(., d)``."""
    lengths = torch.randint(1, longest + 1, (n,), generator=rng).tolist()
    return MultiVector.pack([3 * torch.randn(t, d, generator=rng) for t in lengths])


def random_aspects(kind, side, x, rng, *, count=3, width=4):
    """Aspects of ``kind`` ``"tokens"``, ``"selected"`` or ``"heads"`` for side 0 or 1."""
    if kind == "heads":
        weight = torch.randn(count, x.shape[1], width, generator=rng)
        return Heads(directions(x).mean(dim=0), weight)
    d = TOKEN_WIDTHS[side]
    reduction = Reduction(0.1 * torch.randn(d, generator=rng), rotation(d, rng)[:, :5])
    weight = torch.randn(5, width, generator=rng)
    if kind == "selected":
        return TokenAspects(reduction, Selector(weight, count=count))
    return TokenAspects(reduction, Resampler(4 * torch.randn(count, 5, generator=rng), weight))


def made(kinds=("tokens", "tokens"), *, rng, mix=0.4, asking=3, hubness=False, n=30):
    """A head with aspects of these kinds, ``None`` for no aspects at all."""
    sides = shared_factors(n, WIDTHS, shared=3, noise=0.5)
    adapter = rcca(*sides)
    if hubness:
        reference_sets = adapter.source(sides[0]), adapter.target(sides[1])
        adapter.reference = ReferenceSet(*reference_sets, expansion=None, hubness=NNN(5, 0.75))
    parts = [
        None if kind is None else random_aspects(kind, side, sides[side], rng)
        for side, kind in enumerate(kinds)
    ]
    tokens = [
        random_tokens(n, TOKEN_WIDTHS[side], rng) if kind in ("tokens", "selected") else None
        for side, kind in enumerate(kinds)
    ]
    head = MetaTokens(adapter, *parts, mix=mix, asking=asking, card={"made": "for a test"})
    return Made(head, sides, tuple(tokens))
