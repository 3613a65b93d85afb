"""Pages are made from records, and a page that differs from them is noticed."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiments import pages as made

BLOCK = "<!-- made by experiments.pages:{} -->"


@pytest.fixture
def stated(monkeypatch: pytest.MonkeyPatch) -> None:
    """A function that pages can name."""
    monkeypatch.setattr(made, "stated", lambda: "| a |\n|---|\n", raising=False)


@pytest.mark.parametrize("page", list(made.pages()), ids=lambda path: path.name)
def test_each_page_says_what_the_records_say(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert made.renewed(text) == text, "run `make results`"


@pytest.mark.usefixtures("stated")
def test_a_block_is_replaced_and_all_else_stays() -> None:
    page = f"before\n\n{BLOCK.format('stated')}\nold\n<!-- end -->\nafter\n"
    new = f"before\n\n{BLOCK.format('stated')}\n\n| a |\n|---|\n\n<!-- end -->\nafter\n"
    assert made.renewed(page) == new
    assert made.renewed(new) == new


@pytest.mark.usefixtures("stated")
def test_a_block_in_a_line_stays_in_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(made, "stated", lambda: "7 of 9")
    page = f"It held in {BLOCK.format('stated')}1 of 2<!-- end --> draws."
    assert made.renewed(page) == page.replace("1 of 2", "7 of 9")


@pytest.mark.usefixtures("stated")
@pytest.mark.parametrize(
    "page",
    [
        BLOCK.format("stated"),
        "<!-- end -->",
        f"{BLOCK.format('stated')}{BLOCK.format('stated')}<!-- end --><!-- end -->",
        "<!-- made by align.fit:fit --><!-- end -->",
    ],
)
def test_a_mark_without_its_partner_is_refused(page: str) -> None:
    with pytest.raises(ValueError, match="must have its own '<!-- end -->'"):
        made.renewed(page)


def test_a_function_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="has no 'nothing'"):
        made.renewed(f"{BLOCK.format('nothing')}<!-- end -->")


@pytest.mark.usefixtures("stated")
def test_a_check_writes_nothing_and_a_renewal_writes_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.md"
    old = f"{BLOCK.format('stated')}\nold\n<!-- end -->\n"
    page.write_text(old, encoding="utf-8")
    monkeypatch.setattr(made, "pages", lambda: [page])
    monkeypatch.setattr(made, "ROOT", tmp_path)
    assert made.main(["--check"]) == 1
    assert page.read_text(encoding="utf-8") == old
    assert "page.md differs" in capsys.readouterr().out
    assert made.main([]) == 1
    assert "| a |" in page.read_text(encoding="utf-8")
    assert made.main([]) == 0


def test_a_table_keeps_its_numbers_to_the_right_and_refuses_a_short_row() -> None:
    assert made.markdown_table(["a", "b"], [["x", "1"]]) == "| a | b |\n| --- | ---: |\n| x | 1 |"
    with pytest.raises(ValueError, match="2 cells"):
        made.markdown_table(["a", "b"], [["x"]])


def test_a_cell_has_the_value_and_its_interval_in_per_cent():
    estimate = {"value": 0.4634, "low": -0.0104, "high": 0.5}
    assert made.percent(estimate) == "46.3 [-1.0, 50.0]"
    assert made.percent(estimate, sign="+") == "+46.3 [-1.0, +50.0]"
    assert made.percent(None) == ""
