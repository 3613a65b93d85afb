"""What the web page must never do: every limit refuses, and says what to do instead."""

from __future__ import annotations

import asyncio

import pytest
from PIL import Image
from starlette.testclient import TestClient

from align import Index
from align.adapters.adapter import Adapter
from align.adapters.card import Card
from align.adapters.maps.linear import IdentityMap
from align.apps.serving.app import Limits, web_app
from align.apps.serving.gallery import Gallery
from align.apps.serving.pictures import open_picture
from align.apps.serving.roots import Roots
from align.retrieval.retriever import Retriever
from tests.apps.serving.small_gallery import (
    BASE,
    as_bytes,
    colours_index,
    draw,
    encoders,
    gallery,
    texts_gallery,
)

PNG = {"content-type": "image/png"}


def refused(response, status, words):
    assert response.status_code == status, response.text
    assert list(response.json()) == ["error"] and words in response.json()["error"]
    return response


@pytest.mark.parametrize("k", ["0", "101", "-1", "1.5", "ten", "", "9" * 5000, "²"])
def test_a_bad_k_is_refused(client, k):
    found = client.get("/api/search", params={"q": "red", "k": k})
    refused(found, 400, "k must be a whole number from 1 to 100")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "a search needs q, a text, or item"),
        ({"q": "red", "weight": "0.5"}, "a weight only with both"),
        ({"item": "id/red", "weight": "0.5"}, "weight must be a number from 0 to 1"),
        ({"q": "red", "item": "id/red", "weight": "1.5"}, "weight must be a number from 0 to 1"),
        ({"q": "red", "item": "id/red", "weight": "nan"}, "weight must be a number from 0 to 1"),
        ({"q": " ", "item": "id/red"}, "1 to 2000 characters"),
        ({"q": "red.png", "item": "id/red"}, "a typed query must be words"),
        ({"q": " "}, "1 to 2000 characters"),
        ({"q": "a" * 2001}, "1 to 2000 characters"),
        ({"q": "red", "view": "best"}, 'view must be "aligned" or "raw"'),
        ({"q": "red", "view": "raw"}, "the raw view must be available; it is not"),
        ({"q": "red", "modality": "smell"}, "modalities must be among ['image']"),
        ({"q": "red", "budget": "2"}, "a budget must be one of []"),
        ({"q": "red", "path": "/etc/passwd"}, "got ['path']"),
        ({"q": ["red", "blue"]}, "got ['q']"),
    ],
)
def test_a_bad_question_is_refused(client, given, words):
    refused(client.get("/api/search", params=given), 400, words)


def test_about_takes_no_parameters(client):
    refused(client.get("/api/about", params={"q": "red"}), 400, "got ['q']")


def test_an_unknown_item_is_not_found(client):
    refused(client.get("/api/search", params={"item": "nobody"}), 404, "must be in the index")
    refused(client.get("/api/items/nobody/thumbnail"), 404, "must be in the index")


@pytest.mark.parametrize("path", ["/etc/passwd", "/page.html", "/../page.py", "/api", "/openapi"])
def test_nothing_else_is_served(client, path):
    assert client.get(path).status_code == 404


@pytest.mark.parametrize(
    "id",
    ["../../etc/passwd", "..%2F..%2Fetc%2Fpasswd", "%2Fetc%2Fpasswd", "id/red%00", "id/../red"],
)
def test_an_id_is_no_path(client, id):
    assert client.get(f"/api/items/{id}/thumbnail").status_code == 404


def test_a_file_outside_the_roots_is_refused(tmp_path):
    """Files were inside when the index was made; the user then gave another root."""
    (tmp_path / "other").mkdir()
    client = TestClient(
        web_app(gallery(tmp_path, roots=Roots.of([tmp_path / "other"]))), base_url=BASE
    )
    refused(client.get("/api/items/id%2Fred/thumbnail"), 403, "only files in the folders given")


def test_a_link_that_leads_out_of_the_folder_is_refused(tmp_path):
    paths = draw(tmp_path / "photos")
    Image.new("RGB", (10, 10)).save(tmp_path / "secret.png")
    paths["red"].unlink()
    paths["red"].symlink_to(tmp_path / "secret.png")
    client = TestClient(web_app(gallery(tmp_path, paths=paths)), base_url=BASE)
    refused(client.get("/api/items/id%2Fred/thumbnail"), 403, "only files in the folders given")
    assert client.get("/api/items/id%2Fblue/thumbnail").status_code == 200


def test_a_path_with_dots_in_the_metadata_does_not_escape(tmp_path):
    paths = draw(tmp_path / "photos")
    Image.new("RGB", (10, 10)).save(tmp_path / "secret.png")
    paths["red"] = tmp_path / "photos" / ".." / "secret.png"
    made = gallery(tmp_path, paths=paths, roots=Roots.of([tmp_path / "photos"]))
    client = TestClient(web_app(made), base_url=BASE)
    refused(client.get("/api/items/id%2Fred/thumbnail"), 403, "only files in the folders given")


def test_a_file_that_is_no_picture_is_never_sent(tmp_path):
    paths = draw(tmp_path / "photos")
    index, words, looker = colours_index(tmp_path, paths=paths)
    paths["red"].write_text("root:x:0:0")
    paths["blue"].unlink()
    made = Gallery(Retriever(index, source=words, target=looker))
    client = TestClient(web_app(made), base_url=BASE)
    found = refused(client.get("/api/items/id%2Fred/thumbnail"), 422, "must be a readable file")
    assert "root:x" not in found.text
    refused(client.get("/api/items/id%2Fblue/thumbnail"), 404, "cannot be found")


