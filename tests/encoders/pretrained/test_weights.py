from __future__ import annotations

import hashlib
import json
import os
import re
import shutil

import pytest
import torch

from align.encoders.image import ImageEncoder
from align.encoders.pretrained import weights
from align.encoders.text import TextEncoder


@pytest.fixture
def hashed(monkeypatch):
    """Names of the files that were read to be hashed, in order."""
    names = []
    real = weights.sha256_file

    def count(path):
        names.append(path.name)
        return real(path)

    monkeypatch.setattr(weights, "sha256_file", count)
    return names


def test_a_fingerprint_names_what_it_can_and_hashes_the_rest(bert, vit):
    assert re.fullmatch(r"text-BertModel-mean-[0-9a-f]{16}", TextEncoder(bert).fingerprint)
    assert re.fullmatch(
        r"image-ViTModel-cls\+mean-[0-9a-f]{16}",
        ImageEncoder(vit, pooling="cls+mean").fingerprint,
    )
    odd = weights.fingerprint("a b", "org/model", "mean", {})
    assert re.fullmatch(r"a_b-org_model-mean-[0-9a-f]{16}", odd)


@pytest.mark.parametrize(
    "options",
    [
        {"pooling": "cls"},
        {"layer": 1},
        {"prompt": "query "},
        {"max_length": 8},
        {"dtype": "bfloat16"},
    ],
    ids=lambda options: next(iter(options)),
)
def test_every_option_that_changes_a_text_vector_changes_the_fingerprint(bert, options):
    assert TextEncoder(bert, **options).fingerprint != TextEncoder(bert).fingerprint


@pytest.mark.parametrize(
    "options",
    [{"pooling": "mean"}, {"layer": 1}, {"dtype": "float16"}],
    ids=lambda options: next(iter(options)),
)
def test_every_option_that_changes_an_image_vector_changes_the_fingerprint(vit, options):
    assert ImageEncoder(vit, **options).fingerprint != ImageEncoder(vit).fingerprint


def test_leaving_out_the_normalization_of_a_folder_changes_the_fingerprint(sbert):
    own, plain = TextEncoder(sbert), TextEncoder(sbert, pooling="mean")
    assert own.fingerprint.startswith("text-BertModel-mean-")
    assert own.fingerprint != plain.fingerprint


def test_neither_place_nor_batch_nor_device_changes_the_fingerprint(bert, vit, tmp_path, machine):
    machine(gpus=1)
    moved = TextEncoder(shutil.copytree(bert, tmp_path / "elsewhere"), batch_size=1, device="cuda")
    assert moved.fingerprint == TextEncoder(bert).fingerprint
    moved = ImageEncoder(shutil.copytree(vit, tmp_path / "vit"), batch_size=1, device="cuda")
    assert moved.fingerprint == ImageEncoder(vit).fingerprint


def change_weights(folder):
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    next(iter(tensors.values())).view(-1)[0] += 1
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def change_json(name, **changes):
    def change(folder):
        content = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps({**content, **changes}))

    return change


def change_vocabulary(folder):
    path = folder / "tokenizer.json"
    path.write_text(path.read_text().replace('"dog"', '"fog"'))


@pytest.mark.parametrize(
    ("name", "encoder", "change"),
    [
        ("bert", TextEncoder, change_weights),
        ("bert", TextEncoder, change_vocabulary),
        ("bert", TextEncoder, change_json("tokenizer_config.json", model_max_length=9)),
        ("bert", TextEncoder, change_json("config.json", layer_norm_eps=1e-3)),
        ("sbert", TextEncoder, change_json("1_Pooling/config.json", pooling_mode="cls")),
        ("vit", ImageEncoder, change_weights),
        ("vit", ImageEncoder, change_json("preprocessor_config.json", size=[1, 1])),
        ("vit", ImageEncoder, change_json("config.json", layer_norm_eps=1e-3)),
    ],
)
def test_every_file_that_changes_a_vector_changes_the_fingerprint(
    request, tmp_path, name, encoder, change
):
    folder = shutil.copytree(request.getfixturevalue(name), tmp_path / "copy")
    before = encoder(folder).fingerprint
    change(folder)
    assert encoder(folder).fingerprint != before


