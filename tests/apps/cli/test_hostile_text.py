"""Whatever a command prints of what came from outside is text, never markup or a command."""

from __future__ import annotations

import ast
import csv
import io
import json
import logging
import sys
import warnings
from hashlib import sha256
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from align.apps import cli
from align.apps.cli.console import PlainConsole
from align.apps.cli.printing import plain_streams, table
from align.encoders.batches import run_batches
from probes.reporting.text import printed_whole
from tests.apps.cli.steering import NAME, STEERING

MODELS = "python:tests.apps.cli.steering"

ENCODERS = [
    "--source-encoder",
    f"{MODELS}:small",
    "--target-encoder",
    f"{MODELS}:large",
]
SIDES = ["--source", "[/a]\x1b", "--target", "b"]
SPELLED = "[/x] [bold]:dog: \\x1b]0;taken over\\x07 \\x9b2J \\x7f \\u202egnp.exe\\u2069"


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Sixty pairs of hostile texts and ids in a hostile folder; what each command prints."""
    monkeypatch.chdir(tmp_path)
    folder = Path(NAME)
    folder.mkdir(parents=True)
    with (folder / "pairs.csv").open("w", encoding="utf-8", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(["id", "[/a]\x1b", "b"])
        for row in range(60):
            unlike = " ".join(sha256(f"{row}{part}".encode()).hexdigest() for part in range(3))
            lines.writerow([f"{NAME}{row:03}", *2 * [f"{NAME} {unlike} {row:03}"]])

    def call(command, *words, code=0):
        result = CliRunner().invoke(cli.app, [*command.split(), *map(str, words)])
        if code == 0 and result.exception is not None:
            raise result.exception
        assert result.exit_code == code, result.output
        assert not STEERING & set(result.output) and "b\rc" not in result.output
        return result

    return call


def test_every_command_shows_hostile_names_and_texts_as_they_are(run):
    pairs, adapter, index, store = (f"{NAME}/{x}" for x in ("pairs.csv", "adapter", "idx", "store"))
    here = ["--store", store]
    both = [pairs, *SIDES, *ENCODERS, *here, "--id", "id"]
    assert f"saved to {SPELLED}" in run("fit", *both, "-o", adapter, "--effort", "fast").stdout
    run("evaluate", adapter, *both)
    assert SPELLED in run("gap", adapter, pairs, *both[1:], "-o", f"{NAME}/report.md").stdout
    assert f"written to {SPELLED}" in run("curate", *both, "-o", f"{NAME}/table.csv").stdout
    tuned = run("tune", *both, "-o", f"{NAME}/tuned", "--study", f"{NAME}/journal", "--trials", "2")
    assert f"saved to {SPELLED}" in tuned.stdout
    items = [adapter, pairs, "--column", "b", "--id", "id", "-o", index, *here]
    assert SPELLED in run("index", *items, "--encoder", f"{MODELS}:large").stdout
    asked = [
        "search",
        index,
        f"{NAME}007",
        "--encoder",
        f"{MODELS}:small",
        "-k",
        "1",
    ]
    # A cell wraps where the terminal ends.
    assert SPELLED.replace(" ", "") in "".join(run(*asked).stdout.split())
    as_json = run(*asked, "--json").stdout
    assert json.loads(as_json)[0]["metadata"]["text"].startswith(NAME)
    run("store stat", *here)
    run("store prune", *here)
    assert f"0 problems in {SPELLED}" in run("store verify", *here).stdout
    texts = [pairs, "--column", "b", "--id", "id", *here, "-o", f"{NAME}/upgrade"]
    run("upgrade", f"{MODELS}:small", f"{MODELS}:large", *texts)


@pytest.mark.parametrize("words", [["search", NAME, "x"], [NAME], ["search", "i", "x", NAME]])
def test_an_error_shows_hostile_names_plainly(words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["align", *words])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code in (1, 2)
    said = capsys.readouterr().err
    assert "\\x1b]0;taken over" in said and not STEERING & set(said)


def test_a_traceback_is_plain_too(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["align", "--debug", "search", NAME, "x"])
    with pytest.raises(SystemExit):
        cli.main()
    said = capsys.readouterr().err
    assert said.startswith("Traceback") and not STEERING & set(said)


def test_log_records_and_warnings_are_plain_while_a_command_runs(capsys, caplog):
    before = logging.getLogRecordFactory()
    with plain_streams():
        logging.getLogger("align.data.validation").warning("dropped %s", NAME)
        warnings.showwarning(UserWarning(NAME), UserWarning, "file", 1)
    assert logging.getLogRecordFactory() is before
    said = caplog.text + capsys.readouterr().err
    assert said.count("\\x1b]0;") == 2 and not STEERING & set(said)


def test_a_stream_of_a_small_alphabet_spells_what_it_lacks(monkeypatch):
    narrow = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", narrow)
    with plain_streams():
        narrow.write("source → target")
    narrow.flush()
    assert narrow.buffer.getvalue() == b"source \\u2192 target"


def test_titles_and_cells_take_no_markup(capsys):
    shown = table(NAME, NAME, "plain")
    shown.add_row(NAME, "[red]kept[/red]")
    PlainConsole().print(shown)
    PlainConsole().print(NAME, "[/y]")
    captured = capsys.readouterr()
    assert "[red]kept[/red]" in captured.out and "[/y]" in captured.out
    assert ":dog:" in captured.out
    assert not STEERING & set(captured.out)


def test_the_label_of_a_bar_is_plain(capsys):
    run_batches(["a"], lambda items, rows: items, batch_size=1, progress=True, label="\x1b]0;\x07")
    said = capsys.readouterr().err
    assert "\\x1b]0;\\x07" in said and "\x1b]0;" not in said


def test_a_report_is_plain_on_any_console(small_report):
    file = io.StringIO()
    Console(file=file, width=100, color_system=None).print(small_report)
    assert not STEERING & set(file.getvalue() + str(small_report))
    whole = printed_whole(small_report, 100)  # which names the encoders
    assert "\\x1b]0;" in whole and not STEERING & set(whole)


@pytest.fixture
def small_report():
    from dataclasses import replace

    import torch

    from align.data.embeddings import PairedEmbeddings
    from probes.reporting.report import report

    torch.manual_seed(0)
    pairs = PairedEmbeddings(
        torch.randn(30, 3), torch.randn(30, 3), *2 * [[str(n) for n in range(30)]]
    )
    made = report(pairs)
    return replace(made, provenance=replace(made.provenance, source_encoder=NAME))


FOLDER = Path(cli.__file__).parent


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.stem)
def test_commands_print_by_the_plain_functions_alone(path):
    if path.stem in ("printing", "console"):
        return
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and ast.unparse(node) in ("typer.echo", "typer.secho"):
            raise AssertionError(f"{path.name}: print by say or complain")
        if isinstance(node, ast.ImportFrom) and id(node) not in typing_only:
            assert not (node.module or "").startswith("rich"), f"{path.name}: use console and table"
