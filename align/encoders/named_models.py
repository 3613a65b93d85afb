"""The models that a line of encoders names, as they are shown to people: without local paths."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

from align.encoders.spec import KIND

_MODEL = re.compile(
    rf"((?:video(?:\?[\w=&]*)?:)?{KIND})(.*?)(?=$|[;+]\s*(?:[\w|]+=)?{KIND})", re.DOTALL
)
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)


@dataclass(frozen=True, slots=True)
class NamedModel:
    """One model of a line of encoders.

    Attributes:
        kind: ``"text"``, ``"code"``, ``"image"`` or ``"python"``.
        name: A hub id, a preset or ``MODULE:ATTRIBUTE``; of a local folder its last name only.
        options: What follows the model, such as ``"pooling=cls"``, or nothing.
        is_hub_id: Whether it is an ``owner/name`` of the Hugging Face hub.
        is_local: Whether it is a folder of the machine that fitted the adapter.
    """

    kind: str
    name: str
    options: str
    is_hub_id: bool
    is_local: bool


def models_in(spec: str) -> tuple[NamedModel, ...]:
    """The models that ``spec`` names, in its order; see ``align.encoders.spec.load_encoder``.

    What could be a hub id or a folder is a folder where one of this name is there now, as it is for
    ``load_encoder``.
    """
    return tuple(_named(_kind(kind), rest.strip()) for kind, rest in _MODEL.findall(spec))


def without_paths(spec: str) -> str:
    """``spec`` with the last name of a folder in the place of the whole path."""

    def shortened(match: re.Match[str]) -> str:
        named = _named(_kind(match[1]), match[2].strip())
        return f"{match[1]}{named.name}" + (f"?{named.options}" if named.options else "")

    return _MODEL.sub(shortened, spec)


def _kind(written: str) -> str:
    """The kind of a model; of ``video:image:`` that of the network behind it."""
    return written.rstrip(":").rpartition(":")[2]


def _named(kind: str, rest: str) -> NamedModel:
    if kind == "python":
        return NamedModel(kind, rest, "", is_hub_id=False, is_local=False)
    model, _, options = rest.partition("?")
    local = _is_path(model)
    name = _last_name(model) if local else model
    is_hub_id = not local and _HUB_ID.fullmatch(model) is not None
    return NamedModel(kind, name, options, is_hub_id=is_hub_id, is_local=local)


def _is_path(model: str) -> bool:
    looks_like_one = model.startswith((".", "~")) or "\\" in model or model.count("/") > 1
    absolute = PurePosixPath(model).is_absolute() or PureWindowsPath(model).is_absolute()
    return looks_like_one or absolute or Path(model).is_dir()


def _last_name(model: str) -> str:
    parts = [part for part in re.split(r"[\\/]+", model) if part not in ("", ".", "..", "~")]
    return parts[-1] if parts else model
