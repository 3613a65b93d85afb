"""No cell of a CSV that is written can be taken for a formula, and numbers stay numbers."""

import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from align.data.formulas import escape_formula


@pytest.mark.parametrize(
    "cell",
    [
        "=1+1", "+1+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1", "  =1", "\n=1", "-", "=", "-cat",
        '=HYPERLINK("http://x","y")', "+49 30 1234", "\uff1d1+1", "--1", "-1-1",
    ],
)  # fmt: skip
def test_what_a_spreadsheet_would_calculate_becomes_text(cell):
    assert escape_formula(cell) == f"'{cell}"


@pytest.mark.parametrize(
    "cell",
    ["-5", "+5", "-0.25", "-.5", "-1e-5", "1", "", "a=b", "a-b", "'=1"],
)
def test_numbers_and_harmless_cells_stay_as_they_are(cell):
    assert escape_formula(cell) == cell


@settings(max_examples=100, deadline=None)
@given(st.text(st.sampled_from("=+-@\t\r\n '\"1.ea,"), max_size=6))
def test_no_written_cell_begins_a_formula_that_is_no_number(text):
    file = io.StringIO(newline="")
    csv.writer(file).writerow([escape_formula(text)])
    ((cell, *_),) = list(csv.reader(io.StringIO(file.getvalue(), newline=""))) or [("",)]
    if cell.lstrip()[:1] in ("=", "+", "-", "@") or cell[:1] in ("\t", "\r"):
        assert cell[:1].isspace() is False and float(cell) is not None
