"""A state of the pairs: samples of whole groups, shared products, and where each comes from."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
import torch
import torch.nn.functional as F

from align.data.embeddings import PairedEmbeddings
from align.metrics.evaluation import evaluate
from align.scoring.inner_products import mutual_products
from probes.reporting.standard import STANDARD
from probes.space import K, SearchSides, Space, once_per_space, whole_groups


def clouds(rng, n=60, d=8, groups=None):
    source, target = (F.normalize(torch.randn(n, d, generator=rng), dim=1) for _ in range(2))
    codes = torch.arange(n) if groups is None else torch.arange(n) % groups
    return Space(source, target, codes, seed=3)


def test_a_sample_holds_whole_groups_and_says_where_they_stood(rng):
    space = clouds(rng, n=60, groups=20)
    drawn, rows = space.sample(31)
    assert drawn.n == len(rows) == 30
    assert rows.tolist() == sorted(rows.tolist())
    torch.testing.assert_close(drawn.source, space.source[rows])
    assert set(drawn.codes.tolist()) == set(range(10))
    held = set(space.codes[rows].tolist())
    assert all((space.codes[rows] == code).sum() == 3 for code in held)


def test_states_of_the_same_pairs_draw_the_same_sample(rng):
    raw = clouds(rng)
    other = Space(raw.target, raw.source, raw.codes, seed=3, before=raw)
    assert other.sample(20).rows.tolist() == raw.sample(20).rows.tolist()
    assert other.sample(20).space.before is raw.sample(20).space
    reseeded = Space(raw.source, raw.target, raw.codes, seed=4)
    assert reseeded.sample(20).rows.tolist() != raw.sample(20).rows.tolist()


def test_a_sample_carries_the_corrected_search_along(rng):
    plain = clouds(rng)
    wide = tuple(SearchSides(torch.cat([a, a], 1), torch.cat([b, b], 1)) for a, b in plain.searches)
    corrected = Space(plain.source, plain.target, plain.codes, 3, corrected=wide)
    drawn, rows = corrected.sample(20)
    torch.testing.assert_close(drawn.searches[1].gallery, wide[1].gallery[rows])


def test_all_pairs_are_their_own_sample(rng):
    space = clouds(rng)
    assert space.sample(60).space is space


def test_a_group_larger_than_the_sample_is_refused(rng):
    codes = torch.zeros(50, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"fit into 20 rows; the first group drawn has 50"):
        whole_groups(codes, 20, rng)


def test_ranks_are_those_of_evaluate(rng):
    space = clouds(rng, groups=30)
    groups = [str(code) for code in space.codes.tolist()]
    paired = PairedEmbeddings.from_arrays(space.source, space.target, groups=groups)

    class Raw:
        def queries(self, x, *, side):
            return x.vectors

        gallery = queries

    found = evaluate(paired, Raw())
    assert space.ranks[0].first.tolist() == found.source_to_target.ranks.tolist()
    assert space.ranks[1].first.tolist() == found.target_to_source.ranks.tolist()


def test_what_is_retrieved_comes_from_the_side_that_is_searched(rng):
    space = clouds(rng)
    best = (space.source @ space.target.T).topk(K).indices
    assert space.retrieved[0].tolist() == best.tolist()
    assert space.retrieved[1].tolist() == (space.target @ space.source.T).topk(K).indices.tolist()


def test_generators_differ_by_purpose_and_seed_only(rng):
    space = clouds(rng)
    draws = [torch.rand(1, generator=space.generator(purpose)).item() for purpose in "aab"]
    assert draws[0] == draws[1] != draws[2]


def test_all_searches_of_a_report_read_one_product(rng, monkeypatch):
    """Ranks, neighbours, chance, and placements of both directions: the scores are the same."""
    made = []

    def counted(x, y):
        made.append((len(x), len(y)))
        return mutual_products(x, y)

    monkeypatch.setattr("probes.space.mutual_products", counted)
    space = clouds(rng)
    names = "recall_at_1", "median_rank", "foscttm", "matching_auc", "hubness_skewness_target"
    for name in names:
        next(each for each in STANDARD if each.name == name).measure(space)
    assert made == [(60, 60)]


def test_what_is_kept_of_a_space_is_computed_once_by_several_threads(rng):
    made, begun = [], Barrier(4)

    @once_per_space
    def measure(space, side):
        made.append(side)
        return torch.zeros(1)

    def ask(side):
        begun.wait()
        return measure(space, side)

    space = clouds(rng)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(ask, ["source", "source", "target", "source"]))
    assert sorted(made) == ["source", "target"]
    assert found[0] is found[1] is found[3] and found[0] is not found[2]
    assert measure(clouds(rng), "source") is not found[0]


def test_what_failed_is_tried_again(rng):
    @once_per_space
    def measure(space):
        raise ValueError("not here")

    space = clouds(rng)
    for _ in range(2):
        with pytest.raises(ValueError, match="not here"):
            measure(space)
