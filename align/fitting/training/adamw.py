"""AdamW: gradient steps scaled by the moments of past gradients, with decoupled weight decay.

``torch.optim`` loads PyTorch's compiler with its first optimiser, which takes longer than all steps
of a refinement; the arithmetic here is the same to the last bit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

BETAS = (0.9, 0.999)  # of the moving averages of gradients and of their squares
EPSILON = 1e-8  # added to the root of the second: no division by zero

Moments = dict[str, Tensor]


@dataclass(slots=True, eq=False)
class RateGroup:
    """Weights of one learning rate and one share of decay per step and unit of that rate."""

    parameters: Sequence[Tensor]
    rate: float
    decay: float = 0.0


@dataclass(slots=True, eq=False)
class AdamW:
    """Updates weights in place by their ``grad``; those without one stay as they are.

    Attributes:
        groups: Weights and their rates.
        moments: ``step``, ``exp_avg`` and ``exp_avg_sq`` by number of the weight over all groups,
            named as in ``torch.optim.AdamW``.

    Reference:
        Loshchilov and Hutter 2019, arXiv:1711.05101, algorithm 2; Kingma and Ba 2015,
        arXiv:1412.6980.
    """

    groups: Sequence[RateGroup]
    moments: dict[int, Moments] = field(default_factory=dict)

    @torch.no_grad()
    def step(self, share: float = 1.0) -> None:
        """One step at a ``share`` of each learning rate."""
        for number, (weight, group) in enumerate(self._weights()):
            if weight.grad is None:
                continue
            if number not in self.moments:
                zeros = torch.zeros_like
                start = {"step": torch.tensor(0.0), "exp_avg": zeros(weight)}
                self.moments[number] = {**start, "exp_avg_sq": zeros(weight)}
            _update(weight, weight.grad, self.moments[number], share * group.rate, group.decay)

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for weight, _ in self._weights():
            weight.grad = None

    def load(self, moments: Mapping[int, Mapping[str, Tensor]]) -> None:
        """Continue from the ``moments`` of a run, on the devices of the weights."""
        weights = [weight for weight, _ in self._weights()]
        self.moments = {
            number: {
                name: value.clone() if name == "step" else value.to(weights[number], copy=True)
                for name, value in each.items()
            }
            for number, each in moments.items()
        }

    def _weights(self) -> Iterator[tuple[Tensor, RateGroup]]:
        for group in self.groups:
            for weight in group.parameters:
                yield weight, group


def _update(weight: Tensor, grad: Tensor, moments: Moments, rate: float, decay: float) -> None:
    moments["step"] += 1
    step = moments["step"].item()
    weight.mul_(1 - rate * decay)
    mean = moments["exp_avg"].lerp_(grad, 1 - BETAS[0])
    square = moments["exp_avg_sq"].mul_(BETAS[1]).addcmul_(grad, grad, value=1 - BETAS[1])
    size = rate / (1 - BETAS[0] ** step)
    spread = (square.sqrt() / (1 - BETAS[1] ** step) ** 0.5).add_(EPSILON)
    weight.addcdiv_(mean, spread, value=-size)
