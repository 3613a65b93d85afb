"""What ``scout`` finds where the answer was planted, and what it says where there is none."""

from __future__ import annotations

import warnings

import pytest
import torch

import align
from align.adapters.recipes.formulas import rcca_maps
from align.data.embeddings import PairedEmbeddings
from align.data.pairs import Pairs
from align.encoders.spec import load_encoder
from align.encoders.text import TextEncoder
from align.fitting.model_selection.cross_validation import MAP_REFERENCE, CrossValidation
from align.fitting.model_selection.map_search import NO_ROOTS, START
from align.fitting.model_selection.outcome import Outcome, screen
from align.fitting.scouting import search
from align.fitting.scouting.candidates import Candidate, says_something
from align.fitting.scouting.folded_side import FoldedSide, held_out_recall
from align.fitting.scouting.search import errors_for, scout
from tests.helpers.planted import rotation


@pytest.fixture(scope="session")
def planted(numbered, looked_up, drawn):
    """Six factors behind both sides: an encoder that shows them, a turned copy, a blurred one."""
    rng = torch.Generator().manual_seed(7)
    factors = drawn(6, 0)
    clear = factors + 0.15 * drawn(6, 1)
    sources = [
        looked_up("blurred", factors + 3 * drawn(6, 3)),
        looked_up("noise", drawn(6, 4)),
        looked_up("clear", clear),
        looked_up(
            "turned and wider", torch.cat([clear @ rotation(6, rng), torch.zeros(240, 2)], 1)
        ),
    ]
    return sources, looked_up("target", factors + 0.15 * drawn(6, 2))


@pytest.fixture(scope="session")
def scouted(planted, numbered):
    sources, target = planted
    return scout(numbered, sources=sources, targets=[target], most_parts=1)


def test_the_encoder_that_shows_the_factors_is_found_and_the_others_are_behind(scouted):
    by_name = {pair.source.name: pair for pair in scouted.pairs}
    assert scouted.best.source.name in ("clear", "turned and wider")
    assert not by_name["noise"].within_noise
    assert not by_name["blurred"].within_noise
    assert [pair.mrr for pair in scouted.pairs] == sorted(
        (pair.mrr for pair in scouted.pairs), reverse=True
    )
    assert scouted.chance.better


def test_a_turned_copy_of_the_best_is_within_the_noise_and_the_narrower_is_the_cheapest(scouted):
    by_name = {pair.source.name: pair for pair in scouted.pairs}
    assert by_name["clear"].within_noise and by_name["turned and wider"].within_noise
    assert scouted.cheapest is by_name["clear"]
    assert "within the noise" in scouted.verdict


def test_encoders_that_each_show_half_are_put_side_by_side(numbered, looked_up, drawn):
    factors = drawn(8, 0)
    halves = [
        looked_up(name, each + 0.2 * drawn(4, 5 + at))
        for at, (name, each) in enumerate(zip("ab", factors.split(4, dim=1), strict=True))
    ]
    target = looked_up("target", factors + 0.2 * drawn(8, 9))
    found = scout(numbered, sources=[*halves, looked_up("noise", drawn(4, 11))], targets=[target])
    assert isinstance(found.best.source, align.ConcatEncoder)
    assert {each.name for each in found.best.source.encoders} == {"a", "b"}
    assert found.best.dims == (8, 8)
    assert not any(pair.within_noise for pair in found.pairs[1:])
    # The winner is ready: its vectors are those that were scored.
    adapter = align.fit(numbered.encode(found.best.source, found.best.target), effort="fast")
    assert adapter.card.better_than_chance


