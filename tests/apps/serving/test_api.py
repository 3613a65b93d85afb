"""The JSON API answers as its document says, and finds what was planted."""

from __future__ import annotations

import io
import json
import re
from importlib import resources

import pytest
import torch
from jsonschema import Draft202012Validator
from PIL import Image
from starlette.testclient import TestClient

import align
from align import EmbeddingStore
from align.adapters.adapter import Adapter
from align.adapters.card import Card
from align.adapters.maps.linear import IdentityMap
from align.apps.serving.app import FILES, SCRIPTS, Limits, web_app
from align.apps.serving.gallery import Gallery
from tests.apps.serving.small_gallery import (
    BASE,
    COLOURS,
    as_bytes,
    draw,
    encoders,
    gallery,
    texts_gallery,
)

DOCUMENT = json.loads(resources.files("align.apps.serving").joinpath("openapi.json").read_text())


def client_of(made):
    return TestClient(web_app(made), base_url=BASE)


def check(name, found):
    """Raise unless an answer is what the document says of its schema ``name``."""
    schema = {"$ref": f"#/components/schemas/{name}", "components": DOCUMENT["components"]}
    Draft202012Validator(schema).validate(found)
    return found


def ids(response):
    assert response.status_code == 200, response.text
    return [hit["id"] for hit in check("Answer", response.json())["hits"]]


def test_the_document_names_every_call_and_its_limits(client):
    assert client.get("/openapi.json").json() == DOCUMENT
    calls = {"get", "post"}
    named = {(path, call) for path, held in DOCUMENT["paths"].items() for call in calls & set(held)}
    # Of the API; the page's own files are no part of it.
    served = {
        ("/api/about", "get"),
        ("/api/sample", "get"),
        ("/api/budgets", "get"),
        ("/api/explanation", "get"),
        ("/api/search", "get"),
        ("/api/search", "post"),
        ("/api/items/{id}/thumbnail", "get"),
    }
    assert named == served and DOCUMENT["openapi"] == "3.1.0"
    search, limits = DOCUMENT["paths"]["/api/search"], Limits()
    schemas = {
        parameter["name"]: parameter["schema"]
        for parameter in (*search["parameters"], *search["get"]["parameters"])
    }
    assert schemas["k"]["maximum"] == limits.most_hits
    assert schemas["q"]["maxLength"] == limits.most_characters
    assert f"{limits.most_bytes >> 20} MiB" in search["post"]["description"]


def test_every_reference_of_the_document_leads_somewhere():
    for where in re.findall(r'"\$ref": "#/([^"]+)"', json.dumps(DOCUMENT)):
        found = DOCUMENT
        for step in where.split("/"):
            found = found[step]
        assert found


def test_about_names_the_kinds_of_query(client):
    found = check("About", client.get("/api/about").json())
    assert found["items"] == 6 and found["modalities"] == {"image": 6}
    assert found["queries"] == ["text", "image"] and found["budgets"] == []
    assert "--store" in found["no_raw"]
    assert found["direction"] is None


def test_about_says_what_is_searched_by_what_where_the_sides_have_names(tmp_path):
    made = gallery(tmp_path, side_names=("caption", "image"))
    found = check("About", client_of(made).get("/api/about").json())
    assert found["direction"] == "caption → image"


@pytest.mark.parametrize("colour", COLOURS)
def test_a_word_finds_its_colour_and_a_picture_too(client, colour):
    assert ids(client.get("/api/search", params={"q": f"a {colour} wall"}))[0] == f"id/{colour}"
    headers = {"content-type": "image/png"}
    sent = client.post("/api/search", content=as_bytes(colour), headers=headers)
    assert ids(sent)[0] == f"id/{colour}"


def test_k_says_how_many_hits_there_are(client):
    assert len(ids(client.get("/api/search", params={"q": "red", "k": 2}))) == 2
    assert len(ids(client.get("/api/search", params={"q": "red", "k": 100}))) == 6


def test_an_item_finds_its_like_and_not_itself(client):
    found = ids(client.get("/api/search", params={"item": "id/red"}))
    assert len(found) == 5 and "id/red" not in found and found[0] in ("id/purple", "id/yellow")
    assert len(ids(client.get("/api/search", params={"item": "id/red", "k": 2}))) == 2


def test_a_picture_or_item_is_changed_by_a_text_beside_it(client):
    for text, between in (("blue", "id/purple"), ("green", "id/yellow")):
        found = ids(client.get("/api/search", params={"item": "id/red", "q": text}))
        assert len(found) == 5 and found[0] == between
    sent = client.post(
        "/api/search", params={"q": "blue", "weight": "0.9"}, content=as_bytes("red"),
        headers={"content-type": "image/png"},
    )  # fmt: skip
    assert ids(sent)[0] == "id/blue"
    assert check("About", client.get("/api/about").json())["composed"]


