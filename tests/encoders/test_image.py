from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from align.encoders.image import ImageEncoder, open_rgb

FOLDERS = [
    "vit",
    "dinov2",
    "dinov2_registers",
    "dinov3",
    "clip",
    "clip_vision",
    "siglip",
    "siglip_vision",
    "convnext",
    "convnextv2",
    "resnet",
]
SKIPPED = {"dinov2_registers": 4, "dinov3": 4, "siglip": 0, "siglip_vision": 0}


def outputs(folder, pictures, layer=-1):
    """Output of the vision network for each picture, straight from transformers, one by one."""
    from transformers import AutoImageProcessor, AutoModel

    processor = AutoImageProcessor.from_pretrained(folder, backend="pil")
    network = AutoModel.from_pretrained(folder).eval()
    tower = getattr(network, "vision_model", network)
    with torch.no_grad():
        for picture in pictures:
            pixels = processor(images=picture, return_tensors="pt").pixel_values
            output = tower(pixel_values=pixels, output_hidden_states=True)
            states = output.last_hidden_state if layer == -1 else output.hidden_states[layer]
            features = None
            if hasattr(network, "get_image_features"):
                features = network.get_image_features(pixel_values=pixels).pooler_output[0]
            yield states[0], output.pooler_output[0], features


@pytest.fixture
def folder(request):
    return request.getfixturevalue(request.param)


@pytest.mark.parametrize("layer", [-1, 1, 0])
@pytest.mark.parametrize(
    ("folder", "name"), [(f, f) for f in FOLDERS], indirect=["folder"], ids=FOLDERS
)
def test_patches_and_their_mean_are_those_of_the_network(folder, name, layer, pictures):
    encoder = ImageEncoder(folder, pooling="mean", layer=layer, batch_size=2)
    patches = encoder.encode_tokens(pictures)
    expected = [states for states, _, _ in outputs(folder, pictures, layer)]
    if expected[0].ndim == 3:
        expected = [states.flatten(1).T for states in expected]
    else:
        expected = [states[SKIPPED.get(name, 1) :] for states in expected]
        assert patches.lengths.tolist() == [16] * len(pictures)
    for found, states in zip(patches, expected, strict=True):
        torch.testing.assert_close(found, states)
    torch.testing.assert_close(
        encoder.encode(pictures), torch.stack([states.mean(0) for states in expected])
    )
    assert encoder.dim == encoder.token_dim == patches.tokens.shape[1]
    assert patches.tokens.dtype == torch.float32


@pytest.mark.parametrize(
    ("folder", "name"), [(f, f) for f in FOLDERS], indirect=["folder"], ids=FOLDERS
)
def test_without_a_pooling_the_vectors_are_those_of_the_model_itself(folder, name, pictures):
    expected = []
    for states, pooled, features in outputs(folder, pictures):
        if features is not None:
            expected.append(features)
        elif name.startswith(("vit", "dino")):
            expected.append(states[0])
        else:
            expected.append(pooled.flatten())
    encoder = ImageEncoder(folder, batch_size=2)
    vectors = encoder.encode(pictures)
    torch.testing.assert_close(vectors, torch.stack(expected))
    assert encoder.dim == vectors.shape[1]
    assert vectors.dtype == torch.float32
    kind = "cls" if name.startswith(("vit", "dino")) else "own"
    assert f"-{kind}-" in encoder.fingerprint


def test_cls_and_mean_are_put_end_to_end(dinov2_registers, pictures):
    cls, mean, both = (
        ImageEncoder(dinov2_registers, pooling=pooling) for pooling in ("cls", "mean", "cls+mean")
    )
    expected = torch.cat([cls.encode(pictures), mean.encode(pictures)], dim=1)
    torch.testing.assert_close(both.encode(pictures), expected)
    assert (both.dim, both.token_dim) == (32, 16)


def test_at_an_inner_layer_the_default_is_cls_or_else_the_mean(clip, siglip, pictures):
    def same(folder, pooling):
        default = ImageEncoder(folder, layer=1)
        named = ImageEncoder(folder, layer=1, pooling=pooling)
        assert default.fingerprint == named.fingerprint
        return torch.equal(default.encode(pictures), named.encode(pictures))

    assert same(clip, "cls")
    assert same(siglip, "mean")


@pytest.mark.parametrize("batch_size", [1, 2, 100])
def test_neither_batch_size_nor_company_changes_a_vector(vit, pictures, batch_size):
    reference = ImageEncoder(vit, batch_size=1).encode(pictures)
    encoder = ImageEncoder(vit, batch_size=batch_size)
    torch.testing.assert_close(encoder.encode(pictures), reference)
    torch.testing.assert_close(encoder.encode(pictures[::-1]), reference.flip(0))


def test_a_path_a_picture_and_an_array_of_one_image_give_one_vector(vit, pictures, tmp_path):
    picture, path = pictures[1], tmp_path / "picture.png"
    picture.save(path)
    vectors = ImageEncoder(vit).encode([path, str(path), picture, np.asarray(picture)])
    torch.testing.assert_close(vectors, vectors[:1].expand(4, -1))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_short_dtype_is_used_for_the_forward_pass_and_returned_as_float32(vit, pictures, dtype):
    exact = ImageEncoder(vit).encode(pictures)
    short = ImageEncoder(vit, dtype=dtype).encode(pictures)
    assert short.dtype == torch.float32
    assert not torch.equal(short, exact)
    torch.testing.assert_close(short, exact, rtol=0.1, atol=0.3)


