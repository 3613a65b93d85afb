import torch

from align.fitting.training.batches import BatchSampler, PairRows
from tests.helpers.planted import unit


def passes(n, batch_size, count):
    sampler = BatchSampler(n, batch_size, None, torch.Generator().manual_seed(0))
    return [sampler.draw() for _ in range(count)]


def test_a_pass_draws_each_row_once_in_nearly_equal_batches():
    batches = passes(10, 4, 6)
    assert [len(batch) for batch in batches] == [4, 3, 3, 4, 3, 3]
    assert sorted(torch.cat(batches[:3]).tolist()) == list(range(10))
    assert sorted(torch.cat(batches[3:]).tolist()) == list(range(10))
    assert torch.cat(batches[:3]).tolist() != torch.cat(batches[3:]).tolist()


def test_without_a_size_every_batch_is_a_whole_pass():
    for batch in passes(7, None, 2):
        assert sorted(batch.tolist()) == list(range(7))


def test_blends_share_one_proportion_and_stay_row_matched(rng):
    x, y = unit(torch.randn(9, 4, generator=rng)), unit(torch.randn(9, 3, generator=rng))
    rows = PairRows(x, y, torch.zeros(9, dtype=torch.int64), None, 2 ** (torch.arange(9) % 2))
    mixed = rows.mixed(1.0, rng)
    assert len(mixed) == 4
    share = (mixed.source[0] - x[4])[0] / (x[0] - x[4])[0]
    torch.testing.assert_close(mixed.source, share * x[:4] + (1 - share) * x[4:8])
    torch.testing.assert_close(mixed.target, share * y[:4] + (1 - share) * y[4:8])
    assert mixed.groups.tolist() == [0, 1, 2, 3]
    assert mixed.source_modality is None
    assert mixed.target_modality.tolist() == [1, 2, 1, 2]
