"""The architecture of an adapter as plain data and back: what its ``config.json`` says."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from align._files.codec import read_fields
from align.adapters.artifact.schema import (
    AGAIN,
    Count,
    Number,
    Numbers,
    Object,
    Objects,
    Share,
    Size,
    Sizes,
    Slot,
)
from align.adapters.calibration.calibration import Calibration
from align.adapters.calibration.confidence import Confidence
from align.adapters.calibration.domain import Domain
from align.adapters.card import Card
from align.adapters.components import Components
from align.adapters.corrections.hubness import CSLS, NNN, BalancedSoftmax, InvertedSoftmax
from align.adapters.corrections.preference import Preference
from align.adapters.corrections.reference_set import Expansion, ReferenceSet
from align.adapters.maps.instructed import InstructedMap
from align.adapters.maps.linear import (
    AffineMap,
    BlendMap,
    IdentityMap,
    LinearMap,
    RelativeMap,
    SideMap,
    WeightedMap,
)
from align.adapters.maps.networks import LinearHead, ProjectionMap
from align.adapters.maps.parts import Parts
from align.adapters.maps.residual import LinearDelta, LowRankDelta, MLPDelta, ResidualMap
from align.adapters.recipes.formulas import Direction
from align.adapters.recipes.recipe import (
    PLS,
    RCCA,
    Average,
    Centering,
    Procrustes,
    QueryOnly,
    RawCosine,
    Recipe,
    Ridge,
)
from align.adapters.recipes.statistics import SufficientStatistics
from align.adapters.training_items import PER_ITEM, TrainingItems

Config = dict[str, Any]
Made = Callable[..., Any]


class Kind(NamedTuple):
    """How objects of one class are written, and made again with tensors on the meta device."""

    made: type
    fields: Mapping[str, Any]  # attributes that say its architecture, and their types in a file
    build: Made  # of those by name; a part whose shapes depend on its place gives a function
    added: Collection[str] = ()  # fields of a later minor version, which files before it lack


def _shape(*sizes: int) -> Tensor:
    return torch.empty(sizes, device="meta")


def _matrix_of(made: Made) -> Made:
    return lambda d_in, dim, **rest: made(_shape(d_in), _shape(d_in, dim), **rest)


def _affine(d_in: int, dim: int) -> AffineMap:
    return AffineMap(_shape(d_in), _shape(d_in, dim), _shape(dim))


def _relative(d_in: int, dim: int, **rest: Any) -> RelativeMap:
    return RelativeMap(_shape(d_in), _shape(dim, d_in), **rest)


def _weighted(slot: int, inner: LinearMap) -> WeightedMap:
    return WeightedMap(inner, _shape(inner.dim), slot=slot)


def _projection(d_in: int, hidden: int, dim: int) -> ProjectionMap:
    layers = _shape(d_in, hidden), _shape(hidden), _shape(hidden, dim), _shape(dim)
    return ProjectionMap(_shape(d_in), *layers)


def _residual(inner: SideMap, delta: Made, **rest: Any) -> ResidualMap:
    return ResidualMap(inner, delta(inner.d_in, inner.dim), _shape(inner.d_in), **rest)


def _instructed(d_instruction: int, scaled: bool, inner: SideMap) -> InstructedMap:
    sizes = d_instruction, inner.dim
    return InstructedMap(inner, _shape(*sizes), _shape(*sizes) if scaled else None)


def _low_rank(rank: int) -> Made:
    return lambda d_in, dim: LowRankDelta(_shape(d_in, rank), _shape(rank, dim))


def _mlp(hidden: int, dropout: float) -> Made:
    return lambda d_in, dim: MLPDelta(
        _shape(d_in, hidden), _shape(hidden), _shape(hidden, dim), dropout=dropout
    )


def _parts(widths: list[int], shares: list[float]) -> Parts:
    return Parts(tuple(widths), tuple(shares))


def _reference(rows: int, **rest: Any) -> Made:
    balanced = isinstance(rest["hubness"], BalancedSoftmax)
    handicaps = (_shape(rows), _shape(rows)) if balanced else None
    return lambda dim: ReferenceSet(
        _shape(rows, dim), _shape(rows, dim), handicaps=handicaps, **rest
    )


def _preference(d_instruction: int, widths: list[int]) -> Preference:
    return Preference(_shape(d_instruction, len(widths)), widths)


def _training_items(pairs: int, d_source: int, d_target: int) -> TrainingItems:
    numbers = _shape(pairs, PER_ITEM), _shape(pairs, PER_ITEM)
    return TrainingItems(*numbers, (d_source, d_target))


def _domain(a: int, d_in: int, kept: int) -> Domain:
    return Domain(_shape(d_in), _shape(a, d_in), _shape(a + 1), _shape(kept))


def _confidence(kept: int, **rest: Any) -> Confidence:
    return Confidence(_shape(kept), **rest)


def _rcca(ridge: list[float], power: float) -> RCCA:
    first, second = ridge
    return RCCA((first, second), power)


def _statistics(
    d_source: int,
    d_target: int,
    rows: int,
    pairs: int,
    sources: int,
    targets: int,
    sampled: int,
    source_root: bool,
    target_root: bool,
    source_parts: Parts | None,
    target_parts: Parts | None,
    recipe: Recipe,
) -> SufficientStatistics:
    widths = d_source, d_target
    factor = _shape(rows, sum(widths)), _shape(rows, sum(widths))
    return SufficientStatistics(
        recipe,
        (_shape(d_source), _shape(d_target)),
        factor,
        (_shape(sampled, d_source), _shape(sampled, d_target)),
        roots=(source_root, target_root),
        parts=(source_parts, target_parts),
        counts=(pairs, sources, targets),
    )


def _components(source_map: SideMap, reference: Made | None, **others: Any) -> Components:
    built = None if reference is None else reference(source_map.dim)
    try:
        return Components(source_map, reference=built, **others)
    except ValueError as error:
        raise ValueError(f"{error} If config.json was not edited by you: {AGAIN}.") from error


_IN_OUT = {"d_in": Size, "dim": Size}
_PREPARED = {"root": bool, "parts": Object | None}
_LINEAR = {"linear": Kind(LinearMap, _IN_OUT | _PREPARED, _matrix_of(LinearMap))}
_MAPS = {
    **_LINEAR,
    "affine": Kind(AffineMap, _IN_OUT, _affine),
    "identity": Kind(IdentityMap, {"dim": Size}, IdentityMap),
    "relative": Kind(RelativeMap, _IN_OUT | {"k": Size, "power": Number}, _relative),
    "weighted": Kind(WeightedMap, {"slot": Slot, "inner": Object}, _weighted),
    "blend": Kind(BlendMap, {"weights": Numbers, "maps": Objects}, BlendMap),
    "projection": Kind(ProjectionMap, _IN_OUT | {"hidden": Size}, _projection),
    "linear_head": Kind(LinearHead, _IN_OUT, _matrix_of(LinearHead)),
    "residual": Kind(ResidualMap, {"inner": Object, "delta": Object} | _PREPARED, _residual),
    "instructed": Kind(
        InstructedMap, {"d_instruction": Size, "scaled": bool, "inner": Object}, _instructed
    ),
}
_DELTAS = {
    "linear": Kind(LinearDelta, {}, lambda: lambda d_in, dim: LinearDelta(_shape(d_in, dim))),
    "low_rank": Kind(LowRankDelta, {"rank": Size}, _low_rank),
    "mlp": Kind(MLPDelta, {"hidden": Size, "dropout": Share}, _mlp),
}
_HUBNESS = {
    "nnn": Kind(NNN, {"k": Size, "alpha": Number}, NNN),
    "csls": Kind(CSLS, {"k": Size}, CSLS),
    "inverted_softmax": Kind(InvertedSoftmax, {"sharpness": Number}, InvertedSoftmax),
    "balanced_softmax": Kind(BalancedSoftmax, {"sharpness": Number}, BalancedSoftmax),
}
_EXPANSION = {"": Kind(Expansion, {"weight": Number, "sharpness": Number}, Expansion)}
_CORRECTIONS = dict.fromkeys(("expansion", "hubness", "query_expansion"), Object | None)
_REFERENCE = {"rows": Size} | _CORRECTIONS
_PREFERENCE = {"d_instruction": Size, "widths": Sizes}
_ITEMS = {"pairs": Size, "d_source": Size, "d_target": Size}
_RECIPES = {
    "rcca": Kind(RCCA, {"ridge": Numbers, "power": Number}, _rcca),
    "ridge": Kind(Ridge, {"ridge": Number, "direction": Direction}, Ridge),
    "pls": Kind(PLS, {"power": Number}, PLS),
    "procrustes": Kind(Procrustes, {}, Procrustes),
    "centering": Kind(Centering, {}, Centering),
    "raw_cosine": Kind(RawCosine, {}, RawCosine),
    "average": Kind(Average, {"first": Object, "second": Object, "weight": Share}, Average),
    "query_only": Kind(QueryOnly, {"recipe": Object}, QueryOnly),
}
_STATISTICS = {
    **dict.fromkeys(("d_source", "d_target", "rows", "pairs", "sources", "targets"), Size),
    "sampled": Count,
    **dict.fromkeys(("source_root", "target_root"), bool),
    **dict.fromkeys(("source_parts", "target_parts"), Object | None),
    "recipe": Object,
}
_SIDES = {"source_map": Object, "target_map": Object}
_DOMAIN = {"a": Size, "d_in": Size, "kept": Size}
_CONFIDENCE = {"kept": Size, "sharpness": Number, "spread": Number, "gallery": Size}
_DOMAINS = {"source_domain": Object, "target_domain": Object}
_CONFIDENCES = {"source_confidence": Object, "target_confidence": Object}
_ADDED = ("calibration", "statistics")
_EXTRAS = dict.fromkeys(("reference", "preference", "training_items", *_ADDED), Object | None)
_WHOLE = {"": Kind(Components, _SIDES | _EXTRAS, _components, _ADDED)}
_WIDTHS = {"parts": "d_in", "source_parts": "d_source", "target_parts": "d_target"}
_PARTS = {"": Kind(Parts, {"widths": Sizes, "shares": Numbers}, _parts)}
_INSIDE = {
    "source_map": _MAPS,
    "target_map": _MAPS,
    "inner": _MAPS,
    "maps": _MAPS,
    "delta": _DELTAS,
    "hubness": _HUBNESS,
    **dict.fromkeys(("parts", "source_parts", "target_parts"), _PARTS),
    **dict.fromkeys(("recipe", "first", "second"), _RECIPES),
    "statistics": {"": Kind(SufficientStatistics, _STATISTICS, _statistics)},
    **dict.fromkeys(("expansion", "query_expansion"), _EXPANSION),
    "reference": {"": Kind(ReferenceSet, _REFERENCE, _reference, added=("query_expansion",))},
    "preference": {"": Kind(Preference, _PREFERENCE, _preference)},
    "training_items": {"": Kind(TrainingItems, _ITEMS, _training_items)},
    "calibration": {"": Kind(Calibration, _DOMAINS | _CONFIDENCES, Calibration)},
    **{name: {"": Kind(Domain, _DOMAIN, _domain)} for name in _DOMAINS},
    **{name: {"": Kind(Confidence, _CONFIDENCE, _confidence)} for name in _CONFIDENCES},
}
"""What may stand in a field of objects, by the name of the field and then by kind; ``""`` is the
only kind of a field, which is not written."""
_NAMED = {
    kind.made: (name, kind) for kinds in (_WHOLE, *_INSIDE.values()) for name, kind in kinds.items()
}


def describe(components: Components) -> Config:
    """Kinds, widths and settings of every part of an adapter, without its tensors.

    Raises:
        TypeError: A part is none of the maps of ``align.adapters.maps``.
    """
    described: Config = _described(components)
    return described


def build(config: Mapping[str, Any], card: Card, *, newer: bool = False) -> Components:
    """The parts that ``describe`` described, their tensors on the meta device: shapes only.

    ``newer`` ignores unknown fields.

    Raises:
        ValueError: A field is unknown, missing or out of range, or the parts do not fit together.
    """
    components: Components = _built(config, "config.json", _WHOLE, newer)
    widths: Any = [components.source_map.d_in, components.target_map.d_in]
    if widths != [card.d_source, card.d_target]:
        raise ValueError(
            "the maps must take the widths that card.json names, "
            f"{[card.d_source, card.d_target]}; they take {widths}. "
            "If card.json and config.json come from two adapters, save or download one again."
        )
    statistics = components.statistics
    if statistics is not None and list(statistics.widths) != widths:
        raise ValueError(
            f"statistics must be of the widths that the maps take, {widths}; got "
            f"{list(statistics.widths)}. The file is damaged or was edited: {AGAIN}."
        )
    items = components.training_items
    if items is not None and (items.d_source > widths[0] or items.d_target > widths[1]):
        raise ValueError(
            f"training_items must be of at most the widths that the maps take, {widths}; got "
            f"{list(items.widths)}. The file is damaged or was edited: {AGAIN}."
        )
    known = components.calibration
    if known is not None and [known.source_domain.d_in, known.target_domain.d_in] != widths:
        raise ValueError(
            f"calibration must be of items of the widths that the maps take, {widths}; got "
            f"{[known.source_domain.d_in, known.target_domain.d_in]}. "
            f"The file is damaged or was edited: {AGAIN}."
        )
    return components


def _described(value: Any) -> Any:
    if type(value) in _NAMED:
        name, kind = _NAMED[type(value)]
        described = {each: _described(getattr(value, each)) for each in kind.fields}
        return {"kind": name, **described} if name else described
    if isinstance(value, list | tuple | nn.ModuleList):
        return [_described(each) for each in value]
    if isinstance(value, nn.Module):
        raise TypeError(
            "a saved adapter must be made of the maps in align.adapters.maps; "
            f"got a {type(value).__name__}. Save its state_dict yourself, or use one of those."
        )
    return value


def _built(config: Mapping[str, Any], at: str, kinds: Mapping[str, Kind], newer: bool) -> Any:
    name = "" if "" in kinds else config.get("kind")
    if not isinstance(name, str) or name not in kinds:
        *others, last = kinds
        raise ValueError(
            f"{at}.kind must be {', '.join(others)}{' or ' if others else ''}{last}; got "
            f"{repr(name)[:80]}. Load it with the version of isthmus that wrote it."
        )
    kind = kinds[name]
    rest = {each: value for each, value in config.items() if not name or each != "kind"}
    values = read_fields(rest, at, AGAIN, kind.fields, newer=newer, optional=kind.added)
    inside = f"{at}." if at != "config.json" else ""
    for each, value in values.items():
        within = _LINEAR if kind.made is WeightedMap else _INSIDE.get(each, {})
        if isinstance(value, Mapping):
            values[each] = _built(value, f"{inside}{each}", within, newer)
        elif kind.fields[each] is Objects:
            values[each] = [
                _built(one, f"{inside}{each}.{i}", within, newer) for i, one in enumerate(value)
            ]
    made = kind.build(**values)
    for each, of in _WIDTHS.items():
        parts = values.get(each)
        if parts is not None and sum(parts.widths) != getattr(made, of):
            raise ValueError(
                f"{at}.{each}.widths must sum to {getattr(made, of)}, the width of the vectors; "
                f"got {list(parts.widths)}. The file is damaged or was edited: {AGAIN}."
            )
    return made
