"""Adapters on disk and on the Hugging Face hub: weights, architecture, card and README."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from align._advice import Advised
from align._files.atomic import Layout, atomic_folder, read_whole, settled
from align._files.codec import Schema, read_fields
from align._files.strict_json import is_of, read_json, to_json
from align._files.tensors import digest_of, open_tensors
from align._files.tensors import save as save_tensors
from align.adapters.artifact.config import build, describe
from align.adapters.artifact.model_card import model_card
from align.adapters.artifact.schema import AGAIN as _AGAIN
from align.adapters.artifact.schema import Digest, Object
from align.adapters.card import Card
from align.adapters.components import Components

WEIGHTS, CONFIG, CARD, README = "model.safetensors", "config.json", "card.json", "README.md"
FILES = (WEIGHTS, CONFIG, CARD, README)
CONFIG_SCHEMA = Schema("isthmus-adapter", 2, 1)
CARD_SCHEMA = Schema("isthmus-card", 1, 2)
AGAIN = f"{_AGAIN.capitalize()}."

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)

LAYOUT = Layout("adapter", frozenset(FILES), lambda folder: is_of(folder / CONFIG, CONFIG_SCHEMA))


def save(components: Components, card: Card, folder: str | Path) -> None:
    """Write an adapter as a folder that can be uploaded to the Hugging Face hub as it is.

    The folder holds ``model.safetensors``, ``config.json``, ``card.json`` and a ``README.md`` that
    explains the three. It appears whole or not at all, and replaces an adapter that is there, in
    one step where the system has one (``align._files.atomic``). ``config.json`` holds digests of
    itself and of the other two.

    ``components``, float32 on any device, are of the maps in ``align.adapters.maps``. ``~`` in
    ``folder`` is expanded; where it is a link, the folder that it names is written.

    Raises:
        FileExistsError: The folder holds files and is no adapter, or holds others too.
        NotADirectoryError: ``folder`` is a file.
        OSError: The disk is full, or the folder above cannot be written.
        TypeError: A map is of another kind.
        ValueError: A tensor is not float32 or not finite, or a number of the card is not finite.
    """
    path = Path(folder).expanduser()
    LAYOUT.check_free(path)
    config = describe(components)
    state = components.module().state_dict()
    tensors = {name: tensor.detach().cpu() for name, tensor in state.items()}
    check_tensors("the adapter", tensors, build(config, card).module().state_dict())
    card_fields = {"schema": CARD_SCHEMA.value, **card.to_dict()}
    card_text = to_json(card_fields, again="Replace it before saving.")
    digests = {"weights": digest_of(tensors), "card": json_digest(card_fields)}
    config_text = sealed({"schema": CONFIG_SCHEMA.value, **config, "digests": digests})
    texts = {CARD: card_text, README: model_card(components, card), CONFIG: config_text}
    with atomic_folder(path, LAYOUT) as scratch:
        save_tensors(tensors, scratch / WEIGHTS, {"format": "pt"})
        for name, text in texts.items():
            (scratch / name).write_text(text, encoding="utf-8")


def read(folder_or_hub_id: str | Path, *, revision: str | None = None) -> tuple[Components, Card]:
    """What ``save`` wrote, equal to the last bit, on the CPU; ``align.load`` says more."""
    return read_whole(_locate(folder_or_hub_id, revision), _read)


def _read(folder: Path) -> tuple[Components, Card]:
    missing = [name for name in (WEIGHTS, CONFIG, CARD) if not (folder / name).is_file()]
    if missing:
        raise FileNotFoundError(
            Advised(
                f"an adapter is a folder with {WEIGHTS}, {CONFIG} and {CARD}; "
                f"{str(folder)!r} lacks {', '.join(missing)}.",
                python="Pass the folder that adapter.save wrote.",
                command="Name the folder that align fit wrote; align info says what a folder is.",
            )
        )
    config, newer = read_json(folder / CONFIG, CONFIG_SCHEMA, again=AGAIN)
    card_fields, card_newer = read_json(folder / CARD, CARD_SCHEMA, again=AGAIN)
    card = Card.from_dict(without(card_fields, "schema"), newer=card_newer)
    components = build(without(config, "schema", "digests", "sha256"), card, newer=newer)
    module = components.module()
    tensors, _ = open_tensors(folder / WEIGHTS, again=AGAIN)
    expected = module.state_dict()
    known = {name: each for name, each in tensors.items() if name in expected or not newer}
    check_tensors(WEIGHTS, known, expected)
    digests = check_config(CONFIG, config, "weights", "card")
    check_digest(CARD, digests["card"], card_fields, beside=CONFIG)
    if digest_of(tensors) != digests["weights"]:
        raise ValueError(changed(WEIGHTS, CONFIG))
    module.load_state_dict(known, assign=True)
    return components, card


def saved_digest(folder: Path) -> str:
    """The digest, in ``config.json``, of all of the adapter that ``save`` wrote to ``folder``."""
    return str(read_json(folder / CONFIG, CONFIG_SCHEMA, again=AGAIN)[0].get("sha256"))


def json_digest(data: Mapping[str, object]) -> str:
    """SHA-256 of what an object says, however it is laid out; hexadecimal."""
    return digest_of({}, {"json": json.dumps(data, sort_keys=True, allow_nan=False)})


def sealed(data: Mapping[str, Any]) -> str:
    """JSON text of an object and its own digest."""
    again = "Replace it before saving."
    to_json(data, again=again)
    return to_json({**data, "sha256": json_digest(data)}, again=again)


def check_config(name: str, config: Mapping[str, Any], *others: str) -> dict[str, str]:
    """The digests of other files that ``sealed`` settings hold, once their own is right."""
    seal = {each: config.get(each) for each in ("digests", "sha256")}
    seal = read_fields(seal, name, _AGAIN, {"digests": Object, "sha256": Digest})
    check_digest(name, seal["sha256"], without(config, "sha256"), beside=name)
    kinds = dict.fromkeys(others, Digest)
    return read_fields(seal["digests"], f"{name}.digests", _AGAIN, kinds)


def without(data: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """The other fields of an object."""
    return {name: value for name, value in data.items() if name not in names}


def check_digest(name: str, digest: str, data: Mapping[str, object], *, beside: str) -> None:
    """Raise ``ValueError`` unless ``data`` has the digest that was saved with it in ``beside``."""
    if json_digest(data) != digest:
        raise ValueError(changed(name, beside))


def changed(name: str, beside: str) -> str:
    """What to say of a file that is not the one that was saved."""
    return (
        f"{name} must hold what was saved; its digest in {beside} is another, so a file was "
        f"damaged, edited, or taken from elsewhere. {AGAIN}"
    )


def check_tensors(name: str, tensors: Mapping[str, Tensor], like: Mapping[str, Tensor]) -> None:
    """Raise ``ValueError`` unless ``tensors`` have the names and shapes of ``like``, all finite."""
    unknown, missing = sorted(set(tensors) - set(like)), sorted(set(like) - set(tensors))
    if unknown or missing:
        raise ValueError(
            f"{name} must hold exactly the tensors that {CONFIG} describes; "
            f"unknown: {unknown}, missing: {missing}. {AGAIN}"
        )
    for key, tensor in tensors.items():
        shape = tuple(like[key].shape)
        if tuple(tensor.shape) != shape or tensor.dtype != torch.float32:
            raise ValueError(
                f"{key} in {name} must be float32 of shape {shape}; "
                f"got {tensor.dtype} of shape {tuple(tensor.shape)}. {AGAIN}"
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
    if settled(local) is not None:
        if revision is not None:
            raise ValueError(
                f"revision belongs to a hub id; got revision {revision!r} with the local folder "
                f"{str(folder_or_hub_id)!r}. Leave it out."
            )
        return local
    if local.is_file():
        raise NotADirectoryError(
            Advised(
                "an adapter is loaded from a local folder or from an owner/name on the Hugging "
                f"Face hub; {str(folder_or_hub_id)!r} is a file.",
                python="Pass the folder that adapter.save wrote.",
                command="Name the folder that align fit wrote; it stands before the other paths.",
            )
        )
    if isinstance(folder_or_hub_id, Path) or not _HUB_ID.fullmatch(folder_or_hub_id):
        raise FileNotFoundError(
            "an adapter is loaded from a local folder or from an owner/name on the Hugging Face "
            f"hub; {str(folder_or_hub_id)!r} is no folder here and no such name. Check the path."
        )

    import huggingface_hub

    try:
        folder = huggingface_hub.snapshot_download(
            folder_or_hub_id, revision=revision, allow_patterns=list(FILES)
        )
    except (OSError, ValueError) as error:
        raise FileNotFoundError(
            "an adapter is loaded from a local folder or from an owner/name on the Hugging Face "
            f"hub; {folder_or_hub_id!r} is no folder here, and the hub gave "
            f"{type(error).__name__}: {str(error).strip().splitlines()[:1]}. "
            "Check the path, or download the adapter first and pass its folder."
        ) from error
    return Path(folder)
