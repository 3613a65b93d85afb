"""An adapter is saved where everything is installed, and served where almost nothing is."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

ADAPTER = Path(__file__).parents[1] / "golden/adapter"


def said(environment: Path, code: str, folder: Path) -> str:
    """What a fresh interpreter of an environment prints."""
    command = [environment / "bin/python", "-I", "-c", code, ADAPTER]
    found = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    assert found.returncode == 0, found.stderr
    return found.stdout


def test_numpy_and_safetensors_are_enough_to_serve_an_adapter(
    environment, light_environment, tmp_path
):
    inputs = "import sys, numpy as np\nx, y = np.eye(4)[:, :4], np.eye(4)[:, :3] + 1\n"
    end = "import json; print(json.dumps((queries @ gallery.T).ravel().tolist()))"
    torch = "import align\na = align.load(sys.argv[1])\n"
    light = "from align import light\na = light.load(sys.argv[1])\n"
    code = "queries, gallery = (np.asarray(z) for z in (a.queries(x), a.gallery(y)))\n"
    scores = [
        json.loads(said(where, inputs + reader + code + end, tmp_path))
        for where, reader in ((environment, torch), (light_environment, light))
    ]
    assert len(scores[0]) == 16 and scores[1] == pytest.approx(scores[0], rel=0, abs=1e-5)


def test_the_light_environment_has_neither_torch_nor_what_loads_names_lazily(
    light_environment, tmp_path
):
    code = (
        "from importlib.util import find_spec\nimport align\n"
        "print([name for name in ('torch', 'lazy_loader', 'rich', 'scipy') if find_spec(name)])"
    )
    assert said(light_environment, code, tmp_path) == "[]\n"
