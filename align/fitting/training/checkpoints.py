"""A training run on disk: one file of tensors and numbers that appears whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from align._files.codec import Schema
from align._files.strict_json import parse
from align._files.tensors import digest_of, read_tensors, write_tensors

SCHEMA = Schema("isthmus-training", 2)
Identity = Mapping[str, str]
"""What a run is of, by name: its settings and digests of what it started from."""


def differences(now: Identity, then: Mapping[str, object]) -> str:
    """What is not as it was, in words; empty where all is."""
    changed = [name for name in now if now[name] != then.get(name)]
    return "; ".join(f"{name}: {then.get(name)} then, {now[name]} now" for name in changed)


def digest(tensors: Iterable[Tensor | None]) -> str:
    """A fingerprint of shapes, types and bytes."""
    return digest_of({f"{number:06d}": tensor for number, tensor in enumerate(tensors)})


def write(
    path: Path, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any], identity: Identity
) -> None:
    """Replace the file at ``path`` by these; no pickle is written.

    ``identity`` is what a run that wants to continue must be of, ``numbers`` whatever JSON holds.
    """
    words = {
        "numbers": json.dumps(dict(numbers), allow_nan=False),
        "identity": json.dumps(dict(identity)),
    }
    write_tensors(path, tensors, schema=SCHEMA, words=words)


def read(path: Path, identity: Identity) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors, on the CPU, and the numbers that ``write`` wrote for the same run."""
    again = "Pass another path, or remove this file to train from the start."
    tensors, words, _ = read_tensors(path, schema=SCHEMA, again=again)
    try:
        theirs, numbers = parse(words["identity"]), parse(words["numbers"])
        if not isinstance(theirs, dict) or not isinstance(numbers, dict):
            raise ValueError("they are no objects")
    except (KeyError, ValueError, RecursionError) as error:
        raise ValueError(
            f"a checkpoint must say what it is of, and its numbers; reading {path} failed with: "
            f"{error}. {again}"
        ) from error
    if changes := differences(identity, theirs):
        raise ValueError(
            "a run continues from a checkpoint of the same settings, pairs and start; "
            f"{path} differs in {changes}. {again}"
        )
    return tensors, numbers
