"""Methods for few pairs on a small planted task: each finds pairs; a quick run writes nothing."""

import pytest
import torch
from torch import nn

from align.adapters.closed_form.rcca import rcca
from align.data.embeddings import PairedEmbeddings
from experiments import few_pairs, few_pairs_systems
from experiments.few_pairs import CONTROL, FIT, Config, compare_on
from experiments.few_pairs_features import Beside, RandomFeatures, Spectral, Through
from experiments.few_pairs_systems import survey
from experiments.tasks import Task

WIDTHS = (10, 12)


@pytest.fixture(scope="module")
def task():
    """240 pairs to draw from and 40 held out, both sides linear in a 4-d latent, with noise."""
    generator = torch.Generator().manual_seed(0)
    latent = torch.randn(280, 4, generator=generator)
    sides = [
        latent @ torch.randn(4, d, generator=generator)
        + 0.2 * torch.randn(280, d, generator=generator)
        for d in WIDTHS
    ]
    pairs = PairedEmbeddings.from_arrays(*sides)
    return Task(pairs.take(range(240)), pairs.take(range(240, 280)))


@pytest.fixture(scope="module", autouse=True)
def cheap():
    """One ridge, few folds and items; ``fit`` has tests of its own."""
    with pytest.MonkeyPatch.context() as patch:
        small = {"RIDGES": (10.0,), "MOST_FOLDS": 2, "SOFT_ITEMS": 40, "NEIGHBOURS": (8,)}
        small |= {"WIDTHS": (64,), "EIGENVECTORS": (6,)}
        for name, value in small.items():
            patch.setattr(few_pairs_systems, name, value)
        patch.setattr(few_pairs, "fit", lambda pairs, **_: rcca(pairs.source, pairs.target))
        yield


def twice(pairs):
    """Each source, and the same with a fifth of another one: two texts of one item."""
    other = pairs.source + 0.2 * pairs.source.flip(0)
    return torch.stack([pairs.source, other], dim=1)


@pytest.fixture(scope="module")
def result(task):
    return compare_on(task, Config("planted", n=60, draws=2), texts=twice)


def test_every_method_finds_planted_pairs_far_above_chance(result):
    assert len(result.rows) == 12
    for row in result.rows:
        assert row.metrics["recall_at_10"].value > 0.5, row.system  # by chance 0.25


def test_gains_are_differences_of_the_rows_and_leave_out_the_reference(result):
    recalls = {row.system: row.metrics["recall_at_10"].value for row in result.rows}
    for table, reference in ((result.gains, CONTROL), (result.gains_over_fit, FIT)):
        assert set(table) == set(recalls) - {reference}
        for name, gain in table.items():
            wanted = recalls[name] - recalls[reference]
            assert gain["recall_at_10"].value == pytest.approx(wanted)


def test_what_was_chosen_is_told_for_every_draw(result):
    assert set(result.chosen) == {row.system for row in result.rows}
    assert all(len(found) == 2 for found in result.chosen.values())


def test_spectral_features_of_two_clouds_tell_them_apart():
    generator = torch.Generator().manual_seed(0)
    centres = torch.eye(6)[:2].repeat_interleave(30, dim=0)
    cloud = centres + 0.05 * torch.randn(60, 6, generator=generator)
    found = Spectral(cloud, k=8, dim=1)(cloud).flatten()
    assert found[:30].sign().unique().numel() == 1
    assert found[30:].sign().unique().numel() == 1
    assert found[0] * found[30] < 0


def test_fewer_eigenvectors_are_the_first_of_more(task):
    whole = Spectral(task.pool.source, k=8, dim=8)
    torch.testing.assert_close(
        whole.first(5)(task.gallery.source), whole(task.gallery.source)[:, :5]
    )


def test_an_item_of_the_graph_is_described_by_its_neighbours_alone():
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(30, 5, generator=generator)
    made = Spectral(rows, k=3, dim=4)
    vectors = made.get_buffer("vectors")
    before = made(rows[:1])
    vectors[0] += 100
    torch.testing.assert_close(made(rows[:1]), before)
    assert not torch.allclose(made(rows[1:]), Spectral(rows, k=3, dim=4)(rows[1:]))


def test_features_beside_vectors_take_their_share_of_the_norm(task):
    generator = torch.Generator().manual_seed(0)
    features = RandomFeatures(
        task.pool.source, kernel="arc-cosine 1", width=16, bandwidth=1.0, generator=generator
    )
    found = Beside(features, task.pool.source, share=0.3)(task.gallery.source)
    assert found.shape == (40, 10 + 16)
    torch.testing.assert_close(found[:, 10:].square().sum(dim=1), torch.full((40,), 0.3))
    torch.testing.assert_close(found.square().sum(dim=1), torch.ones(40))


def test_inner_products_of_fourier_features_estimate_the_gaussian_kernel(task):
    rows = task.gallery.source
    features = RandomFeatures(
        rows, kernel="fourier", width=200_000, bandwidth=0.9,
        generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    made = features(rows[:2])
    unit = torch.nn.functional.normalize(rows, dim=1)
    unit = torch.nn.functional.normalize(unit - unit.mean(dim=0), dim=1)
    wanted = torch.exp(-(unit[0] - unit[1]).square().sum() / (2 * 0.9**2))
    assert (2 * made[0] @ made[1] / 200_000).item() == pytest.approx(wanted.item(), abs=0.01)


def test_a_map_through_features_takes_raw_rows(task):
    inner = nn.Linear(16, 3)
    inner.dim = 3
    made = Through(nn.Linear(10, 16), inner, d_in=10)
    assert (made.d_in, made.dim) == (10, 3)
    assert made(task.gallery.source).shape == (40, 3)


def test_unpaired_items_are_none_of_the_known_pairs_and_come_in_orders_of_their_own(task):
    known = task.pool.take(range(220))
    source, target = survey(task.pool).others(known, seed=0)
    rows = {tuple(row) for row in task.pool.source[220:].tolist()}
    assert {tuple(row) for row in source.tolist()} == rows
    assert {tuple(row) for row in target.tolist()} == {
        tuple(row) for row in task.pool.target[220:].tolist()
    }
    at = {tuple(row): number for number, row in enumerate(task.pool.source.tolist())}
    assert not torch.equal(target, task.pool.target[[at[tuple(row)] for row in source.tolist()]])


def test_a_quick_run_writes_nothing(task, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(few_pairs, "load_task", lambda name: task)
    monkeypatch.setattr(few_pairs, "RESULTS", tmp_path)
    monkeypatch.setattr(few_pairs, "QUICK_PAIRS", 40)
    monkeypatch.setattr(few_pairs.torch, "set_num_threads", lambda n: None)
    monkeypatch.setattr(few_pairs, "write_record", lambda *_, **__: pytest.fail("it was written"))
    few_pairs.main(["--data", "emoji", "--quick"])
    assert not list(tmp_path.iterdir())
    assert "40 training pairs" in capsys.readouterr().out


def test_the_figure_is_a_picture(result, tmp_path):
    few_pairs.draw_figure(Config("planted", 60, 2), result, tmp_path / "gains.png")
    assert (tmp_path / "gains.png").read_bytes().startswith(b"\x89PNG")
