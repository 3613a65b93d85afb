"""Numbers as people read them."""

import pytest

from align._display.numbers import number


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
