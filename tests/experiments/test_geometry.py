"""Rank correlations of probes with recall: planted agreements are found, and intervals are fair."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from align.data.embeddings import PairedEmbeddings
from experiments import geometry, geometry_cells, geometry_tables, record
from experiments.encoder_pairs import EncoderPair
from experiments.geometry import agreement, rank_correlation
from experiments.geometry_cells import Cell, one_of_each_group

ONE = np.zeros(12, dtype=int)


def cells(value, *, pairs=8, data=("a", "b"), sizes=(300, 1000)):
    """Cells of a probe ``value(data, pair, n)``; recall rises with the pair, n and the data set."""
    found = []
    for at, name in enumerate(data):
        for pair in range(pairs):
            for n in sizes:
                recall = 0.1 * at + 0.05 * pair + n / 10_000
                probe = {"probe": value(at, pair, n)}
                found.append(Cell(name, str(pair), n, recall, None, probe, probe))
    return found


def test_with_one_block_it_is_spearmans():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 12))
    x[3] = x[4]
    assert rank_correlation(x, y, ONE) == pytest.approx(spearmanr(x, y).statistic)


def test_blocks_take_out_what_only_differs_between_them():
    """Within each block the order is opposite, though blocks go up together."""
    x = np.array([3.0, 2, 1, 13, 12, 11])
    y = np.array([1.0, 2, 3, 11, 12, 13])
    blocks = np.array([0, 0, 0, 1, 1, 1])
    assert rank_correlation(x, y, np.zeros(6, dtype=int)) > 0
    assert rank_correlation(x, y, blocks) == pytest.approx(-1.0)


def test_without_spread_there_is_no_correlation():
    assert rank_correlation(np.ones(5), np.arange(5.0), np.zeros(5, dtype=int)) == 0


def test_a_probe_that_is_recall_agrees_everywhere():
    found = agreement(cells(lambda data, pair, n: 0.1 * data + 0.05 * pair + n / 1e4), "probe",
                      "before")  # fmt: skip
    for value, low, high in (found.over_all, found.within_data, found.within_n):
        assert value == pytest.approx(1.0)
        assert low == pytest.approx(1.0) and high == pytest.approx(1.0)
    assert found.cells == 32


def test_a_probe_that_knows_only_n_agrees_over_all_and_not_within_n():
    found = agreement(cells(lambda data, pair, n: float(n)), "probe", "after")
    assert found.over_all[0] > 0.2
    assert found.within_n == (0, 0, 0)


def test_noise_has_an_interval_that_holds_0():
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(10):
        found = agreement(cells(lambda *_: rng.standard_normal(), pairs=10), "probe", "before")
        held += found.within_n[1] <= 0 <= found.within_n[2]
    assert held >= 8


def planted(n, widths, seed):
    rng = torch.Generator().manual_seed(seed)
    latent = torch.randn(n, 6, generator=rng)
    return PairedEmbeddings.from_arrays(
        *(
            latent @ torch.randn(6, d, generator=rng) + 0.3 * torch.randn(n, d, generator=rng)
            for d in widths
        )
    )


@pytest.fixture(scope="module")
def result():
    with pytest.MonkeyPatch.context() as patch:
        pairs = []
        for at, widths in enumerate(((8, 10), (9, 9), (10, 8))):
            every = planted(170, widths, at)
            pairs.append(
                EncoderPair(
                    "planted", "s", str(at), every.take(range(110)), every.take(range(110, 170))
                )
            )
        patch.setattr(geometry, "encoder_pairs", lambda data: iter(pairs))
        patch.setattr(geometry, "GALLERY", 60)
        patch.setattr(geometry, "DRAWS", 20)
        return geometry.run(geometry.Config(("planted",), (60, 100, 1000)), None)


def test_every_probe_is_read_where_it_is_defined(result):
    assert len(result.cells) == 6  # no pool has 1,000
    square = [each for each in result.cells if each.encoders.endswith("1")]
    assert all("FOSCTTM" in each.before and each.raw is not None for each in square)
    others = [each for each in result.cells if each not in square]
    assert all("FOSCTTM" not in each.before and each.raw is None for each in others)
    assert all(geometry_cells.HELD_OUT in each.before for each in result.cells)
    assert set(result.after) == {*geometry_cells.ANYWHERE, *geometry_cells.ONE_SPACE}


def test_pages_and_figures_show_every_probe(result, monkeypatch, tmp_path):
    whole = dataclasses.replace(
        result, cells=tuple(dataclasses.replace(each, n=1000) for each in result.cells)
    )
    record.write_record("geometry", config={}, result=dataclasses.asdict(whole), folder=tmp_path)
    monkeypatch.setattr(
        geometry_tables,
        "read_record",
        lambda name, folder=tmp_path: record.read_record(name, folder=folder),
    )
    assert f"| {geometry_cells.HELD_OUT} | by cross-validation | 6 |" in geometry_tables.before()
    assert "| FOSCTTM | yes |" in geometry_tables.after()
    assert "| `planted` | 6, 2 of one width |" in geometry_tables.spaces()
    geometry_tables.figures(tmp_path)
    for name in ("geometry_before.png", "geometry_after.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


def test_cells_are_kept_and_read_again(tmp_path, monkeypatch):
    every = planted(150, (8, 10), 5)
    pair = EncoderPair("planted", "s", "t", every.take(range(90)), every.take(range(90, 150)))
    one = geometry_cells.kept(tmp_path / "cell.json", pair, pair.gallery, 80, 0)
    monkeypatch.setattr(geometry_cells, "measured", lambda *_: pytest.fail("measured again"))
    assert geometry_cells.kept(tmp_path / "cell.json", pair, pair.gallery, 80, 0) == one


def test_a_gallery_has_one_pair_of_each_group():
    pairs = PairedEmbeddings.from_arrays(
        torch.randn(12, 3), torch.randn(12, 3), groups=[str(at // 3) for at in range(12)]
    )
    gallery = one_of_each_group(pairs, 10, seed=0)
    assert len(gallery) == len(set(gallery.groups)) == 4
    assert len(one_of_each_group(pairs, 2, seed=0)) == 2
