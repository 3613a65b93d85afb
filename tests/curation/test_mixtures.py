import math

import pytest
import torch

from align.curation.mixing import composition, sample_rows, temperature_weights
from align.data.embeddings import PairedEmbeddings
from align.data.modality import modality_codes


@pytest.fixture
def mixed(rng):
    """Six pairs text to image in three groups, two text to code, one to both."""
    return PairedEmbeddings.from_arrays(
        torch.randn(9, 4, generator=rng),
        torch.randn(9, 5, generator=rng),
        groups=["a", "a", "b", "b", "c", "c", "d", "e", "f"],
        source_modality=modality_codes(["text"] * 9),
        target_modality=modality_codes(["image"] * 6 + ["code"] * 2 + ["image|text"]),
    )


def test_pairs_are_counted_by_the_kinds_of_their_sides(mixed):
    found = composition(mixed)
    assert [(p.source, p.target, p.pairs, p.groups) for p in found.parts] == [
        ("text", "image", 6, 3),
        ("text", "code", 2, 2),
        ("text", "text|image", 1, 1),
    ]
    assert sum(part.share for part in found.parts) == pytest.approx(1)
    assert found.strata.tolist() == [0] * 6 + [1] * 2 + [2]
    assert found.to_dict()[0]["pairs"] == 6


def test_the_table_has_a_line_per_kind(mixed):
    lines = str(composition(mixed)).splitlines()
    assert len(lines) == 4 and "66.7 %" in lines[1]


def test_a_side_without_masks_is_of_any_kind(rng):
    x = torch.randn(3, 2, generator=rng)
    (part,) = composition(PairedEmbeddings.from_arrays(x, x)).parts
    assert (part.source, part.target, part.share) == ("any", "any", 1)


@pytest.mark.parametrize("temperature", [1, 2, 5, math.inf])
def test_strata_are_drawn_by_a_power_of_their_size(mixed, temperature):
    strata = composition(mixed).strata
    weights = temperature_weights(strata, temperature=temperature)
    assert weights.sum().item() == pytest.approx(1)
    drawn = torch.zeros(3, dtype=torch.float64).index_add(0, strata, weights)
    raised = torch.tensor([6.0, 2.0, 1.0], dtype=torch.float64) ** (1 / temperature)
    torch.testing.assert_close(drawn, raised / raised.sum())


def test_the_extremes_are_even_rows_and_even_strata(mixed):
    strata = composition(mixed).strata
    assert temperature_weights(strata, temperature=1).tolist() == pytest.approx([1 / 9] * 9)
    even = temperature_weights(strata, temperature=math.inf).tolist()
    assert even == pytest.approx([1 / 18] * 6 + [1 / 6] * 2 + [1 / 3])


def test_a_code_that_no_row_has_takes_no_weight():
    weights = temperature_weights(torch.tensor([0, 2, 2]), temperature=math.inf)
    assert weights.tolist() == pytest.approx([1 / 2, 1 / 4, 1 / 4])


def test_a_sample_is_distinct_in_order_and_repeatable(mixed):
    weights = temperature_weights(composition(mixed).strata, temperature=2)
    drawn = [sample_rows(weights, 5, generator=torch.Generator().manual_seed(7)) for _ in range(2)]
    assert drawn[0].equal(drawn[1])
    assert drawn[0].diff().min() > 0 and len(mixed.take(drawn[0])) == 5
    everything = sample_rows(weights, 9, generator=torch.Generator().manual_seed(7))
    assert everything.tolist() == list(range(9))


def test_the_first_row_drawn_follows_the_weights(rng):
    weights = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    drawn = torch.cat([sample_rows(weights, 1, generator=rng) for _ in range(4000)])
    # Four standard deviations of a share of one half.
    torch.testing.assert_close(drawn.bincount().double() / 4000, weights, atol=0.032, rtol=0)


def test_options_out_of_range_are_refused(rng):
    with pytest.raises(ValueError, match=r"temperature must be at least 1; got 0\.5"):
        temperature_weights(torch.zeros(3, dtype=torch.int64), temperature=0.5)
    with pytest.raises(ValueError, match=r"strata must be one code per row.*float32"):
        temperature_weights(torch.zeros(3), temperature=1)
    with pytest.raises(ValueError, match=r"size must lie in \[1, 3\]"):
        sample_rows(torch.ones(3), 4, generator=rng)
    with pytest.raises(ValueError, match="weights must be finite and above 0"):
        sample_rows(torch.tensor([1.0, 0.0]), 1, generator=rng)
