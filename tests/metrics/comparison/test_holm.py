import pytest
from hypothesis import given
from hypothesis import strategies as st

from align.metrics.comparison.holm import holm, with_adjusted_p
from align.metrics.comparison.values import ComparisonRow, Difference


def test_holm_gives_the_values_of_the_textbook():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []
    assert holm([0.6, 0.7]) == [1.0, 1.0]


@given(st.lists(st.floats(0, 1), max_size=20))
def test_holm_never_lowers_a_p_and_keeps_their_order(p):
    adjusted = holm(p)
    assert all(a >= b for a, b in zip(adjusted, p, strict=True))
    assert all(0 <= each <= 1 for each in adjusted)
    pairs = sorted(zip(p, adjusted, strict=True))
    assert [a for _, a in pairs] == sorted(adjusted)


def row(name, p, *, decides):
    difference = Difference(0.1, 0.05, 0.15, p)
    return ComparisonRow(name, name, "mean", "higher", True, decides, {}, {}, {"b": difference})


def test_rows_that_decide_are_adjusted_apart_from_the_others():
    rows = with_adjusted_p(
        [
            row("one", 0.03, decides=True),
            row("two", 0.04, decides=False),
            row("three", None, decides=True),
            row("four", 0.02, decides=False),
        ]
    )
    adjusted = [each.differences["b"].p_holm for each in rows]
    assert adjusted == [0.03, 0.04, None, 0.04]
    assert [each.outcome("b") for each in rows] == ["better", "better", "", "better"]
