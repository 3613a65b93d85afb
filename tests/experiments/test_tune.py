"""The front of Optuna is judged on a gallery that it never saw."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch
import torch.nn.functional as F

from align.data.embeddings import PairedEmbeddings
from experiments import record, tune
from experiments.tasks import Task


@pytest.fixture(scope="module")
def task() -> Task[PairedEmbeddings]:
    generator = torch.Generator().manual_seed(0)
    shared = torch.randn(160, 6, generator=generator)
    sides = [
        F.normalize(
            shared @ torch.randn(6, width, generator=generator)
            + 0.4 * torch.randn(160, width, generator=generator),
            dim=1,
        )
        for width in (8, 10)
    ]
    pairs = PairedEmbeddings.from_arrays(*sides)
    return Task(pairs.take(range(110)), pairs.take(range(110, 160)))


@pytest.fixture(scope="module")
def result(task: Task[PairedEmbeddings]) -> tune.Result:
    return tune.search_on(task, tune.Config("planted", 100, trials=8))


def test_the_front_rises_with_its_cost_on_held_out_folds(result: tune.Result) -> None:
    costs = [point.bytes_per_item for point in result.front]
    scores = [point.held_out for point in result.front]
    assert costs == sorted(set(costs))
    assert scores == sorted(score for score in scores if score is not None)


def test_the_gallery_chooses_nothing(task: Task[PairedEmbeddings], result: tune.Result) -> None:
    gallery = task.gallery
    turned = dataclasses.replace(gallery, target=gallery.target.flip(0))
    other = tune.search_on(Task(task.pool, turned), tune.Config("planted", 100, trials=8))
    told = [[(p.setting, p.held_out) for p in each.front] for each in (result, other)]
    assert told[0] == told[1]
    assert other.fit.setting == result.fit.setting
    assert other.fit.recall_at_10.value < result.fit.recall_at_10.value


def test_the_table_of_a_page_shows_the_best_within_each_budget(
    result: tune.Result, monkeypatch: pytest.MonkeyPatch
) -> None:
    cheap, dear = (
        dataclasses.replace(
            result.front[0], bytes_per_item=size, recall_at_10=dataclasses.replace(
                result.fit.recall_at_10, value=value
            ),
        )
        for size, value in ((100, 0.25), (600, 0.5))
    )  # fmt: skip
    found = dataclasses.replace(result, front=(cheap, dear))
    content = {"result": dataclasses.asdict(found), "config": {"trials": 8}}
    monkeypatch.setattr(tune, "read_record", lambda name: json.loads(json.dumps(content)))
    row = tune.front().splitlines()[2].split(" | ")
    assert row[2:9] == ["", "25.0", "25.0", "25.0", "50.0", "50.0", "50.0"]
    assert row[1] == f"{100 * result.chance:.1f}"


def test_a_record_and_a_figure_are_written_once_per_commit(
    task: Task[PairedEmbeddings], monkeypatch: pytest.MonkeyPatch, tmp_path
) -> None:
    loaded: list[str] = []
    monkeypatch.setattr(tune, "load_task", lambda name: loaded.append(name) or task)
    monkeypatch.setattr(tune, "RESULTS", tmp_path)
    monkeypatch.setattr(tune, "SETTINGS", (("one", 90), ("two", 100)))
    for name in ("write_record", "is_current"):
        own = getattr(record, name)
        monkeypatch.setattr(
            tune, name, lambda *args, own=own, **told: own(*args, **told, folder=tmp_path)
        )
    tune.main(["--trials", "3"])
    tune.main(["--trials", "3"])
    assert loaded == ["one", "two"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "tune-one-90.json", "tune-one-90.png", "tune-two-100.json", "tune-two-100.png",
    ]  # fmt: skip
