import logging

import optuna
import pytest
import torch

from align.fitting.tuning.setting import SettingScorer
from align.fitting.tuning.study import SCORES, tune

TRAIN = slice(0, 120)
SMALL = {"folds": 2, "dims": (2, 12)}


def test_a_search_goes_on_to_the_total_and_finds_what_one_in_one_go_does(tuned, tmp_path):
    study = tmp_path / "deeper" / "study"
    for trials in (1, 12, 12, 30):
        found = tune(tuned.scorer.pairs, study=study, trials=trials, **SMALL)
        assert len(found.trials) == trials
    assert found.trials == tuned.trials and found.importance == tuned.importance


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"seed": 1}, "seed: 0 then, 1 now"),
        ({"folds": 3}, "folds: 2 then, 3 now"),
        ({"dims": (2, 8)}, "dims: 2 to 12 then, 2 to 8 now"),
    ],
)
def test_a_study_of_other_settings_is_refused(tmp_path, pairs_of, change, named):
    study = tmp_path / "study"
    tune(pairs_of(), study=study, trials=1, **SMALL)
    before = study.read_bytes()
    with pytest.raises(ValueError, match=f"{named}. Pass those, or another path"):
        tune(pairs_of(), study=study, trials=2, **{**SMALL, **change})
    assert study.read_bytes() == before


@pytest.mark.parametrize(
    ("rows", "names", "named"),
    [
        (slice(1, 121), {}, "vectors"),
        (TRAIN, {"groups": [str(row // 2) for row in range(120)]}, "groups"),
        (TRAIN, {"domains": ["a"] * 60 + ["b"] * 60}, "groups"),
        (TRAIN, {"source_parts": (8, 8)}, "parts"),
    ],
)
def test_a_study_of_other_pairs_is_refused(tmp_path, pairs_of, rows, names, named):
    study = tmp_path / "study"
    tune(pairs_of(), study=study, trials=1, **SMALL)
    with pytest.raises(ValueError, match=f"differs in .*{named}: .* then, .* now"):
        tune(pairs_of(rows, **names), study=study, trials=2, **SMALL)


def test_a_file_that_is_no_journal_is_left_alone(tmp_path, pairs_of):
    study = tmp_path / "notes.txt"
    study.write_text("dear diary")
    with pytest.raises(ValueError, match=r"begins with b'dear diary'\. Choose another path"):
        tune(pairs_of(), study=study, trials=1, **SMALL)
    assert study.read_text() == "dear diary"


def test_a_line_cut_short_is_dropped_and_said(pairs_of, tuned, tmp_path, caplog):
    study = tmp_path / "study"
    tune(pairs_of(), study=study, trials=2, **SMALL)
    with study.open("ab") as file:
        file.write(b'{"op_code":4,"wor')
    with caplog.at_level(logging.WARNING, logger="align"):
        again = tune(pairs_of(), study=study, trials=3, **SMALL)
    assert "dropped the unfinished last line" in caplog.text
    assert again.trials == tuned.trials[:3]
    assert tune(pairs_of(), study=study, trials=3, **SMALL).trials == again.trials


def test_a_setting_left_in_the_queue_is_tried_once(pairs_of, tuned, tmp_path, monkeypatch):
    study = tmp_path / "study"

    def stopped(run):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(optuna.Study, "ask", stopped)
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                tune(pairs_of(), study=study, trials=6, **SMALL)
    found = tune(pairs_of(), study=study, trials=6, **SMALL)
    assert found.trials == tuned.trials[:6]


def test_a_second_process_on_one_study_is_told(tmp_path, monkeypatch, pairs_of):
    study = tmp_path / "study"
    on_fold = SettingScorer.on_fold

    def interrupted(scorer, cv, setting, fold):
        monkeypatch.setattr(SettingScorer, "on_fold", on_fold)
        tune(pairs_of(), study=study, trials=1, **SMALL)  # as another process would
        return on_fold(scorer, cv, setting, fold)

    monkeypatch.setattr(SettingScorer, "on_fold", interrupted)
    with pytest.raises(RuntimeError, match="one process may work on a study at a time"):
        tune(pairs_of(), study=study, trials=2, **SMALL)


def test_the_journal_can_be_read_with_optuna_itself(tuned, tmp_path):
    study = tmp_path / "study"
    tune(tuned.scorer.pairs, study=study, trials=2, **SMALL)
    backend = optuna.storages.journal.JournalFileBackend(str(study))
    read = optuna.load_study(study_name=None, storage=optuna.storages.JournalStorage(backend))
    assert [trial.values[0] for trial in read.trials] == [t.mrr for t in tuned.trials[:2]]
    assert read.trials[0].user_attrs[SCORES]["first_fold"] > 0
    assert torch.is_grad_enabled()


@pytest.mark.parametrize(
    ("name", "advice"),
    [("align-tune-2", "It is newer: install"), ("somebody's", "Choose another path")],
)
def test_a_journal_of_another_version_or_program_is_refused(name, advice, tmp_path, pairs_of):
    path = tmp_path / "study"
    backend = optuna.storages.journal.JournalFileBackend(str(path))
    optuna.create_study(study_name=name, storage=optuna.storages.JournalStorage(backend))
    before = path.read_bytes()
    with pytest.raises(ValueError, match=rf"must have schema 'align-tune-1'; got .*{advice}"):
        tune(pairs_of(), study=path, trials=1, folds=2)
    assert path.read_bytes() == before
