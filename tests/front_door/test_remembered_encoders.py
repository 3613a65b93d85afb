"""What is fitted in Python knows its encoders: load it, and search with raw items."""

from __future__ import annotations

import itertools
import random

import pytest
import torch
from PIL import Image

import align
from align.encoders.spec import load_encoder
from tests.helpers.tiny_models import WORDS

N = 60


@pytest.fixture(scope="module")
def pairs():
    """Sixty pairs of texts with an instruction each; neither side is blank or there twice."""
    drawn = random.Random(0)
    every = [" ".join(words) for words in itertools.permutations(WORDS[:8], 3)]
    texts = drawn.sample(every, 2 * N)
    asked = ("query", "red blue")
    return align.Pairs(
        source=tuple(texts[:N]),
        target=tuple(texts[N:]),
        ids=tuple(map(str, range(N))),
        groups=tuple(map(str, range(N))),
        instructions=tuple(asked[i % 2] for i in range(N)),
    )


@pytest.fixture
def encoders(bert, sbert):
    """Of a folder with options, and of two folders side by side."""
    source = align.TextEncoder(bert, pooling="cls", layer=-2, prompt="a red & b = ")
    return source, align.ConcatEncoder(align.TextEncoder(sbert), align.TextEncoder(str(bert)))


def fitted(pairs, encoders, tmp_path):
    store = align.EmbeddingStore(tmp_path / "store")
    train, _ = pairs.encode(*encoders, store=store).split(test=0.1)
    return align.fit(train, effort="fast", folds=3)


def trained(pairs, encoders, tmp_path):
    data = pairs.encode(*encoders).take(range(50))
    start = align.projection_network(
        *(side.shape[1] for side in (data.source, data.target)),
        hidden=4,
        generator=torch.Generator().manual_seed(0),
    )
    return align.train(start, data, config=align.TrainConfig(steps=2))


def tuned(pairs, encoders, tmp_path):
    found = align.tune(pairs.encode(*encoders), study=tmp_path / "journal", trials=2)
    return found.fit()


def instructed(pairs, encoders, tmp_path):
    data = pairs.encode(*encoders, instruction_encoder=encoders[0])
    adapter = align.fit(data, effort="fast", folds=3)
    config = align.TrainConfig(steps=2)
    made = align.instruct(adapter, data, config=config, fit_adapter=lambda _: adapter)
    assert set(made.card.encoders) == {"source", "target", "instruction"}
    return made


def upgraded(pairs, encoders, tmp_path):
    old, new = encoders
    sides = [
        align.Embeddings(each.encode(pairs.target), each.fingerprint, pairs.ids, each.spec)
        for each in (old, new)
    ]
    return align.upgrade(*sides).adapter


def with_meta_tokens(pairs, encoders, tmp_path):
    data = align.TokenPairs.encode(pairs, *encoders).take(range(50))
    return align.fit_meta_tokens(data)


@pytest.mark.filterwarnings("ignore::align.NoBetterThanChance")
@pytest.mark.parametrize(
    "make",
    [fitted, trained, tuned, instructed, upgraded, with_meta_tokens],
    ids=lambda f: f.__name__,
)
def test_a_loaded_adapter_builds_its_encoders_again(make, pairs, encoders, tmp_path):
    made = make(pairs, encoders, tmp_path)
    made.save(tmp_path / "adapter")
    load = align.load_meta_tokens if make is with_meta_tokens else align.load
    adapter = load(tmp_path / "adapter")
    retriever = align.Retriever(align.Index.create(tmp_path / "index", adapter))
    retriever.add(pairs.ids, pairs.target)
    retriever.index.save()
    told = align.Embedder(made, source=encoders[0], target=encoders[1])
    alone = align.Embedder(adapter)
    for side in ("source", "target"):
        expected, found = (each.queries(pairs.source[:4], side=side) for each in (told, alone))
        if make is with_meta_tokens:
            expected, found = expected.tokens, found.tokens
        torch.testing.assert_close(found, expected)
    hits = align.Retriever.open(tmp_path / "index").search(pairs.source[:4], k=3)
    assert [len(each) for each in hits] == [3] * 4


def test_an_encoder_of_a_function_is_not_remembered(pairs, bert):
    ones = align.CallableEncoder(lambda items: torch.ones(len(items), 2), name="ones", dim=2)
    data = pairs.encode(ones, align.TextEncoder(bert))
    assert data.encoders == {"target": f"text:{bert}"}
    both = align.ConcatEncoder(ones, align.TextEncoder(bert))
    assert both.spec is None and align.MixedEncoder({"text": both}).spec is None


def test_specs_go_with_every_choice_of_pairs(pairs, encoders):
    data = pairs.encode(*encoders)
    specs = {
        "source": encoders[0].spec,
        "target": encoders[1].spec,
        "instruction": encoders[0].spec,
    }
    assert data.encoders == specs
    assert [part.encoders for part in data.split(test=0.2, val=0.2)] == [specs] * 3
    assert align.TokenPairs.encode(pairs, *encoders).take([1, 2]).pooled.encoders == specs
    assert load_encoder(encoders[0].spec).fingerprint == encoders[0].fingerprint


@pytest.mark.filterwarnings("ignore::align.NoBetterThanChance")
def test_encoders_of_pictures_and_of_several_modalities_are_built_again(
    pairs, bert, sbert, vit, tmp_path
):
    files = []
    for number in range(0, N, 2):
        files.append(tmp_path / f"{number}.png")
        Image.effect_noise((8, 8), 8 * number + 8).convert("RGB").save(files[-1])
    target = [files[i // 2] if i % 2 == 0 else text for i, text in enumerate(pairs.target)]
    mixed = align.MixedEncoder({"image": align.ImageEncoder(vit), "text": align.TextEncoder(sbert)})
    items = align.Pairs(
        source=pairs.source,
        target=tuple(target),
        ids=pairs.ids,
        groups=pairs.groups,
        target_modality=("image", "text") * (N // 2),
    )
    data = items.encode(align.CodeEncoder(bert), mixed)
    assert data.encoders == {
        "source": f"code:{bert}",
        "target": f"image=image:{vit};text=text:{sbert}",
    }
    align.fit(data, effort="fast", folds=3).save(tmp_path / "adapter")
    embedder = align.Embedder(align.load(tmp_path / "adapter"))
    gallery = embedder.gallery(target[:4], modality=["image", "text", "image", "text"])
    torch.testing.assert_close(gallery, embedder.adapter.gallery(data.target[:4]))
