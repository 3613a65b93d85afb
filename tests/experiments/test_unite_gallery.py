"""Five kinds in one gallery: their vectors, the metrics, and what shared parts bring."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from align.data.composite import Composite
from align.data.embeddings import PairedEmbeddings
from align.data.modality import modality_codes
from align.data.pairs import Pairs
from align.encoders.callable import CallableEncoder
from experiments import mixed_items, unite_gallery
from experiments.mixed import rows_of
from experiments.mixed_items import KINDS, PARTS, alone, as_photos, counts_of, items_of
from experiments.tasks import Task
from experiments.unite_gallery import (
    EACH,
    MEAN,
    METRICS,
    OWN,
    SHARED,
    SYSTEMS,
    Config,
    measured,
    run,
    standardised,
)

WIDTHS = (9, 7, 8, 9)


def planted(each, seed, *, clips=6, noise=1.2):
    """``each`` pairs of every kind, and two captions of every clip, with one latent behind all.

    Photos and clips are alike, as frames are; photos and captions have noise of their own.
    """
    generator = torch.Generator().manual_seed(0)
    asking, photo, code, caption = (torch.randn(6, d, generator=generator) for d in (10, 9, 7, 8))
    generator = torch.Generator().manual_seed(seed)
    kinds = [kind for kind in KINDS for _ in range(2 * clips if kind == "video" else each)]
    latent = torch.randn(len(kinds), 6, generator=generator)
    latent[-2 * clips + 1 :: 2] = latent[-2 * clips :: 2]
    blocks = []
    for has, mixing in (
        (("image", "image|text"), photo),
        (("code",), code),
        (("text", "image|text"), caption),
        (("video",), photo),
    ):
        seen = latent + noise * torch.randn(len(kinds), 6, generator=generator)
        seen[-2 * clips + 1 :: 2] = seen[-2 * clips :: 2]
        blocks.append((seen @ mixing) * torch.tensor([[kind in has] for kind in kinds]))
    ids = [f"{seed}/{row}" for row in range(len(kinds))]
    groups = ids[: -2 * clips] + [f"{seed}/clip {row // 2}" for row in range(2 * clips)]
    return PairedEmbeddings.from_arrays(
        latent @ asking + 0.3 * torch.randn(len(kinds), 10, generator=generator),
        torch.cat(blocks, dim=1),
        ids,
        groups,
        target_modality=modality_codes(kinds),
        target_parts=WIDTHS,
    )


@pytest.fixture(scope="module")
def task():
    return Task(planted(60, seed=1, clips=10), planted(40, seed=2, clips=40))


def test_each_clip_is_searched_once_and_asked_for_by_each_of_its_captions():
    gallery = planted(5, seed=3, clips=4)
    items = items_of(gallery)
    assert counts_of(gallery, 5) == {**dict.fromkeys(KINDS, 5), "video": 8}
    assert len(items) == 4 * 5 + 4 and len(set(items.groups)) == len(items)
    right = torch.zeros(len(gallery), len(items))
    right[range(20), range(20)] = 1
    right[range(20, 28), [20, 20, 21, 21, 22, 22, 23, 23]] = 1
    assert measured(right, gallery)[:, [0, 2]].eq(1).all()
    assert not measured(-right, gallery)[:, 0].any()


def test_metrics_count_what_is_in_the_way():
    gallery = planted(4, seed=5, clips=4)
    items = items_of(gallery)
    alike = (gallery.target_modality[:, None] == items.target_modality).float()
    own = torch.tensor([[name == other for other in items.groups] for name in gallery.groups])
    # The own kind first: the top 10 of 20 hold the 4 of the kind.
    assert measured(alike + own, gallery).tolist() == [[1.0, 0.4, 1.0]] * len(gallery)
    # The 16 of other kinds first.
    assert measured(own.float() - 3 * alike, gallery).tolist() == [[0.0, 0.0, 1.0]] * len(gallery)


def test_a_kind_alone_keeps_the_parts_that_it_has(task):
    photo, code, caption, clip = torch.split(task.pool.target, list(WIDTHS), dim=1)
    parts = {"image": [photo], "code": [code], "text": [caption], "video": [clip]}
    for kind, blocks in {**parts, "image|text": [photo, caption]}.items():
        found, rows = alone(task.pool, kind), rows_of(task.pool, kind)
        assert torch.equal(found.target, torch.cat(blocks, dim=1)[rows])
        assert found.target_parts == ((9, 8) if kind == "image|text" else None)


def test_clips_as_photos_stand_where_photos_do(task):
    found = as_photos(task.pool)
    assert found.target_parts == WIDTHS[:3]
    for kind in KINDS:
        rows = rows_of(task.pool, kind)
        before, after = task.pool.target[rows], found.target[rows]
        assert torch.equal(after[:, 9:], before[:, 9:24])
        assert torch.equal(after[:, :9], before[:, 24:] if kind == "video" else before[:, :9])


def test_standardised_scores_have_no_mean_and_unit_deviation_within_each_kind(task):
    items = items_of(task.gallery)
    scores = torch.rand(7, len(items), generator=torch.Generator().manual_seed(0))
    found = standardised(scores, items)
    for kind in KINDS:
        block = found[:, rows_of(items, kind)]
        torch.testing.assert_close(block.mean(dim=1), torch.zeros(7), rtol=0, atol=1e-5)
        torch.testing.assert_close(block.std(dim=1, correction=0), torch.ones(7))
        assert torch.equal(block.argsort(dim=1), scores[:, rows_of(items, kind)].argsort(dim=1))


@pytest.fixture(scope="module")
def result(task):
    return run(task, Config(50, 1))


def test_every_system_is_measured_on_every_kind(result):
    names = [line.system for line in result.lines]
    assert names == [each for name in SYSTEMS for each in (name, f"{name}, standardised")]
    assert result.queries == {**dict.fromkeys(KINDS, 40), "video": 80}
    assert set(result.items.values()) == {40}
    assert result.chance["code"] == dict(zip(METRICS, (10 / 200, 1 / 5, 1 / 4), strict=True))
    for line in result.lines:
        for name in METRICS:
            each = [line.metrics[kind][name].value for kind in KINDS]
            assert line.metrics[MEAN][name].value == pytest.approx(sum(each) / len(each))
        assert line.metrics[MEAN]["recall_at_10"].value > result.chance["image"]["recall_at_10"]


def test_both_parts_find_more_than_one_and_photos_teach_the_map_of_clips(result):
    found = {line.system: line.metrics for line in result.lines}
    for name in (OWN, SHARED):
        own = {kind: each["recall_at_10"].value for kind, each in found[name].items()}
        assert own["image|text"] > max(own["image"], own["text"]) + 0.05
    recall = {name: found[name]["video"]["recall_at_10"].value for name in SYSTEMS}
    assert recall[SHARED] > max(recall[OWN], recall[EACH]) + 0.05


def test_the_page_shows_every_system_or_says_that_there_is_no_record(result, monkeypatch):
    content = json.loads(json.dumps({"result": dataclasses.asdict(result)}))
    monkeypatch.setattr(unite_gallery, "read_record", lambda name: content)
    shown = unite_gallery.table().splitlines()
    assert "photo and caption, of 40" in shown[0]
    names = [row.split(" | ")[0].removeprefix("| ") for row in shown[2:]]
    assert names == [
        *(line.system for line in result.lines),
        "random order",
        *(f"{name}, that kind alone" for name in SYSTEMS),
        "random order, that kind alone",
    ]
    assert "| 5.0 (20 %) |" in shown[8] and "| 25.0 |" in shown[12]

    def missing(name):
        raise FileNotFoundError(name)

    monkeypatch.setattr(unite_gallery, "read_record", missing)
    assert unite_gallery.table() == "Not recorded yet."


def test_pairs_of_all_kinds_become_vectors_of_parts(monkeypatch):
    widths = {"photo": 2, "code": 3, "caption": 3, "clip": 2}

    def load(spec):
        name = next((name for name, each in PARTS.items() if each == spec), "query")
        d = widths.get(name, 4)
        return CallableEncoder(
            lambda items: torch.ones(len(items), d), name=name, dim=d, modality="text"
        )

    monkeypatch.setattr(mixed_items, "load_encoder", load)
    anything = Path(__file__)
    items = {
        "image": [{"photo": anything}],
        "code": [{"code": "def f(): pass"}],
        "text": [{"caption": "a dog"}],
        "image|text": [{"photo": anything, "caption": "a dog"}],
        "video": [{"clip": anything}, {"clip": anything}],
    }
    parts = {
        kind: Pairs.from_lists(
            ["asked"] * len(each),
            [Composite(item) for item in each],
            groups=[f"group of {kind}"] * len(each),
        )
        for kind, each in items.items()
    }
    found = mixed_items.encoded(parts)
    assert found.target_parts == (2, 3, 3, 2)
    held = [[bool(block.any()) for block in row.split([2, 3, 3, 2])] for row in found.target]
    expected = [[name in item for name in PARTS] for each in items.values() for item in each]
    assert held == expected
    assert found.groups == (*found.ids[:4], "group of video", "group of video")
    assert found.domains == (*(f"group of {kind}" for kind in KINDS), "group of video")


def test_no_photo_is_in_two_kinds(needs_data):
    needs_data("flickr8k")
    found = mixed_items._of_photos(*mixed_items._two_captions("dev"))
    photos = [set(pairs.groups) for pairs in found.values()]
    assert [len(each) for each in photos] == [334, 333, 333]
    assert len(set.union(*photos)) == 1000
    both = found["image|text"]
    for asked, item, photo in zip(both.source, both.target, both.groups, strict=True):
        assert item["photo"].name == photo and item["caption"] != asked
