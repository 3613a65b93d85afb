"""Pairs from a data frame and back: the checks of a file, rows named by the index."""

from __future__ import annotations

from pathlib import Path

import pandas
import pytest
from PIL import Image

from align.data.pairs import Pairs, PairsError

ASKED = {"source": "caption", "target": "image"}


def frame(**columns):
    return pandas.DataFrame(columns, index=["a", "b", "c"][: len(next(iter(columns.values())))])


def test_a_frame_gives_what_its_csv_gives(tmp_path):
    table = pandas.DataFrame(
        {"caption": ["x", "y", "z"], "image": ["u", "v", "w"], "n": [7, 8, 9], "g": list("aab")}
    )
    path = tmp_path / "pairs.csv"
    table.to_csv(path, index=False)
    for more in ({}, {"id": "n"}, {"group": "g"}, {"id": "n", "group": "g"}):
        assert Pairs.from_pandas(table, **ASKED, **more) == Pairs.from_csv(path, **ASKED, **more)


def test_the_index_gives_the_ids_and_columns_name_the_sides():
    pairs = Pairs.from_pandas(frame(caption=["x", "y"], image=["u", "v"]), **ASKED)
    assert pairs.ids == ("a", "b") and pairs.side_names == ("caption", "image")


def test_relative_paths_lie_in_the_folder_or_the_working_directory(tmp_path, monkeypatch):
    Image.new("RGB", (4, 4)).save(tmp_path / "1.png")
    table = frame(caption=["x", "y"], image=["1.png", str(tmp_path / "1.png")])
    found = Pairs.from_pandas(table, **ASKED, group="image", folder=tmp_path)
    assert found.target == (tmp_path / "1.png", tmp_path / "1.png")
    monkeypatch.chdir(tmp_path)
    here = Pairs.from_pandas(table, **ASKED, group="image")
    assert here.target == (Path("1.png"), tmp_path / "1.png")
    monkeypatch.chdir(Path(__file__).parent)
    with pytest.raises(PairsError, match=r"row 'a': image '1\.png'"):
        Pairs.from_pandas(table, **ASKED, group="image")


def test_cells_may_be_pictures_and_paths(tmp_path):
    picture = Image.new("RGB", (4, 4))
    picture.save(tmp_path / "1.png")
    table = frame(caption=["x", "y"], image=[picture, Path("1.png")])
    found = Pairs.from_pandas(table, **ASKED, folder=tmp_path)
    assert found.target[0] is picture and found.target[1] == tmp_path / "1.png"


def test_bad_rows_are_named_by_their_labels():
    table = frame(caption=["x", float("nan"), 3.5], image=["u", "v", "w"])
    with pytest.raises(PairsError, match="every row of the frame must hold a pair") as error:
        Pairs.from_pandas(table, **ASKED)
    assert error.value.problems == (
        "row 'b': 'caption' is empty",
        "row 'c': 'caption' must be text; it is float",
    )
    kept = Pairs.from_pandas(table, **ASKED, on_error="skip")
    assert kept.ids == ("a",) and len(kept.skipped) == 2


def test_what_is_no_frame_of_pairs_is_refused():
    with pytest.raises(TypeError, match=r"from a pandas DataFrame; got dict\. Convert it"):
        Pairs.from_pandas({"caption": ["x"], "image": ["u"]}, **ASKED)
    with pytest.raises(PairsError, match=r"the frame must have the columns .* lacks \['image'\]"):
        Pairs.from_pandas(frame(caption=["x"]), **ASKED)
    twice = pandas.DataFrame({"caption": ["x", "y"], "image": ["u", "v"]}, index=["a", "a"])
    with pytest.raises(ValueError, match="index of the frame must name each row once"):
        Pairs.from_pandas(twice, **ASKED)
    with pytest.raises(PairsError, match="the frame must name each column once"):
        Pairs.from_pandas(twice.set_axis(["image", "image"], axis=1), **ASKED)


def test_pairs_go_to_a_frame_and_come_back():
    pairs = Pairs.from_lists(
        ["x", "y"], ["u", "v"], ids=["p", "q"], groups=["g", "g"], instructions=["find", "match"],
        side_names=("caption", "image"),
    )  # fmt: skip
    table = pairs.to_pandas()
    assert list(table.columns) == ["caption", "image", "group", "instruction"]
    back = Pairs.from_pandas(table, **ASKED, group="group", instruction="instruction")
    assert back == pairs
    with pytest.raises(PairsError, match="must name each column once"):
        Pairs.from_lists(["x"], ["y"], side_names=("group", "image")).to_pandas()
