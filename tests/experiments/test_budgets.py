"""The table of budgets, on planted pairs."""

from __future__ import annotations

import json

import pytest
import torch

from align.adapters.closed_form.rcca import rcca
from align.data.multi_vector import MultiVector
from experiments import budgets, cascade, record
from experiments.tasks import Task, _class_of
from tests.helpers.planted_tokens import needles


@pytest.fixture
def planted(monkeypatch, tmp_path):
    data = needles(300)
    task = Task(data.take(range(200)), data.take(range(200, 300)))
    monkeypatch.setattr(budgets, "load_token_task", lambda name: task)
    monkeypatch.setattr(budgets, "fit", lambda pairs: rcca(pairs.source, pairs.target))
    monkeypatch.setattr(budgets, "RESULTS", tmp_path)
    monkeypatch.setattr(
        budgets,
        "write_record",
        lambda name, **told: record.write_record(name, folder=tmp_path, **told),
    )
    return tmp_path


def test_the_table_is_written_with_its_figure_and_every_budget(planted, capsys):
    budgets.main(["--data", "emoji", "--n", "150", "--draws", "2"])
    found = json.loads((planted / "budgets-emoji.json").read_text())["result"]
    assert (planted / "budgets-emoji.png").read_bytes()[:4] == b"\x89PNG"
    systems = [line["system"] for line in found["lines"]]
    assert systems.count("meta tokens") == len(budgets.BUDGETS)
    assert {"closed form", "no Matryoshka", "one aspect", "meta tokens, int8 index"} <= set(systems)
    ours = {
        tuple(line["budget"]): line for line in found["lines"] if line["system"] == "meta tokens"
    }
    assert ours[1, 1]["gain"]["recall_at_10"]["value"] == 0
    assert ours[4, 16]["gain"]["recall_at_10"]["low"] > 0  # a planted needle
    # A width of 40 beside 9 token coordinates, float32, with offsets.
    first, full = ours[1, 1]["cost"], ours[4, 16]["cost"]
    assert full["flops_per_query"] == pytest.approx(64 * first["flops_per_query"])
    assert full["bytes_per_item_int8"] < full["bytes_per_item"] / 3.5
    out = capsys.readouterr().out
    assert "gate: finds " in out and "further vectors gained" in out


def test_a_quick_run_writes_nothing(planted):
    budgets.main(["--data", "emoji", "--quick"])
    assert not list(planted.iterdir())


def test_an_adapter_is_fitted_once_for_the_same_pairs():
    calls = []
    known = budgets.remember_pairs(lambda pairs: calls.append(pairs) or len(calls))
    a, b = needles(30).pooled, needles(30).pooled.take(range(20))
    assert [known(a), known(b), known(a)] == [1, 2, 1]


def test_a_window_is_a_rectangle_of_the_grid():
    generator = torch.Generator().manual_seed(0)
    states = torch.arange(49.0)[:, None].expand(49, 3)
    for _ in range(50):
        cells = cascade._window(states, generator)[:, 0].reshape(-1).int()
        rows, columns = (cells // 7).unique(), (cells % 7).unique()
        assert len(rows) >= 4 and len(columns) >= 4
        assert cells.tolist() == [7 * int(row) + int(column) for row in rows for column in columns]


def test_photos_are_counted_through_the_parts():
    parts = [
        MultiVector.from_equal(torch.full((2, 1, 1), 1.0)),
        MultiVector.from_equal(torch.zeros(1, 1, 1)),
    ]
    assert [cascade._photo(parts, row).item() for row in range(3)] == [1.0, 1.0, 0.0]


def test_functions_belong_to_their_class_or_to_their_module():
    assert _class_of("json.decoder:JSONDecoder.decode:330") == "json.decoder:JSONDecoder"
    assert _class_of("os:walk:10") == "os:"
