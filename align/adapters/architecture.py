"""The architecture of an adapter as plain data and back: what its ``config.json`` says."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from align.adapters.adapter import Adapter
from align.adapters.bank import Bank, Expansion
from align.adapters.maps import BlendMap, IdentityMap, LinearMap, RelativeMap, WeightedMap
from align.card import Card
from align.hubness import CSLS, NNN, Hubness, InvertedSoftmax

Config = dict[str, Any]

LARGEST = 2**30  # sizes beyond this are damage, and would overflow the size of a tensor


def describe(adapter: Adapter) -> Config:
    """Kinds, widths and settings of every part of an adapter, without its tensors.

    Raises:
        TypeError: A part is none of the maps of ``align.adapters.maps``.
    """
    return {
        "source_map": _describe_map(adapter.source_map),
        "target_map": _describe_map(adapter.target_map),
        "bank": None if adapter.bank is None else _describe_bank(adapter.bank),
    }


def build(config: Mapping[str, Any], card: Card) -> Adapter:
    """The adapter that ``describe`` described, its tensors on the meta device: shapes only.

    Raises:
        ValueError: A field is unknown, missing or out of range, or the parts do not fit together.
    """
    source, target, bank = _fields(
        config, "config.json", source_map=_OBJECT, target_map=_OBJECT, bank=_OBJECT_OR_NULL
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
    return Adapter(*maps, card, bank=None if bank is None else _build_bank(bank, dim))


def _describe_map(part: nn.Module) -> Config:
    match part:
        case LinearMap():
            return {"kind": "linear", "d_in": part.d_in, "dim": part.dim, "root": part.root}
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
        case _:
            raise TypeError(
                "a saved adapter must be made of the maps in align.adapters.maps; "
                f"got a {type(part).__name__}. Save its state_dict yourself, or use one of those."
            )


def _describe_bank(bank: Bank) -> Config:
    return {
        "rows": len(bank.source_bank),
        "expansion": None if bank.expansion is None else asdict(bank.expansion),
        "hubness": None if bank.hubness is None else _describe_hubness(bank.hubness),
    }


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
            d_in, dim, root = _fields(rest, at, d_in=_SIZE, dim=_SIZE, root=_FLAG)
            return LinearMap(_shape(d_in), _shape(d_in, dim), root=root)
        case {"kind": "identity", **rest}:
            return IdentityMap(*_fields(rest, at, dim=_SIZE))
        case {"kind": "relative", **rest}:
            d_in, dim, k, power = _fields(rest, at, d_in=_SIZE, dim=_SIZE, k=_SIZE, power=_NUMBER)
            return RelativeMap(_shape(d_in), _shape(dim, d_in), k=k, power=power)
        case {"kind": "weighted", **rest}:
            slot, inner = _fields(rest, at, slot=_SLOT, inner=_OBJECT)
            linear = _build_map(inner, f"{at}.inner")
            if isinstance(linear, LinearMap):
                return WeightedMap(linear, _shape(linear.dim), slot=slot)
            raise _unknown_kind(inner, f"{at}.inner", "linear")
        case {"kind": "blend", **rest}:
            weights, maps = _fields(rest, at, weights=_NUMBERS, maps=_OBJECTS)
            return BlendMap(
                [_build_map(each, f"{at}.maps.{i}") for i, each in enumerate(maps)], weights
            )
    raise _unknown_kind(config, at, "linear, identity, relative, weighted or blend")


def _build_bank(config: Mapping[str, Any], dim: int) -> Bank:
    rows, expansion, hubness = _fields(
        config, "bank", rows=_SIZE, expansion=_OBJECT_OR_NULL, hubness=_OBJECT_OR_NULL
    )
    if expansion is not None:
        expansion = Expansion(
            *_fields(expansion, "bank.expansion", weight=_NUMBER, sharpness=_NUMBER)
        )
    return Bank(
        _shape(rows, dim),
        _shape(rows, dim),
        expansion=expansion,
        hubness=None if hubness is None else _build_hubness(hubness, "bank.hubness"),
    )


def _build_hubness(config: Mapping[str, Any], at: str) -> Hubness:
    match config:
        case {"kind": "nnn", **rest}:
            return NNN(*_fields(rest, at, k=_SIZE, alpha=_NUMBER))
        case {"kind": "csls", **rest}:
            return CSLS(*_fields(rest, at, k=_SIZE))
        case {"kind": "inverted_softmax", **rest}:
            return InvertedSoftmax(*_fields(rest, at, sharpness=_NUMBER))
    raise _unknown_kind(config, at, "nnn, csls or inverted_softmax")


def _unknown_kind(config: Mapping[str, Any], at: str, known: str) -> ValueError:
    return ValueError(
        f"{at}.kind must be {known}; got {config.get('kind')!r}. "
        "Load it with the version of isthmus that wrote it."
    )


class _Rule(NamedTuple):
    """What a field must hold, in words and as a test."""

    words: str
    holds: Callable[[Any], bool]


def _is_number(value: Any) -> bool:
    whole = isinstance(value, int) and not isinstance(value, bool) and abs(value) <= LARGEST
    return whole or (isinstance(value, float) and math.isfinite(value))


def _is_size(value: Any) -> bool:
    return _is_number(value) and isinstance(value, int) and value >= 1


def _is_object(value: Any) -> bool:
    return isinstance(value, Mapping)


def _list_of(holds: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and len(value) > 0 and all(map(holds, value))


_FLAG = _Rule("true or false", lambda value: isinstance(value, bool))
_SLOT = _Rule("0 or 1", lambda value: value in (0, 1) and not isinstance(value, bool))
_SIZE = _Rule(f"a whole number in [1, {LARGEST}]", _is_size)
_NUMBER = _Rule("a finite number", _is_number)
_NUMBERS = _Rule("a list of finite numbers", _list_of(_is_number))
_OBJECT = _Rule("an object", _is_object)
_OBJECTS = _Rule("a list of objects", _list_of(_is_object))
_OBJECT_OR_NULL = _Rule("an object or null", lambda value: value is None or _is_object(value))


def _fields(config: Mapping[str, Any], at: str, **rules: _Rule) -> list[Any]:
    """The values of exactly these fields, in this order, each as its rule says."""
    unknown, missing = sorted(set(config) - set(rules)), sorted(set(rules) - set(config))
    if unknown or missing:
        raise ValueError(
            f"{at} must have exactly the fields {sorted(rules)}; "
            f"unknown: {unknown}, missing: {missing}. "
            "Load it with the version of isthmus that wrote it."
        )
    for name, rule in rules.items():
        if not rule.holds(config[name]):
            raise ValueError(
                f"{at}.{name} must be {rule.words}; got {config[name]!r}. "
                "The file is damaged or was edited: save or download the adapter again."
            )
    return [config[name] for name in rules]


def _shape(*sizes: int) -> Tensor:
    return torch.empty(sizes, device="meta")
