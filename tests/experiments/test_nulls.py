"""The study of sizes: every p-value has a law, and sizes outside go on."""

import pytest
import torch

from experiments import nulls
from experiments.nulls import COMPARED, Config, Size, codes_of, draw, p_values, probes_of, run
from probes.pairing.margin import MEAN_MARGIN
from probes.pathology.isotropy import MEAN_COSINE_SOURCE

SMALL = Config(replicates=2, pairs=(30,), groups=("threes",), d=4)


def test_every_p_of_the_report_is_in_the_study():
    found = p_values(probes_of(30, "single"), 30, "single", SMALL, 0)
    with_p = {name for name, state in found if state == "raw"}
    assert {"exact_wasserstein", "recall_at_10", "rsa", "cluster_v_measure"} <= with_p
    assert len(with_p) == 36
    # What centring has set has no p.
    without = with_p - {name for name, state in found if state == "centred"}
    assert without == {
        "gap_energy_share", "modality_gap", "modality_classifier_auc", "modality_mixing",
        "mean_cosine_source", "mean_cosine_target",
    }  # fmt: skip


def test_a_size_outside_goes_on(monkeypatch):
    monkeypatch.setattr(nulls, "probes_of", lambda n, groups: [MEAN_MARGIN, MEAN_COSINE_SOURCE])
    found = {(each.probe, each.state): each for each in run(SMALL).sizes}
    assert set(found) == {
        ("mean_margin", "raw"), ("mean_margin", "centred"), ("mean_cosine_source", "raw"),
        (COMPARED, "raw"),
    }  # fmt: skip
    # Of two replicates no share lies within 0.02 and 0.08.
    assert all(each.replicates == 6 for each in found.values())


def test_a_size_is_outside_where_it_says_so():
    assert not Size("a", "single", 60, "raw", 0.02, 200, 0.02).is_outside
    assert Size("a", "single", 60, "raw", 0.085, 200, 0.085).is_outside


@pytest.mark.parametrize("groups, largest", [("single", 1), ("threes", 3), ("uneven", 4)])
def test_groups_are_as_large_as_their_name_says(groups, largest):
    codes = codes_of(60, groups)
    assert len(codes) == 60
    assert torch.bincount(codes).max() == largest
    assert torch.bincount(codes).min() >= 1


def test_groups_of_three_are_tight(rng):
    source, _ = draw("turned", codes_of(300, "threes"), 8, rng)
    within = source.view(100, 3, 8).var(dim=1).mean()
    assert within < 0.2 * source.var(dim=0).mean()


def test_the_command_writes_a_record(monkeypatch, capsys):
    told = {}
    monkeypatch.setattr(nulls, "run", lambda config, progress: nulls.Result(()))
    monkeypatch.setattr(
        nulls, "write_record", lambda name, config, result: told.update(config) or name
    )
    nulls.main([])
    assert told["replicates"] == 200
    nulls.main(["--replicates", "7"])
    assert told["replicates"] == 7
    assert "| probe | state |" in capsys.readouterr().out
