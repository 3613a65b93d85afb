"""A new user's path: the tutorial as it is written, with the wheel and without a checkout."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from socket import socket
from subprocess import PIPE, STDOUT
from urllib.request import urlopen

import pytest

TUTORIAL = Path(__file__).parents[2] / "docs/tutorials/csv_to_web_page.md"
KEPT = 8  # one row in eight of the tables, so that encoding takes seconds


def commands_of(page: str) -> list[tuple[str, str]]:
    """What a reader runs, in order: a block of Python, or a line of the shell."""
    found: list[tuple[str, str]] = []
    for language, text in re.findall(r"^```(python|sh)\n(.*?)^```", page, re.DOTALL | re.MULTILINE):
        joined = text.replace("\\\n", " ")
        parts = [text] if language == "python" else joined.splitlines()
        found += [(language, part) for part in parts if part.strip()]
    # What a page offers for later stands in its running text.
    later = page.partition("## Where next")[2]
    return found + [("sh", line) for line in re.findall(r"`(align gap [^`]+)`", later)]


@pytest.fixture(scope="module")
def said(environment, tmp_path_factory) -> dict[str, str]:
    """What each command printed, by its first words, in a folder that is empty at first."""
    folder = tmp_path_factory.mktemp("a new folder")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    path = f"{environment / 'bin'}{os.pathsep}{os.environ['PATH']}"
    shell = {**kept, "PATH": path, "HOME": str(tmp_path_factory.mktemp("home"))}
    printed = {}
    for language, text in commands_of(TUTORIAL.read_text(encoding="utf-8")):
        if language == "python":
            run(["python", "-c", text], folder, shell)
            keep_a_part(folder)
        elif text.startswith("align serve"):
            with served(text, folder, shell) as address:
                printed["page"] = read(address)
                printed["hits"] = read(address + "api/search?q=a+red+fruit&k=3")
        else:
            printed[" ".join(text.split()[:2])] = run(["bash", "-ec", text], folder, shell)
    assert (folder / "gap.html").read_text(encoding="utf-8").lower().startswith("<!doctype html>")
    return printed


def run(command: list[str], folder: Path, environment: dict[str, str]) -> str:
    found = subprocess.run(
        command, cwd=folder, env=environment, stdout=PIPE, stderr=STDOUT, text=True
    )
    assert found.returncode == 0, f"{command[-1]}\n{found.stdout}"
    return found.stdout


def keep_a_part(folder: Path) -> None:
    """Leave one row in eight in the tables, and the pictures that they name."""
    named = set()
    for table in folder.glob("*.csv"):
        with table.open(newline="", encoding="utf-8") as file:
            [head, *rows] = csv.reader(file)
        rows = rows[::KEPT]
        named |= {row[head.index("image")] for row in rows}
        with table.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([head, *rows])
    for picture in (folder / "emoji").iterdir():
        if f"emoji/{picture.name}" not in named:
            picture.unlink()


@contextmanager
def served(text: str, folder: Path, environment: dict[str, str]) -> Iterator[str]:
    """The address of a page while it is served; it is ended as by Ctrl-C."""
    with socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["bash", "-c", f"exec {text} --port {port}"]
    with subprocess.Popen(
        command, cwd=folder, env=environment, stdout=PIPE, stderr=STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if found := re.search(r"http://\S+", line):
                break
        else:
            pytest.fail("".join(lines))
        try:
            yield found[0].rstrip("/") + "/"
        finally:
            process.send_signal(signal.SIGINT)
            process.stdout.read()
    assert process.returncode in (0, 130)


def read(address: str) -> str:
    with urlopen(address) as answer:
        return answer.read().decode()


def test_a_new_user_is_at_a_hit_in_under_ten_commands():
    commands = [text for _, text in commands_of(TUTORIAL.read_text(encoding="utf-8"))]
    [first_hit] = [n for n, text in enumerate(commands, 1) if text.startswith("align search")]
    assert 1 + first_hit < 10  # the first is the installation


def test_every_command_of_the_tutorial_runs_from_the_wheel(said):
    assert set(said) >= {"align fit", "align evaluate", "align index", "align search", "align gap"}
    assert "saved to my-adapter" in said["align fit"]
    assert "chance" in said["align evaluate"]


def test_a_search_finds_pictures(said):
    ranks = re.findall(r"^ +(\d) .*image .*\.png", said["align search"], re.MULTILINE)
    assert ranks == ["1", "2", "3", "4", "5"]


def test_the_page_and_its_search_are_served_from_the_wheel(said):
    assert "<title>" in said["page"]
    assert len(json.loads(said["hits"])["hits"]) == 3
