"""What people call the two sides, from the columns of a table to the card of an adapter."""

from __future__ import annotations

import json

import pytest
import torch

import align
import probes
from align.apps.cli.evaluate import evaluation_table
from align.data.embeddings import PairedEmbeddings
from align.data.pairs import Pairs
from align.encoders.callable import CallableEncoder
from align.fitting.training.config import TrainConfig
from probes.reporting.document import Report

NAMES = ("caption", "image")
X = torch.randn(60, 6, generator=torch.Generator().manual_seed(0))
NAMED = PairedEmbeddings.from_arrays(X, X.flip(1), side_names=NAMES)


def encoder(texts):
    return CallableEncoder(
        lambda items: torch.eye(len(texts))[[texts.index(item) for item in items]],
        name="letters", dim=len(texts),
    )  # fmt: skip


def test_columns_name_the_sides_all_the_way_to_the_vectors(tmp_path):
    path = tmp_path / "pairs.csv"
    path.write_text("caption,image\n" + "\n".join(f"c{i},i{i}" for i in range(4)))
    pairs = Pairs.read(path, source="caption", target="image")
    assert pairs.side_names == NAMES and pairs.take([2, 0]).side_names == NAMES
    encoders = encoder([f"c{i}" for i in range(4)]), encoder([f"i{i}" for i in range(4)])
    paired = pairs.encode(*encoders)
    assert paired.side_names == NAMES and paired.take([1, 2]).side_names == NAMES
    assert all(part.side_names == NAMES for part in paired.split(test=0.5))
    both = Pairs.read(path, source="caption", target="caption")
    assert both.side_names == ("source", "target")
    given = Pairs.from_lists(["a"], ["b"], side_names=NAMES)
    assert given.side_names == NAMES


def test_cards_keep_the_names_and_the_first_names_stay(tmp_path):
    adapter = align.fit(NAMED, effort="fast")
    assert adapter.card.side_names == NAMES
    adapter.save(tmp_path / "adapter")
    assert align.load(str(tmp_path / "adapter")).card.side_names == NAMES
    other = PairedEmbeddings.from_arrays(X, X.flip(1), side_names=("text", "photo"))
    assert align.train(adapter, other, config=TrainConfig(steps=1)).card.side_names == NAMES
    unnamed = align.fit(X, X.flip(1), effort="fast")
    assert align.train(unnamed, other, config=TrainConfig(steps=1)).card.side_names == (
        "text", "photo",
    )  # fmt: skip


def test_a_card_of_an_older_version_has_the_usual_names(tmp_path):
    align.fit(NAMED, effort="fast").save(tmp_path / "adapter")
    card = json.loads((tmp_path / "adapter" / "card.json").read_text())
    assert card.pop("schema") == "isthmus-card-1.2" and card.pop("side_names") == list(NAMES)
    assert align.adapters.card.Card.from_dict(card).side_names == ("source", "target")


@pytest.mark.filterwarnings("ignore::align.NotHeldOut")
def test_evaluations_and_reports_speak_of_the_sides_by_name():
    adapter = align.fit(NAMED, effort="fast")
    evaluation = align.evaluate(NAMED, adapter)
    assert evaluation.side_names == NAMES and evaluation.to_dict()["side_names"] == list(NAMES)
    assert "caption → image" in str(evaluation) and "image → caption" in evaluation._repr_html_()
    assert list(evaluation_table(evaluation).columns[0].cells)[::2] == [
        "caption → image", "image → caption", "mean",
    ]  # fmt: skip
    report = probes.report(NAMED, probes=["recall_at_10"])
    assert report.provenance.side_names == NAMES
    data = json.loads(report.to_json())
    assert Report.from_json(json.dumps(data)) == report
    del data["provenance"]["side_names"]
    older = Report.from_json(json.dumps({**data, "schema": 2}))
    assert older.provenance.side_names == ("source", "target")


@pytest.mark.parametrize("names", [("a", "a"), ("a", " "), ("a",), ("a", 1), ("a", "b", "c")])
def test_names_are_two_different_texts(names):
    with pytest.raises(ValueError, match="side_names must be two different names"):
        PairedEmbeddings.from_arrays(X, X, side_names=names)
    with pytest.raises(ValueError, match="side_names must be two different names"):
        Pairs.from_lists(["a"], ["b"], side_names=names)
