"""An index whose folders were moved shows its pictures, or says what is missing."""

from __future__ import annotations

import json
import os

import pytest
from starlette.testclient import TestClient
from typer.testing import CliRunner

from align import Index
from align.adapters.adapter import Adapter
from align.adapters.card import Card
from align.adapters.maps.linear import IdentityMap
from align.apps.cli.app import app
from align.apps.serving.app import web_app
from align.apps.serving.contents import Shown
from align.apps.serving.gallery import Gallery
from align.apps.serving.roots import Roots
from align.retrieval.retriever import Retriever
from tests.apps.serving.small_gallery import BASE, COLOURS, draw, encoders

ENCODER = "python:tests.apps.serving.small_gallery:"


def run(*words):
    done = CliRunner().invoke(app, list(map(str, words)), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A project with a table, its pictures and an index of them, made from inside it."""
    project = tmp_path / "project"
    draw(project / "data/photos")
    rows = "".join(f"{name},photos/{name}.png,the colour {name}\n" for name in COLOURS)
    (project / "data/items.csv").write_text("id,image,title\n" + rows)
    words, pictures = encoders()
    fingerprints = {"source": words.fingerprint, "target": pictures.fingerprint}
    named = {f"{side}_fingerprint": name for side, name in fingerprints.items()}
    card = Card("identity", 1, 4, 4, **named)
    Adapter(IdentityMap(4), IdentityMap(4), card).save(project / "adapter")
    monkeypatch.chdir(project)
    run(
        "index", "adapter", "data/items.csv", "-o", "out/idx", "--column", "image", "--id", "id",
        "--metadata", "title", "--encoder", f"{ENCODER}pictures", "--store", tmp_path / "store",
    )  # fmt: skip
    monkeypatch.chdir("/")
    return project


def client_of(folder, **shown):
    words, pictures = encoders()
    retriever = Retriever(Index.open(folder), source=words, target=pictures)
    return TestClient(web_app(Gallery(retriever, shown=Shown(**shown))), base_url=BASE)


def shows(client, name):
    return client.get(f"/api/items/{name}/thumbnail").status_code == 200


def test_cells_of_a_table_are_kept_from_the_folder_of_the_index(checkout):
    held = Index.open(checkout / "out/idx").get(["red"]).metadata[0]
    assert held == {"title": "the colour red", "path": "../../data/photos/red.png"}


def test_a_page_started_anywhere_shows_pictures_and_captions(checkout):
    client = client_of(checkout / "out/idx")
    assert all(shows(client, name) for name in COLOURS)
    about = client.get("/api/about").json()
    assert about["missing"] is None and about["caption"] == "title" and about["name"] == "idx"
    assert all(text.startswith("the colour ") for text in about["examples"])
    hit = client.get("/api/search", params={"q": "red"}).json()["hits"][0]
    assert hit["caption"] == "the colour red" and hit["title"] == "red.png"


def test_a_checkout_that_moved_as_a_whole_shows_its_pictures(checkout, tmp_path):
    os.rename(checkout, tmp_path / "elsewhere")
    client = client_of(tmp_path / "elsewhere/out/idx")
    assert all(shows(client, name) for name in COLOURS)
    assert client.get("/api/about").json()["missing"] is None


def test_pictures_that_moved_alone_are_missing_until_their_root_is_named(checkout, tmp_path):
    os.rename(checkout / "data/photos", tmp_path / "pictures")
    client = client_of(checkout / "out/idx")
    assert not shows(client, "red")
    said = client.get("/api/about").json()["missing"]
    assert said.startswith("6 of 6 files of items cannot be shown") and "--root" in said
    found = client_of(checkout / "out/idx", roots=Roots.of([tmp_path / "pictures"]))
    assert all(shows(found, name) for name in COLOURS)
    assert found.get("/api/about").json()["missing"] is None


def test_a_link_in_the_new_place_does_not_lead_out_of_it(checkout, tmp_path):
    os.rename(checkout / "data/photos", tmp_path / "pictures")
    secret = tmp_path / "secret.png"
    os.rename(tmp_path / "pictures/red.png", secret)
    (tmp_path / "pictures/red.png").symlink_to(secret)
    client = client_of(checkout / "out/idx", roots=Roots.of([tmp_path / "pictures"]))
    assert client.get("/api/items/red/thumbnail").status_code == 403
    assert shows(client, "blue")


def test_the_command_line_prints_where_a_picture_is(checkout):
    found = run("search", checkout / "out/idx", "red", "-k", 1, "--encoder", f"{ENCODER}words")
    assert str(checkout / "data/photos/red.png") in "".join(found.split("\n")).replace(" ", "")
    as_json = run(
        "search", checkout / "out/idx", "red", "-k", 1, "--encoder", f"{ENCODER}words", "--json"
    )
    assert json.loads(as_json)[0]["metadata"]["path"] == "../../data/photos/red.png"


def test_a_large_picture_is_sent_when_it_is_asked_for(checkout):
    client = client_of(checkout / "out/idx")
    small = client.get("/api/items/red/thumbnail")
    large = client.get("/api/items/red/thumbnail", params={"size": "large"})
    assert len(large.content) > len(small.content)
    assert large.headers["etag"] != small.headers["etag"]
