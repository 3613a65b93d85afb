"""One index of three kinds: its data, its metrics, and the table on planted pairs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from align.adapters.adapter import Adapter
from align.adapters.card import Card
from align.adapters.closed_form.rcca import rcca
from align.adapters.maps.linear import IdentityMap
from align.adapters.maps.residual import ResidualMap
from align.data.embeddings import PairedEmbeddings
from align.data.modality import modality_codes
from align.data.pairs import Pairs
from align.encoders.callable import CallableEncoder
from align.encoders.composite import MixedEncoder
from experiments import mixed, record, unite, unite_systems
from experiments.mixed import INSTRUCTIONS, KINDS, draw, only, rows_of
from experiments.tasks import Task
from experiments.unite import METRICS, Config, measured, run
from experiments.unite_systems import COMPARED, Training, side_by_side

WIDTHS = (9, 6, 6)
TINY = Config((30,), (("image", 40), ("code", 30), ("text", 20)), 2, Training(2, 1e-2, 2, 1e-2, 50))


def planted(each, seed):
    """``each`` pairs of every kind, one latent behind both sides; kinds lie in their own blocks."""
    generator = torch.Generator().manual_seed(0)
    mixing = [torch.randn(4, d, generator=generator) for d in (6, *WIDTHS)]
    told = torch.randn(len(KINDS), 5, generator=generator)
    generator = torch.Generator().manual_seed(seed)
    latent = torch.randn(3 * each, 4, generator=generator)
    kinds = [kind for kind in KINDS for _ in range(each)]
    target = torch.zeros(3 * each, sum(WIDTHS))
    for number, (start, width) in enumerate(zip((0, 9, 15), WIDTHS, strict=True)):
        rows = slice(number * each, (number + 1) * each)
        target[rows, start : start + width] = latent[rows] @ mixing[1 + number] + 1
    return PairedEmbeddings.from_arrays(
        latent @ mixing[0] + 0.1 * torch.randn(3 * each, 6, generator=generator),
        target,
        ids=[f"{seed}/{row}" for row in range(3 * each)],
        target_modality=modality_codes(kinds),
        target_parts=WIDTHS,
        instructions=told[[KINDS.index(kind) for kind in kinds]],
    )


@pytest.fixture(scope="module")
def task():
    return Task(planted(50, seed=1), planted(20, seed=2))


def plain(pairs, effort):
    return rcca(pairs.source, pairs.target)


def test_a_larger_draw_holds_the_smaller_and_no_pair_twice(task):
    few, many = (draw(task.pool, dict.fromkeys(KINDS, n), seed=3) for n in (10, 20))
    for kind in KINDS:
        small, large = (only(pairs, kind).ids for pairs in (few, many))
        assert large[:10] == small
        assert len(set(large)) == 20
    assert draw(task.pool, dict.fromkeys(KINDS, 10), seed=4).ids != few.ids


def test_more_pairs_than_the_pool_has_are_refused(task):
    with pytest.raises(ValueError, match=r"pairs of code must lie in \[1, 50\].*got 51"):
        draw(task.pool, {"image": 50, "code": 51, "text": 50}, seed=0)


def test_one_kind_keeps_its_own_block(task):
    for number, kind in enumerate(KINDS):
        found = only(task.pool, kind)
        rows = slice(50 * number, 50 * (number + 1))
        assert found.ids == task.pool.ids[rows]
        block = torch.split(task.pool.target[rows], list(WIDTHS), dim=1)[number]
        torch.testing.assert_close(found.target, block, rtol=0, atol=0)


def test_metrics_count_what_is_in_the_way():
    gallery = planted(4, seed=5)
    assert gallery.target_modality is not None
    alike = (gallery.target_modality[:, None] == gallery.target_modality).float()
    # Own kind first, and the pair before it: the top 10 of 12 hold the 4 of the kind.
    scores = alike + torch.eye(12)
    assert measured(scores, gallery).tolist() == [[1.0, 1.0, 1.0, 0.4, 1.0]] * 12
    # All 8 of the other kinds come first, and one of the own: the pair is tenth, and second within.
    scores = -3 * alike + torch.eye(12)
    for row in range(12):
        scores[row, row - 1 if row % 4 else row + 1] = 0.5 * (1 - 4)
    assert measured(scores, gallery).tolist() == [[0.0, 1.0, 0.1, 0.2, 1.0]] * 12


def test_a_right_item_that_is_only_outranked_by_other_kinds_is_first_within():
    gallery = planted(11, seed=5)
    scores = torch.eye(33)
    scores[0, 11:22] = 2.0
    found = dict(zip(METRICS, measured(scores, gallery)[0].tolist(), strict=True))
    assert found["recall_at_10"] == 0 and found["mean_reciprocal_rank"] == pytest.approx(1 / 12)
    assert found["recall_at_10_within_kind"] == 1 and found["right_kind_in_top_10"] == 0


def test_scores_side_by_side_stand_in_the_columns_of_their_kind(task):
    gallery = replace(task.gallery, source=task.gallery.source[:, :6])
    own = {
        kind: Adapter(IdentityMap(6), IdentityMap(6), Card("raw", 0, 6, 6))
        for kind in ("code", "text")
    }
    image = rcca(only(task.pool, "image").source, only(task.pool, "image").target)
    found = side_by_side(own | {"image": image}, gallery, standardised=False)
    block = torch.nn.functional.normalize(only(gallery, "text").target, dim=1)
    cosines = torch.nn.functional.normalize(gallery.source, dim=1) @ block.T
    torch.testing.assert_close(found[:, rows_of(gallery, "text")], cosines)
    even = side_by_side(own | {"image": image}, gallery, standardised=True)
    for kind in KINDS:
        columns = even[:, rows_of(gallery, kind)]
        torch.testing.assert_close(columns.mean(dim=1), torch.zeros(60), rtol=0, atol=1e-5)
        torch.testing.assert_close(columns.std(dim=1), torch.ones(60))


@pytest.fixture(scope="module")
def result(task):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(unite_systems, "fit", plain)
        return run(task, TINY)


def test_every_comparison_is_made_in_one_of_the_mixtures(result):
    even, uneven = result.mixtures
    made = {(line.system, line.minus) for each in (even, uneven) for line in each.differences}
    assert made == set(COMPARED)
    assert len(even.systems) == 17 and len(uneven.systems) == 3
    assert result.prior == dict.fromkeys(KINDS, 1 / 3)


def test_a_difference_is_that_of_its_systems_and_a_mean_that_of_its_kinds(result):
    for found in result.mixtures:
        own = {line.system: line.metrics for line in found.systems}
        for line in found.differences:
            for kind, metrics in line.metrics.items():
                for name, each in metrics.items():
                    there = own[line.system][kind][name], own[line.minus][kind][name]
                    assert each.value == pytest.approx(there[0].value - there[1].value)
        for metrics in own.values():
            mean = sum(metrics[kind]["recall_at_10"].value for kind in KINDS) / 3
            assert metrics["mean"]["recall_at_10"].value == pytest.approx(mean)


def test_only_an_instruction_tells_which_kind_is_wanted_where_all_have_one_latent(result):
    shares = {
        line.system: line.metrics["mean"]["right_kind_in_top_10"].value
        for line in result.mixtures[0].systems
    }
    assert shares["closed form, preference"] > 0.9
    assert shares["closed form"] < 0.7


def test_every_system_scores_the_gallery_in_its_own_way(task, monkeypatch):
    monkeypatch.setattr(unite_systems, "fit", plain)
    found = []
    for systems, counts in (
        (unite_systems.balanced, (30, 30, 30)),
        (unite_systems.uneven, (40, 30, 20)),
    ):
        pairs = draw(task.pool, dict(zip(KINDS, counts, strict=True)), seed=0)
        arena = unite_systems.Arena(pairs, task.gallery, TINY.training, 0, [])
        found += systems(arena)
    for number, (name, scores) in enumerate(found):
        assert scores.shape == (60, 60)
        for other, theirs in found[:number]:
            assert not torch.equal(scores, theirs), (name, other)


def test_the_shift_that_sees_kinds_gets_targets_as_they_are(task):
    closed = plain(task.pool, "fast")
    found = unite_systems.seeing_kinds(closed)
    assert isinstance(found.target_map, ResidualMap)
    assert found.target_map.mean.count_nonzero() == 0
    assert torch.equal(found.source_map.mean, closed.source_map.mean)
    seen = []
    found.target_map.delta.register_forward_hook(lambda _, rows, out: seen.append(rows[0]))
    found.target(task.pool.target)
    torch.testing.assert_close(
        seen[0], torch.nn.functional.normalize(task.pool.target, dim=1), rtol=1e-6, atol=1e-6
    )


@pytest.fixture
def planted_run(monkeypatch, tmp_path, task):
    monkeypatch.setattr(unite_systems, "fit", plain)
    monkeypatch.setattr(unite, "load_mixed", lambda: task)
    monkeypatch.setattr(unite, "UNEVEN", TINY.uneven)
    monkeypatch.setattr(unite, "QUICK_PAIRS", 30)
    monkeypatch.setattr(unite, "Config", lambda sizes, *_, draws=1: replace(TINY, sizes=sizes))
    monkeypatch.setattr(unite, "RESULTS", tmp_path)
    monkeypatch.setattr(
        unite,
        "write_record",
        lambda name, **told: record.write_record(name, folder=tmp_path, **told),
    )
    return tmp_path


def test_the_record_is_written_with_its_figure(planted_run, capsys):
    unite.main(["--n", "30", "--draws", "2"])
    found = json.loads((planted_run / "unite.json").read_text())
    assert found["config"]["sizes"] == [30]
    assert found["result"]["mixtures"][0]["counts"] == dict.fromkeys(KINDS, 30)
    assert (planted_run / "unite.png").read_bytes()[:4] == b"\x89PNG"
    printed = capsys.readouterr().out
    assert "trained on 30 image, 30 code, 30 text" in printed
    assert "random start, drawn at T = inf" in printed


def test_a_quick_run_writes_nothing(planted_run):
    unite.main(["--quick"])
    assert not list(planted_run.iterdir())


def test_pairs_of_all_kinds_become_block_vectors_with_their_instructions(monkeypatch):
    def encoder(name, d, modality):
        def encode(items):
            return [[float(len(str(item)))] + [1.0] * (d - 1) for item in items]

        return CallableEncoder(encode, name=name, dim=d, modality=modality)

    words, photos = encoder("words", 3, "text"), encoder("photos", 2, "image")
    kinds = MixedEncoder({"image": photos, "code": encoder("words", 3, "code"), "text": words})
    monkeypatch.setattr(mixed, "load_encoder", lambda spec: kinds if "=" in spec else words)
    parts = {
        kind: Pairs.from_lists([f"{kind} {i}" for i in range(2)], ["x" * (7 + i) for i in range(2)])
        for kind in ("code", "text")
    }
    anything = Path(__file__)
    parts["image"] = Pairs.from_lists(["a dog"], [anything], groups=["dog.jpg"])
    found = mixed._encoded(parts)
    assert found.target_parts == (2, 3, 3)
    assert found.ids == ("image/0", "code/0", "code/1", "text/0", "text/1")
    assert found.groups == found.ids and found.domains == ("dog.jpg", "0", "1", "0", "1")
    assert found.target[1:].tolist() == [
        [0, 0, 7, 1, 1, 0, 0, 0],
        [0, 0, 8, 1, 1, 0, 0, 0],
        [0, 0, 0, 0, 0, 7, 1, 1],
        [0, 0, 0, 0, 0, 8, 1, 1],
    ]
    assert found.instructions is not None
    lengths = [len(INSTRUCTIONS[kind]) for kind in ("image", "code", "code", "text", "text")]
    assert found.instructions[:, 0].tolist() == lengths


def test_photos_are_in_pairs_of_one_kind_and_captions_of_one_photo(needs_data):
    needs_data("flickr8k")
    found = mixed._captioned("dev")
    image, text = found["image"], found["text"]
    assert len(image.ids) == len(text.ids) == 500
    assert not set(image.groups) & set(text.groups)
    assert all(path.name == photo for path, photo in zip(image.target, image.groups, strict=True))
    five = mixed.flickr8k("dev", captions=2)
    captions = dict(zip(five.ids, five.source, strict=True))
    for name, one, other in zip(text.groups, text.source, text.target, strict=True):
        assert (one, other) == (captions[f"{name}#0"], captions[f"{name}#1"])
