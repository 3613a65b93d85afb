"""How to train: every setting of ``align.train``, checked when it is made."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from align._checks import check_at_least, check_positive
from align._display.lines import changed_fields, one_line
from align._display.panel import Panel, Table, render

STEPS = 200


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """Settings of ``align.train``.

    Attributes:
        steps: Updates; 200 if neither ``steps`` nor ``epochs`` is given.
        epochs: Passes over the pairs, in place of ``steps``.
        batch_size: Pairs per step, or ``None`` for all. Batches are drawn from a shuffled pass, in
            nearly equal parts of at most this size.
        learning_rate: Of the maps, at its highest. The default is for a residual on a closed form;
            from a random start, begin at 1e-3.
        weight_decay: Of matrices; biases and the temperature have none.
        warmup: Share of the steps over which the rate rises from near 0, in [0, 1).
        cosine: Whether the rate then falls to 0 along a half cosine, or stays.
        temperature: Divides cosines, where it starts.
        learn_temperature: Whether it is learned, by its logarithm.
        temperature_rate: Its learning rate, on the same schedule.
        temperature_bounds: Both its start and what is learned lie within.
        mixup: Parameter of the Beta distribution of the share in which the two halves of each
            batch are blended, or ``None`` for no mixup. A batch then counts half its rows.
        ema: Decay of the moving average of the weights, in [0, 1), or ``None``. The average is what
            is validated and what comes back.
        anchor: Weight of the mean squared distance of outputs from those of the start, averaged
            over both sides.
        validate_every: Steps between validations.
        patience: Validations without a new best after which training stops, or ``None``.
        chunk: Rows that are mapped at a time, or ``None`` for all. The loss still sees the whole
            batch, and gradients are the same to rounding: maps run twice to save memory.
        bfloat16: Whether maps run in mixed precision, on a GPU only; the loss stays in float32.
        checkpoint_every: Steps between checkpoints.
        seed: Seeds batches, mixup and dropout.

    Raises:
        ValueError: A setting is out of range, or ``steps`` and ``epochs`` are both given.

    Examples:
        >>> import align
        >>> config = align.TrainConfig(epochs=2, batch_size=100)
        >>> config.steps_for(1000)
        20
    """

    steps: int | None = None
    epochs: int | None = None
    batch_size: int | None = None
    learning_rate: float = 1e-4
    weight_decay: float = 0.01
    warmup: float = 0.1
    cosine: bool = True
    temperature: float = 0.05
    learn_temperature: bool = True
    temperature_rate: float = 1e-2
    temperature_bounds: tuple[float, float] = (0.01, 0.5)
    mixup: float | None = None
    ema: float | None = None
    anchor: float = 0.0
    validate_every: int = 10
    patience: int | None = None
    chunk: int | None = None
    bfloat16: bool = False
    checkpoint_every: int = 50
    seed: int = 0

    def __repr__(self) -> str:
        return one_line("TrainConfig", *changed_fields(self))

    def _repr_html_(self) -> str:
        changed = {each.partition("=")[0] for each in changed_fields(self)}
        rows = [
            [each.name, repr(getattr(self, each.name)), "" if each.name in changed else "default"]
            for each in fields(self)
        ]
        return render(Panel("TrainConfig", tables=[Table(["setting", "value", ""], rows)]))

    def __post_init__(self) -> None:
        if self.steps is not None and self.epochs is not None:
            raise ValueError(
                "the length of training must be given once; "
                f"got steps={self.steps} and epochs={self.epochs}. Leave one of them out."
            )
        least = dict.fromkeys(
            ("steps", "epochs", "patience", "chunk", "validate_every", "checkpoint_every"), 1
        )
        least |= {"weight_decay": 0, "anchor": 0, "batch_size": 2 if self.mixup is None else 4}
        for name, bound in least.items():
            if getattr(self, name) is not None:
                check_at_least(name, getattr(self, name), bound)
        for name in ("learning_rate", "temperature", "temperature_rate", "mixup"):
            if getattr(self, name) is not None:
                check_positive(name, getattr(self, name))
        for name in ("warmup", "ema"):
            share = getattr(self, name)
            if share is not None and not 0 <= share < 1:
                raise ValueError(f"{name} must lie in [0, 1); got {share}. Choose another {name}.")
        low, high = self.temperature_bounds
        if not 0 < low <= self.temperature <= high < math.inf:
            raise ValueError(
                "temperature must lie within temperature_bounds, and both above 0; "
                f"got {self.temperature} and {self.temperature_bounds}. Widen the bounds."
            )

    def steps_for(self, n: int) -> int:
        """Updates on ``n`` pairs."""
        if self.epochs is None:
            return STEPS if self.steps is None else self.steps
        return self.epochs * (1 if self.batch_size is None else math.ceil(n / self.batch_size))

    def rate_at(self, step: int, steps: int) -> float:
        """Share of the highest learning rate at a step of ``0 .. steps - 1``, in (0, 1]."""
        rising = round(self.warmup * steps)
        if step < rising:
            return (step + 1) / (rising + 1)
        if not self.cosine:
            return 1.0
        return (1 + math.cos(math.pi * (step - rising) / (steps - rising))) / 2
