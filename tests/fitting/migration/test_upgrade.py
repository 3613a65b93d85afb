import json

import pytest
import torch
import torch.nn.functional as F

import align
from align.data.embeddings import Embeddings
from align.fitting.migration.held_out import OldIndex
from align.fitting.migration.upgrade import upgrade
from align.metrics.chance import NoBetterThanChance
from align.metrics.ranks import ranks
from tests.helpers.planted import rotation, unit

N = 400


@pytest.fixture(scope="module")
def old():
    """Items of an index in 40 loose clusters, off-centre, unit norm."""
    rng = torch.Generator().manual_seed(1)
    centres = torch.randn(40, 16, generator=rng)[torch.arange(N) % 40]
    return unit(centres + 0.5 * torch.randn(N, 16, generator=rng) + 0.7)


def turned_and_shifted(x, d, seed=2):
    """Another encoder's view: a wider space, turned, with another mean."""
    rng = torch.Generator().manual_seed(seed)
    wide = F.pad(x, (0, d - x.shape[1])) @ rotation(d, rng)
    return wide + torch.randn(d, generator=rng)


def test_a_turned_space_keeps_all_answers(old):
    new = F.pad(old, (0, 8)) @ rotation(24, torch.Generator().manual_seed(2))
    found = upgrade(new, old)
    assert found.kept_at_1.value > 0.99 and found.kept_at_10.value > 0.99
    assert found.queries == N and found.index_size == N - 1
    own = ranks(found.adapter.queries(new), unit(old))
    assert (own == 1).all()


def test_the_index_is_left_alone(old):
    found = upgrade(turned_and_shifted(old, 24), old)
    torch.testing.assert_close(found.adapter.gallery(3 * old), old)
    assert found.adapter.queries(turned_and_shifted(old, 24)).shape == (N, 16)


def test_an_offset_is_learned_where_the_old_space_has_a_mean(old):
    rng = torch.Generator().manual_seed(3)
    centred = old - old.mean(dim=0)
    new = centred @ rotation(16, rng) + 0.05 * torch.randn(N, 16, generator=rng)
    found = upgrade(new, old)
    torch.testing.assert_close(found.adapter.source_map.offset, old.mean(dim=0))
    assert found.kept_at_10.value > 0.5


def test_unrelated_encoders_keep_next_to_nothing(old):
    new = torch.randn(N, 24, generator=torch.Generator().manual_seed(4))
    with pytest.warns(NoBetterThanChance, match="no better than chance: are the rows matched?"):
        found = upgrade(new, old)
    assert found.kept_at_10.value < 0.12 and found.kept_at_10.low <= found.kept_at_10.value
    card = found.adapter.card
    assert card.better_than_chance is False and card.verdict.startswith("no better than chance")
    assert found.chance["kept_at_10"] == pytest.approx(found.kept_at_10.value, abs=0.02)


