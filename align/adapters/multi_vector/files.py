"""Meta tokens on disk: the adapter in its own folder, and beside it what was learned."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from align._advice import Advised
from align._files.atomic import Layout, atomic_folder
from align._files.codec import Rule, Schema, read_fields
from align._files.strict_json import is_of, read_json, to_json
from align._files.tensors import digest_of, open_tensors
from align._files.tensors import save as save_tensors
from align.adapters.artifact.files import (
    FILES,
    changed,
    check_config,
    check_tensors,
    saved_digest,
    sealed,
    without,
)
from align.adapters.artifact.schema import LARGEST, Object, Size
from align.adapters.multi_vector.aspects import (
    Aspects,
    Heads,
    Reduction,
    Resampler,
    Selector,
    TokenAspects,
)

WEIGHTS, CONFIG, ADAPTER = "meta_tokens.safetensors", "meta_tokens.json", "adapter"
SCHEMA = Schema("isthmus-meta-tokens", 1)
AGAIN = "save the head again"
LAYOUT = Layout(
    "head",
    frozenset({WEIGHTS, CONFIG, *(f"{ADAPTER}/{name}" for name in FILES)}),
    lambda folder: is_of(folder / CONFIG, SCHEMA),
)


def _shape_of(length: int) -> Rule:
    # One tensor may have all of these sizes, and none can have more elements than that.
    return Rule(
        f"{length} sizes whose product is at most {LARGEST}**2",
        lambda sizes: isinstance(sizes, list) and len(sizes) == length and _fits(sizes),
    )


def _fits(sizes: list[Any]) -> bool:
    return all(type(size) is int and size > 0 for size in sizes) and math.prod(sizes) <= LARGEST**2


_Matrix, _Matrices = Annotated[list[Size], _shape_of(2)], Annotated[list[Size], _shape_of(3)]
_Float = Annotated[Any, Rule("a fraction", lambda v: type(v) is float and math.isfinite(v))]


class Learned(nn.Module):
    """All of a head but its adapter, under the names of its file."""

    def __init__(
        self,
        mix_logit: nn.Parameter,
        source_aspects: Aspects | None,
        target_aspects: Aspects | None,
    ) -> None:
        super().__init__()
        self.mix_logit = mix_logit
        self.source_aspects = source_aspects
        self.target_aspects = target_aspects


def save(
    learned: Learned,
    folder: str | Path,
    *,
    asking: int,
    card: dict[str, object],
    save_adapter: Callable[[Path], None],
) -> None:
    """Write a head as a folder: ``meta_tokens.safetensors``, ``meta_tokens.json`` and ``adapter/``.

    It is written as ``align.adapters.artifact.files.save`` writes an adapter, with the same errors.
    ``meta_tokens.json`` holds digests of itself, of the weights and of the adapter, which
    ``save_adapter`` writes to a folder. ``asking`` is the number of vectors of a query.
    """
    path = Path(folder).expanduser()
    LAYOUT.check_free(path)
    tensors = {name: tensor.detach().cpu() for name, tensor in learned.state_dict().items()}
    config = {
        "asking": asking,
        "mix": torch.sigmoid(learned.mix_logit.detach()).item(),
        "source": _describe(learned.source_aspects),
        "target": _describe(learned.target_aspects),
        "card": card,
    }
    check_tensors("the head", tensors, build(config).state_dict())
    to_json(config, again="Replace it before saving.")
    with atomic_folder(path, LAYOUT) as scratch:
        save_tensors(tensors, scratch / WEIGHTS, {"format": "pt"})
        save_adapter(scratch / ADAPTER)
        digests = {"weights": digest_of(tensors), "adapter": saved_digest(scratch / ADAPTER)}
        text = sealed({"schema": SCHEMA.value, **config, "digests": digests})
        (scratch / CONFIG).write_text(text, encoding="utf-8")


def read_config(path: Path) -> tuple[dict[str, Any], Learned]:
    """The fields of ``meta_tokens.json``, and what it describes: shapes only."""
    missing = [name for name in (WEIGHTS, CONFIG, ADAPTER) if not (path / name).exists()]
    if missing:
        raise FileNotFoundError(
            Advised(
                f"a head is a folder with {WEIGHTS}, {CONFIG} and {ADAPTER}/; "
                f"{str(path)!r} lacks {', '.join(missing)}.",
                python="Pass the folder that head.save wrote.",
                command="Name the folder that align fit --vectors wrote.",
            )
        )
    config, newer = read_json(path / CONFIG, SCHEMA, again=f"{AGAIN.capitalize()}.")
    sides = dict.fromkeys(("source", "target"), Object | None)
    kinds = {"asking": Size, "mix": _Float, "card": Object, **sides}
    plain = without(config, "schema", "digests", "sha256")
    read_fields(plain, CONFIG, AGAIN, kinds, newer=newer)
    return config, build(config, newer=newer)


def read_weights(path: Path, config: dict[str, Any], learned: Learned) -> None:
    """Put the weights into ``learned``, once every file has the digest that ``config`` holds."""
    tensors, _ = open_tensors(path / WEIGHTS, again=f"{AGAIN.capitalize()}.")
    check_tensors(WEIGHTS, tensors, learned.state_dict())
    digests = check_config(CONFIG, config, "weights", "adapter")
    if digest_of(tensors) != digests["weights"]:
        raise ValueError(changed(WEIGHTS, CONFIG))
    if saved_digest(path / ADAPTER) != digests["adapter"]:
        raise ValueError(changed(ADAPTER, CONFIG))
    learned.load_state_dict(tensors, assign=True)


def build(config: dict[str, Any], *, newer: bool = False) -> Learned:
    """What is learned in a head, of the described shapes, on the meta device: shapes only."""
    sides = [
        None if config[side] is None else _empty(config[side], f"{CONFIG}.{side}", newer)
        for side in ("source", "target")
    ]
    return Learned(nn.Parameter(_shape()), *sides)


def _describe(part: Aspects | None) -> dict[str, Any] | None:
    """The shapes behind one side's aspects, ready for JSON."""
    if part is None:
        return None
    if isinstance(part, Heads):
        return {"kind": "heads", "shape": list(part.weight.shape)}
    reduction, resampler = list(part.reduction.basis.shape), part.resampler
    weight = list(resampler.weight.shape)
    if isinstance(resampler, Selector):
        count = resampler.count
        return {"kind": "selected", "reduction": reduction, "count": count, "weight": weight}
    queries = list(resampler.queries.shape)
    return {"kind": "tokens", "reduction": reduction, "queries": queries, "weight": weight}


