"""What NumPy gives is what torch gives, and what cannot be read is refused in the same words."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import align
from align import light
from align.adapters.artifact.files import json_digest, sealed
from align.adapters.closed_form.rcca import rcca
from tests.adapters.corrections.planted_reference_sets import REFERENCE_SETS, with_reference
from tests.adapters.every_kind import EVERY_KIND, rows_of

WITHOUT_TORCH = """
import sys
for name in ("torch", "lazy_loader", "sentence_transformers"):
    sys.modules[name] = None  # an import of it fails
"""


def agrees(found, expected):
    """Row by row within 1e-5 of its length, and float32."""
    assert found.dtype == np.float32 and found.shape == tuple(expected.shape)
    lengths = expected.norm(dim=1).clamp_min(1).numpy()
    assert (np.linalg.norm(found - expected.numpy(), axis=1) <= 1e-5 * lengths).all()


@pytest.fixture
def square(rng):
    """80 pairs of width 6 on both sides, with a shared signal."""
    source = torch.randn(80, 6, generator=rng) + 0.5
    mixed = source @ torch.randn(6, 6, generator=rng)
    return source, mixed + 0.5 * torch.randn(80, 6, generator=rng)


@pytest.fixture
def saved(square, tmp_path):
    """The folder of an adapter with an expansion and a correction, and the encoders' names."""
    adapter = with_reference(rcca(*square), square, REFERENCE_SETS["csls and expansion"])
    card = replace(adapter.card, source_fingerprint="text:a", target_fingerprint="image:b")
    adapter.replaced(card=card).save(tmp_path / "adapter")
    return tmp_path / "adapter"


@pytest.fixture
def planted(square):
    """A function that gives an adapter of a kind with or without a correction."""

    def make(kind, reference):
        adapter = EVERY_KIND[kind](*square)
        d_in = adapter.source_map.d_in
        source = torch.nn.functional.pad(square[0], (0, d_in - 6))
        return with_reference(adapter, (source, square[1]), REFERENCE_SETS[reference])

    return make


@pytest.mark.parametrize("reference", REFERENCE_SETS)
@pytest.mark.parametrize("kind", EVERY_KIND)
def test_a_saved_adapter_gives_what_torch_gives(kind, reference, planted, tmp_path, rng):
    adapter = planted(kind, reference)
    adapter.save(tmp_path / "adapter")
    read = light.load(tmp_path / "adapter")
    assert read.d_search == adapter.d_search
    for side in ("source", "target"):
        for n in (1, 50):
            x = rows_of(adapter, side, n, rng)
            agrees(read.queries(x, side=side), adapter.queries(x, side=side))
            agrees(read.gallery(x, side=side), adapter.gallery(x, side=side))


def test_the_sides_are_those_of_the_torch_adapter_by_default(saved, square):
    adapter, read = align.load(saved), light.load(saved)
    agrees(read.queries(square[0]), adapter.queries(square[0]))
    agrees(read.gallery(square[1]), adapter.gallery(square[1]))


def test_blocks_change_nothing(saved, square, monkeypatch):
    read = light.load(saved)
    whole = read.queries(square[0]), read.gallery(square[1])
    monkeypatch.setattr(light, "_ROWS", 7)
    monkeypatch.setattr(light, "_SIMILARITIES", 3 * 80)
    blocks = read.queries(square[0]), read.gallery(square[1])
    for found, expected in zip(blocks, whole, strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


def test_the_reference_set_bounds_how_many_items_are_scored_at_once(
    saved,
    square,
    monkeypatch,
):
    seen = []
    bias = light._bias
    monkeypatch.setattr(light, "_SIMILARITIES", 10 * 80 + 5)
    monkeypatch.setattr(light, "_bias", lambda *given: seen.append(given[1].shape) or bias(*given))
    light.load(saved).gallery(square[1])
    assert seen == [(10, 80)] * 8


def test_of_anchors_that_are_equally_near_the_first_count(square, tmp_path):
    adapter = EVERY_KIND["relative"](*square)
    # Whole numbers, so that nothing is rounded: all anchors are the same.
    adapter.source_map.mean.zero_()
    adapter.source_map.anchors.copy_(torch.eye(6)[:1].expand(80, 6))
    adapter.save(tmp_path / "adapter")
    found = light.load(tmp_path / "adapter").queries(np.eye(6)[:1])
    assert np.flatnonzero(found[0]).tolist() == list(range(7))


def test_gelu_is_that_of_torch_wherever_it_bends():
    x = torch.linspace(-12, 12, 100_001)
    expected = torch.nn.functional.gelu(x.double())
    assert np.abs(light._gelu(x.numpy()) - expected.numpy()).max() < 2e-6


@pytest.mark.parametrize("scale", [1e-25, 1e25])
def test_rows_whose_squares_leave_float32_are_mapped_like_others(saved, square, scale):
    read = light.load(saved)
    found = read.queries(square[0].double() * scale)
    np.testing.assert_allclose(found, read.queries(square[0]), rtol=0, atol=1e-6)


def test_float64_and_lists_are_taken_and_nothing_of_the_caller_changes(saved, square):
    read, x = light.load(saved), square[1].numpy()
    before = x.copy()
    expected = read.gallery(x)
    assert (x == before).all()
    for same in (x.astype(np.float64), x.tolist(), square[1]):
        assert (read.gallery(same) == expected).all()


def spoiled(value):
    x = np.ones((5, 6))
    x[3] = value
    return x


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (spoiled(0), r"source embeddings must have a direction.*1 of 5 .*\[3\]. Find .* drop them"),
        (spoiled(np.nan), r"source embeddings must be finite; 1 of 5 .* first at \[3\]"),
        (spoiled(1e60), r"source embeddings must be finite; 1 of 5 .* first at \[3\]"),
        (np.ones((5, 4)), r"must be a matrix \(n, 6\) with .* got shape \(5, 4\)\. Pass one"),
        (np.ones(6), r"must be a matrix \(n, 6\) with .* got shape \(6,\)\. Pass one"),
        (np.ones((0, 6)), r"with at least one row; got shape \(0, 6\)\. Pass one"),
    ],
)
def test_vectors_that_cannot_be_mapped_are_refused(saved, x, message):
    read = light.load(saved)
    for method in (read.queries, read.gallery):
        with pytest.raises(ValueError, match=message):
            method(x, side="source")


