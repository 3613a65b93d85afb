"""The experiments on codes of few bits: what they compare is what they say."""

from __future__ import annotations

import pytest
import torch

from align.data.multi_vector import MultiVector
from experiments import low_bit_codes
from experiments.bench import low_bits


def tokens(n, t, d, rng):
    return low_bits.unit(MultiVector.from_equal(torch.randn(n, t, d, generator=rng)))


def test_shared_counts_what_both_lists_hold():
    truth = torch.tensor([[0, 1], [2, 3]])
    assert low_bits.shared(torch.tensor([[1, 0, 9], [4, 3, 5]]), truth) == 0.75


def test_a_case_has_a_line_per_storage_and_counts_its_bytes(rng):
    documents, config = tokens(30, 5, 64, rng), low_bits.Config(candidates=(20, 50))
    case = low_bits.case("drawn", documents[:3], documents, config)
    assert [line.system for line in case.lines] == ["float32", "int8", "4 bits", "2 bits", "1 bit"]
    layout = 31 * 8 / 30
    expected = [5 * 256 + layout, *(5 * 64 * bits / 8 + layout + 4 for bits in (8, 4, 2, 1))]
    assert [line.bytes_per_item for line in case.lines] == pytest.approx(expected)
    assert case.lines[0].recall == 1.0
    for line in case.lines[2:]:
        assert line.rescored.keys() == line.rescored_by_int8.keys() == {20}
        assert 0.3 < line.recall <= line.rescored[20] <= 1
    assert low_bits.render(case).row_count == 5


def test_codes_of_more_bits_are_nearer_and_are_turned_back(rng):
    documents = tokens(40, 6, 64, rng)
    for name, decoded in low_bit_codes.codes(documents, low_bit_codes.Config(iterations=3)):
        errors = [
            float((decoded[bits] - documents.tokens).square().sum()) for bits in sorted(decoded)
        ]
        assert errors == sorted(errors, reverse=True), name
        assert errors[0] < 0.5 * len(documents.tokens), name


@pytest.mark.parametrize("bits", [2, 4])
def test_levels_of_the_tables_are_the_best_of_a_normal_distribution(rng, bits):
    rows = torch.randn(2000, 100, generator=rng)
    one = torch.ones(2000, 1)
    unequal = float((low_bit_codes.nearest_level(rows, one, bits) - rows).square().mean())
    equal = float((low_bit_codes.equal_steps(rows, one, bits) - rows).square().mean())
    # Mean square errors of Max 1960, tables I and II.
    assert unequal == pytest.approx({2: 0.1175, 4: 0.009497}[bits], rel=0.02)
    assert equal == pytest.approx({2: 0.1188, 4: 0.01154}[bits], rel=0.02)