@pytest.mark.parametrize("labelled", [False, True])
def test_shuffled_items_are_no_better_than_chance_though_hubs_are_kept(old, labelled):
    # A cloud with a clear middle: what lies there is found by everyone, matched or not.
    rng = torch.Generator().manual_seed(6)
    x = old + 2 * old.mean(dim=0)
    groups = [str(row // 2) for row in range(N)] if labelled else None
    with pytest.warns(NoBetterThanChance):
        found = upgrade(x[torch.randperm(N, generator=rng)], x, groups=groups)
    if not labelled:  # a random choice of ten would keep 0.025
        assert found.kept_at_10.value > 0.03 and found.chance["kept_at_10"] > 0.026
    assert not found.adapter.card.better_than_chance


def test_a_weak_upgrade_is_better_than_chance(old):
    rng = torch.Generator().manual_seed(7)
    found = upgrade(turned_and_shifted(old, 24) + 0.7 * torch.randn(N, 24, generator=rng), old)
    assert found.adapter.card.better_than_chance
    assert "times as many as by chance; " in found.adapter.card.verdict
    assert json.loads(json.dumps(found.to_dict()))["chance"] == dict(found.chance)


def test_the_chance_of_what_is_kept_is_that_of_other_queries():
    rng = torch.Generator().manual_seed(8)
    codes = torch.arange(60) // 3
    x = unit(torch.randn(60, 6, generator=rng))
    index = OldIndex(x, x, codes, True)
    own = torch.arange(40)
    found = torch.stack([torch.randperm(60, generator=rng)[:10] for _ in own])
    wanted = torch.stack([torch.randperm(60, generator=rng)[:10] for _ in own])
    expected = torch.zeros(3, dtype=torch.float64)
    for shift in range(1, 40):
        other = own.roll(shift)
        columns = index._values(found, wanted[other], own)
        columns[:, 2] = (codes[found] == codes[other, None]).any(dim=1).double()
        expected += columns.mean(dim=0) / 39
    torch.testing.assert_close(index._at_random(found, wanted, own), expected)


def test_the_best_of_all_maps_is_chosen_and_all_are_listed(old):
    rng = torch.Generator().manual_seed(5)
    new = turned_and_shifted(old, 24) + 0.3 * torch.randn(N, 24, generator=rng)
    found = upgrade(new, old)
    kept = [entry.kept_at_10 for entry in found.tried]
    assert kept == sorted(kept, reverse=True)
    assert [entry.chosen for entry in found.tried] == [True] + [False] * (len(kept) - 1)
    assert found.kept_at_10.value == pytest.approx(kept[0])
    assert found.kept_at_10.low < found.kept_at_10.value < found.kept_at_10.high
    names = {entry.name.split()[0].rstrip(",") for entry in found.tried}
    assert names == {"procrustes", "ridge", "rcca"}
    assert any("rank 8" in entry.name for entry in found.tried)
    assert found.tried[0].name in found.adapter.card.verdict
    assert found.tried[0].recall_at_10 is None and found.recall_kept is None


def test_an_encoder_that_is_the_old_one_may_stay_as_it_is(old):
    found = upgrade(old, old)
    assert {"as it is": 1.0}.items() <= {e.name: e.kept_at_10 for e in found.tried}.items()


def test_with_groups_the_map_with_the_best_recall_is_chosen(old):
    """The new encoder knows the clusters, the old one hardly: it can do better than before."""
    rng = torch.Generator().manual_seed(6)
    groups = [str(row % 40) for row in range(N)]
    noisy = unit(old + 0.4 * torch.randn(N, 16, generator=rng))
    found = upgrade(turned_and_shifted(old, 24), noisy, groups=groups)
    recalls = [entry.recall_at_10 for entry in found.tried]
    assert recalls == sorted(recalls, reverse=True) and found.tried[0].chosen
    assert found.recall_kept.value > 1
    assert found.recall_kept.low <= found.recall_kept.value <= found.recall_kept.high
    # By hand: a hit is an item of the cluster among the ten nearest, the item itself aside.
    scores = (noisy @ noisy.T).fill_diagonal_(-9)
    codes = torch.arange(N) % 40
    old_recall = (codes[scores.topk(10).indices] == codes[:, None]).any(dim=1).double().mean()
    assert found.recall_kept.value == pytest.approx(recalls[0] / old_recall.item())


def test_items_without_a_partner_do_not_ask(old):
    groups = [str(row % 40) if row < 200 else f"alone {row}" for row in range(N)]
    found = upgrade(turned_and_shifted(old, 24), old, groups=groups)
    assert found.queries == 200 and found.index_size == N - 1


def test_the_same_items_and_seed_give_the_same_adapter(old):
    new = turned_and_shifted(old, 24)
    first, second = upgrade(new, old, seed=3), upgrade(new, old, seed=3)
    assert first.to_dict() == second.to_dict()
    assert first.adapter.queries(new).equal(second.adapter.queries(new))


def test_an_upgrade_is_saved_and_remembers_its_encoders(old, tmp_path):
    ids = tuple(map(str, range(N)))
    new = turned_and_shifted(old, 24)
    found = upgrade(Embeddings(new, "new", ids), Embeddings(old, "old", ids))
    found.adapter.save(tmp_path / "upgrade")
    loaded = align.load(tmp_path / "upgrade")
    assert loaded.queries(new).equal(found.adapter.queries(new))
    assert json.loads(json.dumps(found.to_dict()))["card"]["target_fingerprint"] == "old"
    with pytest.raises(ValueError, match="was fitted on vectors of new; got vectors of old"):
        loaded.queries(Embeddings(new, "old", ids))


def test_few_or_unmatched_items_are_refused(old):
    with pytest.raises(ValueError, match=r"at least 50 items .* got 49"):
        upgrade(old[:49], old[:49])
    with pytest.raises(ValueError, match="row-matched"):
        upgrade(old[:60], old[:61])
    with pytest.raises(ValueError, match=r"groups of one item\. Leave groups out"):
        upgrade(old, old, groups=list(map(str, range(N))))
    with pytest.raises(ValueError, match="folds must lie in"):
        upgrade(old, old, folds=1)
