"""Gradients of a whole batch, with its rows mapped all at once or a few at a time.

Dropout draws from the global random stream, which is borrowed, recorded and given back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import torch
from torch import Tensor, nn

Inputs = tuple[Tensor, Tensor]
RandomState = tuple[Tensor, ...]  # of the CPU, and of a GPU if training runs on one; uint8


def projected(side_map: nn.Module, x: Tensor) -> Tensor:
    """Rows ``(n, d_in)`` before the last normalisation, or unit-norm where a map has none such."""
    project: Callable[[Tensor], Tensor] = getattr(side_map, "project", side_map)
    return project(x).float()


def backward(
    maps: tuple[nn.Module, nn.Module],
    inputs: Inputs,
    loss: Callable[[Tensor, Tensor], Tensor],
    *,
    chunk: int | None,
    precision: Callable[[], AbstractContextManager[None]],
) -> Tensor:
    """The loss of a batch; its gradients are added to those of all parameters.

    With ``chunk``, rows are mapped a few at a time without a graph, the loss is differentiated
    with respect to what came out, and the rows are mapped again with a graph to carry that on. So
    only ``chunk`` rows hold their graph. Dropout falls alike both times. Maps run in the context of
    ``precision``; ``loss`` is a scalar of both projected sides, ``(n, dim)`` each.

    Reference:
        Gao et al. 2021, arXiv:2101.06983 (GradCache).
    """
    if chunk is None:
        with precision():
            sides = [projected(*each) for each in zip(maps, inputs, strict=True)]
        value = loss(*sides)
        value.backward()  # type: ignore[no-untyped-call]
        return value.detach()

    sides, states = [], []
    for side_map, x in zip(maps, inputs, strict=True):
        pieces = []
        for piece in torch.split(x, chunk):
            states.append(random_state(x.device))
            with torch.no_grad(), precision():
                pieces.append(projected(side_map, piece))
        sides.append(torch.cat(pieces).requires_grad_())
    value = loss(*sides)
    value.backward()  # type: ignore[no-untyped-call]
    with preserved_random_state(inputs[0].device):
        replayed = iter(states)
        for side_map, x, side in zip(maps, inputs, sides, strict=True):
            gradient = torch.zeros_like(side) if side.grad is None else side.grad
            for piece, part in zip(
                torch.split(x, chunk), torch.split(gradient, chunk), strict=True
            ):
                set_random_state(next(replayed), x.device)
                with precision():
                    again = projected(side_map, piece)
                if again.requires_grad:
                    again.backward(part)  # type: ignore[no-untyped-call]
    return value.detach()


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
