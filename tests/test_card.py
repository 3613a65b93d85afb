import json
import platform
from dataclasses import FrozenInstanceError

import pytest
import torch

import align
from align.card import Candidate, Card, installed_versions

CARD = Card(
    "rcca(ridge=(3, 1), power=0.5)",
    n_pairs=100,
    d_source=8,
    d_target=6,
    n_groups=20,
    n_unpaired=(5, 0),
    source_fingerprint="text:a",
    seed=3,
    folds=(5, 2),
    fold_gallery=20,
    seconds={"map": 0.25},
    candidates=(
        Candidate("map", "pls(power=0.5)", 0.25, 0.2, 0.3, 0.5),
        Candidate("map", "rcca(ridge=(3, 1), power=0.5)", 0.5, 0.45, 0.55, 0.75, chosen=True),
    ),
    verdict="rcca scored best of 2 maps",
    versions={"torch": "2"},
    encoders={"source": "text:a"},
)


@pytest.mark.parametrize("card", [CARD, Card("procrustes", 2, 3, 4)], ids=["full", "bare"])
def test_a_card_comes_back_from_json_as_it_was(card):
    assert Card.from_dict(json.loads(json.dumps(card.to_dict()))) == card


def test_the_dictionary_is_plain():
    data = CARD.to_dict()
    assert data["candidates"][1] == {
        "stage": "map",
        "name": "rcca(ridge=(3, 1), power=0.5)",
        "mrr": 0.5,
        "low": 0.45,
        "high": 0.55,
        "recall_at_10": 0.75,
        "chosen": True,
    }
    assert data["seconds"] == {"map": 0.25} and data["target_fingerprint"] is None


def test_unknown_and_missing_fields_are_named():
    data = CARD.to_dict()
    del data["seed"]
    with pytest.raises(ValueError, match=r"a card must .*unknown: \['colour'\], missing: \['seed'"):
        Card.from_dict({**data, "colour": "red"})


def test_unknown_and_missing_fields_of_a_candidate_are_named():
    data = CARD.to_dict()
    data["candidates"][0]["colour"] = data["candidates"][0].pop("mrr")
    with pytest.raises(ValueError, match=r"a candidate .*unknown: \['colour'\], missing: \['mrr'"):
        Card.from_dict(data)


def test_a_card_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        CARD.seed = 4


def test_the_versions_are_those_that_run():
    found = installed_versions()
    assert found["isthmus"] == align.__version__
    assert found["python"] == platform.python_version()
    assert found["torch"] == torch.__version__ and set(found) == {
        "isthmus",
        "python",
        "torch",
        "numpy",
    }
