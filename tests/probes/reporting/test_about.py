"""What a probe means is read from the docstring of the function behind it."""

import re
from dataclasses import replace

import pytest

import probes
from probes.reporting.about import _RANGE, SECTIONS, _sections
from probes.reporting.standard import STANDARD


@pytest.mark.parametrize("probe", STANDARD, ids=lambda probe: probe.name)
def test_every_standard_probe_says_what_it_means_when_it_lies_and_where_it_is_from(probe):
    found = probes.about(probe.name)
    assert found.name == probe.name and found.better == probe.better
    for words in (found.meaning, found.beware, found.reference):
        assert words.endswith(".") and words[0].isupper() and "``" not in words
    # One line beside the number, and none that says what the label says.
    assert len(found.meaning) <= 160 and len(found.beware) <= 200
    assert re.search(r"\b(19|20)\d\d\b|\b[Oo]urs\b", found.reference)


@pytest.mark.parametrize("probe", STANDARD, ids=lambda probe: probe.name)
def test_the_docstring_and_the_probe_agree_on_what_is_better(probe):
    text = " ".join(probe.function.__doc__.split())
    assert f" with nothing there; {probe.better} is better." in text


def test_a_probe_is_found_by_its_name_by_that_of_its_function_and_by_itself():
    assert probes.about("recall_at_10").label == "Recall@10"
    assert probes.about("recall_at_k").label == "Recall@1"
    assert probes.about("energy").name == "canonical_energy"
    assert probes.about(STANDARD[0]) == probes.about(STANDARD[0].name)


def test_what_is_read_is_what_stands_there():
    found = probes.about("foscttm")
    assert found.meaning.startswith("How many of the other items lie closer than the true partner")
    assert (found.range, found.nothing, found.better) == ("[0, 1]", "0.5", "lower")
    assert str(found).splitlines()[0] == f"FOSCTTM. {found.meaning}"
    assert found.beware in found._repr_html_() and "<script" not in found._repr_html_()


def test_a_name_that_no_probe_has_is_refused_with_those_that_there_are():
    with pytest.raises(KeyError, match=r"one of the names \['gap_energy_share'.*got 'fosctm'"):
        probes.about("fosctm")


def partly(x, y):
    """Something.

    Meaning:
        What it is.
    """


@pytest.mark.parametrize("function", [None, partly])
def test_a_probe_whose_docstring_lacks_a_section_is_refused(function):
    own = replace(STANDARD[0], name="own", function=function)
    with pytest.raises(ValueError, match=r"must have the sections .* own has"):
        probes.about(own)


def test_sections_end_where_the_next_one_begins():
    words = _sections(
        "First.\n\nMeaning:\n    One\n    line.\n\nBeware:\n    ``Two``.\n\nRaises:\n    No."
    )
    assert words == {"Meaning": "One line.", "Beware": "Two."} and set(words) < set(SECTIONS)


@pytest.mark.parametrize(
    "text", ["In [0, 1]; 0 with nothing there.", "In [0, 1]; lower is better.", ""]
)
def test_a_range_says_what_there_is_by_chance_and_which_way_is_better(text):
    assert _RANGE.fullmatch(text) is None
