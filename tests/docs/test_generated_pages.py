"""Pages that are written from the code say all of it, and can be linked to."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path

import pytest

import probes

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture
def page(monkeypatch):
    """A function of a module of `docs/`, called."""
    monkeypatch.syspath_prepend(str(DOCS))

    def made(module: str) -> str:
        monkeypatch.delitem(sys.modules, f"_{module}", raising=False)
        return getattr(importlib.import_module(f"_{module}"), module)()

    return made


def test_every_row_of_a_report_has_an_anchor_of_its_name(page):
    anchors = re.findall(r'\{ #(\S+) \}|id="(\S+?)"', page("probe_cards"))
    names = ["".join(each) for each in anchors]
    assert {probe.name for probe in probes.STANDARD} <= set(names)
    assert len(names) == len(set(names))


def test_a_card_says_when_its_probe_misleads_and_where_it_is_from(page):
    text = page("probe_cards")
    for probe in probes.STANDARD:
        about = probes.about(probe)
        assert about.beware.replace("*", r"\*") in text, probe.name
        assert about.reference.partition(",")[0] in text, probe.name


def test_every_public_probe_leads_to_its_reference(page):
    linked = set(re.findall(r"api/probes\.md#probes\.(\w+)", page("probe_cards")))
    functions = {
        name
        for name in probes.__all__
        if name[0].islower() and name not in ("about", "compare", "report")
    }
    assert linked == functions


def test_identifiers_of_papers_become_links(page):
    text = page("probe_cards")
    assert "[arXiv:2203.02053](https://arxiv.org/abs/2203.02053)" in text
    doi = "10.1016/S0047-259X(03)00096-4"
    assert f"[doi:{doi}](https://doi.org/{doi})" in text


def test_every_command_is_in_the_reference_with_its_options_by_panel(page):
    from typer.main import get_command

    from align.apps.cli.app import app

    text = page("command_line")
    whole = get_command(app)
    for name, command in whole.commands.items():
        for below in getattr(command, "commands", {"": command}):
            title = f"align {name} {below}".strip()
            assert f"## `{title}` {{ #{title.replace(' ', '-')} }}" in text
    fit = text.partition("## `align fit`")[2].partition("\n## ")[0]
    assert "align fit [OPTIONS] PAIRS" in fit
    panels = re.findall(r"^\| (?:\*\*)?([A-Z][a-z ]+?)(?:\*\*)? \| \|$", fit, re.MULTILINE)
    assert panels[:2] == ["Arguments", "Options"]
    assert {"Columns of the table", "Encoders and their cache"} <= set(panels)
    for option in whole.commands["fit"].params:
        if option.param_type_name == "option":
            assert option.opts[0] in fit


def test_examples_of_a_command_are_blocks_that_can_be_copied(page):
    text = page("command_line")
    assert "Example" not in text
    assert (
        "```console\nalign compare old-adapter new-adapter test.csv \\\n"
        "    --source caption --target image\n```" in text
    )
