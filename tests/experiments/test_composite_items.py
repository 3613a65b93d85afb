"""Products of a title and a photo: which parts are missing, and what each system can see."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch

from align.data.embeddings import PairedEmbeddings
from experiments import composite_items
from experiments.composite_items import (
    BOTH,
    FUSED,
    PARTS,
    Config,
    measured,
    part_of,
    products,
    scores_of,
)
from experiments.tasks import Task


def planted(n=360):
    """Queries of eight factors, titles that show the first four, and photos that show the others.

    Every third pair has no title, and every third no photo.
    """
    rng = torch.Generator().manual_seed(0)
    meaning = torch.randn(n, 8, generator=rng)
    seen = meaning + 0.7 * torch.randn(n, 8, generator=rng)
    title, photo = (
        torch.cat([seen[:, columns], 0.3 * torch.randn(n, 3, generator=rng)], dim=1)
        for columns in (slice(4), slice(4, 8))
    )
    whole = torch.cat([title, photo], dim=1)
    return PairedEmbeddings.from_arrays(meaning, whole, target_parts=(7, 7))


def lacking(pairs):
    target = pairs.target.clone()
    target[::3, :7] = 0
    target[1::3, 7:] = 0
    return dataclasses.replace(pairs, target=target)


def task_of(pairs):
    return Task(pairs.take(range(240)), pairs.take(range(240, 360)))


def test_parts_are_missing_as_told_and_never_both():
    whole, some = products(missing=False, seed=0), products(missing=True, seed=0)
    assert all(set(item) == set(PARTS) for item in whole.target)
    kinds = [tuple(sorted(item)) for item in some.target]
    assert {kinds.count(kind) > 550 for kind in (("photo",), ("title",), ("photo", "title"))} == {
        True
    }
    assert some.source == whole.source


def test_an_adapter_of_a_part_sees_the_pairs_that_have_it():
    pairs = lacking(planted())
    for part, missing in enumerate((0, 1)):
        alone, has = part_of(pairs, part)
        assert has.tolist() == [row % 3 != missing for row in range(360)]
        assert alone.target.equal(pairs.target[has][:, 7 * part : 7 * part + 7])
        assert alone.source.equal(pairs.source[has])


@pytest.fixture(scope="module")
def lines():
    return measured(task_of(planted()), Config((200,), 1), missing=False)


def test_both_parts_find_more_than_either_alone(lines):
    found = {line.system: line.metrics["recall_at_1"].value for line in lines}
    assert found[BOTH] > found["title"] + 0.1 and found[BOTH] > found["photo"] + 0.1
    assert lines[0].chance["recall_at_10"] == pytest.approx(10 / 120)


def test_scores_are_fused_over_the_parts_that_an_item_has():
    task = task_of(lacking(planted()))
    found = scores_of(task.pool, task.gallery)
    for start, names in ((0, ("photo",)), (1, ("title",)), (2, PARTS)):
        expected = sum(found[name][:, start::3] for name in names) / len(names)
        torch.testing.assert_close(found[FUSED][:, start::3], expected)
    shown = measured(task, Config((200,), 1), missing=True)
    assert [line.system for line in shown] == [BOTH, FUSED]


def test_the_page_shows_every_line(lines, monkeypatch):
    content = json.loads(json.dumps({"result": [dataclasses.asdict(line) for line in lines]}))
    monkeypatch.setattr(composite_items, "read_record", lambda name: content)
    shown = composite_items.table().splitlines()
    assert len(shown) == 2 + len(lines) and "| all there | title and photo | 200 |" in shown[4]