def test_a_text_has_no_thumbnail_and_takes_no_picture(tmp_path):
    client = TestClient(web_app(texts_gallery(tmp_path)), base_url=BASE)
    refused(client.get("/api/items/code/thumbnail"), 404, "an item with a path; 'code' has none")
    found = client.post("/api/search", content=as_bytes("red"), headers=PNG)
    refused(found, 400, "queries must be of ['text'] for this index")


def test_an_upload_over_the_limit_is_refused_without_being_held(colours):
    client = TestClient(web_app(colours, limits=Limits(most_bytes=1000)), base_url=BASE)
    sent = []

    def endless():
        for _ in range(100):
            sent.append(1)
            yield b"x" * 500

    found = client.post("/api/search", content=endless(), headers=PNG)
    refused(found, 413, "a picture may have 1,000 bytes")
    assert client.post("/api/search", content=b"x" * 1001, headers=PNG).status_code == 413


@pytest.mark.parametrize("body", [b"", b"hello", b"<svg xmlns='http://www.w3.org/2000/svg'/>"])
def test_an_upload_that_is_no_picture_is_refused(client, body):
    found = client.post("/api/search", content=body, headers=PNG)
    refused(found, 400, "a picture must be a readable file of JPEG, PNG")


def test_an_upload_that_cuts_off_is_refused(client):
    found = client.post("/api/search", content=as_bytes("red")[:90], headers=PNG)
    refused(found, 400, "a picture must be a readable file")


def test_a_picture_of_too_many_pixels_is_refused_before_it_is_decoded():
    with pytest.raises(ValueError, match="this one has 80 x 60"):
        open_picture(as_bytes("red"), most_pixels=80 * 60 - 1)


@pytest.mark.parametrize("kind", [None, "text/html", "application/x-www-form-urlencoded"])
def test_an_upload_must_say_that_it_is_a_picture(client, kind):
    headers = {} if kind is None else {"content-type": kind}
    found = client.post("/api/search", content=as_bytes("red"), headers=headers)
    refused(found, 415, "the body must be a picture")


@pytest.mark.parametrize("call", ["put", "delete", "patch"])
def test_other_methods_are_refused(client, call):
    assert getattr(client, call)("/api/search").status_code == 405


def test_an_error_of_ours_shows_no_traceback(colours, monkeypatch):
    monkeypatch.setattr(Gallery, "search", lambda *_, **__: 1 / 0)
    client = TestClient(web_app(colours), base_url=BASE, raise_server_exceptions=False)
    found = client.get("/api/search", params={"q": "red"})
    assert found.status_code == 500 and "Traceback" not in found.text


def test_an_empty_index_is_refused(tmp_path):
    words, looker = encoders()
    empty = Index.create(
        tmp_path, Adapter(IdentityMap(4), IdentityMap(4), Card("identity", 1, 4, 4))
    )
    with pytest.raises(ValueError, match="an index needs items to be served; it holds none"):
        Gallery(Retriever(empty, source=words, target=looker))


@pytest.mark.parametrize(
    ("path", "call", "allowed"),
    [
        ("/api/search", "DELETE", {"GET", "HEAD", "POST"}),
        ("/api/about", "POST", {"GET", "HEAD"}),
        ("/", "OPTIONS", {"GET", "HEAD"}),
        ("/api/items/id%2Fred/thumbnail", "PUT", {"GET", "HEAD"}),
    ],
)
def test_the_answer_to_another_method_lists_those_that_are_allowed(client, path, call, allowed):
    found = client.request(call, path)
    assert found.status_code == 405
    assert set(found.headers["allow"].split(", ")) == allowed


def upload(app, messages):
    """What an app answers to an upload that arrives in these pieces; ``None`` waits for ever."""
    sent = []
    left = iter(messages)

    async def receive():
        piece = next(left)
        if piece is None:
            await asyncio.Event().wait()
        return {"type": "http.request", "body": piece, "more_body": True}

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http", "method": "POST", "path": "/api/search", "raw_path": b"/api/search",
        "query_string": b"", "root_path": "", "scheme": "http", "http_version": "1.1",
        "server": ("127.0.0.1", 80), "client": ("127.0.0.1", 1),
        "headers": [(b"host", b"localhost"), (b"content-type", b"image/png")],
    }  # fmt: skip
    return app(scope, receive, send), sent


def test_an_upload_that_never_ends_is_given_up(colours):
    running, sent = upload(web_app(colours, limits=Limits(upload_seconds=0.05)), [b"x", None])
    asyncio.run(running)
    assert sent[0]["status"] == 408 and (b"connection", b"close") in sent[0]["headers"]


def test_no_more_uploads_are_held_than_there_is_room_for(colours):
    async def many():
        app = web_app(colours, limits=Limits(upload_seconds=0.2))
        made = [upload(app, [b"x", None]) for _ in range(6)]
        await asyncio.gather(*(running for running, _ in made))
        return sorted(sent[0]["status"] for _, sent in made)

    assert asyncio.run(many()) == [408] * 4 + [503] * 2


def test_a_length_beyond_the_limit_is_refused_before_a_byte_is_read(colours):
    app = web_app(colours)
    client = TestClient(app, base_url=BASE)
    for claimed in (str(10**9), "9" * 400, "x"):
        headers = {**PNG, "content-length": claimed}
        assert client.post("/api/search", content=iter([b"x"]), headers=headers).status_code == 413
