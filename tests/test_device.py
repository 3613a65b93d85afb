from __future__ import annotations

import pytest
import torch

from align._advice import on_command_line
from align._device import find_device


@pytest.mark.parametrize(
    ("gpus", "mps", "best"),
    [(2, True, "cuda"), (1, False, "cuda"), (0, True, "mps"), (0, False, "cpu")],
)
def test_auto_is_a_gpu_else_mps_else_the_cpu(machine, gpus, mps, best):
    machine(gpus=gpus, mps=mps)
    assert find_device("auto") == torch.device(best)


@pytest.mark.parametrize("device", ["cpu", "cpu:0", "cuda", "cuda:0", "cuda:1", "mps", "mps:0"])
def test_a_device_that_is_there_is_the_one_that_was_asked_for(machine, device):
    machine(gpus=2, mps=True)
    assert find_device(device) == find_device(torch.device(device)) == torch.device(device)


@pytest.mark.parametrize("device", ["cuda", "cuda:0", "mps", "mps:0", torch.device("cuda", 1)])
def test_a_device_that_is_missing_is_an_error_and_no_fallback(machine, device):
    machine(gpus=0)
    with pytest.raises(
        ValueError,
        match=rf"machine must have .*got device='{device}'; torch sees: cpu\. Use device='auto'",
    ) as refused:
        find_device(device)
    assert "Use --device auto or" in on_command_line(refused.value)


def test_a_gpu_beyond_the_last_is_missing(machine):
    machine(gpus=2)
    with pytest.raises(ValueError, match=r"got device='cuda:2'; torch sees: cpu, cuda:0, cuda:1\."):
        find_device("cuda:2")


@pytest.mark.parametrize(
    "device", ["gpu", "CUDA", "", "cuda:", "cuda:-1", "cpu:1", "meta", None, 0]
)
def test_what_is_no_device_here_is_refused_by_name(machine, device):
    machine(gpus=1)
    with pytest.raises(ValueError, match=rf"got device='{device}'; torch sees: cpu, cuda:0"):
        find_device(device)
