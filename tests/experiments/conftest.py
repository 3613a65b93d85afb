"""Fixtures for the experiments: a cache of the tests' own, and data that may be absent."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from experiments.datasets import data_folder


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An empty cache folder, shared by the tests of one run and unseen by the user's own."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ISTHMUS_CACHE", str(folder))
        yield folder


@pytest.fixture
def needs_data() -> Callable[[str], Path]:
    """Return the folder of a data set below ISTHMUS_DATA, or skip the test with one line."""

    def folder(name: str) -> Path:
        try:
            return data_folder(name)
        except FileNotFoundError:
            pytest.skip(f"needs the folder {name} below ISTHMUS_DATA")

    return folder
