"""Who may ask is known by the Host header, and every answer tells the browser how strict to be."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient

from align.apps.serving.app import web_app
from align.apps.serving.guards import POLICY, is_expected, is_loopback
from tests.apps.serving.small_gallery import BASE


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1:8765", "localhost", "LOCALHOST:9", "[::1]:8765", "192.168.1.7", "localhost."],
)
def test_this_machine_and_plain_addresses_are_expected(host):
    assert is_expected(host, host="127.0.0.1")


@pytest.mark.parametrize(
    "host",
    ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:8765", "", ":80", "[::1",
     "evil.example:127.0.0.1", "a@localhost", "localhost:80:80", "[evil.example]:80"],
)  # fmt: skip
def test_names_of_others_are_not(host):
    assert not is_expected(host, host="127.0.0.1")


def test_the_name_that_was_bound_is_expected():
    assert is_expected("Pictures.local:80", host="pictures.local")
    assert not is_expected("other.local:80", host="pictures.local")


@pytest.mark.parametrize("path", ["/", "/api/about", "/api/items/id%2Fred/thumbnail"])
def test_a_request_under_another_name_is_refused(client, path):
    found = client.get(path, headers={"host": "evil.example"})
    assert found.status_code == 421 and "Host header must be localhost" in found.json()["error"]
    assert found.headers["content-security-policy"] == POLICY


def test_a_host_given_twice_is_refused(colours):
    client = TestClient(web_app(colours), base_url=BASE)
    twice = client.get("/", headers=[("host", "localhost"), ("host", "evil.example")])
    assert twice.status_code == 421


@pytest.mark.parametrize(
    "path", ["/", "/page.js", "/api/about", "/api/items/id%2Fred/thumbnail", "/no-such-page"]
)
def test_every_answer_is_strict(client, path):
    headers = client.get(path).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "*" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert "access-control-allow-origin" not in headers


def test_the_server_is_known_to_be_local_or_not():
    assert all(map(is_loopback, ["127.0.0.1", "::1", "localhost", "127.8.8.8"]))
    assert not any(map(is_loopback, ["0.0.0.0", "192.168.1.7", "example.org", "::"]))