def test_no_part_is_added_that_only_luck_speaks_for(numbered, looked_up, drawn, monkeypatch):
    clear = drawn(6, 0) + 0.3 * drawn(6, 1)
    best = looked_up("clear", clear)
    # Of many that tell nothing new, one seems to by luck.
    others = [looked_up(f"copy {seed}", clear + 0.1 * drawn(6, seed)) for seed in range(20, 28)]
    target = looked_up("target", drawn(6, 0) + 0.3 * drawn(6, 2))
    widths = []
    keep = search._Search._keep_if_wider_is_better

    def watched(own, wider):
        keep(own, wider)
        widths.append(len(own.best.source.parts))

    monkeypatch.setattr(search._Search, "_keep_if_wider_is_better", watched)
    scout(numbered, sources=[best, *others], targets=[target], most_parts=3)
    assert set(widths) == {1}


def test_no_more_parts_stand_side_by_side_than_are_allowed(numbered, looked_up, drawn):
    factors = drawn(9, 0)
    thirds = [
        looked_up(name, each + 0.2 * drawn(3, 5 + at))
        for at, (name, each) in enumerate(zip("abc", factors.split(3, dim=1), strict=True))
    ]
    target = looked_up("target", factors + 0.2 * drawn(9, 9))
    both = align.ConcatEncoder(*thirds[:2])
    two, three = (
        scout(numbered, sources=[both, thirds[2]], targets=[target], most_parts=most)
        for most in (2, 3)
    )
    assert two.best.dims == (6, 9)
    assert three.best.dims == (9, 9)
    assert len(three.best.source.encoders) == 3


def test_unrelated_sides_are_said_to_be_no_better_than_chance(numbered, looked_up, drawn):
    sources = [looked_up(f"noise {seed}", drawn(6, seed)) for seed in range(4)]
    with pytest.warns(align.NoBetterThanChance, match="the best of these pairs of encoders is no"):
        found = scout(
            numbered, sources=sources, targets=[looked_up("t", drawn(6, 9))], most_parts=1
        )
    assert "is told from chance" in found.verdict
    assert len(found.within_noise) == 3
    assert all(pair.agreement.p > 0.05 and not pair.agreement.calibrated for pair in found.pairs)


def test_held_out_recall_is_that_of_a_cross_validated_regularised_cca(planted, numbered):
    sources, target = planted
    x, y = (each.encode(numbered.source) for each in (sources[2], target))
    cv = CrossValidation(PairedEmbeddings.from_arrays(x, y), folds_wanted=5, seed=0)
    sides = (
        FoldedSide(Candidate(encoder, (rows,), 0.0), cv.folds)
        for encoder, rows in ((sources[2], x), (target, y))
    )
    each = []
    for fold in cv.folds:
        maps = rcca_maps(cv.moments(NO_ROOTS, fold), (START, START), 1.0)
        reference = cv.project(maps, fold.reference[:MAP_REFERENCE])
        each.append(screen(cv.project(maps, fold.held_out), reference))
    expected = Outcome.pooled(each, k=cv.k)
    found = held_out_recall(cv, *sides)
    assert torch.equal(found.reciprocal_ranks, expected.reciprocal_ranks)


def test_layers_and_poolings_are_looked_at_in_one_pass_and_the_store_keeps_them(
    bert, sbert, tmp_path, monkeypatch
):
    words = ("dog", "cat", "beach", "bridge", "red", "blue", "sits", "runs")
    texts = [f"{one} {two}" for one in words for two in words][:40]
    pairs = Pairs.from_lists(texts, [f"a {text} under" for text in texts])
    source, target = TextEncoder(bert), TextEncoder(sbert, layer=1)
    seen: list[str] = []
    run = TextEncoder._inputs

    def counted(encoder, batch, rows):
        seen.extend(batch)
        return run(encoder, batch, rows)

    monkeypatch.setattr(TextEncoder, "_inputs", counted)
    store = align.EmbeddingStore(tmp_path / "store")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", align.NoBetterThanChance)
        first = scout(pairs, sources=[source], targets=[target], store=store, most_parts=1)
        timed = 2 * (2 + 16)  # of each side
        assert len(seen) == 2 * len(texts) + timed
        again = scout(pairs, sources=[source], targets=[target], store=store, most_parts=1)
    assert len(seen) == 2 * len(texts) + 2 * timed
    assert {pair.names for pair in first.pairs} == {
        (each.spec, target.spec) for each in source.variants()
    }
    assert [pair.mrr for pair in again.pairs] == [pair.mrr for pair in first.pairs]
    for spec in first.best.specs:
        assert load_encoder(spec).dim == 16


