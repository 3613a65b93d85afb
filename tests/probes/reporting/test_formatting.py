"""Numbers as people read them."""

import pytest

from probes.reporting.formatting import interval, number
from probes.reporting.model import Reading


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (-0.0, "0"),
        (0.5, "0.500"),
        (-0.1234, "\N{MINUS SIGN}0.123"),
        (0.9996, "1.00"),
        (1, "1.00"),
        (3.8, "3.80"),
        (12.34, "12.3"),
        (99.96, "100"),
        (1279.6, "1,280"),
        (0.00012, "1.2e-04"),
        (-0.00012, "\N{MINUS SIGN}1.2e-04"),
    ],
)
def test_three_digits_are_kept(value, text):
    assert number(value) == text


def test_an_interval_follows_its_value_where_there_is_one():
    assert interval(Reading(0.5, 0.4, 0.6, None, None, 9, ())) == "0.500 [0.400, 0.600]"
    assert interval(Reading(0.5, None, None, None, None, 9, ())) == "0.500"
