"""Pairs from files, folders and lists; every bad row named."""

from __future__ import annotations

import csv
import gzip
import io
import json
import logging
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from align._advice import on_command_line
from align.data.pairs import Pairs, PairsError
from tests.helpers.counting_encoder import CountingEncoder

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip)


def write(path, text):
    path.write_bytes(text.encode())
    return path


def picture(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (2, 2)).save(path)
    return path


def test_csv_columns_are_chosen_by_name(tmp_path):
    path = write(tmp_path / "p.csv", "group,b,id,a\ng,B 1,x,A 1\ng,B 2,y,A 2\n")
    pairs = Pairs.from_csv(path, source="a", target="b", id="id", group="group")
    assert pairs == Pairs(
        ("x", "y"), ("A 1", "A 2"), ("B 1", "B 2"), ("g", "g"), side_names=("a", "b")
    )
    made = Pairs.from_csv(path, source="a", target="b")
    assert made.ids == made.groups == ("0", "1")


@settings(deadline=None, derandomize=True)
@given(st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=8), st.sampled_from([",", "\t"]))
def test_any_text_survives_csv_and_tsv(tmp_path_factory, rows, delimiter):
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=delimiter).writerows([("a", "b"), *rows])
    path = write(tmp_path_factory.mktemp("csv") / "p", text.getvalue())
    read = Pairs.from_csv if delimiter == "," else Pairs.from_tsv
    pairs = read(path, source="a", target="b", images=[])
    assert list(zip(pairs.source, pairs.target, strict=True)) == rows


@settings(deadline=None, derandomize=True)
@given(st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=8), st.booleans())
def test_any_text_survives_json_lines(tmp_path_factory, rows, ascii_only):
    lines = [json.dumps({"a": a, "b": b}, ensure_ascii=ascii_only) + "\n" for a, b in rows]
    path = write(tmp_path_factory.mktemp("jsonl") / "p.jsonl", "".join(lines))
    pairs = Pairs.from_jsonl(path, source="a", target="b", images=[])
    assert list(zip(pairs.source, pairs.target, strict=True)) == rows


def test_a_byte_order_mark_blank_lines_and_windows_line_ends_are_understood(tmp_path):
    path = write(tmp_path / "p.csv", '\ufeff"a",b\r\n1,2\r\n\r\n"3\r\n",4\r\n')
    pairs = Pairs.from_csv(path, source="a", target="b")
    assert pairs.source == ("1", "3\r\n")
    path = write(tmp_path / "p.jsonl", '\ufeff{"a": "1", "b": "2"}\r\n\r\n')
    assert Pairs.from_jsonl(path, source="a", target="b").source == ("1",)


def test_gzipped_json_lines_are_read_and_damaged_ones_refused(tmp_path):
    path = tmp_path / "p.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"a": "1", "b": "2", "id": 7}\n'))
    assert Pairs.from_jsonl(path, source="a", target="b", id="id").ids == ("7",)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(PairsError, match="must be a whole gzip file"):
        Pairs.from_jsonl(path, source="a", target="b")


def test_parquet_is_read_and_other_files_refused(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / "p.parquet"
    table = {"a": ["1", None, "3"], "b": ["x", "y", "z"], "n": [5, 6, 7], "unused": [0.5, 1, 2]}
    pq.write_table(pa.table(table), path)
    pairs = Pairs.from_parquet(path, source="a", target="b", id="n", on_error="skip")
    assert pairs == Pairs(
        ("5", "7"),
        ("1", "3"),
        ("x", "z"),
        ("5", "7"),
        ("row 2: 'a' is empty",),
        side_names=("a", "b"),
    )
    with pytest.raises(PairsError, match="'unused'"):
        Pairs.from_parquet(path, source="a", target="no")
    with pytest.raises(PairsError, match="must be a Parquet file"):
        Pairs.from_parquet(write(tmp_path / "fake.parquet", "a,b\n"), source="a", target="b")


def test_parquet_without_pyarrow_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r"pip install 'isthmus\[parquet\]'"):
        Pairs.from_parquet(tmp_path / "p.parquet", source="a", target="b")


