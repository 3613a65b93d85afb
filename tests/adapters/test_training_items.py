"""An adapter knows its training items again, through rounding and files, and knows no others."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import align
from align.adapters.adapter import Adapter
from align.adapters.card import Card
from align.adapters.closed_form.asif import asif
from align.adapters.closed_form.centering import centering
from align.adapters.closed_form.csa import csa
from align.adapters.closed_form.pls import pls
from align.adapters.closed_form.procrustes import procrustes
from align.adapters.closed_form.rcca import rcca
from align.adapters.closed_form.ridge import ridge
from align.adapters.instructions import with_instructions
from align.adapters.maps.linear import IdentityMap
from align.adapters.trainable import instructed, linear_heads, residual
from align.adapters.training_items import COMMON, TrainingItems
from align.data.embeddings import PairedEmbeddings
from align.data.examples.emoji import emoji_pairs
from align.data.token_pairs import TokenPairs
from align.fitting.instructions.fit import instruct
from align.fitting.migration.upgrade import upgrade
from align.fitting.multi_vector.fit import fit_meta_tokens
from align.fitting.training.config import TrainConfig
from align.fitting.training.train import train
from tests.helpers.planted import shared_factors

N, SEEN = 120, 80


def planted(n=N, widths=(12, 10), seed=0):
    return PairedEmbeddings.from_arrays(*shared_factors(n, widths, shared=4, noise=0.5, seed=seed))


def unknown(adapter):
    """The same maps, put together by hand."""
    return Adapter(adapter.source_map, adapter.target_map, adapter.card)


@pytest.fixture(scope="module")
def pairs():
    return planted()


@pytest.fixture(scope="module")
def items(pairs):
    return TrainingItems.of(pairs.source[:SEEN], pairs.target[:SEEN])


@pytest.fixture(scope="module")
def fitted(pairs):
    return align.fit(pairs.take(range(SEEN)), effort="fast")


def expected(n=N, seen=SEEN):
    return torch.arange(n) < seen


def test_training_pairs_differ_from_all_others(fitted, pairs):
    found = fitted.trained_on(pairs)
    assert found.dtype == torch.bool and found.equal(expected())


@pytest.mark.parametrize("method", [asif, centering, csa, pls, procrustes, rcca, ridge])
def test_every_closed_form_remembers(method):
    pairs = planted(widths=(6, 6))
    options = {"k": 9} if method is asif else {}
    adapter = method(pairs.source[:SEEN], pairs.target[:SEEN], **options)
    assert adapter.trained_on(pairs).equal(expected())


def test_a_query_only_adapter_remembers(pairs):
    adapter = align.fit(pairs.take(range(SEEN)), effort="fast", side="source")
    assert adapter.trained_on(pairs).equal(expected())


def test_a_saved_adapter_remembers(fitted, pairs, tmp_path):
    fitted.save(tmp_path / "adapter")
    assert align.load(tmp_path / "adapter").trained_on(pairs).equal(expected())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_items_are_known_after_rounding_to(dtype, fitted, pairs):
    stored = replace(
        pairs, source=pairs.source.to(dtype).float(), target=pairs.target.to(dtype).float()
    )
    assert fitted.trained_on(stored).equal(expected())


def test_items_are_known_after_noise_of_another_batch_size(fitted, pairs, rng):
    def shaken(x):
        return x * (1 + 1e-4 * torch.randn(x.shape, generator=rng))

    stored = replace(pairs, source=shaken(pairs.source), target=shaken(pairs.target))
    assert fitted.trained_on(stored).equal(expected())


def test_length_and_order_do_not_matter(fitted, pairs, rng):
    order = torch.randperm(N, generator=rng)
    shuffled = pairs.take(order)
    longer = replace(shuffled, source=1e-20 * shuffled.source, target=1e20 * shuffled.target)
    assert fitted.trained_on(longer).equal(expected()[order])


def test_training_items_in_other_pairs_were_trained_on_too(items, pairs):
    assert items.include(pairs.source[:SEEN], pairs.target[:SEEN].flip(0)).all()


def test_a_pair_with_one_training_item_counts(items, pairs):
    new = planted(seed=1)
    assert items.include(pairs.source[:SEEN], new.target[:SEEN]).all()
    assert items.include(new.source[:SEEN], pairs.target[:SEEN]).all()


@pytest.mark.parametrize(("partners", "tells"), [(COMMON, True), (COMMON + 1, False)])
def test_an_item_that_many_pairs_shared_does_not_count_by_itself(partners, tells):
    seen, new = planted(), planted(seed=1)
    label = seen.target[:1]
    items = TrainingItems.of(seen.source[:partners], label.expand(partners, -1))
    assert items.include(new.source[:5], label.expand(5, -1)).all() == tells
    # A photo of the class that was in training is known by itself.
    assert items.include(seen.source[:5], label.expand(5, -1)).all()


def test_rows_of_one_number_differ():
    eye = torch.eye(200)
    items = TrainingItems.of(eye[:100], eye[:100])
    assert items.include(eye, eye).equal(expected(200, 100))


def test_parts_that_an_item_lacks_are_part_of_it(rng):
    x, y = torch.randn(60, 9, generator=rng), torch.randn(60, 5, generator=rng)
    x[::2, :4] = 0
    pairs = PairedEmbeddings.from_arrays(x, y, source_parts=(4, 5))
    adapter = align.fit(pairs.take(range(40)), effort="fast")
    assert adapter.trained_on(pairs).equal(expected(60, 40))


def test_pictures_of_emoji_are_known_by_exact_copies_alone():
    files = emoji_pairs().target
    x = torch.stack(
        [torch.from_numpy(np.array(Image.open(f).convert("RGBA"))).float() for f in files]
    ).flatten(1)
    rows = {}
    for row, picture in enumerate(x.numpy()):
        rows.setdefault(picture.tobytes(), []).append(row)
    old = torch.tensor([each[0] for each in rows.values()])
    half = len(old) // 2
    items = TrainingItems.of(x[old[:half]], x[old[:half]])
    assert items.include(x[old], x[old]).equal(expected(len(old), half))


def test_many_rows_of_one_direction_do_not_fill_memory():
    x = torch.ones(3_000, 4)
    x[:, 0] += torch.arange(3_000) * 1e-7
    items = TrainingItems.of(x, x)
    # Everything is compared with everything: 9 million pairs, a block at a time.
    assert items.include(x, x).all()


def test_training_adds_its_pairs(pairs):
    first, second = pairs.take(range(50)), pairs.take(range(30, SEEN))
    start = rcca(first.source, first.target)
    trained = train(start, second, config=TrainConfig(steps=2))
    assert trained.trained_on(pairs).equal(expected())
    assert len(trained.training_items.source) == SEEN
    assert start.trained_on(pairs).equal(expected(seen=50))
    drawn = linear_heads(12, 10, generator=torch.Generator().manual_seed(0))
    trained = train(drawn, second, config=TrainConfig(steps=2))
    assert trained.trained_on(pairs)[30:].equal(expected()[30:])


def test_a_residual_and_instructions_keep_what_is_remembered(fitted, pairs):
    assert residual(fitted).trained_on(pairs).equal(expected())
    told = instructed(fitted, 3)
    assert told.trained_on(pairs).equal(expected())
    asked = with_instructions(pairs.source, torch.randn(N, 3))
    assert told.trained_on(replace(pairs, source=asked)).equal(expected())


def test_learning_instructions_keeps_what_is_remembered(pairs, rng):
    seen = replace(pairs.take(range(SEEN)), instructions=torch.randn(SEEN, 3, generator=rng))

    def closed(data):
        return rcca(data.source, data.target)

    found = instruct(closed(seen), seen, fit_adapter=closed, config=TrainConfig(steps=2))
    assert found.trained_on(pairs).equal(expected())


def test_an_upgrade_remembers_its_items(pairs):
    found = upgrade(pairs.source[:SEEN], pairs.target[:SEEN]).adapter
    assert found.trained_on(pairs).equal(expected())


@pytest.mark.parametrize("knows", [True, False])
def test_meta_tokens_remember(pairs, knows, tmp_path):
    seen = pairs.take(range(SEEN))
    given = rcca(seen.source, seen.target)
    given = given if knows else unknown(given)
    head = fit_meta_tokens(
        TokenPairs(seen), asking=2, vectors=3, epochs=0, fit_adapter=lambda _: given
    )
    assert head.trained_on(TokenPairs(pairs)).equal(expected())
    assert (given.training_items is None) != knows, "what was given stays as it was"
    head.save(tmp_path / "head")
    again = align.load_meta_tokens(tmp_path / "head")
    assert again.trained_on(TokenPairs(pairs)).equal(expected())


def test_nobody_knows_what_maps_made_by_hand_were_fitted_on(pairs, tmp_path):
    adapter = Adapter(IdentityMap(12), IdentityMap(12), Card("by hand", 0, 12, 12))
    adapter.save(tmp_path / "adapter")
    for each in (adapter, align.load(tmp_path / "adapter")):
        assert each.training_items is None
        with pytest.raises(ValueError, match=r"does not remember its training pairs.*apart your"):
            each.trained_on(pairs)


def test_pairs_of_other_encoders_are_refused(pairs):
    named = replace(pairs, source_fingerprint="a", target_fingerprint="b")
    adapter = align.fit(named.take(range(SEEN)), effort="fast")
    with pytest.raises(ValueError, match="source side was fitted on vectors of a; got vectors of"):
        adapter.trained_on(replace(named, source_fingerprint="c"))
    with pytest.raises(ValueError, match=r"source embeddings must have 12 columns"):
        adapter.trained_on(replace(named, source=named.source[:, :11]))
    with pytest.raises(ValueError, match=r"every row of target embeddings needs a direction"):
        adapter.trained_on(replace(named, target=named.target * (torch.arange(N) > 2)[:, None]))
