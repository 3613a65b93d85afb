import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from align.adapters.recipes import moments
from align.adapters.recipes.moments import prepare, second_moment
from tests.helpers.planted import unit


class Sizes(TorchDispatchMode):
    """Number of entries of each tensor that an operation allocates."""

    def __init__(self):
        super().__init__()
        self.entries: list[int] = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        found = function(*args, **(kwargs or {}))
        if isinstance(found, torch.Tensor) and not function._schema.returns[0].alias_info:
            self.entries.append(found.numel())
        return found


@pytest.mark.parametrize("root", [False, True])
def test_prepared_rows_are_normalised_centred_and_normalised_block_by_block(root, rng, monkeypatch):
    x = torch.randn(23, 4, generator=rng)
    whole = prepare(x, root=root)
    plain = unit(x.sign() * x.abs().sqrt() if root else x)
    torch.testing.assert_close(whole[0], plain.mean(dim=0))
    torch.testing.assert_close(whole[1], unit(plain - plain.mean(dim=0)))
    monkeypatch.setattr(moments, "ROWS", 5)
    assert all(a.equal(b) for a, b in zip(prepare(x, root=root), whole, strict=True))


def test_only_the_prepared_rows_themselves_are_as_large_as_the_data(rng, monkeypatch):
    monkeypatch.setattr(moments, "ROWS", 5)
    x = torch.randn(200, 4, generator=rng)
    with Sizes() as seen:
        prepare(x, root=True)
    assert [size for size in seen.entries if size > 5 * 4] == [x.numel()]


@pytest.mark.parametrize("same", [True, False])
def test_second_moments_are_summed_in_blocks_and_one_side_is_converted_once(same, rng, monkeypatch):
    monkeypatch.setattr(moments, "ROWS", 5)
    x = torch.randn(20, 3, generator=rng)
    y = x if same else torch.randn(20, 3, generator=rng)
    with Sizes() as seen:
        found = second_moment(x, y)
    torch.testing.assert_close(found, x.double().T @ y.double())
    assert seen.entries.count(5 * 3) == (4 if same else 8)