def test_a_column_of_image_names_becomes_paths_beside_the_file(tmp_path):
    for name in ("a.jpg", "deep/b.PNG"):
        picture(tmp_path / name)
    path = write(tmp_path / "p.csv", "caption,image\none,a.jpg\ntwo,deep/b.PNG\n")
    pairs = Pairs.from_csv(path, source="caption", target="image")
    assert pairs.target == (tmp_path / "a.jpg", tmp_path / "deep/b.PNG")
    swapped = Pairs.from_csv(path, source="image", target="caption")
    assert swapped.source == pairs.target
    absolute = write(tmp_path / "elsewhere.jsonl", json.dumps({"c": "x", "i": str(path)}))
    with pytest.raises(PairsError, match="is unreadable"):
        Pairs.from_jsonl(absolute, source="c", target="i", images=["i"])


def test_half_a_column_of_image_names_is_text_unless_images_says_otherwise(tmp_path):
    picture(tmp_path / "a.jpg")
    path = write(tmp_path / "p.csv", "a,b\nsee,a.jpg\nsaw,nothing\n")
    assert Pairs.from_csv(path, source="a", target="b").target == ("a.jpg", "nothing")
    with pytest.raises(PairsError, match=r"row 2 \(line 3\): image 'nothing' is missing"):
        Pairs.from_csv(path, source="a", target="b", images=["b"])
    path = write(tmp_path / "p.csv", "a,b\nsee,a.jpg\n")
    assert Pairs.from_csv(path, source="a", target="b", images=[]).target == ("a.jpg",)


@pytest.mark.parametrize("images", [["c"], "b"], ids=repr)
def test_images_must_be_among_the_columns_read(tmp_path, images):
    path = write(tmp_path / "p.csv", "a,b,c\n1,2,3\n")
    with pytest.raises(ValueError, match=r"among \['a', 'b'\]; got"):
        Pairs.from_csv(path, source="a", target="b", images=images)


BAD_CSV = """id,caption,image
a,good,good.png
b,,good.png
c,missing,none.png
d,broken,broken.png
a,twice,good.png
e,short
"f
g", ,good.png
h,fine,good.png
"""
BAD_ROWS = (
    "row 2 (line 3): 'caption' is empty",
    "row 3 (line 4): image 'none.png' is missing",
    "row 4 (line 5): image 'broken.png' is unreadable: ",
    "row 5 (line 6): id 'a' is that of row 1 (line 2) too",
    "row 6 (line 7): has 2 cells where the header has 3",
    "row 7 (line 8): 'caption' is empty",
)


@pytest.fixture
def bad_csv(tmp_path):
    picture(tmp_path / "good.png")
    write(tmp_path / "broken.png", "not a picture")
    return write(tmp_path / "p.csv", BAD_CSV)


def test_all_bad_rows_are_reported_at_once_with_rows_and_lines(bad_csv):
    with pytest.raises(PairsError, match="6 of 8 do not") as caught:
        Pairs.from_csv(bad_csv, source="caption", target="image", id="id")
    problems = caught.value.problems
    assert len(problems) == len(BAD_ROWS)
    for problem, wanted in zip(problems, BAD_ROWS, strict=True):
        assert problem.startswith(wanted)
        assert problem in str(caught.value)


def test_skipped_rows_are_dropped_listed_and_logged(bad_csv, caplog):
    pairs = Pairs.from_csv(
        bad_csv, source="caption", target="image", id="id", group="image", on_error="skip"
    )
    assert pairs.ids == ("a", "h")
    assert pairs.source == ("good", "fine")
    assert pairs.groups == ("good.png", "good.png")
    assert len(pairs.skipped) == 6
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "dropped 6 of 8 rows, the first: row 2 (line 3)" in caplog.text


def test_made_ids_count_bad_rows_too(tmp_path):
    path = write(tmp_path / "p.csv", "a,b\n1,2\n,2\n3,4\n")
    assert Pairs.from_csv(path, source="a", target="b", on_error="skip").ids == ("0", "2")


def test_several_problems_of_one_row_are_told_together(tmp_path):
    path = write(tmp_path / "p.jsonl", '{"a": 3, "b": " ", "id": true, "g": [1]}\n')
    with pytest.raises(PairsError) as caught:
        Pairs.from_jsonl(path, source="a", target="b", id="id", group="g")
    assert caught.value.problems == (
        "row 1 (line 1): 'a' must be text; it is int; 'b' is empty; "
        "'id' must be text or a whole number; it is bool; "
        "'g' must be text or a whole number; it is list",
    )


def test_bad_json_lines_are_reported(tmp_path):
    path = write(tmp_path / "p.jsonl", '{"a": "1", "b": "2"}\n\n{"a"\n[1]\n{"a": "1"}\n')
    with pytest.raises(PairsError) as caught:
        Pairs.from_jsonl(path, source="a", target="b")
    first, second, third = caught.value.problems
    assert first.startswith("row 2 (line 3): is not valid JSON: ")
    assert second == "row 3 (line 4): must be a JSON object; it is a list"
    assert third == "row 4 (line 5): 'b' is empty"


