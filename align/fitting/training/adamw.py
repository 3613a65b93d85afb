"""AdamW: gradient steps scaled by the moments of past gradients, with decoupled weight decay.

The first optimizer of ``torch.optim`` loads PyTorch's compiler, which takes longer than all steps
of a refinement; the function that it calls for a step does not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.optim.adamw import adamw

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
    adamw(
        [weight], [grad], [moments["exp_avg"]], [moments["exp_avg_sq"]], [], [moments["step"]],
        foreach=False, amsgrad=False, beta1=BETAS[0], beta2=BETAS[1], lr=rate, weight_decay=decay,
        eps=EPSILON, maximize=False,
    )  # fmt: skip