def _empty(described: dict[str, Any], at: str, newer: bool) -> Aspects:
    kind, rest = described.get("kind"), without(described, "kind")
    if kind == "heads":
        shape = read_fields(rest, at, AGAIN, {"shape": _Matrices}, newer=newer)["shape"]
        return Heads(_shape(shape[1]), _shape(*shape))
    if kind not in ("tokens", "selected"):
        raise ValueError(
            f"{at}.kind must be heads, tokens or selected; got {repr(kind)[:80]}. "
            "Load it with the version of isthmus that wrote it."
        )
    own: dict[str, Any] = {"queries": _Matrix} if kind == "tokens" else {"count": Size}
    kinds = {"reduction": _Matrix, **own, "weight": _Matrix}
    values = read_fields(rest, at, AGAIN, kinds, newer=newer)
    reduction, resampler, weight = values.values()
    if reduction[1] != weight[0] or (kind == "tokens" and resampler[1] != weight[0]):
        raise ValueError(
            f"{at}.weight must be of as many rows as the reduction has columns, and queries as "
            f"wide; got {described}. The file is damaged or was edited: {AGAIN}."
        )
    reduced = Reduction(_shape(reduction[0]), _shape(*reduction))
    if kind == "selected":
        return TokenAspects(reduced, Selector(_shape(*weight), count=resampler))
    return TokenAspects(reduced, Resampler(_shape(*resampler), _shape(*weight)))


def _shape(*sizes: int) -> Tensor:
    return torch.empty(sizes, device="meta")
