import copy
import json
import platform
from dataclasses import FrozenInstanceError, fields

import pytest
import torch

import align
from align.adapters.card import Candidate, Card, installed_versions

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
        Candidate("map", "rcca(ridge=(3, 1), power=0.5)", 0.5, 0.45, 0.55, 0.75, True, 0.18, 0.5),
    ),
    verdict="rcca scored best of 2 maps",
    better_than_chance=True,
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
        "chance_mrr": 0.18,
        "chance_at_10": 0.5,
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
    with pytest.raises(
        ValueError, match=r"candidates\[\] .*unknown: \['colour'\], missing: \['mrr'"
    ):
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


HOSTILE = [
    None, True, -1, 2**70, 1.5, float("nan"), float("inf"), "", "x" * 200_000, "1", [], [1],
    [1, -2], [None, 1], {}, {"a": {}}, {"a": float("nan")}, {1: "a"}, [[]], [{}], [[[[]]]],
]  # fmt: skip


@pytest.mark.parametrize("kind", [Card, Candidate], ids=["card", "candidate"])
def test_each_field_of_a_hostile_card_is_refused_by_name_or_comes_back_equal(kind):
    tried = Candidate("map", "rcca", 0.5, 0.4, 0.6, 0.7)
    whole = Card("rcca", 10, 3, 4, candidates=(tried,), seconds={"fit": 1.0}).to_dict()
    accepted = 0
    for field in fields(kind):
        for value in HOSTILE:
            data = copy.deepcopy(whole)
            (data if kind is Card else data["candidates"][0])[field.name] = value
            try:
                found = Card.from_dict(data)
            except ValueError as error:
                assert ("must" in str(error) and "oad it" in str(error)) or "download" in str(error)
            else:
                assert json.loads(json.dumps(found.to_dict())) == json.loads(json.dumps(data))
                accepted += 1
    assert accepted < 0.3 * len(fields(kind)) * len(HOSTILE)


@pytest.mark.parametrize("data", [None, [], "card", 3], ids=repr)
def test_what_is_no_object_is_no_card(data):
    with pytest.raises(ValueError, match="a card must be an object; got"):
        Card.from_dict(data)
