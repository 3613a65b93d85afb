"""The ladder on a small planted task: every system, its draws, and the record with its figure."""

import json

import pytest
import torch

from align.adapters.closed_form.rcca import rcca
from align.data.embeddings import PairedEmbeddings
from experiments import frontier, record
from experiments.frontier import BEST, FAST, Config, compare_on, summary
from experiments.tasks import Task


@pytest.fixture(scope="module")
def task():
    """120 pairs to draw from and 40 held out, both sides linear in a 5-d latent, with noise."""
    rng = torch.Generator().manual_seed(0)
    latent = torch.randn(160, 5, generator=rng)
    sides = [
        latent @ torch.randn(5, 10, generator=rng) + torch.randn(160, 10, generator=rng)
        for _ in range(2)
    ]
    pairs = PairedEmbeddings.from_arrays(*sides)
    return Task(pairs.take(range(120)), pairs.take(range(120, 160)))


@pytest.fixture(scope="module", autouse=True)
def cheap():
    """``fit`` has tests of its own; the ladder is tested with one closed form in its place."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(frontier, "STEPS", 3)
        patch.setattr(frontier, "fit", lambda pairs, **_: rcca(pairs.source, pairs.target))
        yield


@pytest.fixture(scope="module")
def result(task):
    return compare_on(task, Config("planted", n=60, draws=2, wide=True))


def test_every_system_has_a_row_and_a_cell_for_each_draw(result):
    names = [row.system for row in result.rows]
    assert names[0] == "raw cosine" and BEST in names and len(names) == len(set(names)) == 11
    assert list(result.cells) == names
    assert all(len(cells) == 2 for cells in result.cells.values())
    assert len(result.chosen) == 2


def test_a_row_is_the_mean_of_its_cells(result):
    for row in result.rows:
        for at, metric in enumerate(("recall_at_1", "recall_at_10")):
            mean = sum(cell[at] for cell in result.cells[row.system]) / 2
            assert row.metrics[metric].value == pytest.approx(mean)


def test_a_run_ends_with_fit_unless_it_is_wide(task):
    narrow = compare_on(task, Config("planted", n=60, draws=1))
    assert not any("fast, then" in row.system for row in narrow.rows)
    assert [row.system for row in narrow.rows][-1] == BEST


def test_what_fit_lacks_is_the_best_simple_method_of_each_draw_less_fit(result):
    names = list(result.cells)
    before = names[: names.index(FAST)]
    for draw in range(2):
        most = max(result.cells[name][draw][0] for name in before)
        assert result.below[draw] == pytest.approx(most - result.cells[BEST][draw][0])
    assert result.chance == pytest.approx((1 / 40, 10 / 40))


def test_all_settings_go_on_after_those_that_have_a_record_of_this_commit(
    task, monkeypatch, tmp_path, capsys
):
    loaded = []
    monkeypatch.setattr(frontier, "load_task", lambda name: loaded.append(name) or task)
    monkeypatch.setattr(frontier, "RESULTS", tmp_path)
    monkeypatch.setattr(frontier, "SETTINGS", {"emoji": (50,), "conala": (40, 50)})
    monkeypatch.setattr(
        frontier, "write_record",
        lambda name, **content: record.write_record(name, **content, folder=tmp_path),
    )  # fmt: skip
    monkeypatch.setattr(frontier, "summary", lambda: summary(tmp_path))
    frontier.main(["--data", "conala", "--n", "40", "--draws", "1"])
    frontier.main(["--draws", "1"])
    assert loaded == ["conala", "emoji", "conala"]
    assert capsys.readouterr().out.count("chance") >= 1


def test_a_run_writes_its_record_and_its_figure(task, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(frontier, "load_task", lambda name: task)
    monkeypatch.setattr(frontier, "RESULTS", tmp_path)
    monkeypatch.setattr(
        frontier, "write_record",
        lambda name, **content: record.write_record(name, **content, folder=tmp_path),
    )  # fmt: skip
    frontier.main(["--data", "emoji", "--n", "50", "--draws", "1"])
    written = json.loads((tmp_path / "frontier-emoji-50.json").read_text())
    assert written["config"]["n"] == 50
    assert len(written["result"]["cells"][BEST]) == 1
    assert (tmp_path / "frontier-emoji-50.png").read_bytes().startswith(b"\x89PNG")
    assert "draw 0" in capsys.readouterr().out
