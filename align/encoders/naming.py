"""One line that names a pretrained encoder: its kind, its model, and the options it was given."""

from __future__ import annotations

import re
from dataclasses import Field, fields
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

from align.encoders.pretrained.packaged import PRESETS

_WITH_OPTIONS = re.compile(r"(.+?)\?(\w+=[^&?]*(?:&\w+=[^&?]*)*)")


def name_of(encoder: Any) -> str | None:
    """``KIND:MODEL``, with ``?option=value&...`` where options are not the default.

    ``None`` for a model whose own name holds options.
    """
    model = str(encoder.model)
    if isinstance(encoder.model, Path) and model in PRESETS:
        model = f"./{model}"  # a folder, and not the preset
    if _WITH_OPTIONS.fullmatch(model):
        return None
    given = {name: getattr(encoder, name) for name in _options(type(encoder))}
    defaults = {name: field.default for name, field in _options(type(encoder)).items()}
    chosen = {name: value for name, value in given.items() if value != defaults[name]}
    return f"{encoder.modality}:{model}" + (f"?{urlencode(chosen)}" if chosen else "")


def model_and_options(kind: type[Any], text: str) -> tuple[str, dict[str, Any]]:
    """The model and the options of an encoder of class ``kind`` from ``MODEL?option=value&...``."""
    match = _WITH_OPTIONS.fullmatch(text)
    if match is None:
        return text, {}
    known = _options(kind)
    options: dict[str, Any] = {}
    for name, value in parse_qsl(match[2], keep_blank_values=True):
        is_whole = name in known and str(known[name].type).startswith("int")
        if name not in known or (is_whole and not re.fullmatch(r"-?\d{1,9}", value)):
            raise ValueError(
                f"options of an encoder must be among {sorted(known)}, numbers where it takes "
                f"numbers; got {name}={value!r}. Write MODEL?option=value&option=value."
            )
        options[name] = int(value) if is_whole else value
    return match[1], options


def _options(kind: type[Any]) -> dict[str, Field[Any]]:
    """The fields of an encoder that change its vectors, by name."""
    others = ("model", "variant", "device", "batch_size", "image_encoder")
    return {field.name: field for field in fields(kind) if field.name not in others}
