"""The architecture of an adapter as plain data and back: what its ``config.json`` says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn

from align.adapters.adapter import Adapter
from align.adapters.artifact.schema import (
    FLAG,
    NUMBER,
    NUMBERS,
    OBJECT,
    OBJECT_OR_NULL,
    OBJECTS,
    SHARE,
    SIZE,
    SIZES,
    SLOT,
    fields,
)
from align.adapters.card import Card
from align.adapters.corrections.hubness import CSLS, NNN, Hubness, InvertedSoftmax
from align.adapters.corrections.preference import Preference
from align.adapters.corrections.reference_set import GalleryExpansion, ReferenceSet
from align.adapters.maps.instructed import InstructedMap
from align.adapters.maps.linear import (
    AffineMap,
    BlendMap,
    IdentityMap,
    LinearMap,
    RelativeMap,
    WeightedMap,
)
from align.adapters.maps.networks import LinearHead, ProjectionMap
from align.adapters.maps.parts import Parts
from align.adapters.maps.residual import Delta, LinearDelta, LowRankDelta, MLPDelta, ResidualMap
from align.adapters.training_items import PER_ITEM, TrainingItems

Config = dict[str, Any]


def describe(adapter: Adapter) -> Config:
    """Kinds, widths and settings of every part of an adapter, without its tensors.

    Raises:
        TypeError: A part is none of the maps of ``align.adapters.maps.linear``.
    """
    return {
        "source_map": _describe_map(adapter.source_map),
        "target_map": _describe_map(adapter.target_map),
        "reference": None if adapter.reference is None else _describe_reference(adapter.reference),
        "preference": None
        if adapter.preference is None
        else _describe_preference(adapter.preference),
        "training_items": None
        if adapter.training_items is None
        else _describe_items(adapter.training_items),
    }


def build(config: Mapping[str, Any], card: Card) -> Adapter:
    """The adapter that ``describe`` described, its tensors on the meta device: shapes only.

    Raises:
        ValueError: A field is unknown, missing or out of range, or the parts do not fit together.
    """
    source, target, reference, preference, items = fields(
        config,
        "config.json",
        source_map=OBJECT,
        target_map=OBJECT,
        reference=OBJECT_OR_NULL,
        preference=OBJECT_OR_NULL,
        training_items=OBJECT_OR_NULL,
    )
    maps = _build_map(source, "source_map"), _build_map(target, "target_map")
    widths: list[Any] = [part.d_in for part in maps]
    if widths != [card.d_source, card.d_target]:
        raise ValueError(
            "the maps must take the widths that card.json names, "
            f"{[card.d_source, card.d_target]}; they take {widths}. "
            "If card.json and config.json come from two adapters, save or download one again."
        )
    dim: Any = maps[0].dim
    return Adapter(
        *maps,
        card,
        reference=None if reference is None else _build_reference(reference, dim),
        preference=None if preference is None else _build_preference(preference),
        training_items=None if items is None else _build_items(items, (widths[0], widths[1])),
    )


def _describe_map(part: nn.Module) -> Config:
    match part:
        case LinearMap():
            sizes = {"d_in": part.d_in, "dim": part.dim}
            return {
                "kind": "linear",
                **sizes,
                "root": part.root,
                "parts": _describe_parts(part.parts),
            }
        case AffineMap():
            return {"kind": "affine", "d_in": part.d_in, "dim": part.dim}
        case IdentityMap():
            return {"kind": "identity", "dim": part.dim}
        case RelativeMap():
            sizes = {"d_in": part.d_in, "dim": part.dim, "k": part.k}
            return {"kind": "relative", **sizes, "power": part.power}
        case WeightedMap():
            return {"kind": "weighted", "slot": part.slot, "inner": _describe_map(part.inner)}
        case BlendMap():
            inner = [_describe_map(each) for each in part.maps]
            return {"kind": "blend", "weights": list(part.weights), "maps": inner}
        case ProjectionMap():
            sizes = {"d_in": part.d_in, "hidden": part.hidden, "dim": part.dim}
            return {"kind": "projection", **sizes}
        case LinearHead():
            return {"kind": "linear_head", "d_in": part.d_in, "dim": part.dim}
        case ResidualMap():
            inside = {"inner": _describe_map(part.inner), "delta": _describe_delta(part.delta)}
            seen = {"root": part.root, "parts": _describe_parts(part.parts)}
            return {"kind": "residual", **inside, **seen}
        case InstructedMap():
            settings = {"d_instruction": part.parts[1], "scaled": part.scale is not None}
            return {"kind": "instructed", **settings, "inner": _describe_map(part.inner)}
        case _:
            raise TypeError(
                "a saved adapter must be made of the maps in align.adapters.maps.linear; "
                f"got a {type(part).__name__}. Save its state_dict yourself, or use one of those."
            )


def _describe_parts(parts: Parts | None) -> Config | None:
    if parts is None:
        return None
    return {"widths": list(parts.widths), "shares": list(parts.shares)}


def _describe_delta(delta: Delta) -> Config:
    match delta:
        case LinearDelta():
            return {"kind": "linear"}
        case LowRankDelta():
            return {"kind": "low_rank", "rank": delta.down.shape[1]}
        case MLPDelta():
            return {"kind": "mlp", "hidden": len(delta.bias), "dropout": delta.dropout}


def _describe_reference(reference: ReferenceSet) -> Config:
    return {
        "rows": len(reference.source_reference),
        "expansion": None if reference.expansion is None else asdict(reference.expansion),
        "hubness": None if reference.hubness is None else _describe_hubness(reference.hubness),
    }


def _describe_preference(preference: Preference) -> Config:
    return {"d_instruction": preference.d_instruction, "widths": list(preference.widths)}


def _describe_items(items: TrainingItems) -> Config:
    return {"pairs": len(items.source), "d_source": items.widths[0], "d_target": items.widths[1]}


def _describe_hubness(hubness: Hubness) -> Config:
    match hubness:
        case NNN():
            return {"kind": "nnn", **asdict(hubness)}
        case CSLS():
            return {"kind": "csls", **asdict(hubness)}
        case InvertedSoftmax():
            return {"kind": "inverted_softmax", **asdict(hubness)}


def _build_map(config: Mapping[str, Any], at: str) -> nn.Module:
    match config:
        case {"kind": "linear", **rest}:
            d_in, dim, root, parts = fields(
                rest, at, d_in=SIZE, dim=SIZE, root=FLAG, parts=OBJECT_OR_NULL
            )
            made_of = _build_parts(parts, f"{at}.parts", d_in)
            return LinearMap(_shape(d_in), _shape(d_in, dim), root=root, parts=made_of)
        case {"kind": "affine", **rest}:
            d_in, dim = fields(rest, at, d_in=SIZE, dim=SIZE)
            return AffineMap(_shape(d_in), _shape(d_in, dim), _shape(dim))
        case {"kind": "identity", **rest}:
            return IdentityMap(*fields(rest, at, dim=SIZE))
        case {"kind": "relative", **rest}:
            d_in, dim, k, power = fields(rest, at, d_in=SIZE, dim=SIZE, k=SIZE, power=NUMBER)
            return RelativeMap(_shape(d_in), _shape(dim, d_in), k=k, power=power)
        case {"kind": "weighted", **rest}:
            slot, inner = fields(rest, at, slot=SLOT, inner=OBJECT)
            linear = _build_map(inner, f"{at}.inner")
            if isinstance(linear, LinearMap):
                return WeightedMap(linear, _shape(linear.dim), slot=slot)
            raise _unknown_kind(inner, f"{at}.inner", "linear")
        case {"kind": "blend", **rest}:
            weights, maps = fields(rest, at, weights=NUMBERS, maps=OBJECTS)
            return BlendMap(
                [_build_map(each, f"{at}.maps.{i}") for i, each in enumerate(maps)], weights
            )
        case {"kind": "projection", **rest}:
            d_in, hidden, dim = fields(rest, at, d_in=SIZE, hidden=SIZE, dim=SIZE)
            first, second = (
                (_shape(d_in, hidden), _shape(hidden)),
                (_shape(hidden, dim), _shape(dim)),
            )
            return ProjectionMap(_shape(d_in), *first, *second)
        case {"kind": "linear_head", **rest}:
            d_in, dim = fields(rest, at, d_in=SIZE, dim=SIZE)
            return LinearHead(_shape(d_in), _shape(d_in, dim))
        case {"kind": "residual", **rest}:
            inner, delta, root, parts = fields(
                rest, at, inner=OBJECT, delta=OBJECT, root=FLAG, parts=OBJECT_OR_NULL
            )
            kept: Any = _build_map(inner, f"{at}.inner")
            shift = _build_delta(delta, f"{at}.delta", kept.d_in, kept.dim)
            made_of = _build_parts(parts, f"{at}.parts", kept.d_in)
            return ResidualMap(kept, shift, _shape(kept.d_in), root=root, parts=made_of)
        case {"kind": "instructed", **rest}:
            d_instruction, scaled, inner = fields(
                rest, at, d_instruction=SIZE, scaled=FLAG, inner=OBJECT
            )
            kept = _build_map(inner, f"{at}.inner")
            sizes = d_instruction, kept.dim
            return InstructedMap(kept, _shape(*sizes), _shape(*sizes) if scaled else None)
    raise _unknown_kind(
        config,
        at,
        "linear, affine, identity, relative, weighted, blend, projection, linear_head, residual "
        "or instructed",
    )


def _build_parts(config: Mapping[str, Any] | None, at: str, d_in: int) -> Parts | None:
    if config is None:
        return None
    widths, shares = fields(config, at, widths=SIZES, shares=NUMBERS)
    if sum(widths) != d_in:
        raise ValueError(
            f"{at}.widths must sum to {d_in}, the width of the map; got {widths}. "
            "The file is damaged or was edited: save or download the adapter again."
        )
    return Parts(tuple(widths), tuple(shares))


def _build_delta(config: Mapping[str, Any], at: str, d_in: int, dim: int) -> Delta:
    match config:
        case {"kind": "linear", **rest}:
            fields(rest, at)
            return LinearDelta(_shape(d_in, dim))
        case {"kind": "low_rank", **rest}:
            [rank] = fields(rest, at, rank=SIZE)
            return LowRankDelta(_shape(d_in, rank), _shape(rank, dim))
        case {"kind": "mlp", **rest}:
            hidden, dropout = fields(rest, at, hidden=SIZE, dropout=SHARE)
            shapes = _shape(d_in, hidden), _shape(hidden), _shape(hidden, dim)
            return MLPDelta(*shapes, dropout=dropout)
    raise _unknown_kind(config, at, "linear, low_rank or mlp")


def _build_reference(config: Mapping[str, Any], dim: int) -> ReferenceSet:
    rows, expansion, hubness = fields(
        config, "reference", rows=SIZE, expansion=OBJECT_OR_NULL, hubness=OBJECT_OR_NULL
    )
    if expansion is not None:
        expansion = GalleryExpansion(
            *fields(expansion, "reference.expansion", weight=NUMBER, sharpness=NUMBER)
        )
    return ReferenceSet(
        _shape(rows, dim),
        _shape(rows, dim),
        expansion=expansion,
        hubness=None if hubness is None else _build_hubness(hubness, "reference.hubness"),
    )


def _build_preference(config: Mapping[str, Any]) -> Preference:
    d_instruction, widths = fields(config, "preference", d_instruction=SIZE, widths=SIZES)
    return Preference(_shape(d_instruction, len(widths)), widths)


def _build_items(config: Mapping[str, Any], taken: tuple[int, int]) -> TrainingItems:
    pairs, source, target = fields(
        config, "training_items", pairs=SIZE, d_source=SIZE, d_target=SIZE
    )
    if source > taken[0] or target > taken[1]:
        raise ValueError(
            f"training_items must be of at most the widths that the maps take, {list(taken)}; got "
            f"{[source, target]}. The file is damaged or was edited: save or download the adapter "
            "again."
        )
    return TrainingItems(_shape(pairs, PER_ITEM), _shape(pairs, PER_ITEM), (source, target))


def _build_hubness(config: Mapping[str, Any], at: str) -> Hubness:
    match config:
        case {"kind": "nnn", **rest}:
            return NNN(*fields(rest, at, k=SIZE, alpha=NUMBER))
        case {"kind": "csls", **rest}:
            return CSLS(*fields(rest, at, k=SIZE))
        case {"kind": "inverted_softmax", **rest}:
            return InvertedSoftmax(*fields(rest, at, sharpness=NUMBER))
    raise _unknown_kind(config, at, "nnn, csls or inverted_softmax")


def _unknown_kind(config: Mapping[str, Any], at: str, known: str) -> ValueError:
    return ValueError(
        f"{at}.kind must be {known}; got {config.get('kind')!r}. "
        "Load it with the version of isthmus that wrote it."
    )


def _shape(*sizes: int) -> Tensor:
    return torch.empty(sizes, device="meta")
