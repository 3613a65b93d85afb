import json
import subprocess
import sys

import pytest

HEAVY = (
    "torch",
    "transformers",
    "sentence_transformers",
    "ot",
    "sklearn",
    "optuna",
    "starlette",
    "uvicorn",
)

IMPORT = "import align, probes"
HELP = """
import runpy
sys.argv = ["align", "--help"]
try:
    runpy.run_module("align.apps.cli", run_name="__main__")
except SystemExit as stop:
    assert stop.code in (0, None), stop.code
"""


@pytest.mark.parametrize("action", [IMPORT, HELP], ids=["import align, probes", "align --help"])
def test_nothing_heavy_is_loaded_before_it_is_needed(action):
    code = f"import sys\n{action}\nimport json\n" + (
        f"print(json.dumps([name for name in {HEAVY} if name in sys.modules]), file=sys.stderr)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stderr.splitlines()[-1]) == []


def test_the_help_names_the_commands():
    run = subprocess.run(
        [sys.executable, "-m", "align.apps.cli", "--help"], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    for command in (
        "compare",
        "curate",
        "fit",
        "evaluate",
        "export",
        "gap",
        "index",
        "info",
        "search",
        "serve",
        "store",
        "tune",
        "upgrade",
    ):
        assert command in run.stdout


def test_a_public_name_brings_torch_only_when_it_is_used():
    code = (
        "import sys, align\n"
        "align.Pairs\n"
        "assert 'torch' not in sys.modules\n"
        "align.MultiVector\n"
        "assert 'torch' in sys.modules\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize("name", ["Retriever", "wrap"])
def test_searching_loads_nothing_that_fits_or_trains(name):
    code = (
        f"import sys, align\nalign.{name}\n"
        "print([name for name in sys.modules if name.startswith('align.fitting')])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == "[]"
