"""Values to JSON and back, with nothing lost and nothing let in."""

import json
from dataclasses import dataclass
from typing import Literal

import pytest

from probes.reporting.schema import decode, dumps


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


def changed(**entries):
    return {**json.loads(dumps(VALUE)), **entries}


def test_a_value_comes_back_the_same():
    assert decode(Outer, json.loads(dumps(VALUE))) == VALUE


def test_a_whole_number_may_stand_for_a_float():
    assert decode(Outer, changed(share=1)).share == 1.0


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (changed(extra=1), r"exactly the fields of Outer; unknown: \['extra'\], missing: \[\]"),
        ({}, r"missing: \['count', 'inner', 'kind', 'share', 'sure'\]"),
        (changed(count="3"), r"report.count must be <class 'int'>; got str '3'"),
        (changed(count=True), r"report.count must be <class 'int'>; got bool"),
        (changed(share="0.3"), r"report.share must be <class 'float'>"),
        (changed(share=None), r"report.share must be <class 'float'>; got NoneType"),
        (changed(share=float("nan")), r"report.share must be <class 'float'>; got float 'nan'"),
        (changed(share=float("inf")), r"report.share must be <class 'float'>; got float 'inf'"),
        (changed(share=10**400), r"report.share must be <class 'float'>; got int"),
        (changed(kind="c"), r"report.kind must be typing.Literal"),
        (changed(sure=1), r"report.sure must be <class 'bool'>; got int"),
        (changed(inner={"x": {"names": [1], "pair": None}}), r"report.inner.x.names\[\] must be"),
        (changed(inner={"x": {"names": [], "pair": [1.0]}}), r"report.inner.x.pair must be"),
        ([], r"exactly the fields of Outer"),
    ],
)
def test_what_does_not_fit_is_refused_by_its_place(data, message):
    with pytest.raises(ValueError, match=message):
        decode(Outer, data)


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_numbers_that_json_does_not_have_are_refused(number):
    with pytest.raises(ValueError, match="must be finite; got NaN or an infinity"):
        dumps({"a": [number]})
