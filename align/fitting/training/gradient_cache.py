"""Gradients of a whole batch, with its rows mapped all at once or a few at a time."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from align.fitting.training.random_state import (
    preserved_random_state,
    random_state,
    set_random_state,
)

Inputs = tuple[Tensor, Tensor]


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
