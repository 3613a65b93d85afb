"""What training changes: weights, temperature, their optimiser and their moving average."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from align.fitting.training.adamw import AdamW, RateGroup
from align.fitting.training.config import TrainConfig

Values = dict[str, Tensor]


class Learner:
    """The weights of a module and a temperature, updated by AdamW on a schedule.

    ``average`` is the exponential moving average of ``parameters``, or ``None``.
    """

    def __init__(self, module: nn.Module, config: TrainConfig, *, steps: int) -> None:
        self.config, self.steps = config, steps
        self.parameters = {
            name: value for name, value in module.named_parameters() if value.requires_grad
        }
        device = next(iter(self.parameters.values())).device
        start = torch.tensor(math.log(config.temperature), device=device)
        self.log_temperature = nn.Parameter(start, requires_grad=config.learn_temperature)
        matrices = [value for value in self.parameters.values() if value.ndim > 1]
        vectors = [value for value in self.parameters.values() if value.ndim <= 1]
        self.optimizer = AdamW(
            (
                RateGroup(matrices, config.learning_rate, config.weight_decay),
                RateGroup(vectors, config.learning_rate),
                RateGroup([self.log_temperature], config.temperature_rate),
            )
        )
        self.average = None if config.ema is None else _copied(self.parameters)

    @property
    def temperature(self) -> Tensor:
        """Divides cosines; a scalar that gradients flow through if it is learned."""
        return self.log_temperature.exp()

    def update(self, step: int) -> None:
        """Follow the gradients once, as step number ``step`` from 0, and forget them.

        The average ``a`` becomes ``ema a + (1 - ema) w``.
        """
        self.optimizer.step(self.config.rate_at(step, self.steps))
        self.optimizer.zero_grad()
        low, high = self.config.temperature_bounds
        with torch.no_grad():
            self.log_temperature.clamp_(math.log(low), math.log(high))
            if self.average is not None and self.config.ema is not None:
                for name, value in self.parameters.items():
                    self.average[name].lerp_(value, 1 - self.config.ema)

    def values(self) -> Values:
        """Copies of what is to be used: the average where there is one, else the weights."""
        return _copied(self.parameters if self.average is None else self.average)

    def state(self) -> Values:
        """All that the next step depends on, by name, as copies."""
        state = {f"weight/{name}": value for name, value in _copied(self.parameters).items()}
        state |= {f"average/{name}": value for name, value in _copied(self.average or {}).items()}
        state["log_temperature"] = self.log_temperature.detach().clone()
        for number, moments in self.optimizer.moments.items():
            state |= {f"moment/{number}/{k}": value for k, value in _copied(moments).items()}
        return state

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Continue from what ``state`` gave."""
        moments: dict[int, dict[str, Tensor]] = {}
        with torch.no_grad():
            self.log_temperature.copy_(state["log_temperature"])
            for name, value in state.items():
                kind, _, rest = name.partition("/")
                if kind == "weight":
                    self.parameters[rest].copy_(value)
                if kind == "average" and self.average is not None:
                    self.average[rest].copy_(value)
                if kind == "moment":
                    number, _, moment = rest.partition("/")
                    moments.setdefault(int(number), {})[moment] = value
        self.optimizer.load(moments)


def _copied(values: Mapping[str, Tensor]) -> Values:
    return {name: value.detach().clone() for name, value in values.items()}
