"""The global random stream, which dropout draws from: borrowed, recorded and given back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

RandomState = tuple[Tensor, ...]  # of the CPU, and of a GPU if training runs on one; uint8


@contextmanager
def preserved_random_state(device: torch.device, *, seed: int | None = None) -> Iterator[None]:
    """Leave the global streams as they were found; inside they start from ``seed`` if given."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        if seed is not None:
            torch.default_generator.manual_seed(seed)
            if device.type == "cuda":
                with torch.cuda.device(device):
                    torch.cuda.manual_seed(seed)
        yield


def random_state(device: torch.device) -> RandomState:
    """State of the global streams that training on ``device`` draws from."""
    states = [torch.get_rng_state()]
    if device.type == "cuda":
        states.append(torch.cuda.get_rng_state(device))
    return tuple(states)


def set_random_state(state: RandomState, device: torch.device) -> None:
    """Put the global streams where ``random_state`` found them."""
    torch.set_rng_state(state[0])
    if device.type == "cuda":
        torch.cuda.set_rng_state(state[1], device)
