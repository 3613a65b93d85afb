"""Requests made up from the API's own document: never an error of ours, always what it says."""

from __future__ import annotations

import json
from importlib import resources
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from starlette.testclient import TestClient

from align import EmbeddingStore
from align.apps.serving.app import web_app
from tests.apps.serving.small_gallery import BASE, as_bytes, gallery, texts_gallery

DOCUMENT = json.loads(resources.files("align.apps.serving").joinpath("openapi.json").read_text())
CALLS = [
    (path, method, call, (*held.get("parameters", ()), *call.get("parameters", ())))
    for path, held in DOCUMENT["paths"].items()
    for method, call in held.items()
    if method in ("get", "post")
]
IDS = ["id/red", "id/blue", "plain", "code", "nobody", "", "..", "a/../b"]
ODD = st.one_of(st.text(max_size=20), st.sampled_from(["", "0", "-1", "1e3", "\0", "²", "9" * 40]))
BODIES = st.one_of(
    st.sampled_from([as_bytes("red"), as_bytes("blue", "JPEG"), as_bytes("red")[:60]]),
    st.binary(max_size=60),
)
KINDS = st.sampled_from(["image/png", "image/jpeg", "image/", "text/html", "image/png; a=b", None])


@pytest.fixture(scope="module", params=["pictures", "several", "texts"])
def asked(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "texts":
        made = texts_gallery(folder)
    else:
        store = EmbeddingStore(folder / "store")
        made = gallery(folder, several=request.param == "several", store=store)
    # An error of ours is an answer here, so that the request that led to it is reported.
    return TestClient(web_app(made), base_url=BASE, raise_server_exceptions=False)


def resolved(held):
    while "$ref" in held:
        found = DOCUMENT
        for step in held["$ref"].removeprefix("#/").split("/"):
            found = found[step]
        held = found
    return held


def values(name, schema):
    """What a parameter may be by its schema, written as in an address."""
    if name in ("id", "item"):
        return st.sampled_from(IDS)
    if name == "modality":
        return st.sampled_from(["image", "text", "code", "smell"])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if schema["type"] == "integer":
        numbers = st.integers(schema["minimum"], min(schema.get("maximum", 8), 10**6))
        return numbers.map(str)
    return st.text(min_size=schema.get("minLength", 0), max_size=40)


@st.composite
def requests(draw):
    """A call of the document with some of its parameters, of which some are wrong."""
    path, method, call, parameters = draw(st.sampled_from(CALLS))
    query = []
    for held in parameters:
        name, often = held["name"], 2 if held.get("explode") else 1
        value = values(name, held["schema"]) if draw(st.integers(0, 9)) else ODD
        if held["in"] == "path":
            path = path.replace(
                f"{{{name}}}", quote(draw(value), safe=draw(st.sampled_from(["", "/"])))
            )
        elif draw(st.booleans()):
            query += [(name, each) for each in draw(st.lists(value, min_size=1, max_size=often))]
    if not draw(st.integers(0, 9)):
        query.append((draw(st.sampled_from(["k", "q", "view", "Q", "path"])), draw(ODD)))
    sent = {}
    if "requestBody" in call:
        kind = draw(KINDS)
        sent = {"content": draw(BODIES), "headers": {} if kind is None else {"content-type": kind}}
    return path, method, call, query, sent


@settings(
    max_examples=150, deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
@given(made=requests())
def test_every_request_is_answered_as_the_document_says(asked, made):
    path, method, call, query, sent = made
    found = asked.request(method, path, params=query, **sent)
    assert found.status_code < 500 or found.status_code == 503, found.text
    answers = call["responses"]
    if str(found.status_code) not in answers:
        # An id that is empty or leads upwards is no id any more, but another address.
        assert "{id}" not in path and found.status_code == 404 and "thumbnail" in path, found.text
        return
    held = resolved(answers[str(found.status_code)]).get("content", {})
    kind = found.headers.get("content-type", "").split(";")[0]
    if found.status_code == 304:
        return
    assert kind in held, (found.status_code, kind)
    if kind == "application/json":
        schema = {**held[kind]["schema"], "components": DOCUMENT["components"]}
        Draft202012Validator(schema).validate(found.json())
    elif kind == "image/jpeg":
        assert found.content.startswith(b"\xff\xd8")


@settings(
    max_examples=60, deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
@given(text=st.text(min_size=1, max_size=2000), start=st.integers(0, 10_000), k=st.integers(1, 100))
def test_every_text_that_is_not_blank_nor_a_picture_is_answered(asked, text, start, k):
    found = asked.get("/api/search", params={"q": text, "start": start, "k": k})
    assert found.status_code in (200, 400), found.text
    if found.status_code == 200:
        total = asked.get("/api/about").json()["items"]
        answer = found.json()
        assert len(answer["hits"]) == max(0, min(k, total - start))
        assert answer["more"] == (start + k < total)
    else:
        assert not text.strip() or "name of a picture" in found.json()["error"]
