"""Whether a model folder is files of numbers and settings alone: nothing in it is ever run."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from align._files.strict_json import LARGEST_FILE, check_regular

# Keys by which a configuration asks a library to import Python that the folder or a hub brings
# along, or, for an adapter of PEFT, to load another model that it names.
_RUNS_CODE = frozenset({"auto_map", "auto_mapping", "custom_pipelines", "custom_generate"})

# Contents of these are tokens and names of tensors, in which any word may occur.
_WORDS = re.compile(r"(tokenizer|vocab|added_tokens|.*\.index)\.json")

_MODULE = re.compile(r"sentence_transformers(\.[A-Za-z_]\w*)+", flags=re.ASCII)
_ACTIVATION = re.compile(r"torch\.nn(\.[A-Za-z_]\w*)+", flags=re.ASCII)


def read_settings(path: Path) -> Any:
    """The content of a JSON file, or an empty ``dict`` where there is none."""
    return _read(path, lambda pairs: dict(pairs)) if path.exists() else {}


def check_no_code(folder: Path) -> None:
    """Raise unless loading ``folder`` imports classes of the installed libraries alone.

    Every JSON file of settings at its root and one level down is read, at any depth of nesting.
    """
    files = sorted({*folder.glob("*.json"), *folder.glob("*/*.json")})
    for path in files:
        if _WORDS.fullmatch(path.name):
            continue
        name = path.relative_to(folder).as_posix()
        if path.name == "adapter_config.json":
            raise _refusal(folder, name, "base_model_name_or_path")
        _read(path, lambda pairs, name=name: _checked(folder, name, pairs))


def module_folder(folder: Path, path: object) -> Path:
    """The part of a sentence-transformers folder that a module names."""
    part = folder / str(path)
    inside = isinstance(path, str) and part.resolve().is_relative_to(folder.resolve())
    if not inside or Path(str(path)).is_absolute() or ".." in Path(str(path)).parts:
        raise ValueError(
            "each module of a sentence-transformers folder must lie inside it; "
            f"{folder.name!r} names {str(path)[:200]!r}. Download the model again."
        )
    return part


def check_modules(folder: Path, modules: Any) -> None:
    """Raise unless ``modules.json`` lists modules of sentence-transformers inside the folder."""
    fits = isinstance(modules, list) and all(
        isinstance(each, dict) and isinstance(each.get("type"), str) and "path" in each
        for each in modules
    )
    if not fits:
        raise ValueError(
            "modules.json must be a list of modules, each with a type and a path; "
            f"{folder.name!r} holds {str(modules)[:200]}. Download the model again."
        )
    if any(not _MODULE.fullmatch(module["type"]) for module in modules):
        raise ValueError(
            "a sentence-transformers folder must be built from the modules of that package alone; "
            f"{folder.name!r} holds {[module['type'] for module in modules]}, and code that a "
            "folder brings along is never run here. Load it yourself and wrap it in "
            "CallableEncoder."
        )
    for module in modules:
        part = module_folder(folder, module["path"])
        if (part / "pytorch_model.bin").exists() and not (part / "model.safetensors").exists():
            raise ValueError(
                "weights must be stored as safetensors, which cannot run code; the module "
                f"{str(module['path'])[:200]!r} of {folder.name!r} holds a pickle alone. Load the "
                "model once with sentence-transformers and save it again."
            )


def _read(path: Path, hook: Any) -> Any:
    check_regular(path)
    with path.open("rb") as file:
        data = file.read(LARGEST_FILE + 1)
    try:
        if len(data) > LARGEST_FILE:
            raise ValueError(f"it is larger than {LARGEST_FILE} bytes")
        return json.loads(data.decode("utf-8-sig"), object_pairs_hook=hook)
    except _RefusedError:
        raise
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{path.name} of a model must be JSON in UTF-8; reading {str(path)!r} failed with: "
            f"{str(error)[:200]}. Download the model again."
        ) from error


class _RefusedError(ValueError):
    """Already explained in three parts."""


def _refusal(folder: Path, name: str, key: str) -> _RefusedError:
    return _RefusedError(
        "a model must be built from the classes of transformers alone; "
        f"{folder.name!r} asks in {name} ({key}) to run code that it brings along or names, "
        "which is never done here. Use a model without remote code, or load this one yourself and "
        "wrap it in CallableEncoder."
    )


def _checked(folder: Path, name: str, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    for key, value in pairs:
        if (key in _RUNS_CODE and value is not None) or (key == "trust_remote_code" and value):
            raise _refusal(folder, name, key)
        if key == "activation_function" and isinstance(value, str) and "." in value:
            if not _ACTIVATION.fullmatch(value):
                raise _refusal(folder, name, f"{key} {value[:80]!r}")
    return dict(pairs)
