"""What ONNX Runtime makes of an exported adapter is what torch makes of the adapter."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

import align
from align.adapters.adapter import Adapter
from align.adapters.card import Card
from align.adapters.corrections.reference_set import Expansion
from align.adapters.digest import adapter_digest
from align.adapters.export import files
from align.adapters.maps.linear import IdentityMap
from tests.adapters.corrections.planted_reference_sets import REFERENCE_SETS, with_reference
from tests.adapters.every_kind import EVERY_KIND, rows_of

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")


def session(path):
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def run(path, x):
    [found] = session(path).run(None, {"embeddings": np.asarray(x, dtype=np.float32)})
    return found


def agrees(found, expected):
    """Row by row within 1e-5 of its length."""
    apart = np.linalg.norm(found - expected.numpy(), axis=1)
    assert found.shape == expected.shape
    assert (apart <= 1e-5 * expected.norm(dim=1).numpy()).all()


@pytest.mark.parametrize("reference", REFERENCE_SETS)
@pytest.mark.parametrize("kind", EVERY_KIND)
def test_onnx_runtime_gives_what_torch_gives(kind, reference, square, tmp_path, rng):
    adapter = EVERY_KIND[kind](*square)
    wide = nn.functional.pad(square[0], (0, adapter.source_map.d_in - 6))
    adapter = with_reference(adapter, (wide, square[1]), REFERENCE_SETS[reference])
    for side, other in (("source", "target"), ("target", "source")):
        queries, gallery = adapter.export(tmp_path / "adapter.onnx", side=side)
        for n in (1, 50):
            x, y = rows_of(adapter, side, n, rng), rows_of(adapter, other, n, rng)
            agrees(run(queries, x), adapter.queries(x, side=side))
            agrees(run(gallery, y), adapter.gallery(y, side=other))


@pytest.fixture
def adapter(saved):
    return align.load(saved)


def test_two_files_are_written_and_nothing_beside_them(adapter, tmp_path):
    folder = tmp_path / "exported"
    paths = adapter.export(folder / "adapter.onnx")
    assert paths == (folder / "adapter.onnx", folder / "adapter.gallery.onnx")
    assert sorted(folder.iterdir()) == sorted(paths)
    first = [path.read_bytes() for path in paths]
    adapter.export(folder / "adapter.onnx")
    assert [path.read_bytes() for path in paths] == first


def test_a_file_says_what_it_is_and_of_which_adapter_and_encoder(adapter, tmp_path):
    card = Card("by hand", 80, 6, 6, source_fingerprint="text:a")
    named = adapter.replaced(card=card)
    queries, gallery = named.export(tmp_path / "adapter.onnx")
    common = {
        "schema": "isthmus-onnx-1",
        "isthmus": align.__version__,
        "adapter": adapter_digest(named.components()),
    }
    assert session(queries).get_modelmeta().custom_metadata_map == {
        **common,
        "side": "source",
        "encoder": "text:a",
    }
    assert session(gallery).get_modelmeta().custom_metadata_map == {**common, "side": "target"}
    for path, name, width in ((queries, "queries", 7), (gallery, "gallery", 7)):
        [given], [made] = session(path).get_inputs(), session(path).get_outputs()
        assert (given.name, given.shape, given.type) == ("embeddings", ["n", 6], "tensor(float)")
        assert (made.name, made.shape, made.type) == (name, ["n", width], "tensor(float)")


def test_queries_hold_neither_the_reference_set_nor_what_is_remembered(adapter, tmp_path):
    held = {}
    for path in adapter.export(tmp_path / "adapter.onnx"):
        tensors = onnx.load(path).graph.initializer
        held[path.name] = {each.name for each in tensors if not each.name.startswith("whole")}
    assert held["adapter.onnx"] == {"source_map.mean", "source_map.weight", "number 1e-12"}
    assert {"reference.source_reference", "target_map.weight"} <= held["adapter.gallery.onnx"]
    assert not any("training_items" in name for name in held["adapter.gallery.onnx"])


@pytest.mark.parametrize("scale", [1e-25, 1e25])
def test_rows_whose_squares_leave_float32_are_mapped_like_others(adapter, scale, tmp_path, rng):
    queries, _ = adapter.export(tmp_path / "adapter.onnx")
    x = torch.randn(5, 6, generator=rng)
    np.testing.assert_allclose(run(queries, x * scale), run(queries, x), rtol=0, atol=1e-6)


def test_a_disagreement_is_raised_and_nothing_is_written(adapter, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "TOLERANCE", 1e-12)
    with pytest.raises(RuntimeError, match=r"queries of ONNX .* within 1e-12 .* Nothing was"):
        adapter.export(tmp_path / "exported" / "adapter.onnx")
    assert not (tmp_path / "exported").exists()


def test_a_sharp_expansion_may_differ_by_as_much_as_it_magnifies_rounding(square, tmp_path):
    sharp = Expansion(1.0, 3000.0), None
    adapter = with_reference(EVERY_KIND["blend"](*square), square, sharp)
    assert files._tolerance(adapter.components()) == pytest.approx(3e-4)
    _, gallery = adapter.export(tmp_path / "adapter.onnx")
    apart = np.linalg.norm(run(gallery, square[1]) - adapter.gallery(square[1]).numpy(), axis=1)
    assert apart.max() < 3e-4


def test_a_file_of_another_ending_is_refused(adapter, tmp_path):
    with pytest.raises(ValueError, match=r"ends in .onnx; got 'adapter.bin'. Name it so"):
        adapter.export("adapter.bin")


def test_a_side_of_another_name_is_refused(adapter, tmp_path):
    with pytest.raises(ValueError, match=r'must be "source" or "target"; got \'query\''):
        adapter.export(tmp_path / "adapter.onnx", side="query")


def test_a_map_of_another_kind_is_refused(tmp_path):
    custom = nn.Linear(3, 3)
    custom.dim = custom.d_in = 3
    with pytest.raises(TypeError, match=r"made of the maps in align.adapters.maps; got a Linear"):
        Adapter(custom, IdentityMap(3), Card("custom", 2, 3, 3)).export(tmp_path / "a.onnx")


@pytest.mark.parametrize("name", ["onnx", "onnxruntime"])
def test_a_missing_package_is_named_with_the_extra_that_brings_it(adapter, name, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=rf"'{name}'\. Install them by: pip install 'isthmus\[on"):
        adapter.export("adapter.onnx")


def test_an_adapter_is_loaded_without_the_packages(saved):
    code = (
        "import sys\nsys.modules['onnx'] = sys.modules['onnxruntime'] = None\n"
        "import align\nprint(align.load(sys.argv[1]).d_search)"
    )
    command = [sys.executable, "-c", code, str(saved)]
    assert subprocess.run(command, capture_output=True, text=True).stdout == "7\n"
