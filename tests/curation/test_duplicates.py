import pytest
import torch
import torch.nn.functional as F

from align.curation import duplicates
from align.curation.duplicates import equal_items, equal_vectors, near_vectors


def test_the_first_of_equal_items_is_kept_and_the_others_name_it():
    found = equal_items(["a dog", "a cat", " a dog\n", "A dog", "a cat"])
    assert found.stands_in.tolist() == [0, 1, 0, 3, 1]
    assert found.kept.tolist() == [0, 1, 3] and found.dropped.tolist() == [2, 4]
    assert found.clusters == ((0, 2), (1, 4)) and len(found) == 5
    assert found.similarity.tolist() == [1] * 5


def test_a_pair_repeats_another_only_if_both_sides_do():
    found = equal_items(["a", "a", "a"], [1, 2, 1])
    assert found.kept.tolist() == [0, 1]


def test_files_are_compared_by_what_they_hold(tmp_path):
    paths = [tmp_path / name for name in ("one.jpg", "two.jpeg", "three.jpg")]
    for path, held in zip(paths, (b"pixels", b"pixels", b"others"), strict=True):
        path.write_bytes(held)
    assert equal_items(paths).stands_in.tolist() == [0, 0, 2]


def test_a_text_is_not_the_file_it_hashes_to(tmp_path):
    path = tmp_path / "one.txt"
    path.write_text("one")
    assert equal_items(["one", path]).kept.tolist() == [0, 1]


def test_equal_vectors_are_equal_to_the_last_bit(rng):
    x = torch.randn(4, 3, generator=rng)
    x[2] = x[0]
    x[3] = x[1] * (1 + 1e-6)
    assert equal_vectors(x).stands_in.tolist() == [0, 1, 0, 3]


def planted(rng, n=300, d=24):
    """Rows of which the last third repeat one of the first third, nearly."""
    x = F.normalize(torch.randn(n, d, generator=rng), dim=1)
    origin = torch.randint(n // 3, (n // 3,), generator=rng)
    noise = 0.02 * F.normalize(torch.randn(n // 3, d, generator=rng), dim=1)
    x[-(n // 3) :] = x[origin] + noise
    return x, origin


def brute_force(sides, threshold):
    """Walk row by row over cosines in float64: what the definition says."""
    cosine = torch.stack([F.normalize(s.double(), dim=1) @ F.normalize(s.double(), dim=1).T
                          for s in sides]).amin(dim=0)  # fmt: skip
    kept, stands_in = [], []
    for row in range(len(cosine)):
        near = [other for other in kept if cosine[row, other] >= threshold]
        stands_in.append(max(near, key=lambda other: cosine[row, other]) if near else row)
        if not near:
            kept.append(row)
    return stands_in


@pytest.mark.parametrize("rows", [1024, 7])
def test_planted_near_duplicates_are_found_and_nothing_else(rng, rows, monkeypatch):
    monkeypatch.setattr(duplicates, "ROWS", rows)
    x, origin = planted(rng)
    found = near_vectors(x * 3, threshold=0.99)
    assert found.stands_in.tolist() == [*range(200), *origin.tolist()]
    assert found.similarity[200:].min() >= 0.99


@pytest.mark.parametrize("rows", [1024, 16])
@pytest.mark.parametrize("threshold", [0.3, 0.6])
def test_the_walk_over_blocks_is_the_walk_over_rows(rng, rows, threshold, monkeypatch):
    monkeypatch.setattr(duplicates, "ROWS", rows)
    sides = torch.randn(120, 4, generator=rng), torch.randn(120, 3, generator=rng)
    for looked_at in (sides, sides[:1]):
        found = near_vectors(*looked_at, threshold=threshold)
        assert found.stands_in.tolist() == brute_force(looked_at, threshold)
        assert 0 < len(found.dropped) < 119


def test_a_chain_of_neighbours_is_not_one_cluster():
    angles = torch.deg2rad(torch.arange(0.0, 60.0, 10))
    found = near_vectors(torch.stack([angles.cos(), angles.sin()], dim=1), threshold=0.97)
    # 10 degrees have a cosine of 0.985, 20 of 0.94: each second row is kept.
    assert found.kept.tolist() == [0, 2, 4]


def test_rows_of_one_direction_are_duplicates_at_a_threshold_of_one(rng):
    x = torch.randn(40, 768, generator=rng)
    lengths = torch.rand(40, 1, generator=rng) + 0.5
    found = near_vectors(torch.cat([x, lengths * x]), threshold=1.0)
    assert found.stands_in.tolist() == [*range(40), *range(40)]


def test_a_row_equally_like_two_kept_ones_is_a_duplicate_of_the_first(rng):
    """The bisector of two rows, in turned spaces where only rounding tells which is nearer."""
    turns = torch.linalg.qr(torch.randn(50, 16, 16, generator=rng)).Q
    flat = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    for turn in turns:
        assert near_vectors(flat @ turn[:2], threshold=0.7).stands_in.tolist() == [0, 1, 0]


def test_what_is_kept_can_be_taken(rng):
    from align.data.pairs import Pairs

    pairs = Pairs.from_lists(["a", "b", "a"], ["x", "y", "x"])
    kept = pairs.take(equal_items(pairs.source, pairs.target).kept)
    assert kept.ids == ("0", "1")


@pytest.mark.parametrize("threshold", [0, 1.5, float("nan")])
def test_a_threshold_out_of_range_is_refused(rng, threshold):
    with pytest.raises(ValueError, match=r"threshold must lie in \(0, 1\]"):
        near_vectors(torch.randn(3, 2, generator=rng), threshold=threshold)


@pytest.mark.parametrize("look", [equal_items, equal_vectors, near_vectors])
def test_sides_must_be_there_and_match(look, rng):
    with pytest.raises(ValueError, match="at least one side; got none"):
        look()
    with pytest.raises(ValueError, match="side 1 must have one entry per row, 3; got 2"):
        look(torch.randn(3, 2, generator=rng), torch.randn(2, 2, generator=rng))


def test_vectors_without_direction_are_refused():
    with pytest.raises(ValueError, match="every row of side 0 needs a direction"):
        near_vectors(torch.zeros(3, 2))
