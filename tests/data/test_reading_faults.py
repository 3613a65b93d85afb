"""Files and lists as people have them: what is meant is read, and the rest is refused by name."""

import gzip
import json
import os

import numpy as np
import pytest
import torch
from PIL import Image

import probes
from align.data.archives import read_npz
from align.data.embeddings import PairedEmbeddings
from align.data.items import read_items
from align.data.pairs import Pairs
from align.data.readers import PairsError
from align.data.splits import folds, group_codes, names_of, split_rows

pandas = pytest.importorskip("pandas")

MISSING = [None, float("nan"), np.float32("nan"), np.datetime64("NaT"), pandas.NA, pandas.NaT]


def sides(n=4):
    return torch.randn(2, n, 3, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("missing", MISSING, ids=repr)
@pytest.mark.parametrize("kind", ["ids", "groups", "domains"])
def test_a_missing_name_of_a_pair_is_refused_with_its_row(kind, missing):
    given = {kind: ["a", "b", missing, "d"]}
    with pytest.raises(ValueError, match=rf"{kind} must have a name for each row; row 2 has"):
        PairedEmbeddings.from_arrays(*sides(), **given)
    if kind != "domains":
        with pytest.raises(ValueError, match=rf"{kind} must have a name for each row; row 2 has"):
            Pairs.from_lists(["a"] * 4, ["b"] * 4, **given)


@pytest.mark.parametrize("missing", MISSING, ids=repr)
def test_splits_folds_and_probes_refuse_groups_that_are_missing(missing):
    groups = ["a", missing, "b", missing, "c", "d"]
    for door in (
        group_codes,
        lambda names: folds(names, 2, seed=0),
        lambda names: split_rows(names, [0.5], seed=0),
        lambda names: probes.recall_at_k(*sides(6), k=1, groups=names),
    ):
        with pytest.raises(ValueError, match="must have a name for each row; row 1 has"):
            door(groups)


def test_an_empty_cell_of_a_data_frame_is_no_group():
    frame = pandas.DataFrame({"group": ["a", None, "b", None]})
    with pytest.raises(ValueError, match="row 1 has"):
        PairedEmbeddings.from_arrays(*sides(), groups=frame["group"])
    shuffled = frame.fillna("x")["group"][::-1]
    assert PairedEmbeddings.from_arrays(*sides(), groups=shuffled).groups == ("x", "b", "x", "a")


def test_names_are_text_and_one_string_is_no_list():
    assert names_of("ids", [b"p\xc3\xa9", "a", 3, np.int64(4)]) == ("pé", "a", "3", "4")
    with pytest.raises(TypeError, match="ids must be a list of items; got one str, 'abcd'"):
        PairedEmbeddings.from_arrays(*sides(), ids="abcd")
    for wrong in ("a\ud800", b"\xff"):
        with pytest.raises(ValueError, match="ids must be text that UTF-8 can hold; row 1 is"):
            PairedEmbeddings.from_arrays(*sides(), ids=["a", wrong, "c", "d"])


def test_ids_of_an_archive_that_are_bytes_are_read_as_text(tmp_path):
    x, y = sides().numpy()
    names = np.array([b"p0", b"p1", b"p2", b"p3"])
    np.savez(tmp_path / "a.npz", source=x, target=y, ids=names, groups=names)
    assert read_npz(tmp_path / "a.npz").ids == ("p0", "p1", "p2", "p3")


def test_an_archive_of_another_byte_order_gives_the_same_pairs(tmp_path):
    x, y = sides().numpy()
    np.savez(tmp_path / "a.npz", source=x.astype(">f4"), target=y.astype(">f8"))
    found = read_npz(tmp_path / "a.npz")
    assert np.array_equal(found.source, x) and np.array_equal(found.target.float(), y)
    assert np.array_equal(PairedEmbeddings.from_arrays(x.astype(">f4"), y).source, x)


@pytest.mark.parametrize("kind", ["cut", "empty", "page", "array", "objects", "renamed"])
def test_an_archive_that_is_none_is_refused_with_its_name(kind, tmp_path):
    x, y = sides().numpy()
    path = tmp_path / "pairs.npz"
    np.savez(path, source=x, target=y)
    whole = path.read_bytes()
    if kind == "array":
        with path.open("wb") as file:
            np.save(file, x)
    elif kind == "objects":
        np.savez(path, source=np.array([{}, {}], dtype=object), target=y, allow_pickle=True)
    else:
        content = {"cut": whole[:200], "empty": b"", "page": b"<!DOCTYPE html>", "renamed": b"\x93"}
        path.write_bytes(content[kind])
    with pytest.raises(ValueError, match=r"pairs\.npz.*Write it with numpy\.savez"):
        read_npz(path)


def write(path, rows):
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


def test_kept_columns_are_those_of_the_row_that_was_taken(tmp_path):
    rows = [
        {"id": "a", "t": "one", "year": 1},
        {"id": "a", "t": "two", "year": 2},
        {"id": "b", "t": "", "year": 3},
        {"id": "c", "t": "three", "year": 4},
    ]
    items = read_items(
        write(tmp_path / "t.jsonl", rows), column="t", id="id", keep=["year"], on_error="skip"
    )
    assert items.ids == ("a", "c") and items.kept == ({"year": 1}, {"year": 4})
    assert len(items.skipped) == 2


def test_a_second_id_of_one_item_is_refused_with_both_rows(tmp_path):
    rows = [{"id": "a", "t": "one"}, {"id": "b", "t": "two"}, {"id": "c", "t": "one"}]
    path = write(tmp_path / "t.jsonl", rows)
    with pytest.raises(PairsError, match=r"id 'c' is of the item of row 1 \(line 1\).*'a'"):
        read_items(path, column="t", id="id")
    assert read_items(path, column="t").repeats == 1


def test_a_parquet_column_that_is_named_twice_is_refused(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    pytest.importorskip("pyarrow.parquet")
    table = pyarrow.table([["a"], ["b"], ["c"]], names=["s", "t", "t"])
    pyarrow.parquet.write_table(table, tmp_path / "t.parquet")
    with pytest.raises(PairsError, match=r"name each column once; got \['s', 't', 't'\]"):
        Pairs.from_parquet(tmp_path / "t.parquet", source="s", target="t")


def test_a_repeated_key_of_a_json_line_is_a_bad_row(tmp_path):
    path = tmp_path / "t.jsonl"
    path.write_text('{"s": "a", "t": "b"}\n{"s": "a", "t": "b", "t": "c"}\n')
    with pytest.raises(PairsError, match=r"row 2 \(line 2\).*names \['t'\] more than once"):
        Pairs.from_jsonl(path, source="s", target="t")
    assert len(Pairs.from_jsonl(path, source="s", target="t", on_error="skip")) == 1


def test_a_lone_surrogate_is_named_with_its_row(tmp_path):
    path = tmp_path / "t.jsonl"
    path.write_text('{"i": "x", "s": "a", "t": "b"}\n{"i": "\\ud800", "s": "\\udfff", "t": "b"}\n')
    with pytest.raises(PairsError, match=r"row 2 \(line 2\): 's' holds half of a surrogate"):
        Pairs.from_jsonl(path, source="s", target="t")
    with pytest.raises(PairsError, match=r"row 2 \(line 2\): 'i' holds half of a surrogate"):
        Pairs.from_jsonl(path, source="t", target="t", id="i")
    with pytest.raises(PairsError, match="row 2, target: the text holds half of a surrogate"):
        Pairs.from_lists(["a", "b"], ["c", "d\udc00"])


def test_an_item_that_is_none_is_refused_with_its_row():
    with pytest.raises(PairsError, match="row 2, source: there is nothing"):
        Pairs.from_lists(["a", None], ["c", "d"])


def test_a_suffix_in_capitals_is_read(tmp_path):
    line = json.dumps({"s": "a", "t": "b"}).encode()
    (tmp_path / "A.JSONL.GZ").write_bytes(gzip.compress(line))
    assert Pairs.read(tmp_path / "A.JSONL.GZ", source="s", target="t").target == ("b",)


def test_what_is_not_there_is_said_before_anything_is_asked_for(tmp_path):
    for name in ("photos", "photos.csv", "photos.txt"):
        with pytest.raises(FileNotFoundError, match="must be there"):
            read_items(tmp_path / name)
        with pytest.raises(FileNotFoundError, match="must be there"):
            Pairs.read(tmp_path / name, source="s", target="t")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_a_text_file_with_a_mark_is_read_in_its_encoding(encoding, tmp_path):
    (tmp_path / "t.txt").write_bytes("é\r\nж\r\n".encode(encoding))
    assert read_items(tmp_path / "t.txt").items == ("é", "ж")


def test_a_text_file_in_another_encoding_is_refused_with_its_line(tmp_path):
    path = tmp_path / "t.txt"
    path.write_bytes("plain\ncafé\n".encode("cp1252"))
    with pytest.raises(PairsError, match=r"t\.txt must be text in UTF-8.*line 2.*cp1252"):
        read_items(path)
    path.write_bytes("plain\n".encode("utf-16-le"))
    with pytest.raises(PairsError, match=r"zero bytes, as UTF-16 without the mark"):
        read_items(path)


def test_hidden_folders_and_folders_named_like_images_hold_no_items(tmp_path):
    for name in (".thumbs", "x.jpg", "seen"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (4, 4)).save(tmp_path / name / "a.png")
    names = [path.relative_to(tmp_path).as_posix() for path in read_items(tmp_path).items]
    assert names == ["seen/a.png", "x.jpg/a.png"]


def test_a_file_name_that_is_not_utf8_is_refused_before_anything_is_encoded(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    try:
        os.rename(tmp_path / "a.png", os.fsencode(tmp_path) + b"/\xff.png")
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    with pytest.raises(PairsError, match=r"names of files must be in UTF-8; 1 are not"):
        read_items(tmp_path)
    with pytest.raises(PairsError, match=r"names of files must be in UTF-8; 1 are not"):
        Pairs.from_folder(tmp_path)


@pytest.mark.parametrize("read", ["from_csv", "from_tsv", "from_jsonl", "from_parquet", "read"])
def test_readers_refuse_keywords_that_are_not_theirs(tmp_path, read):
    with pytest.raises(TypeError, match="unexpected keyword argument 'captions'"):
        getattr(Pairs, read)(tmp_path / "pairs.csv", source="a", target="b", captions="c")
    with pytest.raises(TypeError, match="'target'"):
        getattr(Pairs, read)(tmp_path / "pairs.csv", source="a")