def test_a_side_of_another_name_is_refused(saved):
    read = light.load(saved)
    for method in (read.queries, read.gallery):
        with pytest.raises(ValueError, match=r'must be "source" or "target"; got \'query\'. Name'):
            method(np.ones((1, 6)), side="query")


def test_it_says_which_encoders_its_vectors_must_come_from(saved):
    read = light.load(saved)
    assert (read.source_fingerprint, read.target_fingerprint) == ("text:a", "image:b")


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "card.json"])
def test_a_folder_that_lacks_a_file_is_refused(saved, name):
    (saved / name).unlink()
    with pytest.raises(FileNotFoundError, match=rf"lacks {name}\. Pass the folder"):
        light.load(saved)


def test_weights_that_were_changed_are_refused(saved):
    weights = load_file(saved / "model.safetensors")
    weights["source_map.mean"][0] += 1
    save_file(weights, saved / "model.safetensors")
    with pytest.raises(ValueError, match=r"model.safetensors must hold what was saved; .* Save or"):
        light.load(saved)


def test_weights_that_were_cut_off_are_refused(saved):
    whole = (saved / "model.safetensors").read_bytes()
    (saved / "model.safetensors").write_bytes(whole[:-8])
    with pytest.raises(ValueError, match=r"model.safetensors must be a whole safetensors file"):
        light.load(saved)


@pytest.mark.parametrize("name", ["config.json", "card.json"])
def test_settings_that_were_edited_are_refused(saved, name):
    data = json.loads((saved / name).read_text())
    data["note"] = "mine"
    (saved / name).write_text(json.dumps(data))
    with pytest.raises(ValueError, match=rf"{name} must hold what was saved; its digest"):
        light.load(saved)


def test_what_is_no_json_is_refused(saved):
    (saved / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"config.json must be JSON in UTF-8; .* Save or download"):
        light.load(saved)


def resealed(folder, change):
    """Edit ``config.json`` and give it a digest that fits, as another version might write it."""
    config = json.loads((folder / "config.json").read_text())
    del config["sha256"]
    change(config)
    (folder / "config.json").write_text(sealed(config))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(schema="isthmus-adapter-3"), "schema 'isthmus-adapter-2'; got .*-3'"),
        (lambda c: c.update(schema="isthmus-meta-tokens-1"), "must have schema .* Take the align/"),
        (lambda c: c["source_map"].update(kind="spline"), "no map of kind 'spline'.* Load it with"),
        (lambda c: c["reference"]["hubness"].update(kind="rank"), "knows no correction .*rank"),
        (lambda c: c["source_map"].update(dim=5), r"weight is float32 of shape \(6, 6\), not"),
        (lambda c: c["source_map"].pop("d_in"), "reading it failed with KeyError: 'd_in'"),
        (lambda c: c.update(source_map=None), "reading it failed with TypeError"),
    ],
)
def test_another_version_or_architecture_is_refused(saved, change, message):
    resealed(saved, change)
    with pytest.raises(ValueError, match=message):
        light.load(saved)


def test_a_newer_minor_version_is_read_without_what_it_added(saved, square):
    expected = light.load(saved).gallery(square[1])

    def newer(config):
        config["schema"] = "isthmus-adapter-2.2"
        config["source_map"]["added"] = [1]

    resealed(saved, newer)
    assert (light.load(saved).gallery(square[1]) == expected).all()


def test_a_card_of_other_widths_is_refused(saved):
    card = json.loads((saved / "card.json").read_text())
    card["d_source"] = 7
    (saved / "card.json").write_text(json.dumps(card))
    resealed(saved, lambda config: config["digests"].update(card=json_digest(card)))
    with pytest.raises(ValueError, match=r"maps are of the widths \[6, 6\], and card.json names"):
        light.load(saved)


def run(code, *arguments, cwd):
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd)


@pytest.mark.parametrize("how", ["from align import light", "import align.light as light"])
def test_it_is_imported_and_used_where_torch_cannot_be(saved, how, tmp_path):
    code = (
        f"{WITHOUT_TORCH}\n{how}\nimport numpy as np\n"
        "print(light.load(sys.argv[1]).gallery(np.ones((2, 6))).shape)\n"
    )
    found = run(code, saved, cwd=Path(align.__file__).parents[1])
    assert found.stdout == "(2, 7)\n", found.stderr


def test_one_copied_file_is_enough(saved, tmp_path):
    (tmp_path / "service").mkdir()
    shutil.copy(light.__file__, tmp_path / "service/light.py")
    code = (
        f"{WITHOUT_TORCH}\nsys.modules['align'] = None\nimport light, numpy as np\n"
        "print(light.load(sys.argv[1]).queries(np.ones((2, 6))).shape)\n"
    )
    found = run(code, saved, cwd=tmp_path / "service")
    assert found.stdout == "(2, 7)\n", found.stderr
