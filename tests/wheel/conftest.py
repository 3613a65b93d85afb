"""The wheel that `make test-wheel` has built, and environments that hold what it asks for, or less.

An environment is made of links to packages that are installed here, and of those alone that the
wheel and its extras name: a package that is used and not asked for is missing there. So nothing is
downloaded, and the checkout is not on the path.
"""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from email.parser import Parser
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from venv import EnvBuilder

import pytest
from packaging.requirements import Requirement

EXTRAS = ("encoders", "report", "serve")


@pytest.fixture(scope="session")
def wheel() -> Path:
    """The file; these tests are skipped where none was built."""
    if not (path := os.environ.get("ISTHMUS_WHEEL")):
        pytest.skip("make test-wheel builds the wheel and sets ISTHMUS_WHEEL to its path")
    return Path(path).absolute()


def _metadata_of(wheel: Path) -> list[Requirement]:
    with zipfile.ZipFile(wheel) as archive:
        [name] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        words = Parser().parsestr(archive.read(name).decode())
    return [Requirement(line) for line in words.get_all("Requires-Dist", [])]


def _wanted(requirements: list[Requirement], extras: Iterator[str] | tuple[str, ...]) -> set[str]:
    """Names of what is asked for, and of what that asks for in turn."""
    seen: set[tuple[str, str]] = set()
    todo = [(requirement, extra) for requirement in requirements for extra in ("", *extras)]
    while todo:
        requirement, extra = todo.pop()
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": extra}):
            continue
        for inner in ("", *requirement.extras):
            if (requirement.name, inner) in seen:
                continue
            seen.add((requirement.name, inner))
            try:
                asked = distribution(requirement.name).requires or []
            except PackageNotFoundError:
                continue  # of another platform, or the import in the tutorial fails and names it
            todo += [(Requirement(line), inner) for line in asked]
    return {name for name, _ in seen}


@pytest.fixture(scope="session")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an environment with the wheel and its extras."""
    wanted = _wanted(_metadata_of(wheel), EXTRAS)
    return _made(tmp_path_factory.mktemp("installed"), wheel, wanted)


@pytest.fixture(scope="session")
def light_environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an environment with the wheel and what ``align.light`` asks for alone."""
    return _made(tmp_path_factory.mktemp("light"), wheel, {"numpy", "safetensors"})


def _made(folder: Path, wheel: Path, names: set[str]) -> Path:
    EnvBuilder(with_pip=False, symlinks=True).create(folder)
    python = folder / "bin/python"
    command = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
    subprocess.run([*command, "--no-deps", "--no-index", str(wheel)], check=True)
    [packages] = folder.glob("lib/python*/site-packages")
    for name in sorted(names):
        try:
            found = distribution(name)
        except PackageNotFoundError:
            continue
        for top in {file.parts[0] for file in found.files or []} - {"..", "__pycache__"}:
            link = packages / top
            if not link.exists():
                link.symlink_to(Path(str(found.locate_file(top))))
    return folder
