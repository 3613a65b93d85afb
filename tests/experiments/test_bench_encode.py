"""The benchmark of encoders compares runtimes that give the same vectors."""

from __future__ import annotations

import pytest
import torch

from experiments.bench.encode import Speed, render, speed


def test_items_a_second_and_the_largest_difference_are_found():
    calls = []

    def turned(items):
        calls.append(len(items))
        return torch.tensor([[1.0, 0.0], [3.0, 4.0]])[: len(items)]

    found = speed(lambda items: torch.eye(2)[: len(items)], turned, ["a", "b"], repeats=2)
    assert calls == [2, 2, 2]  # once before the turns
    assert found.torch > 0 < found.onnxruntime
    assert found.apart == pytest.approx(1 - 0.8)


def test_each_kind_is_a_row():
    assert len(render({"photos": Speed(1.0, 6.0, 1e-9)}).rows) == 1
