import json

import pytest
import torch

from align.data.embeddings import Embeddings, PairedEmbeddings
from align.metrics.estimates import METRICS
from align.metrics.evaluation import evaluate
from align.metrics.ranks import mean_reciprocal_rank, median_rank, ranks, recall_at_k


class Same:
    """Leaves both sides where they are; remembers what it was given."""

    def __init__(self):
        self.seen = []

    def queries(self, x, /, *, side):
        self.seen.append(("queries", side, x))
        return x.vectors

    def gallery(self, x, /, *, side):
        self.seen.append(("gallery", side, x))
        return x.vectors


class Noisy(Same):
    """Adds fixed noise to the queries."""

    def __init__(self, scale, seed=5):
        super().__init__()
        self.scale, self.seed = scale, seed

    def queries(self, x, /, *, side):
        rng = torch.Generator().manual_seed(self.seed)
        return x.vectors + self.scale * torch.randn(x.vectors.shape, generator=rng)


def pairs(rng, n=60, noise=0.5, d=8):
    target = torch.randn(n, d, generator=rng)
    return PairedEmbeddings.from_arrays(target + noise * torch.randn(n, d, generator=rng), target)


def captioned(rng, photos=20, captions=5, noise=0.6):
    """Captions on the source side, each photo repeated on the target side."""
    photo = torch.randn(photos, 8, generator=rng).repeat_interleave(captions, dim=0)
    caption = photo + noise * torch.randn(photo.shape, generator=rng)
    groups = [f"photo {i // captions}" for i in range(len(photo))]
    return PairedEmbeddings.from_arrays(caption, photo, groups=groups)


def test_both_directions_and_their_mean_are_those_of_ranking(rng):
    paired = pairs(rng)
    found = evaluate(paired, Same())
    forth, back = ranks(paired.source, paired.target), ranks(paired.target, paired.source)
    assert found.source_to_target.ranks.tolist() == forth.tolist()
    assert found.target_to_source.ranks.tolist() == back.tolist()
    for metrics, one in [
        (found.source_to_target.metrics, forth),
        (found.target_to_source.metrics, back),
    ]:
        for k in (1, 5, 10):
            assert metrics[f"recall_at_{k}"].value == pytest.approx(recall_at_k(one, k))
        assert metrics["mean_reciprocal_rank"].value == pytest.approx(mean_reciprocal_rank(one))
        assert metrics["median_rank"].value == median_rank(one)
    for name in METRICS:
        forth_value = found.source_to_target.metrics[name].value
        back_value = found.target_to_source.metrics[name].value
        assert found.mean[name].value == pytest.approx((forth_value + back_value) / 2)


def test_every_interval_holds_its_value(rng):
    found = evaluate(pairs(rng, noise=1.5), Same())
    for metrics in (found.source_to_target.metrics, found.target_to_source.metrics, found.mean):
        assert set(metrics) == set(METRICS)
        for name, estimate in metrics.items():
            assert estimate.low <= estimate.value <= estimate.high, name
            assert estimate.low < estimate.high, name


def test_each_side_is_asked_for_its_own_role(rng):
    adapter = Same()
    evaluate(pairs(rng), adapter)
    assert [(role, side) for role, side, _ in adapter.seen] == [
        ("queries", "source"), ("gallery", "target"), ("queries", "target"), ("gallery", "source"),
    ]  # fmt: skip


def test_the_adapter_sees_the_fingerprint_of_each_side(rng):
    x, y = torch.randn(2, 6, 3, generator=rng)
    ids = tuple("abcdef")
    adapter = Same()
    evaluate(
        PairedEmbeddings.from_arrays(Embeddings(x, "text-1", ids), Embeddings(y, "photo-1", ids)),
        adapter,
    )
    assert {(side, x.fingerprint) for _, side, x in adapter.seen} == {
        ("source", "text-1"),
        ("target", "photo-1"),
    }


def test_five_captions_of_a_photo_are_five_queries_and_one_gallery_photo(rng):
    found = evaluate(captioned(rng), Same())
    assert len(found.source_to_target.ranks) == 100
    assert found.source_to_target.gallery_size == 20
    assert len(found.target_to_source.ranks) == 20
    assert found.target_to_source.gallery_size == 100
    assert found.target_to_source.ids == tuple(str(i) for i in range(0, 100, 5))
    assert found.source_to_target.groups.tolist() == [i // 5 for i in range(100)]


def test_any_caption_of_the_photo_answers_it():
    # The photo's second caption matches it exactly; its first is as far away as can be.
    photo = torch.eye(2).repeat_interleave(2, dim=0)
    caption = torch.tensor([[-1.0, 0.0], [1.0, 0.0], [0.0, -1.0], [0.0, 1.0]])
    paired = PairedEmbeddings.from_arrays(caption, photo, groups=["a", "a", "b", "b"])
    found = evaluate(paired, Same())
    assert found.target_to_source.ranks.tolist() == [1, 1]
    assert found.source_to_target.ranks.tolist() == [2, 1, 2, 1]


def test_equal_vectors_of_different_groups_stay_apart():
    x = torch.eye(3)[[0, 0, 1]]
    found = evaluate(PairedEmbeddings.from_arrays(torch.eye(3), x), Same())
    assert found.source_to_target.gallery_size == 3
    assert len(found.target_to_source.ranks) == 3
    # The two equal gallery rows tie, and the tie counts against both queries of theirs.
    assert found.source_to_target.ranks.tolist() == [2, 3, 3]


def test_captions_of_one_photo_do_not_narrow_the_interval(rng):
    paired = captioned(rng, photos=40, noise=0.0)
    distance = torch.rand(40, generator=rng).repeat_interleave(5)[:, None] * 3
    caption = paired.source + distance * torch.randn(40, 8, generator=rng).repeat_interleave(5, 0)
    caption = caption + 1e-4 * torch.randn(200, 8, generator=rng)
    grouped = PairedEmbeddings.from_arrays(caption, paired.target, groups=paired.groups)
    alone = grouped.take(range(0, 200, 5))
    five = evaluate(grouped, Same()).source_to_target.metrics["mean_reciprocal_rank"]
    one = evaluate(alone, Same()).source_to_target.metrics["mean_reciprocal_rank"]
    assert five.high - five.low == pytest.approx(one.high - one.low, rel=0.15)


def test_an_evaluation_is_repeatable_and_json_ready(rng):
    paired = pairs(rng)
    found = evaluate(paired, Same(), seed=3).to_dict()
    assert found == evaluate(paired, Same(), seed=3).to_dict()
    assert found != evaluate(paired, Same(), seed=4).to_dict()
    assert json.loads(json.dumps(found)) == found
    assert found["source_to_target"]["gallery"] == 60
    assert set(found["mean"]["recall_at_10"]) == {"value", "low", "high", "chance"}


def test_a_mapped_nan_is_refused(rng):
    class Broken(Same):
        def gallery(self, x, /, *, side):
            return x.vectors / 0 * 0

    with pytest.raises(ValueError, match="gallery must be finite"):
        evaluate(pairs(rng), Broken())
