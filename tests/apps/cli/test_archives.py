"""Commands on embeddings that were made elsewhere: no encoder, no columns."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from typer.testing import CliRunner

import align
from align._advice import on_command_line
from align.apps import cli
from align.data.archives import read_npz


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Planted pairs: both sides are turned and noisy views of six hidden numbers."""
    rng_numpy = np.random.default_rng(0)
    turns = rng_numpy.standard_normal((6, 12)), rng_numpy.standard_normal((6, 9))
    for name, n in (("train", 90), ("test", 40)):
        shared = rng_numpy.standard_normal((n, 6))
        np.savez(
            tmp_path / f"{name}.npz",
            source=shared @ turns[0],
            target=shared @ turns[1],
            ids=np.array([f"{name} {i}" for i in range(n)]),
        )
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(folder):
    def call(*words, code=0):
        result = CliRunner().invoke(cli.app, [str(word) for word in words])
        if code == 0 and result.exception is not None:
            raise result.exception
        assert result.exit_code == code, result.output
        return result

    return call


@pytest.fixture
def fitted(run):
    run("fit", "train.npz", "-o", "adapter", "--effort", "fast")
    return "adapter"


def test_fit_and_evaluate_take_an_archive(run, fitted, folder):
    adapter = align.load(folder / fitted)
    assert adapter.card.n_pairs == 90 and adapter.card.encoders == {}
    scores = json.loads(run("evaluate", fitted, "test.npz", "--json").stdout)
    expected = align.evaluate(read_npz(folder / "test.npz"), adapter)
    assert scores == json.loads(json.dumps(expected.to_dict()))
    assert scores["source_to_target"]["recall_at_10"]["value"] > 0.9


@pytest.mark.usefixtures("fitted")
def test_the_adapter_stands_before_the_pairs_and_may_follow_where_that_is_plain(run):
    first, second = (
        json.loads(run("gap", *words, "--json").stdout)
        for words in (("adapter", "test.npz"), ("test.npz", "adapter"))
    )
    assert "aligned" in json.dumps(first["headline"])
    first.pop("provenance"), second.pop("provenance")
    assert first == second
    assert list(first)[1:3] == ["caution", "verdict"]


@pytest.mark.usefixtures("folder")
def test_probes_are_chosen_by_name(run):
    words = ("gap", "test.npz", "--probes", "recall_at_10", "--probes", "effective_rank", "--json")
    found = json.loads(run(*words).stdout)
    names = {row["name"] for row in found["rows"]}
    assert names == {"recall_at_10", "effective_rank_source", "effective_rank_target"}
    with pytest.raises(ValueError, match="Did you mean 'recall_at_10'"):
        run("gap", "nowhere.npz", "--probes", "recal_at_10")


def items_in(folder):
    return list(align.Index.open(folder / "idx"))


