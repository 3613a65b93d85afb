"""What another process saves while an index is served is seen by the next request."""

from __future__ import annotations

import shutil
import threading

import pytest
from starlette.testclient import TestClient

from align import Embeddings, EmbeddingStore, Index
from align.apps.serving import gallery as gallery_module
from align.apps.serving.app import web_app
from align.apps.serving.changes import IndexChangedError, Watch
from align.apps.serving.contents import Shown
from align.apps.serving.gallery import Gallery, Question, Scope
from align.retrieval.retriever import Retriever
from tests.apps.serving.small_gallery import BASE, as_bytes, colours_index

RED = Question("text", "red")


@pytest.fixture
def saved(tmp_path):
    index, reader, looker = colours_index(tmp_path)
    index.save()
    return tmp_path, reader, looker


def served(saved, **shown):
    folder, reader, looker = saved
    opened = Index.open(folder / "idx")
    return Gallery(Retriever(opened, source=reader, target=looker), shown=Shown(**shown))


def another(saved):
    """The same index in the hands of another process."""
    return Index.open(saved[0] / "idx")


def add(index, looker, path, id="new"):
    path.write_bytes(as_bytes("red"))
    rows = Embeddings(looker.encode([path]), looker.fingerprint, (id,))
    index.add([id], rows, metadata=[{"path": str(path)}], modality="image")
    index.save()


def test_items_that_were_added_and_deleted_are_seen_by_the_next_request(saved):
    made, writer = served(saved), another(saved)
    client = TestClient(web_app(made), base_url=BASE)
    assert client.get("/api/about").json()["items"] == 6
    add(writer, saved[2], saved[0] / "new.png")
    found = client.get("/api/search", params={"q": "red"}).json()
    assert "new" in [hit["id"] for hit in found["hits"][:2]] and len(found["hits"]) == 7
    assert client.get("/api/about").json()["items"] == 7
    # Its folder was in no root before.
    assert client.get("/api/items/new/thumbnail").status_code == 200
    writer.delete(["new", "id/blue"])
    writer.save()
    assert client.get("/api/items/new/thumbnail").status_code == 404
    ids = {item["id"] for item in client.get("/api/sample").json()["items"]}
    assert "id/blue" not in ids and len(ids) == 5


def test_raw_vectors_of_new_items_are_made_too(saved):
    made = served(saved, store=EmbeddingStore(saved[0] / "store"))
    add(another(saved), saved[2], saved[0] / "new.png")
    raw = made.search(RED, k=7, scope=Scope("raw"))
    assert len(raw.hits) == 7 and {"new", "id/red"} == {hit.id for hit in raw.hits[:2]}


def test_what_was_saved_between_opening_and_serving_is_seen(saved):
    opened = Index.open(saved[0] / "idx")
    add(another(saved), saved[2], saved[0] / "new.png")
    assert Watch(opened).changed() and len(opened) == 7


def test_an_index_that_was_never_saved_does_not_change(tmp_path):
    index, *_ = colours_index(tmp_path)
    assert not Watch(index).changed()


def test_an_index_that_is_gone_is_served_from_what_is_open(saved):
    made = served(saved)
    shutil.rmtree(saved[0] / "idx")
    assert len(made.search(RED, k=6).hits) == 6


def test_an_index_made_anew_is_refused_with_what_to_do(saved):
    made, folder = served(saved), saved[0]
    client = TestClient(web_app(made), base_url=BASE)
    shutil.rmtree(folder / "idx")
    index, *_ = colours_index(folder, several=True)
    index.save()
    found = client.get("/api/search", params={"q": "red"})
    assert found.status_code == 503 and "start align serve again" in found.json()["error"]


def test_an_index_without_items_is_refused_until_it_has_some(saved):
    made, writer = served(saved), another(saved)
    held = writer.get(["id/red"])
    writer.delete(list(writer))
    writer.save()
    for _ in range(2):
        with pytest.raises(IndexChangedError, match="needs items to be served"):
            made.search(RED, k=6)
    writer.add(["red"], held.vectors, metadata=held.metadata, modality="image")
    writer.save()
    assert [hit.id for hit in made.search(RED, k=6).hits] == ["red"]


def test_requests_during_changes_see_one_state_or_the_other(saved):
    made, writer = served(saved), another(saved)
    seen, errors = [], []
    stop = threading.Event()

    def ask():
        while not stop.is_set():
            try:
                hits = made.search(RED, k=100).hits
                seen.append(frozenset(hit.id for hit in hits))
            except Exception as error:
                errors.append(error)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    states, path = [frozenset(writer)], saved[0] / "new.png"
    for row in range(8):
        add(writer, saved[2], path, id=f"new {row}")
        states.append(frozenset(writer))
    stop.set()
    for thread in threads:
        thread.join()
    assert not errors and set(seen) <= set(states)
    assert len(made.search(RED, k=100).hits) == 14


def test_an_index_that_did_not_change_is_not_looked_through_again(saved, monkeypatch):
    made, looked = served(saved), []
    real = gallery_module.contents_of
    monkeypatch.setattr(
        gallery_module, "contents_of", lambda *a, **o: looked.append(1) or real(*a, **o)
    )
    add(another(saved), saved[2], saved[0] / "new.png")
    for _ in range(3):
        made.search(RED, k=6)
    assert looked == [1]
