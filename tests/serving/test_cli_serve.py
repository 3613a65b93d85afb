"""``align serve`` binds to this machine, and says who else would be let in."""

from __future__ import annotations

import sys

import pytest
import uvicorn
from small_gallery import colours_index
from starlette.testclient import TestClient
from typer.testing import CliRunner

from align.cli.app import app

RUNNER = CliRunner()


@pytest.fixture
def started(monkeypatch):
    """What uvicorn was started with."""
    calls = []
    monkeypatch.setattr(uvicorn, "run", lambda app, **options: calls.append((app, options)))
    return calls


@pytest.fixture
def saved(tmp_path):
    index, *_ = colours_index(tmp_path)
    index.save()
    return tmp_path / "idx"


def invoke(*arguments):
    encoders = (
        "--source-encoder", "python:small_gallery:words",
        "--target-encoder", "python:small_gallery:pictures",
    )  # fmt: skip
    return RUNNER.invoke(app, ["serve", *map(str, arguments), *encoders], catch_exceptions=False)


def test_by_default_nobody_else_is_let_in(saved, started):
    done = invoke(saved)
    assert done.exit_code == 0 and "6 items on http://127.0.0.1:8765" in done.stdout
    assert "note:" not in done.stderr
    served, options = started[0]
    assert options["host"] == "127.0.0.1" and not options["access_log"]
    client = TestClient(served, base_url="http://127.0.0.1:8765")
    assert client.get("/api/items/id%2Fred/thumbnail").status_code == 200
    assert "--store" in client.get("/api/about").json()["no_raw"]


def test_another_host_comes_with_a_word_of_warning(saved, started):
    done = invoke(saved, "--host", "0.0.0.0", "--port", 9000)
    assert "whoever reaches it can search the items" in done.stderr
    assert started[0][1]["host"] == "0.0.0.0" and started[0][1]["port"] == 9000


def test_roots_and_a_store_are_taken(saved, started, tmp_path):
    (tmp_path / "other").mkdir()
    invoke(saved, "--root", tmp_path / "other")
    client = TestClient(started[0][0], base_url="http://localhost")
    assert client.get("/api/items/id%2Fred/thumbnail").status_code == 403
    roots = ("--root", tmp_path / "other", "--root", tmp_path / "photos")
    invoke(saved, *roots, "--store", tmp_path / "store")
    client = TestClient(started[1][0], base_url="http://localhost")
    assert client.get("/api/about").json()["no_raw"] is None
    assert client.get("/api/items/id%2Fred/thumbnail").status_code == 200


def test_without_the_extra_the_command_says_what_to_install(saved, monkeypatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'isthmus\[serve\]'"):
        invoke(saved)