def test_options_and_items_out_of_range_are_refused(vit, siglip, resnet, pictures):
    with pytest.raises(ValueError, match=r'pooling must be "cls".*got \'median\''):
        ImageEncoder(vit, pooling="median")
    with pytest.raises(ValueError, match="'cls' needs a CLS token; 'siglip' networks have none"):
        ImageEncoder(siglip, pooling="cls")
    with pytest.raises(ValueError, match=r"'cls\+mean' needs a CLS token; 'resnet'"):
        ImageEncoder(resnet, pooling="cls+mean")
    with pytest.raises(ValueError, match=r"layer must lie in \[-3, 2\].*got 7"):
        ImageEncoder(vit, layer=7).encode(pictures)
    with pytest.raises(TypeError, match=r"a path, a Pillow image or a uint8 array; item 1 .* int"):
        ImageEncoder(vit).encode([pictures[0], 5])
    with pytest.raises(ValueError, match="at least one item; got none"):
        ImageEncoder(vit).encode([])


def test_an_unknown_kind_of_network_is_refused_and_the_known_ones_are_listed(bert):
    with pytest.raises(ValueError, match=r"one of \['clip', .*'vit'\]; got 'bert'.*CallableEnc"):
        ImageEncoder(bert)


def test_an_unreadable_image_is_named_even_in_the_middle_of_a_batch(vit, pictures, tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"item 3, '.*broken.jpg', gave Unid"):
        ImageEncoder(vit, batch_size=2).encode([*pictures[:3], broken])


def test_code_that_a_folder_brings_along_is_never_run(vit, tmp_path):
    folder = shutil.copytree(vit, tmp_path / "copy")
    path = folder / "preprocessor_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "auto_map": {"a": "b.C"}}))
    with pytest.raises(ValueError, match=r"asks in preprocessor_config.json \(auto_map\)"):
        ImageEncoder(folder)


def test_one_dual_folder_serves_both_sides(clip, pictures):
    from align.encoders.text import TextEncoder

    text, image = TextEncoder(clip), ImageEncoder(clip)
    assert text.dim == image.dim == 10
    assert image.encode(pictures[:1]).shape == text.encode(["a dog"]).shape


def test_a_picture_is_turned_upright_by_its_exif_tag(tmp_path):
    lying = Image.new("RGB", (4, 2), "red")
    lying.putpixel((0, 0), (0, 0, 255))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 90 degrees clockwise to view
    lying.save(tmp_path / "lying.png", exif=exif)
    upright = open_rgb(tmp_path / "lying.png", 0)
    assert upright.size == (2, 4)
    assert upright.getpixel((1, 0)) == (0, 0, 255)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_a_transparent_picture_lies_on_white(mode):
    clear = Image.new(mode, (2, 1), 0)
    assert open_rgb(clear, 0).getpixel((0, 0)) == (255, 255, 255)


def test_a_half_transparent_black_over_white_is_grey():
    assert open_rgb(Image.new("RGBA", (1, 1), (0, 0, 0, 128)), 0).getpixel((0, 0)) == (127,) * 3


def test_grey_and_palette_pictures_become_rgb():
    assert open_rgb(Image.new("L", (1, 1), 7), 0).getpixel((0, 0)) == (7, 7, 7)
    assert open_rgb(Image.new("RGB", (1, 1), "red").quantize(), 0).getpixel((0, 0)) == (255, 0, 0)


def test_an_array_is_read_as_rgb():
    array = np.array([[[1, 2, 3], [4, 5, 6]]], dtype=np.uint8)
    assert open_rgb(array, 0).getpixel((1, 0)) == (4, 5, 6)


@pytest.mark.parametrize(
    "array",
    [np.zeros((3, 8, 8), np.uint8), np.zeros((8, 8, 3)), np.zeros((8, 8), np.uint8)],
    ids=["channels first", "float", "grey"],
)
def test_an_array_of_another_layout_is_refused(array):
    with pytest.raises(ValueError, match=r"uint8 of shape \(h, w, 3\), RGB; item 4 has shape"):
        open_rgb(array, 4)


@pytest.mark.parametrize("mode", ["I", "I;16", "F"])
def test_a_picture_of_more_than_eight_bits_is_refused(mode, tmp_path):
    deep = Image.new(mode, (2, 2))
    with pytest.raises(ValueError, match=rf"8 bits per channel.*item 1 has mode '{mode}'"):
        open_rgb(deep, 1)
    deep.save(tmp_path / "deep.tiff")
    with pytest.raises(ValueError, match=r"8 bits per channel.*item 1, '.*deep.tiff', has mode"):
        open_rgb(tmp_path / "deep.tiff", 1)


def test_a_missing_or_broken_file_is_named_with_its_place(tmp_path):
    with pytest.raises(ValueError, match=r"item 2, '.*none.png', gave FileNotFoundError"):
        open_rgb(tmp_path / "none.png", 2)
    whole = tmp_path / "whole.png"
    Image.effect_noise((64, 64), 50).save(whole)
    (tmp_path / "cut.png").write_bytes(whole.read_bytes()[:500])
    with pytest.raises(ValueError, match=r"item 0, '.*cut.png', gave .*Check the path"):
        open_rgb(tmp_path / "cut.png", 0)