def test_more_pairs_than_are_wanted_are_sampled_and_said_so(planted, numbered):
    sources, target = planted
    found = scout(numbered, sources=sources[2:3], targets=[target], most_pairs=100, seed=3)
    assert (found.n_pairs, found.n_given) == (100, 240)
    assert "on 100 pairs of 240" in found.verdict
    again = scout(numbered, sources=sources[2:3], targets=[target], most_pairs=100, seed=3)
    assert again.best.mrr == found.best.mrr


def test_groups_stay_together_in_folds_and_random_pairings(planted, numbered):
    sources, target = planted
    groups = tuple(str(row // 4) for row in range(len(numbered)))
    grouped = Pairs(numbered.ids, numbered.source, numbered.target, groups)
    found = scout(grouped, sources=sources[2:3], targets=[target])
    assert found.best.mrr > 0.3
    assert found.chance.gallery < 20  # a fifth of 60 groups, one pair of each


def test_what_says_nothing_is_no_candidate():
    x = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    assert says_something(x)
    assert not says_something(torch.ones(5, 3) * torch.arange(1, 6)[:, None])
    assert not says_something(x * torch.tensor([1, 1, 1, 1, 0])[:, None])
    assert not says_something(x.masked_fill(x > 1, torch.inf).masked_fill(x < -1, torch.nan))


def test_what_cannot_be_looked_at_is_refused(planted, numbered, looked_up):
    sources, target = planted
    with pytest.raises(ValueError, match="at least one source encoder to look at; got none"):
        scout(numbered, sources=[], targets=[target])
    with pytest.raises(TypeError, match=r"as align\.Pairs holds them; got PairedEmb"):
        scout(numbered.encode(target, target), sources=sources, targets=[target])
    with pytest.raises(TypeError, match="sources must be a list"):
        scout(numbered, sources="text:minilm", targets=[target])
    constant = looked_up("constant", torch.ones(240, 3))
    with pytest.raises(ValueError, match="the target side must differ between pairs"):
        scout(numbered, sources=sources, targets=[constant])
    with pytest.raises(ValueError, match="scout needs at least 20 pairs"):
        scout(numbered.take(range(19)), sources=sources, targets=[target])
    with pytest.raises(ValueError, match="most_parts must be finite and at least 1; got 0"):
        scout(numbered, sources=sources, targets=[target], most_parts=0)


def test_an_interruption_says_that_vectors_are_kept_and_scores_are_not(
    planted, numbered, tmp_path, monkeypatch
):
    sources, target = planted

    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(search, "held_out_recall", interrupted)
    store = align.EmbeddingStore(tmp_path / "store")
    with pytest.raises(KeyboardInterrupt) as caught:
        scout(numbered, sources=sources, targets=[target], store=store)
    assert "Vectors are kept in the store; scores are not." in caught.value.__notes__[0]


def test_intervals_widen_with_the_number_of_candidates(planted, numbered):
    sources, target = planted
    compared = [sources[0], sources[2]], [sources[0], sources[2], sources[1]]
    few, many = (
        scout(numbered, sources=some, targets=[target], most_parts=1).pairs[1] for some in compared
    )
    assert (few.source.name, many.mrr) == ("blurred", few.mrr)
    assert many.margin / few.margin == pytest.approx(errors_for(2) / errors_for(1))


def test_more_comparisons_ask_for_more_standard_errors():
    assert errors_for(1) == pytest.approx(1.96, abs=0.001)
    assert errors_for(0) == errors_for(1)
    assert errors_for(100) == pytest.approx(3.48, abs=0.01)
