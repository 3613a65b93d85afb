"""``align info`` on one small file of every kind that a release has saved."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import align
from align.adapters.adapter import Adapter
from align.adapters.card import Card
from align.adapters.maps.linear import IdentityMap
from align.apps import cli

GOLDEN = Path(__file__).parents[2] / "golden"
KINDS = {
    "adapter": "adapter",
    "instructed": "adapter",
    "meta_tokens": "head of meta tokens",
    "index": "index",
    "store": "store",
    "multi_vector.safetensors": "MultiVector",
    "training.safetensors": "checkpoint of a training run",
    "tuning.journal": "study of tune",
    "report.json": "report of a gap",
}


@pytest.fixture
def run(tmp_path):
    shutil.copytree(GOLDEN, tmp_path / "golden")

    def call(name, *words):
        result = CliRunner().invoke(cli.app, ["info", str(tmp_path / "golden" / name), *words])
        if result.exception is not None:
            raise result.exception
        return result.stdout

    return call


@pytest.mark.parametrize(("name", "kind"), KINDS.items())
def test_every_kind_is_named_with_its_size_and_date(run, name, kind):
    found = json.loads(run(name, "--json"))
    path = GOLDEN / name
    files = [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]
    assert found["kind"] == kind
    if name != "store":  # SQLite may tidy its file when it is opened
        assert found["bytes"] == sum(each.stat().st_size for each in files)
    assert found["written"].endswith("+00:00")
    lines = run(name).splitlines()
    assert lines[0] == kind and lines[-2].split()[0] == "written"


def test_an_adapter_says_what_made_it(run):
    found = json.loads(run("adapter", "--json"))
    adapter = align.load(GOLDEN / "adapter")
    assert found["pairs"] == adapter.card.n_pairs and found["dim"] == adapter.source_map.dim
    assert found["verdict"] == adapter.card.verdict
    assert found["sides"] is None
    assert found["held_out"]["recall_at_10_at_random"] == adapter.card.held_out.chance_at_10
    assert adapter.card.verdict in run("adapter")


def test_an_index_says_what_it_holds_and_what_it_is_searched_through(run):
    found = json.loads(run("index", "--json"))
    index = align.Index.open(GOLDEN / "index")
    assert found["items"] == len(index) and found["side"] == index.side
    assert found["searched_through"] == "adapter"


def test_a_report_begins_with_its_verdict(run):
    found = json.loads(run("report.json", "--json"))
    assert list(found)[:2] == ["kind", "verdict"] and len(found["verdict"]) > 20


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: path.mkdir(), "is empty and is none"),
        (lambda path: (path.mkdir(), (path / "a.txt").write_text("")), r"holds .'a.txt'. and is"),
        (lambda path: path.write_text("hello"), "is another kind of file and is none"),
        (lambda path: path.write_bytes(b""), "is another kind of file and is none"),
        (lambda path: path.write_text("{}"), "is another kind of file and is none"),
    ],
)
def test_what_is_not_ours_is_refused(run, tmp_path, make, said):
    make(tmp_path / "golden" / "other")
    with pytest.raises(ValueError, match=f"looks at what isthmus wrote: .*{said}"):
        run("other")


def test_a_path_to_nothing_is_refused(run):
    with pytest.raises(FileNotFoundError, match=r"must be there; .*nowhere' is not"):
        run("nowhere")


def test_what_is_damaged_says_so(run, tmp_path):
    card = tmp_path / "golden/adapter/card.json"
    card.write_text(card.read_text().replace("rcca", "rccb"))
    with pytest.raises(ValueError, match=r"its digest in config\.json is another"):
        run("adapter")


def test_an_adapter_of_named_sides_says_what_they_are_called(tmp_path):
    card = Card("identity", 1, 4, 4, side_names=("caption", "image"))
    Adapter(IdentityMap(4), IdentityMap(4), card).save(tmp_path / "adapter")
    result = CliRunner().invoke(cli.app, ["info", str(tmp_path / "adapter"), "--json"])
    assert json.loads(result.stdout)["sides"] == {"source": "caption", "target": "image"}


def test_without_a_path_the_machine_is_described():
    result = CliRunner().invoke(cli.app, ["info"])
    assert result.exit_code == 0
    facts = dict(re.split(r"\s{2,}", line, maxsplit=1) for line in result.stdout.splitlines())
    assert facts["torch"] == torch.__version__
    assert facts["threads"] == str(torch.get_num_threads())
    assert facts["maxsim reads documents"] in {"copied block by block", "where they lie"}
    as_json = json.loads(CliRunner().invoke(cli.app, ["info", "--json"]).stdout)
    assert as_json["maxsim_reads_documents"] == facts["maxsim reads documents"]
