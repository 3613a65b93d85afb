"""The architecture of an adapter as plain data and back: what its ``config.json`` says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from align._files.codec import Rule, read_fields
from align.adapters.artifact.schema import (
    AGAIN,
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
)
from align.adapters.card import Card
from align.adapters.components import Components
from align.adapters.corrections.hubness import CSLS, NNN, InvertedSoftmax
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
from align.adapters.maps.residual import LinearDelta, LowRankDelta, MLPDelta, ResidualMap
from align.adapters.training_items import PER_ITEM, TrainingItems

Config = dict[str, Any]


class Kind(NamedTuple):
    """How objects of one class are written and made again.

    Attributes:
        made: The class.
        rules: The attributes that say its architecture, and what each must hold in a file.
        build: Takes those by name and gives an object with tensors on the meta device; or, of a
            part whose shapes depend on what it stands in, a function that gives one.
        name: The ``kind`` in a file, or ``None`` where nothing else can stand there.
    """

    made: type
    rules: Mapping[str, Rule]
    build: Callable[..., Any]
    name: str | None = None


def _shape(*sizes: int) -> Tensor:
    return torch.empty(sizes, device="meta")


def _sized(**rules: Rule) -> dict[str, Rule]:
    return {"d_in": SIZE, "dim": SIZE, **rules}


def _projection(d_in: int, dim: int, hidden: int) -> ProjectionMap:
    layers = _shape(d_in, hidden), _shape(hidden), _shape(hidden, dim), _shape(dim)
    return ProjectionMap(_shape(d_in), *layers)


def _residual(inner: Any, delta: Any, root: bool, parts: Parts | None) -> ResidualMap:
    shift = delta(inner.d_in, inner.dim)
    return ResidualMap(inner, shift, _shape(inner.d_in), root=root, parts=parts)


def _instructed(d_instruction: int, scaled: bool, inner: Any) -> InstructedMap:
    sizes = d_instruction, inner.dim
    return InstructedMap(inner, _shape(*sizes), _shape(*sizes) if scaled else None)


def _mlp(d_in: int, dim: int, hidden: int, dropout: float) -> MLPDelta:
    return MLPDelta(_shape(d_in, hidden), _shape(hidden), _shape(hidden, dim), dropout=dropout)


def _components(
    source_map: nn.Module, target_map: nn.Module, reference: Any, **others: Any
) -> Components:
    built = None if reference is None else reference(source_map.dim)
    return Components(source_map, target_map, built, **others)


_LINEAR = Kind(
    LinearMap,
    _sized(root=FLAG, parts=OBJECT_OR_NULL),
    lambda d_in, dim, **rest: LinearMap(_shape(d_in), _shape(d_in, dim), **rest),
    "linear",
)
_MAPS = (
    _LINEAR,
    Kind(
        AffineMap,
        _sized(),
        lambda d_in, dim: AffineMap(_shape(d_in), _shape(d_in, dim), _shape(dim)),
        "affine",
    ),
    Kind(IdentityMap, {"dim": SIZE}, IdentityMap, "identity"),
    Kind(
        RelativeMap,
        _sized(k=SIZE, power=NUMBER),
        lambda d_in, dim, **rest: RelativeMap(_shape(d_in), _shape(dim, d_in), **rest),
        "relative",
    ),
    Kind(
        WeightedMap,
        {"slot": SLOT, "inner": OBJECT},
        lambda slot, inner: WeightedMap(inner, _shape(inner.dim), slot=slot),
        "weighted",
    ),
    Kind(BlendMap, {"weights": NUMBERS, "maps": OBJECTS}, BlendMap, "blend"),
    Kind(ProjectionMap, _sized(hidden=SIZE), _projection, "projection"),
    Kind(
        LinearHead,
        _sized(),
        lambda d_in, dim: LinearHead(_shape(d_in), _shape(d_in, dim)),
        "linear_head",
    ),
    Kind(
        ResidualMap,
        {"inner": OBJECT, "delta": OBJECT, "root": FLAG, "parts": OBJECT_OR_NULL},
        _residual,
        "residual",
    ),
    Kind(
        InstructedMap,
        {"d_instruction": SIZE, "scaled": FLAG, "inner": OBJECT},
        _instructed,
        "instructed",
    ),
)
_DELTAS = (
    Kind(LinearDelta, {}, lambda: lambda d_in, dim: LinearDelta(_shape(d_in, dim)), "linear"),
    Kind(
        LowRankDelta,
        {"rank": SIZE},
        lambda rank: lambda d_in, dim: LowRankDelta(_shape(d_in, rank), _shape(rank, dim)),
        "low_rank",
    ),
    Kind(
        MLPDelta,
        {"hidden": SIZE, "dropout": SHARE},
        lambda **rest: partial(_mlp, **rest),
        "mlp",
    ),
)
_HUBNESS = (
    Kind(NNN, {"k": SIZE, "alpha": NUMBER}, NNN, "nnn"),
    Kind(CSLS, {"k": SIZE}, CSLS, "csls"),
    Kind(InvertedSoftmax, {"sharpness": NUMBER}, InvertedSoftmax, "inverted_softmax"),
)
_INSIDE = {
    "source_map": _MAPS,
    "target_map": _MAPS,
    "inner": _MAPS,
    "maps": _MAPS,
    "delta": _DELTAS,
    "hubness": _HUBNESS,
    "parts": (
        Kind(
            Parts,
            {"widths": SIZES, "shares": NUMBERS},
            lambda widths, shares: Parts(tuple(widths), tuple(shares)),
        ),
    ),
    "expansion": (
        Kind(GalleryExpansion, {"weight": NUMBER, "sharpness": NUMBER}, GalleryExpansion),
    ),
    "reference": (
        Kind(
            ReferenceSet,
            {"rows": SIZE, "expansion": OBJECT_OR_NULL, "hubness": OBJECT_OR_NULL},
            lambda rows, **rest: (
                lambda dim: ReferenceSet(_shape(rows, dim), _shape(rows, dim), **rest)
            ),
        ),
    ),
    "preference": (
        Kind(
            Preference,
            {"d_instruction": SIZE, "widths": SIZES},
            lambda d_instruction, widths: Preference(_shape(d_instruction, len(widths)), widths),
        ),
    ),
    "training_items": (
        Kind(
            TrainingItems,
            {"pairs": SIZE, "d_source": SIZE, "d_target": SIZE},
            lambda pairs, d_source, d_target: TrainingItems(
                _shape(pairs, PER_ITEM), _shape(pairs, PER_ITEM), (d_source, d_target)
            ),
        ),
    ),
}
"""What may stand in a field that holds an object, or objects, by the name of the field."""
_ALL = (
    Kind(
        Components,
        {
            "source_map": OBJECT,
            "target_map": OBJECT,
            "reference": OBJECT_OR_NULL,
            "preference": OBJECT_OR_NULL,
            "training_items": OBJECT_OR_NULL,
        },
        _components,
    ),
)
_KIND_OF = {kind.made: kind for kinds in (_ALL, *_INSIDE.values()) for kind in kinds}


def describe(components: Components) -> Config:
    """Kinds, widths and settings of every part of an adapter, without its tensors.

    Raises:
        TypeError: A part is none of the maps of ``align.adapters.maps``.
    """
    described: Config = _described(components)
    return described


def build(config: Mapping[str, Any], card: Card, *, newer: bool = False) -> Components:
    """The parts that ``describe`` described, their tensors on the meta device: shapes only.

    Args:
        config: As ``describe`` gave it.
        card: Of the same adapter.
        newer: Whether to ignore unknown fields.

    Raises:
        ValueError: A field is unknown, missing or out of range, or the parts do not fit together.
    """
    components: Components = _built(config, "config.json", _ALL, newer)
    source, target = components.source_map, components.target_map
    widths: Any = [source.d_in, target.d_in]
    if widths != [card.d_source, card.d_target]:
        raise ValueError(
            "the maps must take the widths that card.json names, "
            f"{[card.d_source, card.d_target]}; they take {widths}. "
            "If card.json and config.json come from two adapters, save or download one again."
        )
    items = components.training_items
    if items is not None and (items.d_source > widths[0] or items.d_target > widths[1]):
        raise ValueError(
            f"training_items must be of at most the widths that the maps take, {widths}; got "
            f"{list(items.widths)}. The file is damaged or was edited: save or download the "
            "adapter again."
        )
    return components


def _described(value: Any) -> Any:
    kind = _KIND_OF.get(type(value))
    if kind is not None:
        said = {} if kind.name is None else {"kind": kind.name}
        return {**said, **{name: _described(getattr(value, name)) for name in kind.rules}}
    if isinstance(value, list | tuple | nn.ModuleList):
        return [_described(each) for each in value]
    if isinstance(value, nn.Module):
        raise TypeError(
            "a saved adapter must be made of the maps in align.adapters.maps; "
            f"got a {type(value).__name__}. Save its state_dict yourself, or use one of those."
        )
    return value


def _built(config: Mapping[str, Any], at: str, kinds: tuple[Kind, ...], newer: bool) -> Any:
    [*named] = [kind for kind in kinds if kind.name in (None, config.get("kind"))]
    if not named:
        raise ValueError(
            f"{at}.kind must be {_listed([str(kind.name) for kind in kinds])}; got "
            f"{repr(config.get('kind'))[:80]}. Load it with the version of isthmus that wrote it."
        )
    kind = named[0]
    rest = {name: value for name, value in config.items() if kind.name is None or name != "kind"}
    read = read_fields(rest, at, AGAIN, kind.rules, newer=newer)
    values = dict(zip(kind.rules, read, strict=True))
    inside = f"{at}." if at != "config.json" else ""
    for name, value in values.items():
        within = (_LINEAR,) if kind.made is WeightedMap else _INSIDE.get(name, ())
        if isinstance(value, Mapping):
            values[name] = _built(value, f"{inside}{name}", within, newer)
        elif kind.rules[name] is OBJECTS:
            values[name] = [
                _built(each, f"{inside}{name}.{i}", within, newer) for i, each in enumerate(value)
            ]
    made = kind.build(**values)
    parts = values.get("parts")
    if parts is not None and sum(parts.widths) != made.d_in:
        raise ValueError(
            f"{at}.parts.widths must sum to {made.d_in}, the width of the map; got "
            f"{list(parts.widths)}. The file is damaged or was edited: save or download the "
            "adapter again."
        )
    return made


def _listed(names: list[str]) -> str:
    return " or ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
