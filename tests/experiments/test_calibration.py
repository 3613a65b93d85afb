import numpy as np
import pytest
import torch

from align.adapters.calibration.confidence import Confidence
from align.data.embeddings import PairedEmbeddings
from experiments import calibration
from experiments.calibration import Asked, Config, draw_figure, one_of_each, run
from experiments.tasks import Task


def planted(n, *, seed=0):
    generator = torch.Generator().manual_seed(seed)
    maps = torch.Generator().manual_seed(7)
    shared = torch.randn(n, 16, generator=generator)
    x, y = (
        shared @ torch.randn(16, d, generator=maps) + 3 * torch.randn(n, d, generator=generator)
        for d in (24, 20)
    )
    names = [f"{seed} {row}" for row in range(n)]
    return PairedEmbeddings.from_arrays(x, y, ids=names, groups=names)


def test_a_confidence_that_is_right_has_no_more_error_than_chance():
    rng = np.random.default_rng(0)
    confidence = rng.uniform(size=4000)
    right = rng.random(4000) < confidence
    fair = Asked(confidence, right).summary()
    assert fair["calibration error"] < 1.5 * fair["calibration error by chance"]
    assert fair["Brier"] < fair["Brier of the share"]
    assert fair["error of the surest half"] == pytest.approx(0.25, abs=0.03)
    proud = Asked(np.sqrt(confidence), right).summary()
    assert proud["calibration error"] == pytest.approx(2 / 3 - 0.5, abs=0.02)


def test_the_first_hit_is_judged_by_the_right_column():
    known = Confidence(torch.arange(9.0), sharpness=1.0, spread=1.0, gallery=3)
    scores = torch.tensor([[3.0, 1.0, 0.0], [2.0, 1.0, 0.0]])
    assert Asked.of(scores, torch.tensor([0, 1]), known).right.tolist() == [True, False]


def test_others_of_a_group_are_left_out():
    pairs = planted(6)
    grouped = PairedEmbeddings.from_arrays(pairs.source, pairs.target, groups=list("aabbbc"))
    assert one_of_each(grouped).source.equal(pairs.source[[0, 2, 5]])


@pytest.mark.filterwarnings("ignore::align.NotHeldOut")
def test_a_planted_task_is_measured_and_drawn(monkeypatch, tmp_path):
    task = Task(planted(900), planted(400, seed=1))
    monkeypatch.setattr(calibration, "load_task", lambda name: task)
    found = run(Config("en_fr", 300, draws=1))
    assert found["gallery"] == 400 and found["with unseen others"] == 1000
    sizes = ("200", "own", "with unseen others")
    shares = [found["confidence"][size]["right"] for size in sizes]
    sure = [found["confidence"][size]["mean confidence"] for size in sizes]
    assert shares == sorted(shares, reverse=True) and sure == sorted(sure, reverse=True)
    assert found["confidence"]["half absent"]["right"] < shares[1]
    held = [each["held"] for each in found["sets"].values()]
    assert held == sorted(held) and held[1] == pytest.approx(0.9, abs=0.06)
    assert found["out of domain"]["own source"]["flagged"] < 0.12
    draw_figure({("en_fr", 300): found}, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 1000
