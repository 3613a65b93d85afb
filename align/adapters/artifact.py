"""Adapters on disk and on the Hugging Face hub: weights, architecture, card and README."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from align.adapters.adapter import Adapter
from align.adapters.architecture import build, describe
from align.adapters.readme import readme
from align.atomic import atomic_folder
from align.card import Card

WEIGHTS, CONFIG, CARD, README = "model.safetensors", "config.json", "card.json", "README.md"
FILES = (WEIGHTS, CONFIG, CARD, README)
CONFIG_SCHEMA = "isthmus-adapter-1"
CARD_SCHEMA = "isthmus-card-1"

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)


def save(adapter: Adapter, folder: str | Path) -> None:
    """Write an adapter as a folder that can be uploaded to the Hugging Face hub as it is.

    The folder holds ``model.safetensors``, ``config.json``, ``card.json`` and a ``README.md`` that
    explains the three. It appears whole or not at all, and replaces an adapter that is there.

    Args:
        adapter: Made of the maps in ``align.adapters.maps``, float32, on any device.
        folder: Where to write; ``~`` is expanded.

    Raises:
        FileExistsError: The folder holds files that are not an adapter's.
        NotADirectoryError: ``folder`` is a file.
        TypeError: A map is of another kind.
        ValueError: A tensor is not float32 or not finite, or a number of the card is not finite.
    """
    path = Path(folder).expanduser()
    _check_free(path)
    config = describe(adapter)
    # Cloned, as safetensors refuses tensors that share memory.
    tensors = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in adapter.state_dict().items()
    }
    check_tensors("the adapter", tensors, build(config, adapter.card).state_dict())
    texts = {
        CONFIG: to_json({"schema": CONFIG_SCHEMA, **config}),
        CARD: to_json({"schema": CARD_SCHEMA, **adapter.card.to_dict()}),
        README: readme(adapter),
    }
    with atomic_folder(path) as scratch:
        save_file(tensors, scratch / WEIGHTS, metadata={"format": "pt"})
        for name, text in texts.items():
            (scratch / name).write_text(text, encoding="utf-8")


def load(folder_or_hub_id: str | Path, *, revision: str | None = None) -> Adapter:
    """The adapter that ``save`` wrote, equal to the last bit, on the CPU.

    Nothing but tensors and JSON is read: no code runs, no pickle is opened.

    Args:
        folder_or_hub_id: A local folder, or an ``owner/name`` on the Hugging Face hub, of which
            only the four files of an adapter are downloaded. A local folder of that name goes
            first.
        revision: Branch, tag or commit of a hub id; ``None`` is its main branch.

    Raises:
        FileNotFoundError: There is no such folder or hub id, or one of its files is missing.
        ValueError: A file is damaged, of another version, or does not fit the others; or
            ``revision`` was given with a local folder.
    """
    folder = _locate(folder_or_hub_id, revision)
    missing = [name for name in (WEIGHTS, CONFIG, CARD) if not (folder / name).is_file()]
    if missing:
        raise FileNotFoundError(
            f"an adapter is a folder with {WEIGHTS}, {CONFIG} and {CARD}; "
            f"{str(folder_or_hub_id)!r} lacks {', '.join(missing)}. "
            "Pass the folder that adapter.save wrote."
        )
    config = read_json(folder / CONFIG, CONFIG_SCHEMA)
    card = Card.from_dict(read_json(folder / CARD, CARD_SCHEMA))
    adapter = build(config, card)
    try:
        # Cloned out of the memory map, so that later changes of the file cannot reach them.
        tensors = {name: tensor.clone() for name, tensor in load_file(folder / WEIGHTS).items()}
    except SafetensorError as error:
        raise ValueError(
            f"{WEIGHTS} must be a whole safetensors file; reading it failed with: {error}. "
            "Save or download the adapter again."
        ) from error
    check_tensors(WEIGHTS, tensors, adapter.state_dict())
    adapter.load_state_dict(tensors, assign=True)
    return adapter


def _check_free(path: Path) -> None:
    foreign = sorted({file.name for file in path.iterdir()} - {*FILES}) if path.is_dir() else []
    if foreign:
        raise FileExistsError(
            "an adapter is saved to a new folder or over another adapter, which it replaces; "
            f"{str(path)!r} holds {foreign[:5]} too. Choose another folder, or move those away."
        )


def check_tensors(name: str, found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    """Raise ``ValueError`` unless ``found`` has the names and shapes of ``wanted``, all finite."""
    again = "Save or download the adapter again."
    unknown, missing = sorted(set(found) - set(wanted)), sorted(set(wanted) - set(found))
    if unknown or missing:
        raise ValueError(
            f"{name} must hold exactly the tensors that {CONFIG} describes; "
            f"unknown: {unknown}, missing: {missing}. {again}"
        )
    for key, tensor in found.items():
        shape = tuple(wanted[key].shape)
        if tuple(tensor.shape) != shape or tensor.dtype != torch.float32:
            raise ValueError(
                f"{key} in {name} must be float32 of shape {shape}; "
                f"got {tensor.dtype} of shape {tuple(tensor.shape)}. {again}"
            )
        bad = int((~tensor.isfinite()).sum())
        if bad:
            raise ValueError(
                f"{key} in {name} must be finite; {bad} of {tensor.numel()} entries are NaN or "
                "infinity. Fit the adapter again, on data without such values."
            )


def _locate(folder_or_hub_id: str | Path, revision: str | None) -> Path:
    """The local folder, or the folder that the hub's files were downloaded to."""
    local = Path(folder_or_hub_id).expanduser()
    if local.is_dir():
        if revision is not None:
            raise ValueError(
                f"revision belongs to a hub id; got revision {revision!r} with the local folder "
                f"{str(folder_or_hub_id)!r}. Leave it out."
            )
        return local
    if isinstance(folder_or_hub_id, Path) or not _HUB_ID.fullmatch(folder_or_hub_id):
        raise FileNotFoundError(
            "an adapter is loaded from a local folder or from an owner/name on the Hugging Face "
            f"hub; {str(folder_or_hub_id)!r} is no folder here and no such name. Check the path."
        )

    import huggingface_hub

    try:
        found = huggingface_hub.snapshot_download(
            folder_or_hub_id, revision=revision, allow_patterns=list(FILES)
        )
    except (OSError, ValueError) as error:
        raise FileNotFoundError(
            "an adapter is loaded from a local folder or from an owner/name on the Hugging Face "
            f"hub; {folder_or_hub_id!r} is no folder here, and the hub gave "
            f"{type(error).__name__}: {str(error).strip().splitlines()[:1]}. "
            "Check the path, or download the adapter first and pass its folder."
        ) from error
    return Path(found)


def to_json(data: Mapping[str, Any]) -> str:
    """JSON text of a card or settings.

    Raises:
        ValueError: A number is not finite.
    """
    try:
        return json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    except ValueError as error:
        raise ValueError(
            "every number of an adapter's card and settings must be finite, as JSON has no others; "
            f"got one that is not ({error}). Replace it before saving."
        ) from error


def read_json(path: Path, schema: str) -> dict[str, Any]:
    """The object in a JSON file, without the ``schema`` that it must name."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{path.name} must be JSON in UTF-8; reading it failed with: {error}. "
            "Save or download the adapter again."
        ) from error
    found = data.get("schema") if isinstance(data, dict) else None
    if found != schema:
        raise ValueError(
            f"{path.name} must be an object whose schema is {schema!r}; got {found!r}. "
            "Load it with the version of isthmus that wrote it."
        )
    return {key: value for key, value in data.items() if key != "schema"}
