"""``align serve`` binds to this machine, and says who else would be let in."""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
from contextlib import nullcontext
from dataclasses import replace

import pytest
import uvicorn
from starlette.testclient import TestClient
from typer.testing import CliRunner

from align._advice import on_command_line
from align.apps.cli import serve as serve_module
from align.apps.cli.app import app
from tests.apps.serving.small_gallery import colours_index

RUNNER = CliRunner()


@pytest.fixture
def started(monkeypatch):
    """What uvicorn was started with."""
    calls = []

    def run(server, sockets):
        config = server.config
        calls.append((config.app, config))

    monkeypatch.setattr(uvicorn.Server, "run", run)
    monkeypatch.setattr(serve_module, "listening", lambda host, port: nullcontext())
    return calls


@pytest.fixture
def saved(tmp_path):
    index, *_ = colours_index(tmp_path)
    index.save()
    return tmp_path / "idx"


def invoke(*arguments):
    encoders = (
        "--source-encoder", "python:tests.apps.serving.small_gallery:words",
        "--target-encoder", "python:tests.apps.serving.small_gallery:pictures",
    )  # fmt: skip
    return RUNNER.invoke(app, ["serve", *map(str, arguments), *encoders], catch_exceptions=False)


@pytest.mark.usefixtures("started")
def test_python_encoders_of_the_card_are_run_only_on_trust(tmp_path):
    module = "python:tests.apps.serving.small_gallery"
    index, *_ = colours_index(tmp_path)
    specs = {"source": f"{module}:words", "target": f"{module}:pictures"}
    object.__setattr__(index.adapter, "card", replace(index.adapter.card, encoders=specs))
    index.save()
    words = ["serve", str(tmp_path / "idx")]
    with pytest.raises(ValueError, match=r"only if you trust .*small_gallery:words'") as raised:
        RUNNER.invoke(app, words, catch_exceptions=False)
    assert "allow it by --trust" in on_command_line(raised.value)
    assert RUNNER.invoke(app, [*words, "--trust"], catch_exceptions=False).exit_code == 0


def test_by_default_nobody_else_is_let_in(saved, started):
    done = invoke(saved)
    assert done.exit_code == 0 and "6 items on http://127.0.0.1:8765" in done.stdout
    assert "note:" not in done.stderr
    served, options = started[0]
    assert options.host == "127.0.0.1" and not options.access_log
    client = TestClient(served, base_url="http://127.0.0.1:8765")
    assert client.get("/api/items/id%2Fred/thumbnail").status_code == 200
    assert "--store" in client.get("/api/about").json()["no_raw"]


def test_another_host_comes_with_a_word_of_warning(saved, started):
    done = invoke(saved, "--host", "0.0.0.0", "--port", 9000)
    assert "whoever reaches it can search the items" in done.stderr
    assert started[0][1].host == "0.0.0.0" and started[0][1].port == 9000


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


def test_without_the_extra_the_error_names_it(saved, monkeypatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'isthmus\[serve\]'"):
        invoke(saved)


def test_a_taken_port_is_an_error_before_anything_is_loaded(saved):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(OSError, match=rf"needs a free port .*{port} gave: .*--port") as raised:
            invoke(saved, "--port", port)
    assert "items on" not in str(raised.value)


def test_a_host_of_another_machine_is_refused(saved):
    with pytest.raises(OSError, match=r"needs a free port of this machine; 192.0.2.1 at"):
        invoke(saved, "--host", "192.0.2.1")


def test_connections_and_the_time_to_stop_are_bounded(saved, started):
    invoke(saved)
    config = started[0][1]
    assert config.limit_concurrency == 100 and config.timeout_graceful_shutdown == 3


def test_requests_cut_off_by_a_stop_leave_no_traceback():
    def record(kind):
        error = (kind, kind("x"), None)
        return logging.LogRecord("uvicorn.error", logging.ERROR, "f", 1, "m", (), error)

    assert not serve_module._is_not_cut_off(record(asyncio.CancelledError))
    assert serve_module._is_not_cut_off(record(ValueError))
