"""Meta tokens on disk: the adapter in its own folder, and beside it what was learned."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from align._files.atomic import Layout, atomic_folder
from align._files.strict_json import read_json, to_json
from align._files.tensors import digest_of, open_tensors
from align._files.tensors import save as save_tensors
from align.adapters.artifact.files import (
    FILES,
    changed,
    check_digest,
    check_tensors,
    saved_digest,
    sealed,
)
from align.adapters.artifact.schema import DIGEST, LARGEST, OBJECT, fields
from align.adapters.multi_vector.aspects import (
    Aspects,
    Heads,
    Reduction,
    Resampler,
    Selector,
    TokenAspects,
)

WEIGHTS, CONFIG, ADAPTER = "meta_tokens.safetensors", "meta_tokens.json", "adapter"
SCHEMA = "isthmus-meta-tokens-1"
AGAIN = "Save the head again."
_FIELDS = {"asking", "mix", "source", "target", "card"}


def _is_head(folder: Path) -> bool:
    try:
        read_json(folder / CONFIG, SCHEMA, again=AGAIN)
    except (OSError, ValueError):
        return False
    return True


LAYOUT = Layout(
    "head",
    frozenset({WEIGHTS, CONFIG, *(f"{ADAPTER}/{name}" for name in FILES)}),
    _is_head,
)


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

    The folder appears whole or not at all, and replaces a head that is there, in one step where
    the system has one. ``meta_tokens.json`` holds digests of itself, of the weights and of the
    adapter.

    Args:
        learned: Float32, on any device.
        folder: Where to write; ``~`` is expanded. Where it is a link, the folder that it names
            is written.
        asking: Vectors of a query.
        card: How the head came to be.
        save_adapter: Writes the adapter to a folder.

    Raises:
        FileExistsError: The folder holds files and is no head, or holds others too.
        NotADirectoryError: ``folder`` is a file.
        OSError: The disk is full, or the folder above cannot be written.
        ValueError: A tensor or a number of the card is not finite.
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
        text = sealed({"schema": SCHEMA, **config, "digests": digests})
        (scratch / CONFIG).write_text(text, encoding="utf-8")


def read_config(path: Path) -> dict[str, Any]:
    """The fields of ``meta_tokens.json``, digests included."""
    missing = [name for name in (WEIGHTS, CONFIG, ADAPTER) if not (path / name).exists()]
    if missing:
        raise FileNotFoundError(
            f"a head is a folder with {WEIGHTS}, {CONFIG} and {ADAPTER}/; "
            f"{str(path)!r} lacks {', '.join(missing)}. Pass the folder that head.save wrote."
        )
    config = read_json(path / CONFIG, SCHEMA, again=AGAIN)
    _check_config({name: config[name] for name in config if name not in ("digests", "sha256")})
    return config


def read_weights(path: Path, config: dict[str, Any], learned: Learned) -> None:
    """Put the weights into ``learned``, once every file has the digest that ``config`` holds."""
    tensors, _ = open_tensors(path / WEIGHTS, again=AGAIN)
    check_tensors(WEIGHTS, tensors, learned.state_dict())
    said = {name: config.get(name) for name in ("digests", "sha256")}
    digests, whole = fields(said, CONFIG, digests=OBJECT, sha256=DIGEST)
    weights, adapter = fields(digests, f"{CONFIG}.digests", weights=DIGEST, adapter=DIGEST)
    rest = {name: value for name, value in config.items() if name != "sha256"}
    check_digest(CONFIG, whole, {"schema": SCHEMA, **rest}, beside=CONFIG)
    held = {
        WEIGHTS: (digest_of(tensors), weights),
        ADAPTER: (saved_digest(path / ADAPTER), adapter),
    }
    for name, (found, wanted) in held.items():
        if found != wanted:
            raise ValueError(changed(name, CONFIG))
    learned.load_state_dict(tensors, assign=True)


def _check_config(config: dict[str, Any]) -> None:
    if set(config) != _FIELDS:
        raise ValueError(
            f"{CONFIG} must have exactly the fields {sorted(_FIELDS)}; got {sorted(config)}. "
            "Load it with the version of isthmus that wrote it."
        )
    kinds = {"asking": int, "mix": float, "card": dict}
    wrong = [name for name, kind in kinds.items() if type(config[name]) is not kind]
    wrong += [side for side in ("source", "target") if not _fits(config[side])]
    if wrong:
        raise ValueError(
            f"{CONFIG} must hold what save wrote; {wrong[0]} is {config[wrong[0]]!r}. "
            "The file is damaged or was edited: save the head again."
        )


def _fits(described: object) -> bool:
    """Whether this is what ``_describe`` can give."""
    match described:
        case None:
            return True
        case {"kind": "heads", "shape": [_, _, _] as sizes, **rest}:
            pass
        case {
            "kind": "tokens",
            "reduction": [_, d] as reduction,
            "queries": [_, key] as queries,
            "weight": [value, _] as weight,
            **rest,
        } if d == key == value:
            sizes = [*reduction, *queries, *weight]
        case {
            "kind": "selected",
            "reduction": [_, d] as reduction,
            "count": count,
            "weight": [value, _] as weight,
            **rest,
        } if d == value:
            sizes = [*reduction, count, *weight]
        case _:
            return False
    fits = not rest and all(type(size) is int and 1 <= size <= LARGEST for size in sizes)
    # One tensor has all three sizes of heads, and none can have more elements than this.
    return fits and (len(sizes) != 3 or math.prod(sizes) <= LARGEST**2)


def _describe(part: Aspects | None) -> dict[str, Any] | None:
    """The shapes behind one side's aspects, ready for JSON."""
    if part is None:
        return None
    if isinstance(part, Heads):
        return {"kind": "heads", "shape": list(part.weight.shape)}
    reduction, resampler = part.reduction, part.resampler
    if isinstance(resampler, Selector):
        return {
            "kind": "selected",
            "reduction": list(reduction.basis.shape),
            "count": resampler.count,
            "weight": list(resampler.weight.shape),
        }
    return {
        "kind": "tokens",
        "reduction": list(reduction.basis.shape),
        "queries": list(resampler.queries.shape),
        "weight": list(resampler.weight.shape),
    }


def build(config: dict[str, Any]) -> Learned:
    """What is learned in a head, of the described shapes, on the meta device: shapes only."""
    return Learned(nn.Parameter(_shape()), _empty(config["source"]), _empty(config["target"]))


def _empty(described: dict[str, Any] | None) -> Aspects | None:
    if described is None:
        return None
    if described["kind"] == "heads":
        count, d, width = described["shape"]
        return Heads(_shape(d), _shape(count, d, width))
    reduction = Reduction(_shape(described["reduction"][0]), _shape(*described["reduction"]))
    weight = _shape(*described["weight"])
    if described["kind"] == "selected":
        return TokenAspects(reduction, Selector(weight, count=described["count"]))
    return TokenAspects(reduction, Resampler(_shape(*described["queries"]), weight))


def _shape(*sizes: int) -> Tensor:
    return torch.empty(sizes, device="meta")
