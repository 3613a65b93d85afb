import pytest
from PIL import Image

from align.data.items import read_items


def picture(path):
    path.parent.mkdir(exist_ok=True)
    Image.new("RGB", (4, 4)).save(path)
    return path


def test_a_folder_gives_its_images_however_deep(tmp_path):
    found = [picture(tmp_path / "a.png"), picture(tmp_path / "deep" / "b.jpg")]
    (tmp_path / "notes.md").write_text("no image")
    items = read_items(tmp_path)
    assert items.items == tuple(found) and items.ids == tuple(map(str, found))


def test_a_text_file_gives_its_lines_and_counts_repeats(tmp_path):
    (tmp_path / "lines.txt").write_text("one\n\ntwo\none\n")
    items = read_items(tmp_path / "lines.txt")
    assert items.items == items.ids == ("one", "two") and items.repeats == 1


def test_a_table_gives_a_column_with_its_ids(tmp_path):
    (tmp_path / "t.csv").write_text("id,text\nx,one\ny,two")
    items = read_items(tmp_path / "t.csv", column="text", id="id")
    assert items.ids == ("x", "y") and items.items == ("one", "two")


def test_a_column_of_modalities_tells_items_apart(tmp_path):
    path = picture(tmp_path / "a.png")
    (tmp_path / "t.csv").write_text("kind,what\nimage,a.png\ntext,a.png\nimage,a.png\n")
    items = read_items(tmp_path / "t.csv", column="what", modality="kind")
    assert items.items == (path, "a.png") and items.modality == ("image", "text")
    assert items.repeats == 1


def test_a_folder_holds_images_and_a_text_file_texts(tmp_path):
    picture(tmp_path / "a.png")
    (tmp_path / "lines.txt").write_text("one\ntwo")
    assert read_items(tmp_path).modality == ("image",)
    assert read_items(tmp_path / "lines.txt").modality == ("text", "text")
    (tmp_path / "t.csv").write_text("id,text\nx,one")
    assert read_items(tmp_path / "t.csv", column="text").modality is None


def test_a_table_without_a_column_is_refused(tmp_path):
    (tmp_path / "t.csv").write_text("id,text\nx,one")
    with pytest.raises(ValueError, match="needs the name of the column"):
        read_items(tmp_path / "t.csv")


def test_a_damaged_image_is_listed_or_skipped(tmp_path):
    picture(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"1 of 2 do not[\s\S]*b\.png"):
        read_items(tmp_path)
    items = read_items(tmp_path, on_error="skip")
    assert len(items.items) == 1 and "b.png" in items.skipped[0]


def test_nothing_to_index_is_refused(tmp_path):
    with pytest.raises(ValueError, match="has no items"):
        read_items(tmp_path)


def test_columns_are_kept_with_the_item_they_belong_to(tmp_path):
    rows = ['{"id": 3, "t": "one", "year": 2024}', '{"id": "y", "t": "two", "year": null}',
            '{"id": "z", "t": ""}', '{"id": "w", "t": "one", "year": 1}']  # fmt: skip
    (tmp_path / "t.jsonl").write_text("\n".join(rows))
    items = read_items(
        tmp_path / "t.jsonl", column="t", id="id", keep=["year", "id"], on_error="skip"
    )
    assert items.ids == ("3", "y") and items.repeats == 1 and len(items.skipped) == 1
    assert items.kept == ({"year": 2024, "id": 3}, {"id": "y"})


def test_columns_to_keep_need_a_table_with_ids_that_has_them(tmp_path):
    (tmp_path / "t.csv").write_text("id,text\nx,one")
    (tmp_path / "t.txt").write_text("one")
    for name, id in (("t.csv", None), ("t.txt", "id")):
        with pytest.raises(ValueError, match=r"rows of a table with ids; got \['year'\]"):
            read_items(tmp_path / name, column="text", id=id, keep=["year"])
    with pytest.raises(ValueError, match=r"it lacks \['year'\]\. Choose among"):
        read_items(tmp_path / "t.csv", column="text", id="id", keep=["year"])