def test_a_long_list_of_problems_is_cut_in_the_message_and_whole_in_the_attribute(tmp_path):
    path = write(tmp_path / "p.csv", "a,b\n" + "1,\n" * 30)
    with pytest.raises(PairsError) as caught:
        Pairs.from_csv(path, source="a", target="b")
    assert len(caught.value.problems) == 30
    assert str(caught.value).count("is empty") == 20
    assert str(caught.value).endswith("and 10 more: see .problems")
    assert on_command_line(caught.value).endswith("and 10 more: --skip-bad lists them all")


def test_a_file_without_any_good_row_is_an_error_even_when_skipping(tmp_path):
    path = write(tmp_path / "p.csv", "a,b\n1,\n")
    with pytest.raises(PairsError, match="1 of 1 do not"):
        Pairs.from_csv(path, source="a", target="b", on_error="skip")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "it is empty"),
        ("a,b\n", "it has no rows of data"),
        ("a,b,a\n1,2,3\n", r"must name each column once; got \['a', 'b', 'a'\]"),
        ("a,c\n1,2\n", r"lacks \['b'\]. Choose among those that it has: \['a', 'c'\]"),
        ('a,b\n1,2\n"3,4\n', r"starts on line 3: unexpected end of data"),
        ('a,b\n1,"2"x\n', r"starts on line 2: ',' expected"),
        ("a,b\n1," + "x" * 200_000 + "\n", r"line 2: field larger .* raise csv.field_size_limit"),
    ],
    ids=["empty", "header only", "repeated column", "column", "open quote", "quote", "huge field"],
)
def test_a_malformed_csv_is_refused_as_a_whole(tmp_path, text, message):
    path = write(tmp_path / "p.csv", text)
    with pytest.raises(PairsError, match=message) as caught:
        Pairs.from_csv(path, source="a", target="b", on_error="skip")
    assert caught.value.problems == ()


@pytest.mark.parametrize("name", ["p.csv", "p.jsonl"])
def test_a_file_in_another_encoding_is_refused(tmp_path, name):
    path = tmp_path / name
    path.write_bytes('a,b\n"caf\u00e9",x\n'.encode("latin-1"))
    with pytest.raises(PairsError, match="must be UTF-8 text"):
        Pairs.read(path, source="a", target="b")


def test_empty_json_lines_are_refused(tmp_path):
    with pytest.raises(PairsError, match="no rows of data"):
        Pairs.from_jsonl(write(tmp_path / "p.jsonl", "\n"), source="a", target="b")


def test_on_error_takes_no_other_word(tmp_path):
    path = write(tmp_path / "p.csv", "a,b\n1,2\n")
    with pytest.raises(ValueError, match='on_error must be "raise" or "skip"; got \'ignore\''):
        Pairs.from_csv(path, source="a", target="b", on_error="ignore")


def test_repeated_items_without_groups_are_pointed_out(tmp_path, caplog):
    path = write(tmp_path / "p.csv", "a,b\n1,x\n2,x\n3,y\n")
    Pairs.from_csv(path, source="a", target="b")
    assert "2 of 3 pairs share their 'b'" in caplog.text
    assert "'a'" not in caplog.text
    caplog.clear()
    assert Pairs.from_csv(path, source="a", target="b", group="b").groups == ("x", "x", "y")
    assert caplog.text == ""


def test_a_folder_pairs_each_caption_with_its_image_and_groups_by_image(tmp_path):
    one, two = picture(tmp_path / "one.jpg"), picture(tmp_path / "deep" / "two.png")
    write(tmp_path / "one.txt", "first\r\n\r\nsecond\n")
    write(tmp_path / "deep" / "two.txt", "third")
    write(tmp_path / ".hidden.txt", "not seen")
    pairs = Pairs.from_folder(tmp_path)
    assert pairs.ids == ("deep/two.png#0", "one.jpg#0", "one.jpg#1")
    assert pairs.source == ("third", "first", "second")
    assert pairs.target == (two, one, one)
    assert pairs.groups == ("deep/two.png", "one.jpg", "one.jpg")
    assert Pairs.read(tmp_path, source="caption", target="image") == pairs
    assert Pairs.read(tmp_path, source="image", target="caption").source == pairs.target