def test_a_text_stands_beside_nothing_where_items_have_several_vectors(tmp_path):
    made = client_of(gallery(tmp_path, several=True))
    assert not made.get("/api/about").json()["composed"]
    found = made.get("/api/search", params={"item": "id/red", "q": "blue"})
    assert found.status_code == 400 and "items have one vector each" in found.json()["error"]


def test_the_map_puts_every_hit_somewhere(client):
    found = client.get("/api/search", params={"q": "blue"}).json()
    assert len(found["map"]["hits"]) == len(found["hits"]) == 6


def test_a_query_is_encoded_once_for_all_its_views(tmp_path):
    made = gallery(tmp_path, store=EmbeddingStore(tmp_path / "store"))
    client, seen = client_of(made), made._retriever.embedder.encoder("source").function.seen
    before = len(seen)
    first = client.get("/api/search", params={"q": "red"}).json()
    for given in ({"k": 3}, {"view": "raw"}, {"modality": "image"}):
        again = client.get("/api/search", params={"q": "red", **given}).json()
        assert again["encode_ms"] == 0 and first["encode_ms"] > 0
    assert len(seen) == before + 1


def test_texts_and_code_are_found_and_filtered_by_kind(tmp_path):
    client = client_of(texts_gallery(tmp_path))
    about = check("About", client.get("/api/about").json())
    assert about["modalities"] == {"text": 3, "code": 1} and about["queries"] == ["text"]
    assert ids(client.get("/api/search", params={"q": "blue"}))[0] == "code"
    some = client.get("/api/search", params={"q": "blue", "modality": "text"})
    assert set(ids(some)) == {"plain", "markup", "long"}
    both = client.get("/api/search", params={"q": "blue", "modality": ["text", "code"]})
    assert len(ids(both)) == 4
    long = next(hit for hit in some.json()["hits"] if hit["id"] == "long")
    assert long["truncated"] and len(long["text"]) == 1200 and not long["picture"]


def test_a_thumbnail_is_a_small_jpeg_that_is_sent_once(client):
    found = client.get("/api/items/id%2Fred/thumbnail")
    assert found.status_code == 200 and found.headers["content-type"] == "image/jpeg"
    small = Image.open(io.BytesIO(found.content))
    assert small.size == (360, 180) and small.getpixel((5, 5))[0] > 200
    again = client.get(
        "/api/items/id/red/thumbnail", headers={"if-none-match": found.headers["etag"]}
    )
    assert again.status_code == 304 and not again.content


def test_the_page_comes_with_its_own_files_only(client):
    page = client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    loads = re.findall(r'(?:src|href)="(?!data:|#)([^"]+)"', page.text)
    assert sorted(loads) == ["/", "/page.css", "/page.js"]
    texts = [client.get(f"/{name}").text for name in SCRIPTS]
    imported = {name for text in texts for name in re.findall(r'from "./([^"]+)"', text)}
    assert imported | {"page.js"} == set(SCRIPTS)
    for path, (_, kind) in FILES.items():
        assert client.get(path).headers["content-type"].startswith(kind)
    assert "http" not in "".join(texts).replace("http://www.w3.org/2000/svg", "")


class SumOfParts(torch.nn.Module):
    """A title of four columns and a photo of four, added up; a missing part adds nothing."""

    d_in, dim = 8, 4

    def forward(self, x):
        return torch.nn.functional.normalize(x[:, :4] + x[:, 4:], dim=1)


def test_products_of_several_parts_are_found_by_a_picture_and_changed_by_a_text(tmp_path):
    reader, looker = encoders()
    product = align.CompositeEncoder({"title": encoders()[0], "photo": looker})
    adapter = Adapter(IdentityMap(4), SumOfParts(), Card("sum", 1, 4, 8))
    index = align.Index.create(tmp_path / "idx", adapter)
    retriever = align.Retriever(index, source=reader, target=product)
    paths = draw(tmp_path / "photos")
    retriever.add(
        list(paths),
        [align.Composite({"title": name, "photo": path}) for name, path in paths.items()],
    )
    client = client_of(Gallery(retriever))
    about = check("About", client.get("/api/about").json())
    assert about["queries"] == ["text", "image"] and about["composed"]
    headers = {"content-type": "image/png"}
    for text, first in ((None, "red"), ("blue", "purple"), ("green", "yellow")):
        sent = client.post(
            "/api/search", params={} if text is None else {"q": text}, content=as_bytes("red"),
            headers=headers,
        )  # fmt: skip
        assert ids(sent)[0] == first
    assert ids(client.get("/api/search", params={"q": "yellow"}))[0] == "yellow"
    assert client.get("/api/items/red/thumbnail").headers["content-type"] == "image/jpeg"
