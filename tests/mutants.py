"""Plants faults in core lines, one at a time, and runs the nearest tests: each must be noticed.

    python tests/mutants.py [WORD ...]

With words, only faults whose file or name holds one of them. The faults are planted in a temporary
copy of the tree. Exits with 1 if a fault goes unnoticed, or can no longer be planted.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True)
class Fault:
    """One line changed.

    Attributes:
        name: What goes wrong, in words.
        file: Where.
        line: Text that occurs once in the file.
        planted: What it is replaced with.
        tests: The nearest tests, as pytest takes them.
    """

    name: str
    file: str
    line: str
    planted: str
    tests: str


FAULTS = (
    Fault(
        "the rounding bound dropped on candidates", "align/scoring/kernels/cpu_topk.py",
        "near = scores.add_(errors) >= least", "near = scores >= least",
        "tests/scoring/kernels/test_cpu_topk.py",
    ),
    Fault(
        "the rounding bound dropped on the cut", "align/scoring/kernels/cpu_topk.py",
        "least = (scores - errors).topk", "least = scores.topk",
        "tests/scoring/kernels/test_cpu_topk.py",
    ),
    Fault(
        "of equal scores the higher row first", "align/scoring/topk.py",
        "    indices, order = indices.sort(dim=1)",
        "    indices, order = indices.sort(dim=1, descending=True)",
        "tests/scoring/test_topk.py",
    ),
    Fault(
        "the last tile not padded", "align/scoring/inner_products.py",
        "    elif not over:", "    elif True:", "tests/scoring/test_topk.py",
    ),
    Fault(
        "a document's best token forgotten between pieces", "align/scoring/kernels/cpu_maxsim.py",
        "torch.maximum(best, values)", "values", "tests/scoring/kernels/test_cpu_maxsim.py",
    ),
    Fault(
        "ties count for us", "align/metrics/ranks.py",
        "(scores >= slot[:, None])", "(scores > slot[:, None])", "tests/metrics/test_ranks.py",
    ),
    Fault(
        "ties count for us where ranks are sorted", "align/metrics/ranks.py",
        "torch.searchsorted(_rising(some), wanted.contiguous())",
        "torch.searchsorted(_rising(some), wanted.contiguous(), right=True)",
        "tests/metrics/test_ranks.py",
    ),
    Fault(
        "recall counts one positive", "align/metrics/ranks.py",
        "/ ranks.positives\n\n\ndef recall(", "\n\n\ndef recall(", "tests/metrics/test_ranks.py",
    ),
    Fault(
        "the hubness gate at zero standard errors",
        "align/fitting/model_selection/outcome.py",
        "return self.mean > errors * self.error + MEANS", "return self.mean > 0",
        "tests/fitting/model_selection/test_gallery_correction.py",
    ),
    Fault(
        "the gate decided by rounding", "align/fitting/model_selection/outcome.py",
        "errors * self.error + MEANS", "errors * self.error",
        "tests/fitting/model_selection/test_gallery_correction.py",
    ),
    Fault(
        "folds drawn again count as new evidence",
        "align/fitting/model_selection/outcome.py",
        "math.sqrt(self.rounds / len(values))", "math.sqrt(1 / len(values))",
        "tests/fitting/model_selection/test_cross_validation.py",
    ),
    Fault(
        "training that sees the judged fold", "align/fitting/multi_vector/fit.py",
        "[other for other in self.folds if other is not fold]", "self.folds",
        "tests/fitting/multi_vector/test_fit.py",
    ),
    Fault(
        "a state chosen by rounding", "align/adapters/multi_vector/aspects.py",
        "first_largest(near.masked_fill(~real, -torch.inf), within=COSINES)",
        "near.masked_fill(~real, -torch.inf).argmax(dim=1)",
        "tests/adapters/multi_vector",
    ),
    Fault(
        "padding may be selected", "align/adapters/multi_vector/aspects.py",
        "closest.masked_fill(~real, torch.inf)", "closest.clone()",
        "tests/adapters/multi_vector",
    ),
    Fault(
        "tokens merged by distances as they were rounded", "align/scoring/token_pooling.py",
        ".double().square() / _GRID).round().mul(_GRID)", ".double().square())",
        "tests/scoring/test_token_pooling.py",
    ),
    Fault(
        "a cluster left empty", "align/scoring/token_pooling.py",
        "nearest = _fill_empty(nearest, nearness, k)", "nearest = nearest.clone()",
        "tests/scoring/test_token_pooling.py",
    ),
    Fault(
        "a token hashed by float32 alone", "align/scoring/fde.py",
        "above[rows, columns] = exact > 0", "pass", "tests/scoring/test_fde.py",
    ),
    Fault(
        "a query encoded as a document", "align/scoring/fde.py",
        "self._encode(queries, fill=False)", "self._encode(queries, fill=True)",
        "tests/scoring/test_fde.py",
    ),
    Fault(
        "of equal neighbours the nearer by rounding", "probes/neighbours.py",
        "within = PRODUCTS * longest", "within = 0 * longest", "tests/probes/test_equals.py",
    ),
    Fault(
        "pairs of one group are neighbours", "probes/structure/neighbourhoods.py",
        "        scores.masked_fill_(codes[rows, None] == codes, -torch.inf)\n", "",
        "tests/probes/structure/test_neighbourhoods.py",
    ),
    Fault(
        "a very short vector divided by nothing", "probes/inputs.py",
        "    x = x / _power_of_two(x.abs().amax(dim=1, keepdim=True))\n", "",
        "tests/probes/test_extremes.py",
    ),
    Fault(
        "a squared distance scaled once", "probes/distribution/transport.py",
        "return value * scale * scale", "return value * scale", "tests/probes/test_extremes.py",
    ),
    Fault(
        "a p-value of zero", "probes/nulls.py",
        "return (int((under_null >= value).sum()) + 1)",
        "return int((under_null >= value).sum())",
        "tests/probes/test_nulls.py",
    ),
    Fault(
        "rows of one direction are no duplicates", "align/curation/duplicates.py",
        "enough = threshold - LEVEL", "enough = threshold", "tests/curation/test_duplicates.py",
    ),
    Fault(
        "hard negatives of the own group", "align/curation/hard_negatives.py",
        "        products[query, item[match]] = -torch.inf\n", "",
        "tests/curation/test_hard_negatives.py",
    ),
    Fault(
        "a constant side is fitted", "align/adapters/recipes/moments.py",
        "if (rows - rows[0]).abs().amax() <= 1e-6:", "if False:",
        "tests/fitting/model_selection/test_fit.py",
    ),
    Fault(
        "an int8 score may be infinite", "align/retrieval/index/exact.py",
        "    check_finite(scaled)", "    pass", "tests/retrieval/storage/test_storage.py",
    ),
    Fault(
        "a slice keeps the places of the whole", "align/data/multi_vector.py",
        "ends = self.offsets[start : stop + 1] - first",
        "ends = self.offsets[start : stop + 1]", "tests/data/test_multi_vector.py",
    ),
)  # fmt: skip


def copied(to: Path) -> None:
    """The tree without what is made in it."""
    for name in ("align", "probes", "experiments", "tests", "pyproject.toml"):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, to / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, to / name)


def outcome(fault: Fault, tree: Path) -> str:
    """``noticed``, ``UNNOTICED``, or why the fault could not be tried."""
    path = tree / fault.file
    text = path.read_text()
    if text.count(fault.line) != 1:
        return f"NOT PLANTED: the line occurs {text.count(fault.line)} times"
    path.write_text(text.replace(fault.line, fault.planted))
    try:
        ran = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", fault.tests],
            cwd=tree,
            env={**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
        )
    finally:
        path.write_text(text)
    return {0: "UNNOTICED", 1: "noticed"}.get(ran.returncode, f"NOT RUN: code {ran.returncode}")


def main(words: list[str]) -> int:
    """Try the faults that hold one of ``words``, or all; 1 if one goes unnoticed."""
    chosen = [f for f in FAULTS if not words or any(w in f.file + " " + f.name for w in words)]
    missed = 0
    with tempfile.TemporaryDirectory() as scratch:
        copied(Path(scratch))
        for fault in chosen:
            found = outcome(fault, Path(scratch))
            missed += found != "noticed"
            print(f"{found:<10} {fault.file:<40} {fault.name}", flush=True)
    print(f"{len(chosen) - missed} of {len(chosen)} planted faults were noticed")
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