def test_a_folder_reports_images_without_captions_and_captions_without_images(tmp_path):
    for name in ("good.png", "alone.png", "blank.png", "two.png", "two.jpg", "latin.png"):
        picture(tmp_path / name)
    write(tmp_path / "broken.png", "no")
    captions = {"good": "x", "blank": " \n", "two": "x", "broken": "x", "stray": "x"}
    for name, text in captions.items():
        write(tmp_path / f"{name}.txt", text)
    (tmp_path / "latin.txt").write_bytes(b"\xe9")
    pairs = Pairs.from_folder(tmp_path, on_error="skip")
    assert pairs.ids == ("good.png#0",)
    assert list(pairs.skipped) == [
        "alone.png: has no captions: alone.txt is missing",
        "blank.png: has no captions: blank.txt is blank",
        pairs.skipped[2],
        "latin.png: has no readable captions: latin.txt is not UTF-8",
        "two.jpg: is one of 2 images of this name, so two.txt is unclear",
        "two.png: is one of 2 images of this name, so two.txt is unclear",
        "stray.txt: has no image of the same name beside it",
    ]
    assert pairs.skipped[2].startswith("broken.png, caption 1: image 'broken.png' is unreadable")


def test_from_folder_refuses_what_is_no_folder(tmp_path):
    with pytest.raises(NotADirectoryError, match="must lie in a folder"):
        Pairs.from_folder(tmp_path / "nowhere")


def test_read_chooses_by_suffix(tmp_path):
    lines = {"p.csv": "a,b\n1,2\n", "p.tsv": "a\tb\n1\t2\n", "p.jsonl": '{"a": "1", "b": "2"}'}
    for name, text in lines.items():
        path = write(tmp_path / name, text)
        assert Pairs.read(str(path), source="a", target="b").target == ("2",)
    with pytest.raises(ValueError, match=r"read from \.csv.*p\.xlsx"):
        Pairs.read(write(tmp_path / "p.xlsx", ""), source="a", target="b")
    with pytest.raises(FileNotFoundError):
        Pairs.read(tmp_path / "nowhere.csv", source="a", target="b")


def test_lists_may_hold_any_objects(tmp_path):
    arrays = [np.zeros(2), np.ones(2)]
    pairs = Pairs.from_lists(arrays, ["a", "b"], ids=["x", "y"], groups=["g", "g"])
    assert pairs.source[1] is arrays[1]
    assert (pairs.ids, pairs.groups) == (("x", "y"), ("g", "g"))
    assert Pairs.from_lists(["a"], ["b"]).ids == ("0",)


def test_lists_of_different_lengths_repeated_ids_and_absent_items_are_refused(tmp_path):
    with pytest.raises(ValueError, match="target must have one entry per row, 2; got 1"):
        Pairs.from_lists(["a", "b"], ["c"])
    with pytest.raises(ValueError, match="ids must be unique"):
        Pairs.from_lists(["a", "b"], ["c", "d"], ids=["x", "x"])
    with pytest.raises(PairsError) as caught:
        Pairs.from_lists(["a", " "], [tmp_path / "none.png", "d"])
    assert caught.value.problems == (
        f"row 1, target: there is no file {tmp_path / 'none.png'}",
        "row 2, source: the text is blank",
    )


def test_take_and_split_keep_rows_matched_and_groups_whole():
    names = [str(i) for i in range(30)]
    pairs = Pairs.from_lists(names, [name + "!" for name in names], groups=[n[0] for n in names])
    taken = pairs.take(np.array([4, 2]))
    assert (taken.ids, taken.source, taken.target) == (("4", "2"), ("4", "2"), ("4!", "2!"))
    train, test = pairs.split(test=0.3, seed=1)
    assert len(train) + len(test) == 30
    assert not set(train.groups) & set(test.groups)
    assert all(b == a + "!" for a, b in zip(test.source, test.target, strict=True))


def test_an_image_encoder_gets_no_texts_and_a_text_encoder_no_files(tmp_path):
    text, image = CountingEncoder("one"), CountingEncoder("other", modality="image")
    pairs = Pairs.from_lists(["a"], [picture(tmp_path / "a.png")])
    with pytest.raises(ValueError, match=r"the source items must suit.*'image'; row 0 is 'a'"):
        pairs.encode(image, text)
    with pytest.raises(ValueError, match=r"the target items must suit.*'text'; row 0 is .*Path"):
        pairs.encode(text, text)
    assert text.items == image.items == []


def test_pairs_load_without_torch_pillow_or_pyarrow():
    heavy = "{'torch', 'PIL', 'pyarrow'}"
    check = f"import sys, align.data.pairs; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
