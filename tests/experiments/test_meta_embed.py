"""The table of budgets, on planted pairs."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import pytest
import torch

import align
from align.adapters.closed_form.rcca import rcca
from align.data.embeddings import PairedEmbeddings
from align.data.multi_vector import MultiVector
from align.data.token_pairs import TokenPairs
from align.metrics.evaluation import evaluate
from experiments import cascade, meta_embed, record
from experiments.baselines import raw_cosine
from experiments.code_ranks import evaluate_codes
from experiments.tasks import Task, _class_of
from experiments.untrained_maximum import CENTRED, MAPPED, RAW, untrained
from tests.helpers.planted_tokens import needles


@pytest.fixture
def planted(monkeypatch, tmp_path):
    data = needles(300)
    task = Task(data.take(range(200)), data.take(range(200, 300)))
    monkeypatch.setattr(meta_embed, "load_token_task", lambda name: task)
    monkeypatch.setattr(meta_embed, "fit", lambda pairs: rcca(pairs.source, pairs.target))
    monkeypatch.setattr(meta_embed, "RESULTS", tmp_path)
    monkeypatch.setattr(meta_embed, "SETTINGS", {"planted": (150, 4, 16)})
    for name in ("is_current", "read_record"):
        own = getattr(record, name)
        monkeypatch.setattr(meta_embed, name, lambda name, own=own: own(name, folder=tmp_path))
    monkeypatch.setattr(
        meta_embed,
        "write_record",
        lambda name, **told: record.write_record(name, folder=tmp_path, **told),
    )
    return tmp_path


def test_the_table_is_written_with_its_figure_and_every_budget(planted, capsys):
    meta_embed.main(["--draws", "2"])
    found = json.loads((planted / "meta_embed-planted.json").read_text())["result"]
    assert (planted / "meta_embed-planted.png").read_bytes()[:4] == b"\x89PNG"
    systems = [line["system"] for line in found["lines"]]
    for name in ("meta tokens", "no Matryoshka"):
        assert systems.count(name) == 3  # (1, 1), (2, 4), (4, 16)
    assert {"closed form", "meta tokens, int8 index", "meta tokens, 1-bit codes"} <= set(systems)
    assert all(len(line["forward"]) == 2 for line in found["lines"])  # both draws
    ours = {
        tuple(line["budget"]): line for line in found["lines"] if line["system"] == "meta tokens"
    }
    assert ours[1, 1]["gain"]["recall_at_10"]["value"] == 0
    assert ours[4, 16]["gain"]["recall_at_10"]["low"] > 0  # a planted needle
    # A width of 40 beside 9 token coordinates, float32, with offsets.
    first, full = ours[1, 1]["cost"], ours[4, 16]["cost"]
    assert full["flops_per_query"] == pytest.approx(64 * first["flops_per_query"])
    assert full["bytes_per_item_int8"] < full["bytes_per_item"] / 3.5
    assert found["chance"] == pytest.approx(0.1)
    out = capsys.readouterr().out
    assert "gate: finds " in out and "further vectors gained" in out
    meta_embed.main(["--draws", "2"])  # there is a record of this commit
    assert capsys.readouterr().out == ""
    assert "| meta tokens | (4, 16) |" in meta_embed.budgets()


def test_a_quick_run_writes_nothing(planted):
    meta_embed.main(["--quick"])
    assert not list(planted.iterdir())


def documents(n, seed):
    """Queries that are one of the three parts of their document, in the same space."""
    rng = torch.Generator().manual_seed(seed)
    parts = torch.randn(n, 3, 12, generator=rng)
    asked = torch.randint(3, (n,), generator=rng)
    source = parts[torch.arange(n), asked] + 0.05 * torch.randn(n, 12, generator=rng)
    pooled = PairedEmbeddings.from_arrays(source, parts.mean(dim=1))
    return TokenPairs(pooled, None, MultiVector.from_equal(parts))


def test_heads_are_compared_pair_by_pair_with_what_needs_no_training(planted, monkeypatch):
    task = Task(documents(80, 0), documents(60, 1))
    monkeypatch.setattr(meta_embed, "load_token_task", lambda name: task)
    lines = meta_embed.run(meta_embed.Config("planted", 80, (2, 4), 1, epochs=1)).lines
    full = next(each for each in lines if (each.system, each.budget) == (meta_embed.OURS, (2, 4)))
    compared = [each for each in lines if each.heads is not None]
    assert len(compared) == 6 and all("untrained" in each.system for each in compared)
    for each in compared:
        apart = full.metrics["recall_at_10"].value - each.metrics["recall_at_10"].value
        assert each.heads.value == pytest.approx(apart)
        assert each.heads.low <= each.heads.value <= each.heads.high
    assert len({len(meta_embed._cells(asdict(each))) for each in lines}) == 1


def test_the_best_part_finds_what_the_mean_of_the_parts_hides():
    train, gallery = documents(80, 0), documents(120, 1)
    adapter = rcca(train.pooled.source, train.pooled.target)
    found = untrained(train, gallery, adapter)
    assert {name for name, _ in found} == {RAW, CENTRED, MAPPED}
    pooled = evaluate(gallery.pooled, raw_cosine(gallery.pooled, 0))
    for corrected in (False, True):
        best = found[RAW, corrected].mean["recall_at_1"].value
        assert best > 0.95 > pooled.mean["recall_at_1"].value + 0.1


def test_scores_of_parts_are_the_maximum_of_their_cosines():
    train, gallery = documents(80, 0), documents(20, 1)
    found = untrained(train, gallery, rcca(train.pooled.source, train.pooled.target))
    unit = torch.nn.functional.normalize
    parts = unit(gallery.target.tokens, dim=1).view(20, 3, 12)
    scores = torch.einsum("qd,mpd->qmp", unit(gallery.pooled.source, dim=1), parts).amax(dim=2)
    own = scores.diagonal()[:, None]
    assert found[RAW, False].source_to_target.ranks.tolist() == (scores >= own).sum(1).tolist()
    assert found[RAW, False].target_to_source.ranks.tolist() == (scores.T >= own).sum(1).tolist()


def test_sides_of_two_widths_have_no_cosine_of_their_own():
    train, gallery = documents(80, 0), documents(30, 1)

    def wide(pairs):
        source = torch.cat([pairs.pooled.source, pairs.pooled.source[:, :2]], dim=1)
        return replace(pairs, pooled=PairedEmbeddings.from_arrays(source, pairs.pooled.target))

    adapter = rcca(wide(train).pooled.source, train.pooled.target)
    assert {name for name, _ in untrained(wide(train), wide(gallery), adapter)} == {MAPPED}


def test_codes_of_four_bits_rank_nearly_as_their_vectors():
    data = needles(200)
    head = align.fit_meta_tokens(
        data.take(range(150)), asking=2, vectors=4, epochs=1, do_no_harm=False,
        fit_adapter=lambda pairs: rcca(pairs.source, pairs.target),
    )  # fmt: skip
    gallery = data.take(range(150, 200))
    exact = align.evaluate_meta_tokens(gallery, head).mean["mean_reciprocal_rank"].value
    four = evaluate_codes(gallery, head, bits=4).mean["mean_reciprocal_rank"].value
    assert four == pytest.approx(exact, abs=0.1)


def test_an_adapter_is_fitted_once_for_the_same_pairs():
    calls = []
    known = meta_embed.remember_pairs(lambda pairs: calls.append(pairs) or len(calls))
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
