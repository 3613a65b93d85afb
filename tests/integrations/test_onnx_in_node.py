"""What onnxruntime-web makes of an exported adapter, in node, is what torch makes of it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from align.adapters.closed_form.rcca import rcca
from tests.adapters.corrections.planted_reference_sets import REFERENCE_SETS, with_reference
from tests.adapters.every_kind import EVERY_KIND, rows_of

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

PACKAGES = Path(sys.prefix) / "node/node_modules"
PAGE = Path(__file__).parents[2] / "docs/how_to/deploy.md"
SCRIPT = Path(__file__).with_name("run_onnx.mjs")

pytestmark = pytest.mark.skipif(
    shutil.which("node") is None or not (PACKAGES / "onnxruntime-web").exists(),
    reason="make test-integrations installs onnxruntime-web, where there are node and npm",
)


@pytest.fixture
def folder(tmp_path):
    """An empty folder where node finds the package."""
    (tmp_path / "node_modules").symlink_to(PACKAGES)
    return tmp_path


def said(folder, code, given=""):
    """What a module of JavaScript prints."""
    (folder / "code.mjs").write_text(code, encoding="utf-8")
    ran = subprocess.run(
        ["node", "code.mjs"], cwd=folder, input=given, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def agrees(found, expected):
    assert found["dims"] == list(expected.shape)
    rows = np.asarray(found["data"], dtype=np.float32).reshape(expected.shape)
    apart = np.linalg.norm(rows - expected.numpy(), axis=1)
    assert (apart <= 1e-5 * expected.norm(dim=1).numpy()).all()


def planted(rng):
    """Every kind of map, and every kind of correction."""
    source = torch.randn(80, 6, generator=rng) + 0.5
    target = source @ torch.randn(6, 6, generator=rng) + torch.randn(80, 6, generator=rng)
    for name in EVERY_KIND:
        yield name, EVERY_KIND[name](source, target)
    for name, reference in REFERENCE_SETS.items():
        yield name, with_reference(rcca(source, target), (source, target), reference)


def test_a_browsers_runtime_gives_what_torch_gives(folder, rng):
    asked, expected = [], []
    for name, adapter in planted(rng):
        paths = adapter.export(folder / f"{name}.onnx")
        for path, method, side in zip(
            paths, (adapter.queries, adapter.gallery), ("source", "target"), strict=True
        ):
            x = rows_of(adapter, side, 5, rng)
            width, values = x.shape[1], x.flatten().tolist()
            asked.append({"model": str(path), "width": width, "embeddings": values})
            expected.append(method(x, side=side))
    found = json.loads(said(folder, SCRIPT.read_text(encoding="utf-8"), json.dumps(asked)))
    assert len(found) == len(expected) == 2 * (len(EVERY_KIND) + len(REFERENCE_SETS))
    for each, rows in zip(found, expected, strict=True):
        agrees(each, rows)


def test_the_code_on_the_page_runs_as_it_is_written(folder, rng):
    [code] = re.findall(r"^```js\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.M)
    x, y = torch.randn(80, 32, generator=rng), torch.randn(80, 48, generator=rng)
    adapter = rcca(x, y, dim=8)
    adapter.export(folder / "adapter.onnx")
    printed = "\nconsole.log(JSON.stringify({dims: queries.dims, data: Array.from(queries.data)}))"
    found = json.loads(said(folder, code + printed).splitlines()[-1])
    agrees(found, adapter.queries(torch.ones(1, 32)))
