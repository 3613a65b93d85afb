"""The wheel holds what the packages need to run, and nothing else."""

from __future__ import annotations

import subprocess
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_wheel_holds_every_file_of_the_packages_and_nothing_else(wheel):
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "align", "probes"]
    tracked = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True)
    files = {name for name in tracked.stdout.splitlines() if (ROOT / name).exists()}
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert held == files


def test_the_wheel_holds_its_licences_and_says_that_it_is_typed(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {"align/py.typed", "probes/py.typed"} <= set(names)
    licences = {name.partition("/licenses/")[2] for name in names if "/licenses/" in name}
    assert licences == {"LICENSE", "align/data/examples/NOTICE"}


def test_what_is_installed_is_imported_from_the_wheel(environment):
    where = "import align, probes; print(align.__file__); print(probes.__file__)"
    said = subprocess.run(
        [environment / "bin/python", "-I", "-c", where], check=True, capture_output=True, text=True
    )
    assert all(Path(line).is_relative_to(environment) for line in said.stdout.splitlines())


def test_what_no_extra_asks_for_is_not_in_the_environment(environment):
    said = subprocess.run([environment / "bin/python", "-c", "import pytest"], capture_output=True)
    assert b"ModuleNotFoundError" in said.stderr
