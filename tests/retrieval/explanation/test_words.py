"""Words on patches: a cosine taken apart exactly, word by word and patch by patch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

import align
from align.adapters.adapter import Adapter
from align.adapters.card import Card
from align.adapters.closed_form.procrustes import procrustes
from align.adapters.closed_form.rcca import rcca
from align.adapters.maps.linear import (
    AffineMap,
    BlendMap,
    IdentityMap,
    LinearMap,
    RelativeMap,
    WeightedMap,
)
from align.retrieval.explanation.words import explain_words

TEXT = "a dog runs under the bridge beaches"
D = 16


@pytest.fixture
def encoders(sbert, vit):
    return align.TextEncoder(sbert), align.ImageEncoder(vit, pooling="mean")


@pytest.fixture
def picture(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (40, 40, 3), dtype="uint8")
    Image.fromarray(noise).save(path := tmp_path / "a.png")
    return path


def fitted(encoders):
    rng = torch.Generator().manual_seed(0)
    widths = [each.dim for each in encoders]
    return rcca(*(torch.randn(60, width, generator=rng) for width in widths))


def test_words_and_patches_add_up_to_the_cosine(encoders, picture):
    adapter = fitted(encoders)
    found = explain_words(adapter, encoders, (TEXT, picture), side="source")
    z, w = adapter.source(encoders[0].encode([TEXT])), adapter.target(encoders[1].encode([picture]))
    assert found.score == pytest.approx((z @ w.T).item(), abs=2e-6)
    assert found.heat.sum().item() == pytest.approx(found.score, abs=1e-9)
    assert torch.allclose(found.heat.sum(dim=1), found.values)
    assert found.words[:2] == ("a", "dog") and found.words[-1] == "(special tokens)"
    assert found.grid is not None and found.grid[0] * found.grid[1] == found.heat.shape[1]


def test_the_other_way_pictures_ask_and_words_are_found(encoders, picture):
    adapter = fitted(encoders)
    there = explain_words(adapter, encoders, (TEXT, picture), side="source")
    back = explain_words(adapter, encoders[::-1], (picture, TEXT), side="target")
    assert torch.allclose(back.heat, there.heat.T) and back.parts == there.words
    assert back.grid is None and back.score == pytest.approx(there.score)


@pytest.mark.parametrize("kind", ["identity", "affine", "root", "weighted", "blend"])
def test_other_linear_maps_add_up_too(encoders, kind):
    text = encoders[0]
    rng = torch.Generator().manual_seed(0)
    mean, weight, share = (torch.rand(*shape, generator=rng) for shape in ((D,), (D, D), (D,)))
    root = LinearMap(mean / 9, weight, root=True)

    def both(kind):
        plain = IdentityMap(D)
        return {
            "identity": lambda: (plain, plain),
            "affine": lambda: (AffineMap(mean / 9, weight, share), plain),
            "root": lambda: (root, plain),
            "weighted": lambda: tuple(WeightedMap(root, share, slot=slot) for slot in (0, 1)),
            "blend": lambda: (BlendMap([root, plain], [0.3, 0.7]),) * 2,
        }[kind]()

    adapter = Adapter(*both(kind), Card("test", 0, D, D))
    found = explain_words(adapter, (text, text), (TEXT, "a cat sits"), side="source")
    z, w = adapter.source(text.encode([TEXT])), adapter.target(text.encode(["a cat sits"]))
    assert found.score == pytest.approx((z @ w.T).item(), abs=2e-6)
    assert found.parts[:3] == ("a", "cat", "sits")


def test_what_is_no_sum_over_tokens_is_refused(encoders, vit, sbert, picture):
    adapter = fitted(encoders)
    counts = align.CallableEncoder(lambda items: np.ones((len(items), D)), name="ones", dim=D)
    with pytest.raises(ValueError, match="of the source side gives none"):
        explain_words(adapter, (counts, encoders[1]), (TEXT, picture), side="source")
    first = align.TextEncoder(sbert, pooling="cls")
    with pytest.raises(ValueError, match="of the source side does not"):
        explain_words(adapter, (first, encoders[1]), (TEXT, picture), side="source")
    anchors = RelativeMap(torch.zeros(D), torch.eye(D), k=3, power=1.0)
    relative = Adapter(anchors, anchors, adapter.card)
    with pytest.raises(ValueError, match="RelativeMap of the source side is not"):
        explain_words(relative, (encoders[0],) * 2, (TEXT, TEXT), side="source")


def test_a_retriever_finds_the_item_behind_a_hit(encoders, picture, tmp_path):
    text, image = encoders
    rng = torch.Generator().manual_seed(0)
    vectors = [torch.randn(60, each.dim, generator=rng) for each in encoders]
    index = align.Index.create(tmp_path / "idx", procrustes(*vectors))
    retriever = align.Retriever(index, source=text, target=image)
    retriever.add(["photo"], [picture])
    index.add(["bare"], vectors[1][:1])
    hits = retriever.search([TEXT], k=2)[0]
    hit = next(each for each in hits if each.id == "photo")
    found = retriever.explain_words(hits.query, hit)
    assert found.score == pytest.approx(hit.score, abs=1e-5)
    assert "<img" in found._repr_html_()
    with pytest.raises(ValueError, match="'bare' has neither"):
        retriever.explain_words(TEXT, "bare")


def test_each_token_is_of_a_word(sbert):
    encoder = align.TextEncoder(sbert)
    text = "a dog sits under bridges"
    words = encoder.words(text)
    assert len(words) == len(encoder.encode_tokens([text]).tokens)
    assert words == ("", "a", "dog", "sits", "under", "bridges", "##", "")


def test_words_are_cut_where_the_encoder_cuts(sbert):
    encoder = align.TextEncoder(sbert, max_length=4)
    assert encoder.words("a dog sits under") == ("", "a", "dog", "")


def test_what_the_network_sees_has_the_places_of_the_picture(vit):
    picture = np.zeros((40, 40, 3), dtype="uint8")
    picture[:20, :20] = 255
    seen = np.asarray(align.ImageEncoder(vit).seen(picture).convert("L")).astype(int)
    half = len(seen) // 2
    assert seen[: half - 2, : half - 2].mean() > 200 > 60 > seen[half + 2 :].mean()
