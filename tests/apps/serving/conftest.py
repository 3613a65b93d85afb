"""Pages and galleries that the tests of the web page share."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient

from align.apps.serving.app import web_app
from tests.apps.serving.small_gallery import BASE, gallery


@pytest.fixture(scope="module")
def colours(tmp_path_factory):
    """Six pictures under equal widths, without raw vectors; only for tests that change nothing."""
    return gallery(tmp_path_factory.mktemp("colours"))


@pytest.fixture(scope="module")
def client(colours):
    return TestClient(web_app(colours), base_url=BASE)
