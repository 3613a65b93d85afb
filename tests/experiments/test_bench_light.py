"""The benchmark of serving compares ways that give the same vectors."""

from __future__ import annotations

import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from experiments.bench import light
from experiments.bench.light import WAYS, Config, installed_mb, render, run


def test_every_way_gives_the_vectors_of_torch_and_is_timed(monkeypatch):
    monkeypatch.setattr(light, "HIDDEN", 8)
    monkeypatch.setattr(light, "WAYS", {name: WAYS[name] for name in ("the interpreter", "numpy")})
    result = run(Config(pairs=100, gallery=20, batches=(1, 5), repeats=1, calls=5))
    for ways in result.speeds.values():
        assert set(ways) == {"torch", "onnxruntime", "numpy"}
        assert all(each.apart < 1e-5 for each in ways.values())
        assert all(each.query_microseconds[5].p50 > 0 for each in ways.values())
    bare, numpy = (result.starts[name] for name in ("the interpreter", "numpy"))
    assert bare.installed_mb == 0 < numpy.installed_mb
    assert bare.peak_mib < numpy.peak_mib
    for files in result.files_mb.values():
        assert files["queries"] < files["gallery"]
    assert [len(table.rows) for table in render(result)] == [2, 6]


def test_installed_sizes_count_what_is_asked_for_once():
    one, both = installed_mb(["numpy"], []), installed_mb(["numpy", "safetensors"], [])
    assert one < both < installed_mb(["isthmus"], [])
    assert installed_mb(["numpy", "numpy"], []) == one
    assert installed_mb([], ["align/light.py"]) == pytest.approx(0.02, abs=0.01)
