"""Nothing in a model folder is run, whichever file asks for it; each would leave a canary."""

from __future__ import annotations

import json
import os
import shutil

import pytest

from align.encoders.image import ImageEncoder
from align.encoders.text import TextEncoder

NESTED = {"a": [{"b": {"auto_map": {"AutoProcessor": "evil.Evil", "AutoModel": "evil.Evil"}}}]}
FILES = [
    "config.json", "tokenizer_config.json", "preprocessor_config.json", "processor_config.json",
    "video_preprocessor_config.json", "generation_config.json", "special_tokens_map.json",
    "feature_extractor.json", "1_Pooling/config.json", "anything_else.json",
]  # fmt: skip


@pytest.fixture
def canary(tmp_path, monkeypatch):
    """A file that appears if code of a folder runs; reading standard input fails."""

    def asked(*_):
        raise AssertionError("a question was asked on standard input")

    monkeypatch.setattr("builtins.input", asked)
    yield tmp_path / "canary"
    assert not (tmp_path / "canary").exists()


@pytest.fixture(params=["text", "image"])
def model(request, tmp_path, canary, bert, vit):
    """A folder with code of its own, and what loads and uses it."""
    folder = tmp_path / "model"
    shutil.copytree(bert if request.param == "text" else vit, folder)
    (folder / "evil.py").write_text(f"open({str(canary)!r}, 'w')\nclass Evil: pass\n")

    def load():
        if request.param == "text":
            return TextEncoder(folder).encode(["a dog"])
        from PIL import Image

        return ImageEncoder(folder).encode([Image.new("RGB", (8, 8))])

    return folder, load


def add(path, told):
    path.parent.mkdir(exist_ok=True)
    held = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**held, **told}))


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("told", [NESTED, {"auto_map": {"AutoConfig": "evil.Evil"}}])
def test_a_file_that_asks_for_code_is_refused_however_deep_it_asks(model, file, told):
    folder, load = model
    add(folder / file, told)
    with pytest.raises(ValueError, match=rf"asks in {file} \(auto_map\) to run code"):
        load()


@pytest.mark.parametrize(
    "told",
    [
        {"custom_pipelines": {"x": {"impl": "evil.Evil"}}},
        {"auto_mapping": {"parent_library": "evil"}},
        {"deep": [{"trust_remote_code": True}]},
        {"deep": {"activation_function": "os.system"}},
    ],
)
def test_other_ways_to_ask_for_code_are_refused(model, told):
    folder, load = model
    add(folder / "config.json", told)
    with pytest.raises(
        ValueError, match=r"asks in config.json \(.*\) to run code .*never done here"
    ):
        load()


def test_a_repeated_key_hides_nothing(model):
    folder, load = model
    (folder / "processor_config.json").write_text('{"x": {"auto_map": {"a": "evil.E"}}, "x": {}}')
    with pytest.raises(ValueError, match=r"processor_config.json \(auto_map\)"):
        load()


def test_an_adapter_that_names_another_model_is_refused(model):
    folder, load = model
    add(folder / "adapter_config.json", {"base_model_name_or_path": "elsewhere"})
    with pytest.raises(ValueError, match=r"adapter_config.json \(base_model_name_or_path\)"):
        load()


@pytest.mark.parametrize("held", ["[" * 200_000, '{"a":' * 100_000, "{", "\x00", '{"a": "\ud800"'])
def test_a_file_that_is_no_json_is_named(model, held):
    folder, load = model
    (folder / "processor_config.json").write_bytes(held.encode("utf-8", "surrogatepass"))
    with pytest.raises(ValueError, match=r"processor_config.json of a model must be JSON.*failed"):
        load()


def test_a_pipe_instead_of_a_file_is_not_waited_for(model):
    folder, load = model
    os.mkfifo(folder / "processor_config.json")
    with pytest.raises(FileNotFoundError, match="it is a folder, a pipe or a device"):
        load()


def test_pickled_weights_are_not_read(model):
    folder, load = model
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ValueError, match="must be stored as safetensors"):
        load()


def test_the_words_of_a_vocabulary_are_no_settings(model):
    folder, load = model
    add(folder / "added_tokens.json", {"auto_map": 3})
    assert load().isfinite().all()


@pytest.mark.parametrize(
    ("module", "said"),
    [
        ({"type": "evil.Evil", "path": ""}, "modules of that package alone"),
        ({"type": "sentence_transformers.os;evil", "path": ""}, "modules of that package alone"),
        ({"type": "sentence_transformers.models.Pooling", "path": "../out"}, "lie inside it"),
        ({"type": "sentence_transformers.models.Pooling", "path": "/etc"}, "lie inside it"),
        ({"type": "sentence_transformers.models.Pooling", "path": "link"}, "lie inside it"),
        ({"type": "sentence_transformers.models.Pooling", "path": 7}, "lie inside it"),
        ({"type": 7, "path": ""}, "must be a list of modules"),
        ("evil", "must be a list of modules"),
    ],
)
def test_a_module_from_elsewhere_is_refused(tmp_path, canary, sbert, module, said):
    folder = tmp_path / "sentence"
    shutil.copytree(sbert, folder)
    (tmp_path / "out").mkdir()
    (folder / "link").symlink_to(tmp_path / "out")
    modules = json.loads((folder / "modules.json").read_text())
    (folder / "modules.json").write_text(json.dumps([*modules, module]))
    with pytest.raises(ValueError, match=said):
        TextEncoder(folder)


def test_a_module_whose_weights_are_a_pickle_is_refused(tmp_path, canary, sentence_folder):
    from sentence_transformers.sentence_transformer.modules import Dense, Pooling

    folder = tmp_path / "sentence"
    shutil.copytree(sentence_folder(Pooling(16, "mean"), Dense(16, 4)), folder)
    next(folder.glob("*Dense/model.safetensors")).rename(folder / "2_Dense/pytorch_model.bin")
    with pytest.raises(ValueError, match="'2_Dense' of 'sentence' holds a pickle alone"):
        TextEncoder(folder)
