"""Meta tokens on disk: the adapter in its own folder, and beside it what was learned."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from align.adapters.adapter import Adapter
from align.adapters.artifact import FILES, check_tensors, load, read_json, to_json
from align.adapters.fields import LARGEST
from align.adapters.meta_tokens import (
    Aspects,
    Heads,
    MetaTokens,
    Reduction,
    Resampler,
    Selector,
    TokenAspects,
)
from align.atomic import atomic_folder

WEIGHTS, CONFIG, ADAPTER = "meta_tokens.safetensors", "meta_tokens.json", "adapter"
SCHEMA = "isthmus-meta-tokens-1"
_FIELDS = {"asking", "mix", "source", "target", "card"}


def save_meta_tokens(head: MetaTokens, folder: str | Path) -> None:
    """Write a head as a folder: ``meta_tokens.safetensors``, ``meta_tokens.json`` and ``adapter/``.

    The folder appears whole or not at all, and replaces a head that is there.

    Args:
        head: Float32, on any device.
        folder: Where to write; ``~`` is expanded.

    Raises:
        FileExistsError: The folder holds files and is not a head's, or holds others too.
        NotADirectoryError: ``folder`` is a file.
        ValueError: A tensor or a number of the card is not finite.
    """
    path = Path(folder).expanduser()
    _check_free(path)
    tensors = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in _Learned(head).state_dict().items()
    }
    config = {
        "asking": head.asking,
        "mix": head.mix.detach().item(),
        "source": _describe(head.source_aspects),
        "target": _describe(head.target_aspects),
        "card": head.card,
    }
    check_tensors("the head", tensors, _Learned(_build(config, head.adapter)).state_dict())
    text = to_json({"schema": SCHEMA, **config})
    with atomic_folder(path) as scratch:
        save_file(tensors, scratch / WEIGHTS, metadata={"format": "pt"})
        (scratch / CONFIG).write_text(text, encoding="utf-8")
        head.adapter.save(scratch / ADAPTER)


def load_meta_tokens(folder: str | Path) -> MetaTokens:
    """The head that ``save_meta_tokens`` wrote, on the CPU.

    Nothing but tensors and JSON is read: no code runs, no pickle is opened.

    Raises:
        FileNotFoundError: There is no such folder, or one of its files is missing.
        ValueError: A file is damaged, of another version, or does not fit the others.
    """
    path = Path(folder).expanduser()
    missing = [name for name in (WEIGHTS, CONFIG, ADAPTER) if not (path / name).exists()]
    if missing:
        raise FileNotFoundError(
            f"a head is a folder with {WEIGHTS}, {CONFIG} and {ADAPTER}/; "
            f"{str(folder)!r} lacks {', '.join(missing)}. Pass the folder that head.save wrote."
        )
    config = read_json(path / CONFIG, SCHEMA)
    _check_config(config)
    # An absolute path cannot be taken for the name of an adapter on the hub.
    head = _build(config, load((path / ADAPTER).absolute()))
    try:
        tensors = {name: tensor.clone() for name, tensor in load_file(path / WEIGHTS).items()}
    except SafetensorError as error:
        raise ValueError(
            f"{WEIGHTS} must be a whole safetensors file; reading it failed with: {error}. "
            "Save the head again."
        ) from error
    learned = _Learned(head)
    check_tensors(WEIGHTS, tensors, learned.state_dict())
    learned.load_state_dict(tensors, assign=True)
    head.mix_logit = learned.mix_logit
    return head.eval()


def _check_free(path: Path) -> None:
    known = {WEIGHTS, CONFIG, ADAPTER, *(f"{ADAPTER}/{name}" for name in FILES)}
    held = {file.relative_to(path).as_posix() for file in path.rglob("*")}
    # An adapter that was saved as "adapter" is not a head, and must not be replaced by one.
    foreign = sorted(held - known if CONFIG in held else held)
    if foreign:
        raise FileExistsError(
            "a head is saved to a new folder or over another head, which it replaces; "
            f"{str(path)!r} holds {foreign[:5]}. Choose another folder, or move those away."
        )


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
    return not rest and all(type(size) is int and 1 <= size <= LARGEST for size in sizes)


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
