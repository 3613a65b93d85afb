"""Words on patches for one vector: a cosine taken apart into tokens of both sides."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from align.adapters.adapter import Adapter
from align.adapters.maps.linear import (
    AffineMap,
    BlendMap,
    IdentityMap,
    LinearMap,
    SideMap,
    WeightedMap,
    directions,
)
from align.data.encoding import Encoder, PatchEncoder, TokenEncoder, WordEncoder
from align.data.sides import Side, other_side
from align.retrieval.explanation.tokens import TokenExplanation, of_heat

_SAME = 1e-3  # a pooled vector is the mean of its tokens if they differ by less of its length


@torch.inference_mode()
def explain_words(
    adapter: Adapter, encoders: tuple[Encoder, Encoder], items: tuple[Any, Any], *, side: Side
) -> TokenExplanation:
    """What each word of a query and each part of an item add to their cosine.

    Where an encoder pools by the mean and the map is linear, a vector in the shared space is a sum
    over tokens, ``z = sum_t ((h_t / |m|) - mean) W / (n L)`` with ``m`` the mean of the states and
    ``L`` the norm that is divided by last; so the cosine of two is a sum over pairs of tokens.
    A signed root is shared among tokens as they share its coordinate, and a blend of such maps is a
    sum of sums. Nothing is approximated. The state of a token knows of its neighbours, so a word is
    where the network put what it says, which need not be where a person would look for it.

    Args:
        adapter: Whose maps are linear.
        encoders: Of the query and of the item.
        items: The query and the item.
        side: The side of the query.

    Raises:
        ValueError: An encoder gives no tokens or does not pool by their mean, or a map is not
            linear.
    """
    terms, labels = [], []
    picture = None
    for encoder, item, own in zip(encoders, items, (side, other_side(side)), strict=True):
        side_map = adapter.source_map if own == "source" else adapter.target_map
        terms.append(_terms(side_map, encoder, item, own))
        labels.append(encoder.words(item) if isinstance(encoder, WordEncoder) else None)
        picture = encoder.seen(item) if isinstance(encoder, PatchEncoder) else None
    heat = terms[0] @ terms[1].T
    heat, words = _by_word(heat, labels[0])
    across, parts = _by_word(heat.T, labels[1])
    heat = across.T
    return of_heat(heat.sum(dim=1), heat, words=words, parts=parts, picture=picture)


def _terms(side_map: SideMap, encoder: Encoder, item: Any, side: Side) -> Tensor:
    """What each token adds to an item in the shared space, ``(t, dim)``."""
    if not isinstance(encoder, TokenEncoder):
        raise ValueError(
            f"words and patches are tokens of an encoder; {encoder.fingerprint} of the {side} side "
            "gives none. Use an encoder with encode_tokens, such as TextEncoder."
        )
    states = encoder.encode_tokens([item], progress=False)[0].double()
    pooled = encoder.encode([item], progress=False)
    mean = states.mean(dim=0)
    apart = directions(pooled).double()[0] - mean / torch.linalg.vector_norm(mean)
    if torch.linalg.vector_norm(apart) > _SAME:
        raise ValueError(
            "a vector is a sum over tokens where its encoder pools by their mean; "
            f"{encoder.fingerprint} of the {side} side does not. Use explain, or an encoder with "
            "pooling='mean' and an adapter fitted on it."
        )
    terms = _mapped(side_map, states)
    if terms is None:
        raise ValueError(
            "a cosine is a sum over tokens where the maps are linear in the vector of one encoder; "
            f"{type(side_map).__name__} of the {side} side is not. Use explain, which takes any "
            "adapter, or look at words through one that was fitted with effort='fast'."
        )
    return terms


def _mapped(side_map: SideMap, states: Tensor) -> Tensor | None:
    """Rows that sum to the map of their mean, ``(t, dim)``; ``None`` where that is no sum.

    The columns that a ``WeightedMap`` adds are left at 0: the other side holds zeros there.
    """
    if isinstance(side_map, BlendMap):
        parts = [_mapped(each, states) for each in side_map.maps]  # type: ignore[arg-type]  # a ModuleList
        found = [part for part in parts if part is not None]
        return side_map.join(found) if len(found) == len(parts) else None
    if isinstance(side_map, WeightedMap):
        inner = _mapped(side_map.inner, states)
        if inner is None:
            return None
        return F.pad(inner * side_map.weight.double().sqrt(), (0, 2))
    if isinstance(side_map, LinearMap) and side_map.parts is None:
        # A root is a product with what is known of the whole, shared as the tokens share the mean.
        mean = states.mean(dim=0).abs()
        states = states * mean.rsqrt().where(mean > 0, 0.0) if side_map.root else states
        rows = (_over_mean(states) - side_map.mean.double()) @ side_map.weight.double()
    elif isinstance(side_map, AffineMap):
        rows = (_over_mean(states) - side_map.mean.double()) @ side_map.weight.double()
        rows = rows + side_map.offset.double()
    elif isinstance(side_map, IdentityMap):
        rows = states
    else:
        return None
    return _over_mean(rows) / len(rows)


def _over_mean(rows: Tensor) -> Tensor:
    """Rows divided by the length of their mean."""
    length: Tensor = torch.linalg.vector_norm(rows.mean(dim=0))
    return rows / length


def _by_word(rows: Tensor, words: Sequence[str] | None) -> tuple[Tensor, list[str] | None]:
    """Rows ``(t, m)`` added up by word; special tokens stand together at the end."""
    if words is None:
        return rows, None
    names: list[str] = []
    codes: list[int] = []
    special = [at for at, word in enumerate(words) if word == ""]
    for word in words:
        if word == "":
            codes.append(-1)
        elif word == CONTINUED and names:
            codes.append(len(names) - 1)
        else:
            codes.append(len(names))
            names.append(word)
    if special:
        names.append("(special tokens)")
        codes = [len(names) - 1 if code == -1 else code for code in codes]
    added = rows.new_zeros(len(names), rows.shape[1])
    return added.index_add_(0, torch.tensor(codes), rows), names


CONTINUED = "##"
"""What ``WordEncoder.words`` gives where the word of the token before goes on."""
