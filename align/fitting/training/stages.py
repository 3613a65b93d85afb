"""Training in stages, each with its own pairs, loss and settings, and a folder to resume from."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from align._checks import check_unique
from align._display.lines import count, one_line, quoted
from align._display.panel import Panel, render
from align.adapters.adapter import Adapter
from align.data.embeddings import PairedEmbeddings
from align.fitting.training.config import TrainConfig
from align.fitting.training.logs import Log
from align.fitting.training.objectives import Loss, contrastive
from align.fitting.training.run import Validate
from align.fitting.training.train import train

CHECKPOINT, ADAPTER = "training.safetensors", "adapter"


@dataclass(frozen=True, slots=True, eq=False)
class Stage:
    """One stretch of training.

    Attributes:
        name: Letters, digits, ``-`` and ``_``; names its folder.
        loss: A function of a ``Batch``.
        config: Its settings.
        pairs: What it learns from, or ``None`` for the pairs of all stages.
        weights: How often each pair is drawn in proportion, ``(n,)``, or ``None``.

    Raises:
        ValueError: The name cannot name a folder.

    Examples:
        >>> import align
        >>> align.Stage("general-pairs", config=align.TrainConfig(steps=100)).name
        'general-pairs'
    """

    name: str
    loss: Loss = contrastive
    config: TrainConfig = field(default_factory=TrainConfig)
    pairs: PairedEmbeddings | None = None
    weights: Tensor | None = None

    def __repr__(self) -> str:
        return one_line("Stage", *self._facts().values())

    def _repr_html_(self) -> str:
        return render(Panel(f"Stage: {self.name}", facts=self._facts()))

    def _facts(self) -> dict[str, str]:
        loss = getattr(self.loss, "__qualname__", type(self.loss).__name__)
        return {
            "name": quoted(self.name),
            "loss": f"loss={loss}",
            "pairs": "pairs of all stages"
            if self.pairs is None
            else count(len(self.pairs), "pair"),
            "draws": "" if self.weights is None else "weighted draws",
            "config": repr(self.config),
        }

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9][\w-]*", self.name, re.ASCII):
            raise ValueError(
                "the name of a stage names a folder: letters, digits, - and _; "
                f"got {self.name!r}. Name it like retrieval-adaptation."
            )


def train_stages(
    adapter: Adapter,
    pairs: PairedEmbeddings,
    stages: Sequence[Stage],
    *,
    folder: str | Path,
    validate: Validate | None = None,
    log: Sequence[Log] = (),
    progress: bool | None = None,
) -> Adapter:
    """Train in stages, each from where the one before it ended.

    Stage ``i`` keeps ``folder/i-name/training.safetensors``, its checkpoint, and, once done,
    ``folder/i-name/adapter``, what came of it. Called again with the same arguments, stages that
    are done are not run again and the one that was cut off continues: the result is the same as if
    nothing had happened. A stage that changed, or follows one that did, is refused.

    Args:
        adapter: Where to start, as for ``train``; its maps must be ones that can be saved.
        pairs: What stages learn from that bring no pairs of their own.
        stages: In order, with names of their own.
        folder: Of all stages; made if it is not there.
        validate: As for ``train``, in every stage: each returns its best.
        log: As for ``train``; steps of each stage count from 0.
        progress: Whether to draw a bar for each stage; by default in a terminal or notebook.

    Raises:
        ValueError: There is no stage, two have one name, or as for ``train``.
        FloatingPointError: A loss or a gradient is not finite.

    Examples:
        >>> import numpy as np, align
        >>> x = np.random.default_rng(0).standard_normal((200, 8))
        >>> pairs = align.PairedEmbeddings.from_arrays(x, x)
        >>> short = align.TrainConfig(steps=2, batch_size=100)
        >>> stages = [align.Stage("first", config=short), align.Stage("second", config=short)]
        >>> start = align.fit(pairs, effort="fast")
        >>> align.train_stages(start, pairs, stages, folder="stages").dim
        8
    """
    if not stages:
        raise ValueError("there must be a stage to train; got none. Pass one Stage or more.")
    check_unique("the names of stages", [stage.name for stage in stages])
    for number, stage in enumerate(stages, start=1):
        here = Path(folder).expanduser() / f"{number}-{stage.name}"
        adapter = train(
            adapter,
            pairs if stage.pairs is None else stage.pairs,
            loss=stage.loss,
            config=stage.config,
            weights=stage.weights,
            validate=validate,
            checkpoint=here / CHECKPOINT,
            log=log,
            progress=progress,
        )
        if not (here / ADAPTER).exists():
            adapter.save(here / ADAPTER)
    return adapter
