"""One training run: its steps, its validations, its checkpoints."""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from align._display.progress import progress_bar
from align.adapters.adapter import Adapter
from align.adapters.artifact.config import describe
from align.adapters.corrections.reference_set import ROWS
from align.fitting.training import checkpoints
from align.fitting.training.batches import BatchSampler, PairRows, projected_reference
from align.fitting.training.config import TrainConfig
from align.fitting.training.gradient_cache import (
    backward,
    projected,
    random_state,
    set_random_state,
)
from align.fitting.training.logs import Log
from align.fitting.training.objectives import Batch, Loss, name_of
from align.fitting.training.optimizer import Learner, Values

Validate = Callable[[Adapter], float]
"""An adapter in, a number out; higher is better."""

_NUMBERS = ("step", "first_value", "best_value", "best_step", "misses", "seconds")


class TrainingRun:
    """One training run: what it changes, and where it stands after ``step`` of ``steps``.

    ``first_value`` is what validation gave at the start, ``best_value`` the best, after
    ``best_step``; ``seconds`` counts all resumed parts; ``written`` is the step of the checkpoint.
    """

    def __init__(
        self,
        work: Adapter,
        rows: PairRows,
        loss: Loss,
        config: TrainConfig,
        weights: Tensor | None,
        validate: Validate | None,
    ) -> None:
        self.work, self.rows, self.loss, self.config = work, rows, loss, config
        self.weights, self.validate = weights, validate
        self.device = rows.source.device
        self.steps = config.steps_for(len(rows))
        self.start = copy.deepcopy(work).eval() if config.anchor else None
        self.learner = Learner(work, config, steps=self.steps)
        self.generator = torch.Generator().manual_seed(config.seed)
        self.sampler = BatchSampler(len(rows), config.batch_size, weights, self.generator)
        self.best: Values = {}
        self.first_value: float | None = None
        self.best_value: float | None = None
        self.step = self.best_step = self.misses = 0
        self.written = 0
        self.seconds = 0.0

    def go(self, path: Path | None, log: Sequence[Log], progress: bool | None) -> None:
        """Every step from where the checkpoint at ``path`` stands, or the start, to the end."""
        identity = {} if path is None else self._identity()
        if path is not None and path.exists():
            self._load(*checkpoints.read(path, identity))
            self.written = self.step
        began = time.perf_counter() - self.seconds

        def report(record: Mapping[str, float]) -> None:
            self.seconds = time.perf_counter() - began
            for write in log:
                write({**record, "seconds": self.seconds})

        if self.validate is not None and self.best_value is None:
            report({"step": 0, "validation": self._validated()})
        self.work.train()
        with progress_bar(progress, total=self.steps, initial=self.step, unit="step") as bar:
            while self.step < self.steps and not self._is_over():
                record = self._advance()
                last = self.step == self.steps
                if self.validate is not None and (
                    last or self.step % self.config.validate_every == 0
                ):
                    record["validation"] = self._validated()
                report(record)
                if path is not None and (
                    last or self._is_over() or self.step % self.config.checkpoint_every == 0
                ):
                    checkpoints.write(path, *self._state(), identity)
                    self.written = self.step
                bar.update()
                bar.set_postfix(loss=f"{record['loss']:.4f}")

    def result(self) -> Adapter:
        """The best adapter so far, or the last where nothing is validated."""
        return self._adapter_with(self.best or self.learner.values())

    def _identity(self) -> dict[str, str]:
        """What this run is of, before its first step."""
        rows, start = self.rows, checkpoints.digest(self.work.state_dict().values())
        return {
            "settings": json.dumps(asdict(self.config)),
            "loss": name_of(self.loss),
            "validated": str(self.validate is not None),
            "pairs": checkpoints.digest(
                (rows.source, rows.target, rows.groups, rows.source_modality, rows.target_modality)
            ),
            "weights": checkpoints.digest([self.weights]),
            "start": f"{_described(self.work)} {start}",
        }

    def _is_over(self) -> bool:
        return self.config.patience is not None and self.misses >= self.config.patience

    def _advance(self) -> dict[str, float]:
        config = self.config
        batch = self.rows.take(self.sampler.draw().to(self.device))
        if config.mixup is not None:
            batch = batch.mixed(config.mixup, self.generator)

        def loss_of(source: Tensor, target: Tensor) -> Tensor:
            seen = Batch(
                batch.source,
                batch.target,
                source,
                target,
                self.learner.temperature,
                batch.groups,
                batch.source_modality,
                batch.target_modality,
                self.step,
            )
            value = self.loss(seen)
            if value.ndim:
                raise ValueError(
                    f"a loss must be a single number; {name_of(self.loss)} gave a tensor of shape "
                    f"{tuple(value.shape)}. Take its mean."
                )
            return value if self.start is None else value + config.anchor * self._drift(seen)

        temperature = self.learner.temperature.item()
        sides, maps = (batch.source, batch.target), _maps(self.work)
        value = backward(maps, sides, loss_of, chunk=config.chunk, precision=self._precision).item()
        self._check_finite(value, temperature)
        self.learner.update(self.step)
        rate = config.learning_rate * config.rate_at(self.step, self.steps)
        self.step += 1
        record = {"step": self.step, "loss": value, "temperature": temperature}
        return {**record, "learning_rate": rate}

    def _drift(self, batch: Batch) -> Tensor:
        """Mean squared distance of outputs from those of the start, averaged over both sides."""
        assert self.start is not None
        total = batch.temperature.new_zeros(())
        sides = (batch.source_input, batch.source), (batch.target_input, batch.target)
        for start_map, (x, z) in zip(_maps(self.start), sides, strict=True):
            with torch.no_grad():
                pieces = [projected(start_map, piece) for piece in torch.split(x, ROWS)]
            before = F.normalize(torch.cat(pieces), dim=1)
            total = total + (z - before).square().sum(dim=1).mean()
        return total / 2

    def _precision(self) -> AbstractContextManager[None]:
        if self.config.bfloat16:
            return torch.autocast(self.device.type, dtype=torch.bfloat16)
        return nullcontext()

    def _check_finite(self, value: float, temperature: float) -> None:
        gradients = [each.grad for each in self.learner.parameters.values()]
        whole = all(bool(each.isfinite().all()) for each in gradients if each is not None)
        if not math.isfinite(value) or not whole:
            what = "the loss" if not math.isfinite(value) else "every gradient"
            raise FloatingPointError(
                f"{what} must be finite; at step {self.step + 1} of {self.steps} the loss was "
                f"{value} at temperature {temperature:.4g}. Lower learning_rate, raise the lower "
                "of temperature_bounds, or look at what the loss does with these pairs."
            )

    def _validated(self) -> float:
        assert self.validate is not None
        weights = self.learner.values()
        value = float(self.validate(self._adapter_with(weights)))
        if not math.isfinite(value):
            raise ValueError(
                f"validate must give a finite number; after step {self.step} it gave {value}. "
                "Look at the pairs that it evaluates."
            )
        if self.first_value is None:
            self.first_value = value
        if self.best_value is None or value > self.best_value:
            self.best, self.best_value, self.best_step, self.misses = weights, value, self.step, 0
        else:
            self.misses += 1
        return value

    def _adapter_with(self, values: Mapping[str, Tensor]) -> Adapter:
        """A copy of the adapter with these weights and a correction of galleries that fits them."""
        adapter = copy.deepcopy(self.work).eval()
        adapter.load_state_dict({**adapter.state_dict(), **values})
        if adapter.reference is not None:
            adapter.reference = projected_reference(
                adapter, adapter.reference, self.rows, seed=self.config.seed
            )
        return adapter

    def _state(self) -> tuple[Values, dict[str, Any]]:
        streams = enumerate(random_state(self.device))
        tensors = {
            **self.learner.state(),
            **{f"best/{name}": value for name, value in self.best.items()},
            **{f"random/{number}": state for number, state in streams},
            "generator": self.generator.get_state(),
            "left": self.sampler.left,
        }
        return tensors, {name: getattr(self, name) for name in _NUMBERS}

    def _load(self, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> None:
        missing = sorted({*self._state()[0]} - {*tensors}) + sorted({*_NUMBERS} - {*numbers})
        missing = [name for name in missing if not name.startswith("best/")]
        if missing:
            raise ValueError(
                f"a checkpoint must hold all that a run goes on from; it lacks {missing[:8]}. "
                "Remove the file to train from the start."
            )
        self.learner.load(tensors)
        self.best = {
            name.removeprefix("best/"): value.to(self.device)
            for name, value in tensors.items()
            if name.startswith("best/")
        }
        streams = [name for name in tensors if name.startswith("random/")]
        set_random_state(tuple(tensors[name] for name in sorted(streams)), self.device)
        self.generator.set_state(tensors["generator"])
        self.sampler.left = tensors["left"]
        for name in _NUMBERS:
            setattr(self, name, numbers[name])


def _described(adapter: Adapter) -> str:
    """The architecture of an adapter, its settings included where it is one that can be saved."""
    try:
        return json.dumps(describe(adapter.components()))
    except TypeError:
        return str(adapter)


def _maps(adapter: Adapter) -> tuple[nn.Module, nn.Module]:
    return adapter.source_map, adapter.target_map
