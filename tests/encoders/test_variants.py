"""Other layers and poolings of one network, by one pass for all."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from align.data.encoding import LayeredEncoder
from align.encoders.cache.store import EmbeddingStore
from align.encoders.image import ImageEncoder
from align.encoders.pretrained.network import inner_layers, pool
from align.encoders.spec import load_encoder
from align.encoders.text import CodeEncoder, TextEncoder
from tests.helpers.tiny_models import copy_folder, edit_json

TEXTS = ["a dog runs on the beach", "cat", "the red dog sits under the blue bridge", "a cat"]


@pytest.mark.parametrize("folder", ["bert", "gpt", "t5", "clip", "siglip"])
def test_one_pass_gives_what_each_variant_of_a_text_network_gives_by_itself(folder, request):
    encoder = TextEncoder(request.getfixturevalue(folder), batch_size=3)
    variants = encoder.variants()
    assert isinstance(encoder, LayeredEncoder)
    assert variants[0] is encoder
    assert len({each.fingerprint for each in variants}) == len(variants)
    together = encoder.encode_variants(TEXTS, variants)
    for each, vectors in zip(variants, together, strict=True):
        torch.testing.assert_close(vectors, each.encode(TEXTS))
        assert load_encoder(each.spec).fingerprint == each.fingerprint


@pytest.mark.parametrize("folder", ["vit", "dinov2_registers", "clip", "siglip_vision", "resnet"])
def test_one_pass_gives_what_each_variant_of_an_image_network_gives_by_itself(
    folder, request, pictures
):
    encoder = ImageEncoder(request.getfixturevalue(folder), batch_size=2)
    variants = encoder.variants()
    assert variants[0] is encoder
    together = encoder.encode_variants(pictures, variants)
    for each, vectors in zip(variants, together, strict=True):
        torch.testing.assert_close(vectors, each.encode(pictures))


def test_variants_are_each_layer_by_each_pooling_without_what_sees_nothing(bert, vit, tmp_path):
    over_all = ["mean", "max", "gem"]

    def expected(token):
        return [
            (-1, None),  # the mean of the last layer, which is not named twice
            *((-1, pooling) for pooling in (token, "max", "gem")),
            *((1, pooling) for pooling in (token, *over_all)),
            *((0, pooling) for pooling in over_all),
        ]

    def named(folder):
        return [(each.layer, each.pooling) for each in TextEncoder(folder).variants()]

    assert named(bert) == expected("last")  # its tokenizer has no [CLS]
    with_cls = copy_folder(bert, tmp_path / "cls")
    edit_json(with_cls / "tokenizer_config.json", cls_token="the")
    assert named(with_cls) == expected("cls")
    last = [each.pooling for each in ImageEncoder(vit).variants() if each.layer == -1]
    assert last == [None, *over_all]  # the CLS state is its own


def test_an_encoder_that_was_told_its_layer_or_pooling_has_no_others(bert, vit):
    for encoder in (
        TextEncoder(bert, layer=1),
        CodeEncoder(bert, pooling="max"),
        ImageEncoder(vit, pooling="mean"),
    ):
        assert encoder.variants() == (encoder,)


def test_variants_keep_every_other_option_and_the_kind_of_encoder(bert):
    given = CodeEncoder(bert, prompt="code: ", max_length=7, batch_size=5)
    assert all(
        (type(each), each.prompt, each.max_length, each.batch_size) == (CodeEncoder, "code: ", 7, 5)
        for each in given.variants()
    )


@given(st.integers(1, 200))
def test_inner_layers_begin_at_the_embeddings_and_are_few_and_evenly_apart(depth):
    layers = inner_layers(depth)
    assert layers[0] == 0
    assert layers[-1] < depth
    assert len(layers) == min(depth, 6)
    gaps = {later - earlier for earlier, later in pairwise(layers)}
    assert not gaps or max(gaps) - min(gaps) <= 1


def test_the_generalised_mean_of_power_three_keeps_signs_and_skips_padding():
    states = torch.tensor([[[1.0, -1.0], [2.0, 3.0], [9.0, 9.0]]])
    mask = torch.tensor([[True, True, False]])
    cubes = torch.tensor([[(1 + 8) / 2, (-1 + 27) / 2]])
    torch.testing.assert_close(pool(states, mask, "gem"), cubes ** (1 / 3))
    torch.testing.assert_close(pool(-states, mask, "gem"), -(cubes ** (1 / 3)))
    assert pool(states, mask, "max").tolist() == [[2.0, 3.0]]


@settings(deadline=None)
@given(st.integers(0, 2**16), st.integers(1, 5))
def test_states_that_are_not_negative_have_their_gem_between_mean_and_maximum(seed, tokens):
    states = torch.rand(3, tokens, 4, generator=torch.Generator().manual_seed(seed))
    mask = torch.ones(3, tokens, dtype=torch.bool)
    mean, gem, most = (pool(states, mask, name) for name in ("mean", "gem", "max"))
    assert (mean <= gem + 1e-6).all()
    assert (gem <= most + 1e-6).all()


def test_a_store_passes_each_item_through_the_network_once_for_all_variants(bert, tmp_path):
    store = EmbeddingStore(tmp_path / "store", batch=2)
    encoder = TextEncoder(bert)
    variants = encoder.variants()
    seen: list[str] = []
    run = encoder._inputs

    def counted(texts, rows):
        seen.extend(texts)
        return run(texts, rows)

    object.__setattr__(encoder, "_inputs", counted)
    first = store.encode_variants(encoder, variants, TEXTS)
    assert sorted(seen) == sorted(TEXTS)
    again = store.encode_variants(encoder, variants, TEXTS[::-1])
    store.encode_variants(encoder, variants, [*TEXTS, "a new one"])
    assert seen[len(TEXTS) :] == ["a new one"]
    for each, one, two in zip(variants, first, again, strict=True):
        torch.testing.assert_close(one, each.encode(TEXTS))
        assert torch.equal(one, two.flip(0))
        assert torch.equal(store.encode(each, TEXTS), one)
