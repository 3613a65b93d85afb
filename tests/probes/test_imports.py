"""Probes need neither encoders nor a search for parameters, and do not load them."""

import subprocess
import sys

import pytest

REFUSE = """
import sys

REFUSED = {"transformers", "sentence_transformers", "optuna"}

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in REFUSED:
            raise ModuleNotFoundError(f"refused {name}", name=name)

sys.meta_path.insert(0, Refuse())
"""

REPORT = """
import torch
import probes
from align.data.embeddings import PairedEmbeddings

shared = torch.randn(60, 5, generator=torch.Generator().manual_seed(0))
data = PairedEmbeddings.from_arrays(shared[:, :4], shared[:, 1:] + 1)

class Both:
    def source(self, x):
        return x.vectors
    target = source

report = probes.report(data, Both(), probes=[p for p in probes.STANDARD if p.family == "pairing"])
report = probes.Report.from_json(report.to_json())
assert "Recall@10" in report.to_html() and "Pairing" in str(report) + report.to_markdown()
for name in probes.__all__:
    getattr(probes, name)
"""


@pytest.mark.parametrize(
    "code",
    [
        REFUSE + "try:\n    import optuna\nexcept ModuleNotFoundError:\n    print('ok')",
        REFUSE + REPORT + "print('ok')",
        "import sys, probes\nassert not {'torch', 'jinja2'} & set(sys.modules)\nprint('ok')",
    ],
    ids=["the finder refuses", "a whole report", "nothing heavy is loaded at first"],
)
def test_probes_work_without_model_libraries(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.stdout == "ok\n", done.stderr[-2000:]
