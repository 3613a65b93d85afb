"""What a run leaves behind: its numbers beside its settings, code, versions and machine."""

from __future__ import annotations

import json
import platform
import subprocess
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from align._files.atomic import atomic_file
from align.adapters.card import installed_versions

RESULTS = Path(__file__).parent / "results"
_PACKAGES = ("sentence-transformers", "transformers", "onnxruntime")


def write_record(
    name: str, *, config: Mapping[str, Any], result: Any, folder: Path = RESULTS
) -> Path:
    """Write ``folder/name.json`` whole or not at all, replacing an earlier one.

    Args:
        name: File name without its ending.
        config: Everything the run was told, seed included.
        result: What it found, ready for JSON.
        folder: Where records are kept.
    """
    record = {
        "experiment": name,
        "config": dict(config),
        "commit": commit(),
        "device": device(),
        "versions": versions(),
        "result": result,
    }
    path = folder / f"{name}.json"
    with atomic_file(path) as scratch:
        text = json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False)
        scratch.write_text(text + "\n", encoding="utf-8")
    return path


def read_record(name: str, *, folder: Path = RESULTS) -> dict[str, Any]:
    """The record ``folder/name.json``, as ``write_record`` wrote it.

    Raises:
        FileNotFoundError: There is none.
    """
    found: dict[str, Any] = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    return found


def is_current(name: str, *, folder: Path = RESULTS) -> bool:
    """Whether there is a record of this very commit, so that a run that was stopped goes on."""
    try:
        return bool(read_record(name, folder=folder)["commit"] == commit())
    except FileNotFoundError:
        return False


def commit() -> str:
    """Commit of the code, with ``+changes`` if a tracked Python file differs; or ``unknown``."""
    head = _git("rev-parse", "HEAD")
    if head is None:
        return "unknown"
    changed = _git("--no-optional-locks", "status", "--porcelain", "-uno", "--", "*.py")
    return f"{head}+changes" if changed else head


def device() -> str:
    """Name of the processor and the number of threads that torch uses."""
    return f"{_processor()}, {torch.get_num_threads()} threads"


def versions() -> dict[str, str]:
    """Versions of everything that could change a number."""
    found = installed_versions()
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue  # without it the run took another way, or did not need it
    return found


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _git(*arguments: str) -> str | None:
    """Output of a git command in the project's folder, or ``None`` where that fails."""
    root = Path(__file__).parents[1]
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments], check=True, capture_output=True, text=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
