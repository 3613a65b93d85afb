"""Every command that builds encoders says where they run; those that read a card ask for trust."""

from __future__ import annotations

import inspect

import pytest
import torch
from typer.testing import CliRunner

from align.apps.cli.app import app
from align.encoders.callable import CallableEncoder
from tests.helpers.planted import shared_factors

N = 60
SIDES = shared_factors(N, (6, 5), shared=3, noise=0.3)
BUILT: list[int] = []
COLUMNS = ["--source", "a", "--target", "b"]
STORE = ["--store", "store"]


def _encoder(side):
    BUILT.append(side)

    def encode(texts):
        return torch.stack([SIDES[side][int(text.split()[1])] for text in texts])

    return CallableEncoder(encode, name=f"side {side}", dim=SIDES[side].shape[1])


def source():
    return _encoder(0)


def target():
    return _encoder(1)


SPECS = f"python:{__name__}:source", f"python:{__name__}:target"
ENCODERS = ["--source-encoder", SPECS[0], "--target-encoder", SPECS[1]]


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lines = ["a,b", *(f"question {row},answer {row}" for row in range(N))]
    (tmp_path / "pairs.csv").write_text("\n".join(lines))
    (tmp_path / "items.txt").write_text("\n".join(f"answer {row}" for row in range(N)))

    def call(*words):
        result = CliRunner().invoke(app, [str(word) for word in words])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == 0, result.output
        return result.stdout

    return call


def test_each_command_that_encodes_has_a_device_and_each_that_reads_a_card_asks_for_trust():
    for command in app.registered_commands:
        name = command.callback.__name__
        words = inspect.signature(command.callback).parameters
        encodes = name == "upgrade" or any("encoder" in word for word in words)
        before = ("scout", "learning_curve", "fit", "tune", "curate", "upgrade")
        reads_a_card = encodes and name not in before
        assert ("device" in words, "trust" in words) == (encodes, reads_a_card), name


@pytest.mark.parametrize(
    "words",
    [
        ["fit", "pairs.csv", *COLUMNS, *ENCODERS, "-o", "out"],
        ["tune", "pairs.csv", *COLUMNS, *ENCODERS, "-o", "out", "--study", "s", "--trials", "1"],
        ["curate", "pairs.csv", *COLUMNS, *ENCODERS, "-o", "out.csv"],
        ["gap", "pairs.csv", *COLUMNS, *ENCODERS],
        ["upgrade", *SPECS, "items.txt", "-o", "out"],
    ],
    ids=lambda words: words[0],
)
def test_a_missing_device_is_an_error_before_anything_is_built(words, run, machine, tmp_path):
    machine(gpus=0)
    BUILT.clear()
    with pytest.raises(ValueError, match="got device='cuda'; torch sees: cpu"):
        run(*words, *STORE, "--device", "cuda")
    assert not BUILT and not (tmp_path / "out").exists()


def test_one_flag_lets_an_adapter_name_its_python_encoders(run, machine):
    machine(gpus=0)
    run("fit", "pairs.csv", *COLUMNS, *ENCODERS, *STORE, "-o", "adapter", "--effort", "fast")
    commands = (
        ["evaluate", "adapter", "pairs.csv", *COLUMNS, *STORE],
        ["gap", "adapter", "pairs.csv", *COLUMNS, *STORE],
        ["index", "adapter", "items.txt", "-o", "idx", *STORE],
        ["search", "idx", "question 7", "-k", "1"],
    )
    for words in commands:
        BUILT.clear()
        with pytest.raises(ValueError, match=r"only if you trust it; .*trust=True"):
            run(*words)
        with pytest.raises(ValueError, match="got device='cuda'; torch sees: cpu"):
            run(*words, "--trust", "--device", "cuda")
        assert not BUILT, words
        shown = run(*words, "--trust")
        assert BUILT, words
    assert "answer" in shown
