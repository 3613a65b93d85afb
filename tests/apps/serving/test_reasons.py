"""The page says why an item was found: terms that add up, and words where they can be told."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from starlette.testclient import TestClient

import align
from align.adapters.closed_form.procrustes import procrustes
from align.apps.serving.app import web_app
from align.apps.serving.gallery import Gallery
from tests.apps.serving.browser import BROWSER, chromium
from tests.apps.serving.small_gallery import BASE, gallery
from tests.apps.serving.test_api import check
from tests.apps.serving.test_search_page import served
from tests.helpers.tiny_models import bert, image_processor, sbert, sentence_folder, vit, write

__all__ = ["bert", "image_processor", "sbert", "sentence_folder", "vit", "write"]


@pytest.fixture
def networks(tmp_path, sbert, vit):
    """Noise as pictures, found by texts through tiny networks that pool by the mean."""
    text, image = align.TextEncoder(sbert), align.ImageEncoder(vit, pooling="mean")
    rng = torch.Generator().manual_seed(0)
    vectors = (torch.randn(60, each.dim, generator=rng) for each in (text, image))
    retriever = align.Retriever(
        align.Index.create(tmp_path / "idx", procrustes(*vectors)), source=text, target=image
    )
    noise = np.random.default_rng(0)
    paths = [tmp_path / f"{number}.png" for number in range(3)]
    for path in paths:
        Image.fromarray(noise.integers(0, 255, (40, 40, 3), dtype="uint8")).save(path)
    retriever.add([path.name for path in paths], paths)
    return Gallery(retriever)


@pytest.fixture
def asking(networks):
    return TestClient(web_app(networks), base_url=BASE)


def test_the_terms_are_those_of_the_score_that_was_shown(asking):
    hit = asking.get("/api/search", params={"q": "a red dog"}).json()["hits"][0]
    asked = {"q": "a red dog", "item": hit["id"]}
    found = check("Reasons", asking.get("/api/explanation", params=asked).json())
    assert found["score"] == pytest.approx(hit["score"], abs=1e-5)
    assert sum(term["value"] for term in found["terms"]) == pytest.approx(found["score"], abs=1e-5)
    words = {each["word"]: each["value"] for each in found["words"]}
    assert set(words) == {"a", "red", "dog", "(special tokens)"}
    assert sum(words.values()) == pytest.approx(found["score"], abs=1e-5)  # there is but the match
    assert all(each["heat"].startswith("data:image/jpeg;base64,") for each in found["words"])


def test_encoders_without_tokens_are_said_to_have_none(client):
    asked = {"q": "red", "item": "id/red"}
    found = check("Reasons", client.get("/api/explanation", params=asked).json())
    assert found["words"] == [] and "gives none" in found["no_words"]
    assert [term["name"] for term in found["terms"]] == ["match"]


def test_what_cannot_be_explained_is_refused(client, tmp_path):
    def refused(made, **asked):
        answer = made.get("/api/explanation", params=asked)
        return answer.status_code, answer.json()["error"]

    assert refused(client, q="red")[0] == 400
    assert refused(client, q=" ", item="id/red")[0] == 400
    assert refused(client, q="red", item="gone")[0] == 404
    several = TestClient(web_app(gallery(tmp_path, several=True)), base_url=BASE)
    status, said = refused(several, q="red", item="id/red")
    assert status == 400 and "an item with one vector is explained" in said


@pytest.mark.skipif(BROWSER is None, reason="the page is looked at in Chromium; there is none here")
def test_the_dialog_lights_up_where_a_word_goes(networks, tmp_path):
    source = "document.querySelector('#viewer-content img').src"
    with served(networks) as url, chromium(tmp_path / "profile") as page:
        page.open(f"{url}?q=a+red+dog")
        page.until("document.querySelector('.hit .open img')?.naturalWidth > 0")
        page.click(".hit .open")
        page.click("#viewer-explain")
        page.until("document.querySelectorAll('.word').length === 4")
        assert page.run("document.getElementById('viewer-why').innerText").startswith("Score ")
        page.run("document.querySelector('.word').focus()")
        assert page.run(source).startswith("data:image/jpeg;base64,")
        page.run("document.querySelector('.word').blur()")
        assert "/thumbnail?size=large" in page.run(source)
        page.click("#viewer-after")
        assert page.run("document.getElementById('viewer-why').hidden")
        page.open(url)
        page.until("document.querySelector('.hit .open img')?.naturalWidth > 0")
        page.click(".hit .open")
        assert page.run("document.getElementById('viewer-explain').hidden")  # nothing was asked
        assert page.problems == []
