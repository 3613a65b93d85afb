import json

import pytest
import torch

import align
import probes
from align.adapters.card import Card
from align.adapters.maps.linear import LinearMap, centred, directions
from align.adapters.maps.parts import Parts, present
from align.data.embeddings import PairedEmbeddings
from align.fitting.model_selection.cross_validation import CrossValidation, Unpaired
from tests.helpers.planted import shared_factors, unit


@pytest.fixture
def lacking(rng):
    """Rows of parts of widths 3 and 5: both, only the first, only the second."""
    x = torch.randn(30, 8, generator=rng) + 1
    x[10:20, 3:] = 0
    x[20:, :3] = 0
    return x


@pytest.fixture(scope="module")
def mixed():
    """80 pairs whose targets hold one of two parts, of widths 6 and 6."""
    source, target = shared_factors(80, (8, 6), shared=4, noise=0.5)
    blocks = torch.zeros(80, 12)
    blocks[:40, :6], blocks[40:, 6:] = target[:40], target[40:] @ torch.diag(torch.arange(1.0, 7))
    return PairedEmbeddings.from_arrays(source, blocks, target_parts=(6, 6))


@pytest.fixture(scope="module")
def fitted(mixed):
    return align.fit(mixed, effort="fast")


@pytest.mark.parametrize("root", [False, True])
def test_one_part_is_prepared_as_a_plain_vector(pairs, root):
    x = pairs[0]
    parts = Parts.even((8,))
    mean = directions(x, root=root).mean(dim=0)
    torch.testing.assert_close(parts.mean(x, root=root), mean)
    torch.testing.assert_close(
        parts.centred(x, mean, root=root), centred(x, mean, root=root), rtol=1e-5, atol=1e-6
    )
    weight = torch.eye(8)
    one = LinearMap(mean, weight, root=root, parts=parts)
    torch.testing.assert_close(one(x), LinearMap(mean, weight, root=root)(x))


def test_each_part_has_its_share_of_the_squared_norm(lacking):
    parts = Parts((3, 5), (0.25, 0.75))
    both = lacking[:10]
    prepared = parts.centred(both, parts.mean(lacking))
    torch.testing.assert_close(prepared[:, :3].square().sum(1), torch.full((10,), 0.25))
    torch.testing.assert_close(prepared[:, 3:].square().sum(1), torch.full((10,), 0.75))
    centred_part = unit(unit(both[:, :3]) - parts.mean(lacking)[:3])
    torch.testing.assert_close(unit(prepared[:, :3]), centred_part)


def test_an_absent_part_stays_zero_and_the_other_takes_over_its_share(lacking):
    parts = Parts((3, 5), (0.25, 0.75))
    prepared = parts.centred(lacking, parts.mean(lacking))
    assert not prepared[10:20, 3:].any() and not prepared[20:, :3].any()
    torch.testing.assert_close(prepared.norm(dim=1), torch.ones(30))


def test_the_mean_of_a_part_is_over_the_rows_that_hold_it(lacking):
    parts = Parts.even((3, 5))
    mean = parts.mean(lacking)
    torch.testing.assert_close(mean[:3], unit(lacking[:20, :3]).mean(dim=0))
    first = parts.mean(lacking[10:20])
    assert not first[3:].any() and first.isfinite().all()


def test_a_longer_part_counts_no_more(lacking):
    parts = Parts.even((3, 5))
    longer = torch.cat([100 * lacking[:, :3], lacking[:, 3:]], dim=1)
    mean = parts.mean(lacking)
    torch.testing.assert_close(parts.centred(longer, mean), parts.centred(lacking, mean))


def test_presence_is_a_coordinate_that_is_not_zero(lacking):
    assert present(lacking[:, :3]).tolist() == 20 * [True] + 10 * [False]


@pytest.mark.parametrize(
    ("widths", "shares"),
    [((3, 5), (1.0,)), ((3, 5), (0.0, 1.0)), ((3, 5), (0.5, 0.6)), ((), ())],
    ids=["count", "zero", "sum", "none"],
)
def test_shares_must_be_one_per_part_positive_and_sum_to_one(widths, shares):
    with pytest.raises(ValueError, match="parts need a positive share each, summing to 1; got"):
        Parts(widths, shares)


def test_folds_are_prepared_as_the_final_map_prepares_new_rows(mixed, rng):
    parts = (None, Parts((6, 6), (0.3, 0.7)))
    cv = CrossValidation(mixed, folds_wanted=2, seed=0, unpaired=Unpaired(), parts=parts)
    prepared = cv.prepared(1, False)
    side = LinearMap(prepared.mean, torch.randn(12, 4, generator=rng), parts=parts[1])
    rows = torch.arange(80)
    torch.testing.assert_close(cv._side(1, side, rows), side(mixed.target))


def test_a_saved_adapter_of_parts_gives_the_same_bits(mixed, fitted, tmp_path):
    fitted.save(tmp_path / "adapter")
    again = align.load(tmp_path / "adapter")
    assert again.queries(mixed.source).equal(fitted.queries(mixed.source))
    assert again.gallery(mixed.target).equal(fitted.gallery(mixed.target))


def test_parts_in_a_config_must_cover_the_width(mixed, tmp_path, rng):
    parts = Parts((6, 6), (0.25, 0.75))
    side = LinearMap(torch.zeros(12), torch.randn(12, 6, generator=rng), parts=parts)
    adapter = align.Adapter(
        LinearMap(torch.zeros(8), torch.randn(8, 6, generator=rng)), side, Card("parts", 80, 8, 12)
    )
    adapter.save(tmp_path / "adapter")
    config = json.loads((tmp_path / "adapter/config.json").read_text())
    assert config["target_map"]["parts"] == {"widths": [6, 6], "shares": [0.25, 0.75]}
    loaded = align.load(tmp_path / "adapter").target_map
    assert loaded.parts == parts and loaded(mixed.target).equal(side(mixed.target))
    config["target_map"]["parts"]["widths"] = [6, 5]
    (tmp_path / "adapter/config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"target_map.parts.widths must sum to 12.*got \[6, 5\]"):
        align.load(tmp_path / "adapter")


def test_mixed_items_are_evaluated_indexed_and_probed(mixed, fitted, tmp_path):
    found = align.evaluate(mixed, fitted)
    assert found.source_to_target.gallery_size == 80
    index = align.Index.create(tmp_path / "idx", fitted)
    index.add(mixed.ids, mixed.target)
    index.save()
    hits = align.Index.open(tmp_path / "idx").search(mixed.source, k=1)
    share = sum(hit[0].id == name for hit, name in zip(hits, mixed.ids, strict=True)) / 80
    assert share == pytest.approx(found.source_to_target.metrics["recall_at_1"].value)
    report = probes.report(mixed, fitted, probes=probes.STANDARD[:2])
    assert "aligned" in str(report)
