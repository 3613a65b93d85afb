"""A saved adapter run by NumPy: vectors of the two encoders in, vectors to search with out.

This file needs NumPy 2 and safetensors, and nothing else of isthmus: install the package with
``--no-deps``, or copy the file. ``load`` reads the folder that ``align.Adapter.save`` wrote, and
``queries`` and ``gallery`` give what those of ``align.Adapter`` give but for rounding.

    adapter = light.load("my-adapter")
    gallery = adapter.gallery(photos)  # (m, d_target)
    queries = adapter.queries(captions)  # (n, d_source)
    scores = queries @ gallery.T  # higher is nearer
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file

Array = npt.NDArray[Any]  # of float32; NumPy says that a product with a number is float64
Step = Callable[[Array], Array]
Config = Mapping[str, Any]

WEIGHTS, CONFIG, CARD = "model.safetensors", "config.json", "card.json"
VERSIONS = {CONFIG: ("isthmus-adapter", 2), CARD: ("isthmus-card", 1)}
AGAIN = "Save or download the adapter again."

_SHORTEST = 1e-12  # norm below which a vector has no direction and is left short
_ROWS = 1024  # items mapped at a time, at most
_SIMILARITIES = 2**22  # similarities to the reference set that are held at a time


class SideMap(NamedTuple):
    """A map of one side: rows ``(n, d_in)`` in, unit-norm rows ``(n, dim)`` out."""

    d_in: int
    dim: int
    run: Step


@dataclass(frozen=True, slots=True)
class Adapter:
    """Maps both sides of a pair into one space, where the inner product means match.

    Attributes:
        source_map: Of the sources.
        target_map: Of the targets.
        d_search: Width of the vectors that ``queries`` of sources and ``gallery`` of targets give.
        source_fingerprint: Encoder that the sources must come from, or ``None`` if not recorded.
        target_fingerprint: The same of the targets.
    """

    source_map: SideMap
    target_map: SideMap
    d_search: int
    source_fingerprint: str | None
    target_fingerprint: str | None
    _reference: _ReferenceSet | None
    _preference: _Preference | None

    def queries(self, x: npt.ArrayLike, *, side: Literal["source", "target"] = "source") -> Array:
        """Query vectors to search a ``gallery`` of the other side with, by inner product.

        Args:
            x: Embeddings of the side that asks, ``(n, d_side)``: finite, no row zero.
            side: Which side that is.

        Returns:
            ``(n, dim)`` float32, and further columns: ones if there is a hubness correction, and
            for sources, what their instructions prefer, if there is a preference.

        Raises:
            ValueError: ``x`` is not a finite matrix of that width, a row is all zeros, or ``side``
                is neither ``"source"`` nor ``"target"``.
        """
        side_map = self._map(side)

        reference = self._reference

        def block(rows: Array) -> Array:
            z = side_map.run(rows)
            columns = [z] if reference is None else reference.queries(z, side)
            if self._preference is not None and side == "source":
                columns.append(self._preference.queries(rows))
            return _beside(columns)

        expanding = reference is not None and reference.query_expansion is not None
        checked = _checked(x, f"{side} embeddings", side_map.d_in)
        return _by_blocks(block, checked, self._at_once() if expanding else _ROWS)

    def gallery(self, y: npt.ArrayLike, *, side: Literal["source", "target"] = "target") -> Array:
        """Gallery vectors for any inner-product index, expansion and correction included.

        Args:
            y: Embeddings of the side that is searched, ``(m, d_side)``: finite, no row zero.
            side: Which side that is.

        Returns:
            ``(m, dim)`` float32, and further columns: minus the hubness bias, if there is a
            correction, and for targets their kinds, if there is a preference. The inner product
            with ``queries`` of the other side is the corrected score.

        Raises:
            ValueError: As for ``queries``.
        """
        side_map, reference = self._map(side), self._reference

        def block(rows: Array) -> Array:
            z = side_map.run(rows)
            columns = [z] if reference is None else reference.gallery(z, side)
            if self._preference is not None and side == "target":
                columns.append(self._preference.gallery(rows))
            return _beside(columns)

        checked = _checked(y, f"{side} embeddings", side_map.d_in)
        return _by_blocks(block, checked, self._at_once())

    def _at_once(self) -> int:
        """Items that are compared with the whole reference set at a time."""
        if self._reference is None:
            return _ROWS
        return min(_ROWS, max(1, _SIMILARITIES // len(self._reference.source)))

    def _map(self, side: str) -> SideMap:
        if side not in ("source", "target"):
            raise ValueError(
                f'side must be "source" or "target"; got {side!r}. '
                "Name the side whose encoder made these embeddings."
            )
        return self.source_map if side == "source" else self.target_map


def load(folder: str | Path) -> Adapter:
    """The adapter in a folder that ``align.Adapter.save`` wrote.

    Nothing but tensors and JSON is read, and compared with the digests in ``config.json``: a folder
    that was damaged, edited or mixed from two is refused.

    Raises:
        FileNotFoundError: There is no such folder, or one of its files is missing.
        ValueError: A file is damaged, of another version, or does not fit the others.
    """
    folder = Path(folder).expanduser()
    missing = [name for name in (WEIGHTS, CONFIG, CARD) if not (folder / name).is_file()]
    if missing:
        raise FileNotFoundError(
            f"an adapter is a folder with {WEIGHTS}, {CONFIG} and {CARD}; {str(folder)!r} lacks "
            f"{', '.join(missing)}. Pass the folder that adapter.save wrote."
        )
    config, card = (_read_json(folder / name) for name in (CONFIG, CARD))
    try:
        tensors = load_file(folder / WEIGHTS)
    except SafetensorError as error:
        raise ValueError(
            f"{WEIGHTS} must be a whole safetensors file; reading it failed with: {error}. {AGAIN}"
        ) from error
    digests = config.get("digests")
    kept = digests if isinstance(digests, dict) else {}
    for name, found, expected in (
        (CONFIG, _json_digest(config, "sha256"), config.get("sha256")),
        (CARD, _json_digest(card), kept.get("card")),
        (WEIGHTS, _digest(tensors), kept.get("weights")),
    ):
        if found != expected:
            raise ValueError(
                f"{name} must hold what was saved; its digest in {CONFIG} is another, so a file "
                f"was damaged, edited, or taken from elsewhere. {AGAIN}"
            )
    return _adapter(config, card, _Tensors(tensors, ""))


def _adapter(config: Config, card: Config, tensors: _Tensors) -> Adapter:
    try:
        source_map, target_map = (
            _side_map(config[name], tensors.inside(name)) for name in ("source_map", "target_map")
        )
        reference = config["reference"] and _reference_set(
            config["reference"], tensors.inside("reference"), source_map.dim
        )
        preference = config["preference"] and _preference(
            config["preference"], tensors.inside("preference")
        )
        widths = [source_map.d_in, target_map.d_in]
        if [card["d_source"], card["d_target"]] != widths or source_map.dim != target_map.dim:
            raise ValueError(f"its maps are of the widths {widths}, and {CARD} names others")
        return Adapter(
            source_map,
            target_map,
            source_map.dim
            + (reference is not None and reference.hubness is not None)
            + (0 if preference is None else len(preference.widths)),
            card["source_fingerprint"],
            card["target_fingerprint"],
            reference,
            preference,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{CONFIG} must describe an adapter in the way of its version; reading it failed with "
            f"{type(error).__name__}: {error}. Load it with the version of isthmus that wrote it."
        ) from error


@dataclass(frozen=True, slots=True)
class _Tensors:
    """The tensors of a file whose names begin with ``at``."""

    all: Mapping[str, Array]
    at: str

    def inside(self, name: str) -> _Tensors:
        return _Tensors(self.all, f"{self.at}{name}.")

    def get(self, name: str, *shape: int) -> Array:
        found = self.all[f"{self.at}{name}"]
        if found.shape != shape or found.dtype != np.float32:
            raise ValueError(
                f"{self.at}{name} is {found.dtype} of shape {found.shape}, not float32 of {shape}"
            )
        return found


# Maps, by the names of their kinds in config.json; align.adapters.maps says what each is for.


def _side_map(config: Config, tensors: _Tensors) -> SideMap:
    kind = config["kind"]
    if kind not in _MAPS:
        raise ValueError(f"this reader knows no map of kind {str(kind)[:80]!r}")
    return _MAPS[kind](config, tensors)


def _linear(config: Config, tensors: _Tensors) -> SideMap:
    d_in, dim = config["d_in"], config["dim"]
    mean, weight = tensors.get("mean", d_in), tensors.get("weight", d_in, dim)
    if config.get("parts") is None:
        root = config.get("root", False)
        # The last step normalises: the length of the centred rows does not matter.
        return SideMap(d_in, dim, lambda x: _unit((_directions(x, root) - mean) @ weight))
    centred = _centred(config, mean)
    return SideMap(d_in, dim, lambda x: _unit(centred(x) @ weight))


def _affine(config: Config, tensors: _Tensors) -> SideMap:
    d_in, dim = config["d_in"], config["dim"]
    mean, weight = tensors.get("mean", d_in), tensors.get("weight", d_in, dim)
    offset = tensors.get("offset", dim)
    return SideMap(d_in, dim, lambda x: _unit((_directions(x) - mean) @ weight + offset))


def _identity(config: Config, tensors: _Tensors) -> SideMap:
    return SideMap(config["dim"], config["dim"], _directions)


def _relative(config: Config, tensors: _Tensors) -> SideMap:
    d_in, dim, k, power = (config[name] for name in ("d_in", "dim", "k", "power"))
    mean, anchors = tensors.get("mean", d_in), tensors.get("anchors", dim, d_in)

    def run(x: Array) -> Array:
        near = _unit(_directions(x) - mean) @ anchors.T
        cut = np.partition(near, dim - k, axis=1)[:, dim - k, None]
        # Of the anchors that are as near as the k-th, the first make up the k.
        above, level = near > cut, near == cut
        kept = above | (level & (level.cumsum(axis=1) <= k - above.sum(axis=1, keepdims=True)))
        return _unit(np.where(kept, np.sign(near) * np.abs(near) ** np.float32(power), 0))

    return SideMap(d_in, dim, run)


def _weighted(config: Config, tensors: _Tensors) -> SideMap:
    inner = _linear(config["inner"], tensors.inside("inner"))
    root, slot = np.sqrt(tensors.get("weight", inner.dim)), config["slot"]

    def run(x: Array) -> Array:
        z = inner.run(x) * root
        rest = np.zeros((len(z), 2), np.float32)
        rest[:, slot] = np.sqrt(np.maximum(1 - np.vecdot(z, z), 0))
        return _beside([z, rest])

    return SideMap(inner.d_in, inner.dim + 2, run)


def _blend(config: Config, tensors: _Tensors) -> SideMap:
    inside = tensors.inside("maps")
    maps = [_side_map(each, inside.inside(str(at))) for at, each in enumerate(config["maps"])]
    roots = [math.sqrt(weight) for weight in config["weights"]]

    def run(x: Array) -> Array:
        return _beside([each.run(x) * root for each, root in zip(maps, roots, strict=True)])

    return SideMap(maps[0].d_in, sum(each.dim for each in maps), run)


def _projection(config: Config, tensors: _Tensors) -> SideMap:
    d_in, hidden, dim = (config[name] for name in ("d_in", "hidden", "dim"))
    mean, bias = tensors.get("mean", d_in), tensors.get("first_bias", hidden)
    first, second = tensors.get("first", d_in, hidden), tensors.get("second", hidden, dim)
    offset = tensors.get("second_bias", dim)

    def run(x: Array) -> Array:
        inside = (_directions(x) - mean) @ first + bias
        return _unit(np.maximum(inside, 0) @ second + offset)

    return SideMap(d_in, dim, run)


def _residual(config: Config, tensors: _Tensors) -> SideMap:
    inner = _side_map(config["inner"], tensors.inside("inner"))
    centred = _centred(config, tensors.get("mean", inner.d_in))
    delta = _delta(config["delta"], tensors.inside("delta"), inner.d_in, inner.dim)

    def run(x: Array) -> Array:
        mapped = inner.run(x)
        return _at_length_of(mapped, mapped + delta(centred(x)))

    return SideMap(inner.d_in, inner.dim, run)


def _delta(config: Config, tensors: _Tensors, d_in: int, dim: int) -> Step:
    kind = config["kind"]
    if kind == "linear":
        weight = tensors.get("weight", d_in, dim)
        return lambda x: x @ weight
    if kind == "low_rank":
        rank = config["rank"]
        down, up = tensors.get("down", d_in, rank), tensors.get("up", rank, dim)
        return lambda x: x @ down @ up
    if kind == "mlp":
        hidden = config["hidden"]
        first, bias = tensors.get("first", d_in, hidden), tensors.get("bias", hidden)
        second = tensors.get("second", hidden, dim)
        return lambda x: _gelu(x @ first + bias) @ second
    raise ValueError(f"this reader knows no shift of kind {str(kind)[:80]!r}")


def _instructed(config: Config, tensors: _Tensors) -> SideMap:
    inner = _side_map(config["inner"], tensors.inside("inner"))
    width = config["d_instruction"]
    shift = tensors.get("shift", width, inner.dim)
    scale = tensors.get("scale", width, inner.dim) if config["scaled"] else None

    def run(x: Array) -> Array:
        mapped, e = inner.run(x[:, : inner.d_in]), _unit(x[:, inner.d_in :])
        moved = mapped if scale is None else mapped + mapped * (e @ scale)
        return _at_length_of(mapped, moved + e @ shift)

    return SideMap(inner.d_in + width, inner.dim, run)


_MAPS: dict[str, Callable[[Config, _Tensors], SideMap]] = {
    "linear": _linear,
    "linear_head": _linear,
    "affine": _affine,
    "identity": _identity,
    "relative": _relative,
    "weighted": _weighted,
    "blend": _blend,
    "projection": _projection,
    "residual": _residual,
    "instructed": _instructed,
}


# What is done to a gallery, and what instructions prefer: align.adapters.corrections.


class _ReferenceSet(NamedTuple):
    """Training pairs in the shared space, ``(rows, dim)`` each, and what they serve."""

    source: Array
    target: Array
    expansion: Config | None
    hubness: Config | None
    query_expansion: Config | None
    handicaps: tuple[Array, Array] | None  # of the sources and targets as reference queries

    def queries(self, z: Array, side: str) -> list[Array]:
        """Columns of query vectors: expanded items and, if there is a bias, a one for it."""
        z = self._expanded(z, side, self.query_expansion)
        return [z] if self.hubness is None else [z, np.ones((len(z), 1), np.float32)]

    def gallery(self, z: Array, side: str) -> list[Array]:
        """Columns of gallery vectors: expanded items and, if there is one, minus the bias."""
        z = self._expanded(z, side, self.expansion)
        if self.hubness is None:
            return [z]
        similarities = z @ (self.target if side == "source" else self.source).T
        if self.handicaps is not None:
            similarities -= self.handicaps[1 if side == "source" else 0]
        return [z, -_bias(self.hubness, similarities)[:, None]]

    def _expanded(self, z: Array, side: str, expansion: Config | None) -> Array:
        if expansion is None:
            return z
        own, other = self.source, self.target
        if side == "target":
            own, other = other, own
        weights, _ = _exponentials(z @ own.T, expansion["sharpness"])
        partner = (weights @ other) / weights.sum(axis=1, keepdims=True)
        return _unit(z + expansion["weight"] * _unit(partner))


def _reference_set(config: Config, tensors: _Tensors, dim: int) -> _ReferenceSet:
    if config["hubness"] is not None and config["hubness"]["kind"] not in _BIASES:
        raise ValueError(f"this reader knows no correction {str(config['hubness'])[:80]}")
    source, target = (
        tensors.get(f"{side}_reference", config["rows"], dim) for side in ("source", "target")
    )
    handicaps = None
    if config["hubness"] is not None and config["hubness"]["kind"] == "balanced_softmax":
        asking = (tensors.get(f"{side}_handicaps", config["rows"]) for side in ("source", "target"))
        handicaps = next(asking), next(asking)
    expansions = config["expansion"], config.get("query_expansion")
    return _ReferenceSet(source, target, expansions[0], config["hubness"], expansions[1], handicaps)


_BIASES = ("nnn", "csls", "inverted_softmax", "balanced_softmax")


def _bias(hubness: Config, similarities: Array) -> Array:
    """What is subtracted of every score of a gallery item, ``(m,)``."""
    rows = similarities.shape[1]
    if hubness["kind"] in ("inverted_softmax", "balanced_softmax"):
        sharpness: float = hubness["sharpness"]
        weights, largest = _exponentials(similarities, sharpness)
        excess: Array = np.log(weights.sum(axis=1)) - math.log(rows)
        return largest + excess / sharpness
    k = min(hubness["k"], rows)
    similarities.partition(rows - k, axis=1)
    bias: Array = hubness.get("alpha", 0.5) * similarities[:, rows - k :].mean(axis=1)
    return bias


def _exponentials(similarities: Array, sharpness: float) -> tuple[Array, Array]:
    """``exp(sharpness * (similarity - largest))`` in their place, and the largest of each row."""
    largest = similarities.max(axis=1)
    similarities -= largest[:, None]
    similarities *= sharpness
    return np.exp(similarities, out=similarities), largest


class _Preference(NamedTuple):
    """A bonus of each kind of target, decided by the instruction of a source."""

    weight: Array
    widths: Sequence[int]

    def queries(self, x: Array) -> Array:
        return _unit(x[:, -len(self.weight) :]) @ self.weight

    def gallery(self, y: Array) -> Array:
        kinds = [part.any(axis=1) for part in _split(y, self.widths)]
        return np.stack(kinds, axis=1).astype(np.float32)


def _preference(config: Config, tensors: _Tensors) -> _Preference:
    widths = config["widths"]
    return _Preference(tensors.get("weight", config["d_instruction"], len(widths)), widths)


# Arithmetic of rows.


def _directions(x: Array, root: bool = False) -> Array:
    """Unit-norm rows of ``x``, or of its signed square root."""
    # Squares of very long or very short rows would leave the range of float32.
    x = x / np.abs(x).max(axis=1, keepdims=True)
    if root:
        x = np.sign(x) * np.sqrt(np.abs(x))
    x /= _norms(x)
    return x


def _centred(config: Config, mean: Array) -> Step:
    """A function to unit-norm rows of ``directions - mean``, part by part if there are several."""
    root, parts = config["root"], config["parts"]
    if parts is None:
        return lambda x: _unit(_directions(x, root) - mean)
    widths, shares = parts["widths"], parts["shares"]
    centres = _split(mean[None], widths)

    def run(x: Array) -> Array:
        prepared, total = [], np.zeros((len(x), 1), np.float32)
        for part, centre, share in zip(_split(x, widths), centres, shares, strict=True):
            # An item may lack a part, which stays zero; the others take over its share.
            there = part.any(axis=1, keepdims=True)
            moved = _directions(np.where(there, part, 1), root) - centre
            prepared.append(np.where(there, _unit(moved) * math.sqrt(share), np.float32(0)))
            total += share * there
        return _beside(prepared) / np.sqrt(total)

    return run


def _split(x: Array, widths: Sequence[int]) -> list[Array]:
    return np.split(x, np.cumsum(widths)[:-1], axis=1)


def _norms(x: Array) -> Array:
    lengths: Array = np.sqrt(np.vecdot(x, x))[:, None]
    return lengths


def _unit(x: Array) -> Array:
    return x / np.maximum(_norms(x), _SHORTEST)


def _at_length_of(mapped: Array, moved: Array) -> Array:
    return moved * (_norms(mapped) / np.maximum(_norms(moved), _SHORTEST))


def _beside(columns: Sequence[Array]) -> Array:
    return columns[0] if len(columns) == 1 else np.concatenate(columns, axis=1)


# erf(x) as x times a ratio of polynomials of x * x, each from the constant on.
_ERF_ABOVE = (
    -1.60960333262415e-02, -2.95459980854025e-03, -7.34990630326855e-04, -5.69250639462346e-05,
    -2.10102402082508e-06, 2.77068142495902e-08, -2.72614225801306e-10,
)  # fmt: skip
_ERF_BELOW = (
    -1.42647390514189e-02, -7.37332916720468e-03, -1.68282697438203e-03, -2.13374055278905e-04,
    -1.45660718464996e-05,
)  # fmt: skip


def _gelu(x: Array) -> Array:
    """``x * (1 + erf(x / sqrt(2))) / 2``; NumPy has no error function.

    Reference:
        The ratio is that of Eigen's ``generic_fast_erf_float``, within 4e-7 of erf.
    """
    z = np.clip(x * np.float32(math.sqrt(0.5)), -4, 4)
    squares = z * z
    z *= _polynomial(squares, _ERF_ABOVE)
    z /= _polynomial(squares, _ERF_BELOW)
    z += 1
    z *= x
    z *= 0.5
    return z


def _polynomial(x: Array, coefficients: Sequence[float]) -> Array:
    value = x * np.float32(coefficients[-1])
    for each in coefficients[-2:0:-1]:
        value += each
        value *= x
    value += coefficients[0]
    return value


def _by_blocks(run: Step, x: Array, rows: int) -> Array:
    """``run`` of some rows at a time, so that memory beside the result is bounded."""
    if len(x) <= rows:
        return run(x)
    first = run(x[:rows])
    whole = np.empty((len(x), first.shape[1]), np.float32)
    whole[:rows] = first
    for at in range(rows, len(x), rows):
        whole[at : at + rows] = run(x[at : at + rows])
    return whole


def _checked(x: npt.ArrayLike, name: str, d: int) -> Array:
    """``x`` as a float32 matrix ``(n, d)`` that is not empty, finite, and without a zero row."""
    with np.errstate(over="ignore"):  # what overflows float32 is refused as infinite
        rows = np.asarray(x, dtype=np.float32)
    if rows.ndim != 2 or rows.shape[1] != d or len(rows) == 0:
        raise ValueError(
            f"{name} must be a matrix (n, {d}) with at least one row; got shape {rows.shape}. "
            "Pass one embedding per row, of the encoder that the adapter was fitted on."
        )
    with np.errstate(over="ignore", invalid="ignore"):
        squares = np.vecdot(rows, rows)
    if (squares > 0).all() and np.isfinite(squares).all():
        return rows
    for bad, what, advice in (
        (~np.isfinite(rows).all(axis=1), "must be finite", "drop or re-encode them"),
        (~rows.any(axis=1), "must have a direction, not zeros alone", "drop them"),
    ):
        if bad.any():
            where = np.flatnonzero(bad)
            raise ValueError(
                f"every row of {name} {what}; {len(where)} of {len(rows)} do not hold that, the "
                f"first at {where[:5].tolist()}. Find out which items gave them, and {advice}."
            )
    return rows


# Files: the checks of align._files and align.adapters.artifact.


def _read_json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{path.name} must be JSON in UTF-8; reading it failed with: {error}. {AGAIN}"
        ) from error
    kind, major = VERSIONS[path.name]
    found = data.get("schema") if isinstance(data, dict) else None
    if not re.fullmatch(rf"{kind}-{major}(\.\d{{1,9}})?", str(found)):
        raise ValueError(
            f"{path.name} must have schema '{kind}-{major}'; got {repr(found)[:80]}. "
            "Take the align/light.py of the version of isthmus that wrote it."
        )
    return dict(data)


def _json_digest(data: Config, *without: str) -> str:
    rest = {name: value for name, value in data.items() if name not in without}
    words = {"json": json.dumps(rest, sort_keys=True)}
    return hashlib.sha256(json.dumps(words, sort_keys=True).encode()).hexdigest()


def _digest(tensors: Mapping[str, Array]) -> str:
    """SHA-256 over the name, dtype, shape and bytes of each tensor, in hexadecimal."""
    digest = hashlib.sha256(b"{}")
    for name, tensor in sorted(tensors.items()):
        digest.update(f"\0{name} torch.{tensor.dtype} {tensor.shape}\0".encode())
        digest.update(np.ascontiguousarray(tensor).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
