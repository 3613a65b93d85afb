import json
import unicodedata

from hypothesis import given, settings
from hypothesis import strategies as st

from align.data.plain import plain, plain_json, plain_lines

ANY = st.text(st.characters(exclude_categories=()))


def steers(character):
    kind = unicodedata.category(character)
    bidirectional = unicodedata.bidirectional(character)
    return (kind == "Cc" and character != "\t") or kind in ("Zl", "Zp", "Cs") or bidirectional in (
        "LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI",
    )  # fmt: skip


@given(ANY)
@settings(max_examples=200)
def test_no_steering_character_is_left_and_all_else_is_as_it_was(text):
    said = plain(text)
    assert not any(map(steers, said))
    said.encode("utf-8")  # does not raise
    if not any(map(steers, text)):
        assert said == text


def test_every_steering_character_of_unicode_is_spelled():
    for code in range(0x110000):
        if steers(chr(code)):
            assert plain(chr(code)).startswith("\\")


def test_brackets_colons_tabs_and_joined_emoji_stay():
    kept = "[bold]x[/bold] :dog:\t\N{WOMAN}\u200d\N{PERSONAL COMPUTER} שלום"
    assert plain(kept) == kept


def test_line_feeds_stay_only_where_lines_are_wanted():
    assert plain("a\nb\r\n") == "a\\nb\\r\\n"
    assert plain_lines("a\nb\r\n") == "a\nb\\r\n"


@given(st.recursive(ANY | st.integers(), lambda x: st.dictionaries(ANY, x, max_size=3)))
@settings(max_examples=50)
def test_json_reads_back_the_same_and_steers_nothing(value):
    said = plain_json(value)
    assert json.loads(said) == json.loads(json.dumps(value))
    assert not any(map(steers, said.replace("\n", "")))