def test_an_index_is_filled_from_an_archive_and_changed_on_request(run, fitted, folder):
    made = json.loads(run("index", fitted, "test.npz", "-o", "idx", "--json").stdout)
    assert made == {
        "index": "idx", "items": 40, "repeats": 0, "added": 40, "updated": 0, "unchanged": 0,
    }  # fmt: skip
    adapter, pairs = align.load(folder / fitted), read_npz(folder / "test.npz")
    index = align.Index.open(folder / "idx")
    hits = index.search(pairs.source, k=5)
    assert sum(hit[0].id == id for hit, id in zip(hits, pairs.ids, strict=True)) > 30
    assert index.adapter.card == adapter.card

    with pytest.raises(FileExistsError, match="Give --add, --update or --replace"):
        run("index", fitted, "test.npz", "-o", "idx")
    with pytest.raises(ValueError, match=r"40 of 40 are in idx .* Give --update"):
        run("index", fitted, "test.npz", "-o", "idx", "--add")
    assert "40 unchanged; 40 items in idx" in run(
        "index", fitted, "test.npz", "-o", "idx", "--update"
    ).stdout  # fmt: skip
    changed = pairs.target.numpy().copy()
    changed[3] += 1
    np.savez("new.npz", source=changed, target=changed, ids=np.array(["more", *pairs.ids[1:]]))
    said = run("index", fitted, "new.npz", "-o", "idx", "--update").stdout
    assert "1 added, 1 updated, 38 unchanged; 41 items in idx" in said

    (folder / "gone.txt").write_text("test 5\ntest 6\n")
    gone = ("index", "-o", "idx", "--delete", "test 7", "--delete", "@gone.txt")
    assert "3 deleted; 38 items left in idx" in run(*gone).stdout
    with pytest.raises(ValueError, match=r"3 of 3 are not, the first .'test 7', .*leave those out"):
        run(*gone)
    assert len(items_in(folder)) == 38

    said = run("index", fitted, "train.npz", "-o", "idx", "--replace", "--dtype", "int8").stdout
    assert said.strip() == "90 items indexed in idx"
    assert items_in(folder)[0] == "train 0" and align.Index.open(folder / "idx").dtype == "int8"
    run("index", fitted, "test.npz", "-o", "idx", "--add")
    assert len(items_in(folder)) == 130


def test_an_index_is_filled_from_an_archive_of_its_side_alone(run, fitted, folder):
    test = read_npz(folder / "test.npz")
    np.savez(folder / "items.npz", target=test.target, ids=np.array(test.ids))
    run("index", fitted, "items.npz", "-o", "idx")
    run("index", fitted, "test.npz", "-o", "again")
    one, other = (align.Index.open(folder / name) for name in ("idx", "again"))
    assert one.search(test.source, k=5) == other.search(test.source, k=5)
    error = run("index", fitted, "items.npz", "-o", "x", "--side", "source", code=1).exception
    assert "must hold the array source, and may hold ids" in str(error)
    assert "holds ['ids', 'target']" in str(error)


def test_a_replacement_that_fails_leaves_the_index(run, fitted, folder):
    run("index", fitted, "test.npz", "-o", "idx")
    np.savez("wide.npz", source=np.ones((4, 12)), target=np.random.default_rng(0).random((4, 5)))
    with pytest.raises(ValueError, match="9"):
        run("index", fitted, "wide.npz", "-o", "idx", "--replace")
    assert len(items_in(folder)) == 40


def test_an_id_may_begin_with_an_at_sign(run, fitted, folder):
    data = np.random.default_rng(0).random((2, 9))
    np.savez("at.npz", source=data, target=data, ids=np.array(["@a", "b"]))
    run("index", fitted, "at.npz", "-o", "idx")
    run("index", "-o", "idx", "--delete", "@@a")
    assert items_in(folder) == ["b"]


def as_typed(monkeypatch, capsys, *words):
    monkeypatch.setattr(sys, "argv", ["align", *words])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == 2
    return capsys.readouterr().err


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("gap", "a", "b", "c"), "got 3 paths"),
        (("index", "a", "b", "-o", "c", "--add", "--replace"), "got --add and --replace"),
        (("index", "-o", "c"), "Write: align index ADAPTER ITEMS -o INDEX"),
        (("index", "a", "-o", "c", "--delete", "d"), "neither ADAPTER nor ITEMS; got a"),
    ],
)
def test_words_that_do_not_go_together_are_a_usage_error(monkeypatch, capsys, words, said):
    assert said in as_typed(monkeypatch, capsys, *words)


@pytest.mark.usefixtures("folder")
def test_the_usage_names_arguments_as_documents_do(monkeypatch, capsys):
    assert "gap [OPTIONS] [ADAPTER] PAIRS\n" in as_typed(monkeypatch, capsys, "gap", "a", "b", "c")


