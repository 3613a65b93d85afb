"""Imports point one way, and each heavy package is imported in few files."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# A file imports only from the lines above its own, from what stands before it on its own line, or
# from inside its own entry.
LAYERS = (
    # The version is a constant; importing it from the package loads nothing else.
    (
        "align.__version__", "align._checks", "align.groups", "align.atomic", "align.json_files",
        "align.tensor_files", "align.ties", "align.plain", "align.pictures",
        "align.markdown", "align.formulas", "align.repeats",
    ),
    (
        "align.modalities", "align.arrays", "align.multivector", "align.embeddings",
        "align.tables", "align.rows", "align.encoding", "align.pairs", "align.items",
        "align.picture_names", "align.token_pairs",
    ),
    (
        "align.kernels", "align.late_interaction", "align.token_pooling", "align.fde",
        "align.ranking", "align.chance", "align.resampling",
    ),
    (
        "align.store_file", "align.upkeep", "align.store", "align.encoders",
        "align.card_rules", "align.card", "align.hubness", "align.adapters", "align.transport",
        "align.coupling",
        "align.losses", "probes",
    ),
    (
        "align.evaluation", "align.meta_evaluation", "align.curation", "align.migration",
        "align.training",
        "align.crossval", "align.choosing", "align.gallery", "align.refining", "align.shares",
        "align.shuffled", "align.selection", "align.tuning", "align.preferring",
        "align.instructing",
        "align.meta_start", "align.meta_training", "align.meta_selection",
    ),
    ("align.retrieval",),
    ("align.integrations", "align.__init__"),
    ("align.serving",),
    ("align.cli",),
    ("experiments",),
)  # fmt: skip

NUMBER = {entry: number for number, line in enumerate(LAYERS) for entry in line}
ORDER = {entry: at for at, entry in enumerate(NUMBER)}

FILES = sorted(
    path for top in ("align", "probes", "experiments") for path in (ROOT / top).rglob("*.py")
)


def name_of(path):
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def owner(module):
    """The entry of ``LAYERS`` that a module, or a name inside one, belongs to."""
    parts = module.split(".")
    for end in range(len(parts), 0, -1):
        if ".".join(parts[:end]) in NUMBER:
            return ".".join(parts[:end])
    return "align.__init__" if parts[0] == "align" else None


def place(path):
    """The entry of a file of ours; unlike an imported name, a file must be listed."""
    found = owner(name_of(path))
    listed = found != "align.__init__" or name_of(path) == "align.__init__"
    return found if listed else None


def imports(path):
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: write imports from the top package"
            # The imported name may itself be a module.
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def test_there_are_files_to_check():
    assert len(FILES) > 20


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_imports_point_down_one_way(path):
    here = place(path)
    assert here is not None, f"give {path.relative_to(ROOT)} a place in LAYERS"
    for there in {owner(module) for module in imports(path)} - {None, here}:
        assert ORDER[there] < ORDER[here], f"{name_of(path)} must not import {there}"
        if here == "probes":
            assert NUMBER[there] <= 2, f"{name_of(path)} works on matrices; not on {there}"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_only_the_command_and_the_experiments_import_probes(path):
    if place(path) not in ("align.cli", "experiments", "probes"):
        assert "probes" not in {owner(module) for module in imports(path)}


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_transformers_are_imported_by_encoders_and_integrations_only(path):
    if place(path) not in ("align.encoders", "align.integrations"):
        tops = {module.split(".")[0] for module in imports(path)}
        assert not tops & {"transformers", "sentence_transformers"}


HEAVY = ("ot", "sklearn", "optuna", "triton", "matplotlib", "starlette", "uvicorn")


@pytest.mark.parametrize("package", HEAVY)
@pytest.mark.parametrize("ours", ["align", "probes"])
def test_a_heavy_package_is_imported_in_one_file(package, ours):
    users = [
        name_of(path)
        for path in FILES
        if name_of(path).startswith(f"{ours}.")
        and place(path) != "align.integrations"
        and package in {module.split(".")[0] for module in imports(path)}
    ]
    assert len(users) <= 1


def test_an_upward_import_would_be_seen(tmp_path):
    file = tmp_path / "upward.py"
    file.write_text("from align import ranking\nfrom align.retrieval.index import Index\n")
    owners = {owner(module) for module in imports(file)}
    assert owners == {"align.ranking", "align.retrieval"}
    file.write_text("import align\nfrom align import fit\n")
    assert {owner(module) for module in imports(file)} == {"align.__init__"}
    assert place(ROOT / "align" / "unheard_of.py") is None
