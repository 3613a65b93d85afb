"""Meta tokens on disk: the adapter in its own folder, and beside it what was learned."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from align._files.atomic import Layout, atomic_folder, read_whole
from align._files.strict_json import read_json, to_json
from align._files.tensors import digest_of, open_tensors
from align._files.tensors import save as save_tensors
from align.adapters.adapter import Adapter
from align.adapters.artifact.files import (
    FILES,
    changed,
    check_digest,
    check_tensors,
    load,
    saved_digest,
    sealed,
)
from align.adapters.artifact.schema import DIGEST, LARGEST, OBJECT, fields
from align.adapters.multi_vector.aspects import (
    Aspects,
    Heads,
    MetaTokens,
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


def save_meta_tokens(head: MetaTokens, folder: str | Path) -> None:
    """Write a head as a folder: ``meta_tokens.safetensors``, ``meta_tokens.json`` and ``adapter/``.

    The folder appears whole or not at all, and replaces a head that is there, in one step where
    the system has one. ``meta_tokens.json`` holds digests of itself, of the weights and of the
    adapter.

    Args:
        head: Float32, on any device.
        folder: Where to write; ``~`` is expanded. Where it is a link, the folder that it names
            is written.

    Raises:
        FileExistsError: The folder holds files and is no head, or holds others too.
        NotADirectoryError: ``folder`` is a file.
        OSError: The disk is full, or the folder above cannot be written.
        ValueError: A tensor or a number of the card is not finite.
    """
    path = Path(folder).expanduser()
    LAYOUT.check_free(path)
    tensors = {name: tensor.detach().cpu() for name, tensor in _Learned(head).state_dict().items()}
    config = {
        "asking": head.asking,
        "mix": head.mix.detach().item(),
        "source": _describe(head.source_aspects),
        "target": _describe(head.target_aspects),
        "card": head.card,
    }
    check_tensors("the head", tensors, _Learned(_build(config, head.adapter)).state_dict())
    to_json(config, again="Replace it before saving.")
    with atomic_folder(path, LAYOUT) as scratch:
        save_tensors(tensors, scratch / WEIGHTS, {"format": "pt"})
        head.adapter.save(scratch / ADAPTER)
        digests = {"weights": digest_of(tensors), "adapter": saved_digest(scratch / ADAPTER)}
        text = sealed({"schema": SCHEMA, **config, "digests": digests})
        (scratch / CONFIG).write_text(text, encoding="utf-8")


def load_meta_tokens(folder: str | Path) -> MetaTokens:
    """The head that ``save_meta_tokens`` wrote, on the CPU.

    Nothing but tensors and JSON is read: no code runs, no pickle is opened. All of it is compared
    with the digests that were saved with it.

    Raises:
        FileNotFoundError: There is no such folder, or one of its files is missing.
        OSError: A file cannot be read.
        ValueError: A file is damaged, of another version, or does not fit the others.
    """
    return read_whole(Path(folder).expanduser(), _read)


def _read(path: Path) -> MetaTokens:
    missing = [name for name in (WEIGHTS, CONFIG, ADAPTER) if not (path / name).exists()]
    if missing:
        raise FileNotFoundError(
            f"a head is a folder with {WEIGHTS}, {CONFIG} and {ADAPTER}/; "
            f"{str(path)!r} lacks {', '.join(missing)}. Pass the folder that head.save wrote."
        )
    config = read_json(path / CONFIG, SCHEMA, again=AGAIN)
    said = {name: config.pop(name, None) for name in ("digests", "sha256")}
    _check_config(config)
    # An absolute path cannot be taken for the name of an adapter on the hub.
    head = _build(config, load((path / ADAPTER).absolute()))
    tensors, _ = open_tensors(path / WEIGHTS, again=AGAIN)
    learned = _Learned(head)
    check_tensors(WEIGHTS, tensors, learned.state_dict())
    digests, whole = fields(said, CONFIG, digests=OBJECT, sha256=DIGEST)
    weights, adapter = fields(digests, f"{CONFIG}.digests", weights=DIGEST, adapter=DIGEST)
    check_digest(CONFIG, whole, {"schema": SCHEMA, **config, "digests": digests}, beside=CONFIG)
    held = {
        WEIGHTS: (digest_of(tensors), weights),
        ADAPTER: (saved_digest(path / ADAPTER), adapter),
    }
    for name, (found, wanted) in held.items():
        if found != wanted:
            raise ValueError(changed(name, CONFIG))
    learned.load_state_dict(tensors, assign=True)
    head.mix_logit = learned.mix_logit
    return head.eval()


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


class _Learned(nn.Module):
    """All of a head but its adapter, under the names of its file."""

    def __init__(self, head: MetaTokens) -> None:
        super().__init__()
        self.mix_logit = head.mix_logit
        self.source_aspects = head.source_aspects
        self.target_aspects = head.target_aspects


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


def _build(config: dict[str, Any], adapter: Adapter) -> MetaTokens:
    """A head of the described shapes, its aspects on the meta device: shapes only."""
    return MetaTokens(
        adapter,
        _empty(config["source"]),
        _empty(config["target"]),
        mix=config["mix"],
        asking=config["asking"],
        card=config["card"],
    )


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
