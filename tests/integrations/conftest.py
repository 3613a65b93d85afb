"""Contract tests stay offline: nothing is reported to anybody."""

import asyncio
import inspect
import os

import pytest

import align
from tests.helpers.tiny_models import (  # noqa: F401  # fixtures are found by name
    bert,
    cache,
    sbert,
    sentence_folder,
    write,
)
from tests.integrations import world

os.environ["HAYSTACK_TELEMETRY_ENABLED"] = "False"


def pytest_configure(config):
    """Marks of the suites of LangChain, whose plugins for pytest stay off."""
    for mark in ("benchmark", "vcr", "enable_socket"):
        config.addinivalue_line("markers", f"{mark}: of a suite of LangChain")


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    """Run a coroutine of a suite to its end; None leaves other tests to pytest."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = pyfuncitem._fixtureinfo.argnames
    asyncio.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names}))
    return True


@pytest.fixture(params=["plain", "corrected"])
def adapter(request):
    """Of the encoders of ``world``, without and with corrections of the gallery."""
    return world.plain_adapter() if request.param == "plain" else world.corrected_adapter()


@pytest.fixture
def embedder(adapter):
    """The adapter beside its encoders."""
    return align.Embedder(adapter, source=world.questions(), target=world.answers())