def test_files_that_change_no_vector_do_not_change_the_fingerprint(clip, tmp_path):
    folder = shutil.copytree(clip, tmp_path / "copy")
    text, image = TextEncoder(folder).fingerprint, ImageEncoder(folder).fingerprint
    (folder / "README.md").write_text("about this model")
    change_vocabulary(folder)
    assert ImageEncoder(folder).fingerprint == image
    assert TextEncoder(folder).fingerprint != text


def test_weights_are_hashed_once_and_small_files_each_time(bert, hashed):
    first = TextEncoder(bert).fingerprint
    assert hashed.count("model.safetensors") == 1
    assert TextEncoder(bert, layer=1).fingerprint != first
    assert TextEncoder(bert).fingerprint == first
    assert hashed.count("model.safetensors") == 1
    assert hashed.count("tokenizer.json") == 3


def test_the_digest_is_that_of_the_bytes(tmp_path, cache):
    path = tmp_path / "a.safetensors"
    path.write_bytes(b"abc")
    assert weights.weights_digest(path) == hashlib.sha256(b"abc").hexdigest()
    assert list(json.loads((cache / "weights.json").read_text())) == [str(path.resolve())]


def test_a_file_of_another_size_or_time_is_hashed_again(tmp_path, hashed):
    path = tmp_path / "a.safetensors"
    path.write_bytes(b"abc")
    first = weights.weights_digest(path)
    os.utime(path, ns=(1, 1))
    assert weights.weights_digest(path) == first
    path.write_bytes(b"abcd")
    os.utime(path, ns=(1, 1))
    assert weights.weights_digest(path) != first
    assert len(hashed) == 3


@pytest.mark.parametrize(
    "damage", [b"{", b"\xff\xfe", b"[]", b'{"PATH": 3}', b'{"PATH": {"stamp": STAMP}}']
)
def test_a_damaged_memo_costs_one_more_hashing(tmp_path, cache, hashed, damage):
    path = (tmp_path / "a.safetensors").resolve()
    path.write_bytes(b"abc")
    status = path.stat()
    stamp = json.dumps([status.st_size, status.st_mtime_ns]).encode()
    cache.mkdir()
    content = damage.replace(b"PATH", str(path).encode()).replace(b"STAMP", stamp)
    (cache / "weights.json").write_bytes(content)
    assert weights.weights_digest(path) == hashlib.sha256(b"abc").hexdigest()
    assert weights.weights_digest(path) == hashlib.sha256(b"abc").hexdigest()
    assert len(hashed) == 1


def test_what_another_process_remembered_is_kept(tmp_path, cache):
    paths = [tmp_path / "a.safetensors", tmp_path / "b.safetensors"]
    for path in paths:
        path.write_bytes(b"abc")
        weights.weights_digest(path)
    assert len(json.loads((cache / "weights.json").read_text())) == 2
    assert [file.name for file in cache.iterdir()] == ["weights.json"]


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path, monkeypatch, caplog):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("ISTHMUS_CACHE", str(tmp_path / "file"))
    path = tmp_path / "a.safetensors"
    path.write_bytes(b"abc")
    assert weights.weights_digest(path) == hashlib.sha256(b"abc").hexdigest()
    assert "Set ISTHMUS_CACHE to a folder that can be written" in caplog.text


def test_shards_are_all_part_of_the_fingerprint(tmp_path):
    from transformers import BertConfig, BertModel

    from tests.helpers.tiny_models import TRUNK, make_tokenizer

    with torch.random.fork_rng():
        network = BertModel(BertConfig(vocab_size=40, intermediate_size=32, **TRUNK))
    network.save_pretrained(tmp_path, max_shard_size="10KB")
    make_tokenizer().save_pretrained(tmp_path)
    shards = sorted(tmp_path.glob("model-*.safetensors"))
    assert len(shards) > 1
    before = TextEncoder(tmp_path).fingerprint
    assert TextEncoder(tmp_path).encode(["a dog"]).shape == (1, 16)
    with shards[-1].open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\x7f")
    assert TextEncoder(tmp_path).fingerprint != before
