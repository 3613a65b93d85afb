"""Values to JSON and back, with nothing lost and nothing let in."""

import json
from dataclasses import dataclass
from typing import Literal

import pytest

from align._files.codec import Schema, dumps
from align._files.codec import decode as decoded


@dataclass(frozen=True)
class Inner:
    names: tuple[str, ...]
    pair: tuple[float, float] | None


@dataclass(frozen=True)
class Outer:
    count: int
    share: float
    kind: Literal["a", "b"]
    inner: dict[str, Inner]
    sure: bool


VALUE = Outer(3, 0.1 + 0.2, "a", {"x": Inner(("ü", ""), (1.0, 1e-300)), "y": Inner((), None)}, True)


def decode(kind, data):
    return decoded(kind, data, "report", "make it again")


def changed(**entries):
    return {**json.loads(dumps(VALUE)), **entries}


def test_a_value_comes_back_the_same():
    assert decode(Outer, json.loads(dumps(VALUE))) == VALUE


def test_a_whole_number_may_stand_for_a_float():
    assert decode(Outer, changed(share=1)).share == 1.0


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (changed(extra=1), r"exactly the fields .*; unknown: \['extra'\], missing: \[\]"),
        ({}, r"missing: \['count', 'inner', 'kind', 'share', 'sure'\]"),
        (changed(count="3"), r"report.count must be a whole number; got '3'"),
        (changed(count=True), r"report.count must be a whole number; got True"),
        (changed(share="0.3"), r"report.share must be a finite number"),
        (changed(share=None), r"report.share must be a finite number; got None"),
        (changed(share=float("nan")), r"report.share must be a finite number; got nan"),
        (changed(share=float("inf")), r"report.share must be a finite number; got inf"),
        (changed(share=10**400), r"report.share must be a finite number; got 10"),
        (changed(kind="c"), r"report.kind must be one of \['a', 'b'\]"),
        (changed(sure=1), r"report.sure must be true or false; got 1"),
        (changed(inner={"x": {"names": [1], "pair": None}}), r"report.inner.x.names\[\] must be"),
        (changed(inner={"x": {"names": [], "pair": [1.0]}}), r"report.inner.x.pair must be"),
        ([], "report must be an object"),
    ],
)
def test_what_does_not_fit_is_refused_by_its_place(data, message):
    with pytest.raises(ValueError, match=message):
        decode(Outer, data)


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_numbers_that_json_does_not_have_are_refused(number):
    with pytest.raises(ValueError, match="must be finite; got NaN or an infinity"):
        dumps({"a": [number]})


SCHEMA = Schema("isthmus-thing", 2, 1)


@pytest.mark.parametrize(
    ("found", "newer"),
    [("isthmus-thing-2", False), ("isthmus-thing-2.1", False), ("isthmus-thing-2.9", True)],
)
def test_a_file_of_the_same_major_version_is_read(found, newer):
    assert SCHEMA.is_newer(found, "thing.json") is newer


@pytest.mark.parametrize(
    ("found", "advice"),
    [
        ("isthmus-thing-3", "It is newer: install a newer version of isthmus"),
        ("isthmus-thing-1.7", "Make it again"),
        ("isthmus-other-2", "Make it again"),
        ("isthmus-thing-2.", "Make it again"),
        ("isthmus-thing-2.1.0", "Make it again"),
        (2, "Make it again"),
        (None, "Make it again"),
    ],
)
def test_a_file_of_another_major_version_or_kind_is_refused(found, advice):
    message = rf"thing.json must have schema 'isthmus-thing-2.1'; got .?{found}.*{advice}"
    with pytest.raises(ValueError, match=message):
        SCHEMA.is_newer(found, "thing.json", "Make it again.")


def test_a_schema_may_be_a_number_alone():
    assert not Schema("", 2).is_newer(2, "report") and Schema("", 2).is_newer("2.1", "report")
    assert (Schema("", 2).value, Schema("", 2, 1).value) == (2, "2.1")
    for other in (True, 2.0, "2", 1, ""):
        with pytest.raises(ValueError, match="report must have schema 2; got"):
            Schema("", 2).is_newer(other, "report")


def test_unknown_fields_of_a_newer_minor_version_are_ignored_at_every_depth():
    data = changed(more=1, inner={"x": {"names": [], "pair": None, "more": 2}})
    assert decoded(Outer, data, "report", "", newer=True).inner == {"x": Inner((), None)}
    with pytest.raises(ValueError, match=r"missing: \['pair'\]"):
        decoded(Outer, changed(inner={"x": {"names": []}}), "report", "", newer=True)
