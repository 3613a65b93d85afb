"""Items of several parts, of which some may be missing."""

import json
import pickle

import pytest
from PIL import Image

import align
from align.data.items import read_items


@pytest.fixture
def table(tmp_path):
    for name in ("1.png", "3.png"):
        Image.new("RGB", (8, 8), "red").save(tmp_path / name)
    rows = ["id,query,title,photo", "a,red,a red shoe,1.png", "b,blue,a blue shoe,", "c,red,,3.png"]
    (tmp_path / "products.csv").write_text("\n".join(rows))
    return tmp_path / "products.csv"


def test_a_composite_is_equal_by_its_parts_whatever_their_order():
    one = align.Composite({"title": "a", "photo": 1})
    assert one == align.Composite({"photo": 1, "title": "a"}) == pickle.loads(pickle.dumps(one))
    assert hash(one) == hash(align.Composite({"photo": 1, "title": "a"}))
    assert len(align.Composite({"title": "a", "photo": None})) == 1


def test_columns_with_a_plus_between_them_are_parts_and_empty_cells_are_missing(table):
    pairs = align.Pairs.from_csv(table, source="query", target="title+photo", id="id")
    folder = table.parent
    assert pairs.target == (
        align.Composite({"title": "a red shoe", "photo": folder / "1.png"}),
        align.Composite({"title": "a blue shoe"}),
        align.Composite({"photo": folder / "3.png"}),
    )
    assert pairs.side_names == ("query", "title+photo")
    assert repr(pairs) == "Pairs(3, text → image|text)"
    assert align.Pairs.from_csv(table, source="title+photo", target="query").source == pairs.target


def test_a_row_without_any_part_or_with_a_bad_one_is_refused_by_its_number(table):
    table.write_text(table.read_text() + "\nd,green,,\ne,green,x,gone.png")
    with pytest.raises(ValueError) as error:
        align.Pairs.from_csv(table, source="query", target="title+photo")
    assert "row 4 (line 5): every part of 'title+photo' is empty" in str(error.value)
    assert "row 5 (line 6): image 'gone.png' is missing" in str(error.value)
    lists = [align.Composite({}), align.Composite({"title": " "})]
    with pytest.raises(ValueError, match="row 1, target: every part is missing"):
        align.Pairs.from_lists(["a", "b"], lists)
    with pytest.raises(ValueError, match="row 2, target: title: the text is blank"):
        align.Pairs.from_lists(["a", "b"], lists)


def test_a_column_that_is_missing_is_named_and_one_whose_name_has_a_plus_is_one_column(tmp_path):
    path = tmp_path / "pairs.csv"
    path.write_text("a+b,c\nred,rouge")
    assert align.Pairs.from_csv(path, source="a+b", target="c").source == ("red",)
    with pytest.raises(ValueError, match=r"lacks \['d'\]"):
        align.Pairs.from_csv(path, source="c+d", target="c")


def test_every_reader_takes_parts(table, tmp_path):
    pandas = pytest.importorskip("pandas")
    want = align.Pairs.read(table, source="query", target="title+photo").target
    frame = pandas.read_csv(table)
    columns = {"source": "query", "target": "title+photo"}
    assert align.Pairs.from_pandas(frame, **columns, folder=tmp_path).target == want
    rows = frame.astype(object).where(frame.notna(), None).to_dict("records")
    (tmp_path / "p.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert align.Pairs.read(tmp_path / "p.jsonl", **columns).target == want
    pytest.importorskip("pyarrow")
    frame.to_parquet(tmp_path / "p.parquet")
    assert align.Pairs.read(tmp_path / "p.parquet", **columns).target == want


def test_modalities_do_not_go_with_parts(table):
    with pytest.raises(ValueError, match="of no one modality"):
        align.Pairs.read(table, source="query", target="title+photo", target_modality="id")


def test_items_to_index_have_parts_and_need_ids(table):
    found = read_items(table, column="title+photo", id="id")
    assert found.ids == ("a", "b", "c") and set(found.items[1]) == {"title"}
    with pytest.raises(ValueError, match="composite items need ids"):
        read_items(table, column="title+photo")