@pytest.mark.parametrize("command", [("fit",), ("evaluate", "adapter"), ("gap",)])
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--source", "caption"), "--source caption"),
        (("--source-encoder", "text:a"), "--source-encoder text:a"),
    ],
)
def test_columns_and_encoders_beside_an_archive_are_refused(run, fitted, command, words, said):
    out = ("-o", "other") if command == ("fit",) else ()
    with pytest.raises(ValueError, match=f"got {said} beside train.npz"):
        run(*command, "train.npz", *words, *out)


def test_a_table_without_encoders_says_which_option_names_them(run, folder):
    (folder / "a.csv").write_text("x,y\na,b\n")
    columns = ("--source", "x", "--target", "y")
    with pytest.raises(ValueError, match=r"got none by --target-encoder for a\.csv"):
        run("fit", "a.csv", *columns, "--source-encoder", "text:a", "-o", "b")


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("words", "said", "unsaid"),
    [
        (("search", "none", "a"), "Name the folder that align index wrote", "create and save"),
        (("gap", "train.npz", "test.npz"), "is a file. Name the folder", "adapter.save"),
        (("index", "adapter", "a.csv", "-o", "i"), "Name it by --column.", "column="),
        (("evaluate", "adapter", "a.csv"), "a table needs --source and --target", "source="),
        (("fit", "a.csv", "--source", "capton", "--target", "image", "-o", "b",
          "--source-encoder", "text:a", "--target-encoder", "text:a"),
         "Did you mean 'caption' for 'capton'? Choose among", "Traceback"),
        (("index", "-o", "idx", "--delete", "a"), "an index is a folder with", "Traceback"),
    ],
)  # fmt: skip
def test_errors_speak_the_language_of_the_command_line(
    run, fitted, folder, monkeypatch, capsys, words, said, unsaid
):
    (folder / "a.csv").write_text("caption,image\na,b\n")
    capsys.readouterr()
    monkeypatch.setattr(sys, "argv", ["align", *words])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    error = capsys.readouterr().err
    assert stopped.value.code == 1 and error.startswith("error: ")
    assert said in error and unsaid not in error


def test_python_m_align_is_the_command(folder):
    words = [sys.executable, "-m", "align", "--version"]
    found = subprocess.run(words, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == f"isthmus {align.__version__}"


@pytest.mark.parametrize("command", ["evaluate", "index"])
def test_a_file_where_the_adapter_stands_is_told_the_order(run, fitted, command):
    words = ["-o", "idx"] if command == "index" else []
    error = run(command, "test.npz", fitted, *words, code=1).exception
    said = on_command_line(error)
    assert "'test.npz' is a file" in said and "stands before the other paths" in said


def test_an_adapter_without_pairs_is_no_table_to_encode(run, fitted):
    assert "align gap adapter PAIRS" in run("gap", fitted, code=2).output


def test_advice_about_pairs_is_in_the_words_of_the_command_line(run, fitted, folder):
    with pytest.warns(UserWarning, match="were trained on") as warned:
        run("evaluate", fitted, "train.npz")
    [said] = [on_command_line(each.message) for each in warned]
    assert "before align fit" in said and "split(" not in said
    few = read_npz(folder / "train.npz").take(range(19))
    np.savez(folder / "few.npz", source=few.source, target=few.target)
    assert on_command_line(run("fit", "few.npz", "-o", "few", code=1).exception).endswith(
        "got 19. Add pairs to the table."
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["fit", "gone.npz", "-o", "x"], "refused 'gone.npz': no such file or directory. Check"),
        (["fit", "kept.npz/x.npz", "-o", "x"], "refused 'kept.npz/x.npz': not a directory. Name"),
    ],
    ids=["gone", "below a file"],
)
def test_what_the_system_refuses_is_said_in_three_parts(
    words, message, folder, monkeypatch, capsys
):
    (folder / "kept.npz").touch()
    monkeypatch.setattr(sys, "argv", ["align", *words])
    with pytest.raises(SystemExit, match="1"):
        cli.main()
    assert message in capsys.readouterr().err
