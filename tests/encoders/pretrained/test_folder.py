"""Folders and hub ids of models: what is found in them, and what is refused."""

from __future__ import annotations

import json
import shutil

import pytest
import torch

from align.encoders.text import TextEncoder
from tests.helpers.tiny_models import copy_folder, edit_json

TEXTS = ["a dog runs on the beach", "cat", "  the   blue beach ", ""]


def test_a_model_that_cannot_be_found_is_refused_with_a_remedy(tmp_path):
    for model in (tmp_path / "nowhere", "nobody/nothing"):
        with pytest.raises(FileNotFoundError, match=r"must be a local folder or the id.*Check"):
            TextEncoder(model)


def test_a_downloaded_model_is_the_same_as_a_folder_with_its_files(bert, tmp_path, monkeypatch):
    commit = "0123456789abcdef0123456789abcdef01234567"
    cached = tmp_path / "models--someone--bert"
    shutil.copytree(bert, cached / "snapshots" / commit)
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    encoder = TextEncoder("someone/bert")
    assert encoder.fingerprint == TextEncoder(bert).fingerprint
    assert TextEncoder("someone/bert", revision=commit).fingerprint == encoder.fingerprint
    assert torch.equal(encoder.encode(TEXTS), TextEncoder(bert).encode(TEXTS))
    with pytest.raises(FileNotFoundError, match="got 'someone/bert', which is no folder here"):
        TextEncoder("someone/bert", revision="other")


def test_code_that_a_folder_brings_along_is_never_run(bert, sbert, tmp_path):
    remote = {"AutoModel": "evil.Model"}
    for name in ("config.json", "tokenizer_config.json"):
        folder = copy_folder(bert, tmp_path, name)
        edit_json(folder / name, auto_map=remote)
        with pytest.raises(ValueError, match=rf"asks in {name} \(auto_map\) to run code"):
            TextEncoder(folder)
    folder = copy_folder(sbert, tmp_path, "sbert")
    modules = json.loads((folder / "modules.json").read_text())
    modules[1]["type"] = "evil.Pooling"
    (folder / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(ValueError, match="modules of that package alone"):
        TextEncoder(folder)


def test_a_folder_that_begins_with_another_module_is_refused(sbert, tmp_path):
    folder = copy_folder(sbert, tmp_path)
    modules = json.loads((folder / "modules.json").read_text())
    (folder / "modules.json").write_text(json.dumps(modules[1:]))
    with pytest.raises(ValueError, match=r"begin with a Transformer module.*\['Pooling'"):
        TextEncoder(folder)


def test_a_network_in_a_subfolder_is_found(sbert, tmp_path):
    folder, inner = copy_folder(sbert, tmp_path), "0_Transformer"
    (folder / inner).mkdir()
    for file in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"):
        shutil.move(folder / file, folder / inner / file)
    modules = json.loads((folder / "modules.json").read_text())
    modules[0]["path"] = inner
    (folder / "modules.json").write_text(json.dumps(modules))
    shutil.move(folder / "sentence_bert_config.json", folder / inner)
    moved = TextEncoder(folder)
    assert torch.equal(moved.encode(TEXTS), TextEncoder(sbert).encode(TEXTS))
    before = moved.fingerprint
    edit_json(folder / inner / "tokenizer_config.json", model_max_length=9)
    assert TextEncoder(folder).fingerprint != before


def test_incomplete_folders_are_refused(bert, tmp_path):
    with pytest.raises(ValueError, match=r"config.json that names its model_type"):
        TextEncoder(tmp_path)
    folder = copy_folder(bert, tmp_path)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"stored as safetensors.*no model.safetensors"):
        TextEncoder(folder)


def test_weights_that_do_not_cover_the_network_are_refused(bert, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = copy_folder(bert, tmp_path)
    weights = load_file(folder / "model.safetensors")
    partial = {k: v for k, v in weights.items() if not k.startswith("pooler.")}
    save_file(partial, folder / "model.safetensors", metadata={"format": "pt"})
    assert torch.equal(TextEncoder(folder).encode(TEXTS), TextEncoder(bert).encode(TEXTS))

    del partial["encoder.layer.1.output.dense.weight"]
    save_file(partial, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"1 of its tensors are missing.*layer.1.output"):
        TextEncoder(folder).encode(TEXTS)
