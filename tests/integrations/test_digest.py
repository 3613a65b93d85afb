"""The name of what an embedder computes: another for all that gives other vectors."""

import pickle

import pytest
import torch
from torch import nn

import align
from align.adapters.adapter import Adapter
from align.adapters.corrections.hubness import InvertedSoftmax
from align.adapters.digest import adapter_digest, check_digest
from tests.helpers.lookups import lookup
from tests.integrations import world


def test_equal_adapters_have_one_digest_wherever_they_come_from(tmp_path):
    digest = adapter_digest(world.corrected_adapter().components())
    assert digest == adapter_digest(world.corrected_adapter().components())
    world.corrected_adapter().save(tmp_path / "adapter")
    assert digest == adapter_digest(align.load(tmp_path / "adapter").components())


def test_weights_corrections_and_settings_change_the_digest():
    adapter = world.corrected_adapter()
    seen = [
        adapter_digest(adapter.components()),
        adapter_digest(world.plain_adapter().components()),
    ]
    adapter.reference.hubness = InvertedSoftmax(20.0)
    seen.append(adapter_digest(adapter.components()))
    with torch.no_grad():
        adapter.target_map.weight[0, 0] += 1e-6
    seen.append(adapter_digest(adapter.components()))
    seen.append(adapter_digest(adapter.components(), side="target"))
    seen.append(adapter_digest(adapter.components(), side="source"))
    assert len(set(seen)) == 6


def test_what_an_adapter_remembers_of_training_does_not_change_the_digest():
    adapter = world.plain_adapter()
    assert adapter.training_items is not None
    forgetful = Adapter(adapter.source_map, adapter.target_map, adapter.card)
    assert adapter_digest(forgetful.components()) == adapter_digest(adapter.components())


def test_encoders_count_and_none_is_built_for_the_digest():
    adapter = world.plain_adapter()
    bare = align.Embedder(adapter)
    full = align.Embedder(adapter, source=world.questions(), target=world.answers())
    other = align.Embedder(
        adapter, source=world.questions(), target=lookup("answers ", world.TARGET)
    )
    seen = {each.digest() for each in (bare, full, other)}
    seen |= {full.digest(modality="code"), full.digest(modality="text")}
    assert len(seen) == 5
    assert full.digest() == pickle.loads(pickle.dumps(full.digest()))


def test_a_digest_that_does_not_match_is_refused_with_both():
    adapter = world.plain_adapter()
    check_digest(adapter.components(), None, "any")
    check_digest(adapter.components(), adapter_digest(adapter.components()), "same")
    with pytest.raises(ValueError, match=r"must be the one .* 0123; 'folder' is now [0-9a-f]{16}"):
        check_digest(adapter.components(), "0123", "folder")


def test_maps_of_other_kinds_are_refused():
    class Other(nn.Linear):
        dim = d_in = 3

    adapter = Adapter(Other(3, 3), Other(3, 3), world.plain_adapter().card)
    with pytest.raises(TypeError, match="Other"):
        adapter_digest(adapter.components())
