"""``align export`` writes what ``Adapter.export`` writes."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

import align
from align.apps import cli
from align.apps.cli.inspection import size_in_words

ADAPTER = Path(__file__).parents[2] / "golden/adapter"

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


def run(*words):
    result = CliRunner().invoke(cli.app, ["export", str(ADAPTER), *map(str, words)])
    if result.exception is not None:
        raise result.exception
    return result.stdout


def test_both_files_are_written_and_named_with_their_sizes(tmp_path):
    out = tmp_path / "adapter.onnx"
    first, second = run("-o", out).splitlines()
    gallery = tmp_path / "adapter.gallery.onnx"
    assert first == f"{out} maps queries ({size_in_words(out.stat().st_size)})"
    assert second == f"{gallery} maps the gallery ({size_in_words(gallery.stat().st_size)})"
    expected = align.load(ADAPTER).export(tmp_path / "again.onnx")
    assert [path.read_bytes() for path in expected] == [
        (tmp_path / name).read_bytes() for name in ("adapter.onnx", "adapter.gallery.onnx")
    ]


def test_the_other_side_may_ask_and_programs_read_the_paths(tmp_path):
    out = tmp_path / "adapter.onnx"
    told = json.loads(run("-o", out, "--side", "target", "--json"))
    assert told == {"queries": str(out), "gallery": str(tmp_path / "adapter.gallery.onnx")}
    expected, _ = align.load(ADAPTER).export(tmp_path / "again.onnx", side="target")
    assert out.read_bytes() == expected.read_bytes()


def test_a_folder_in_the_way_is_refused_before_anything_is_read(tmp_path):
    with pytest.raises(IsADirectoryError, match="must be free or a file; it is a folder"):
        run("-o", tmp_path)


def test_a_side_of_another_name_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r'side must be "source" or "target"; got \'query\''):
        run("-o", tmp_path / "adapter.onnx", "--side", "query")
