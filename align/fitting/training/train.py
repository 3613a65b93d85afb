"""``train``: gradient steps on cached embeddings, from an adapter to another."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from align._checks import check_k
from align._display.interruption import saying_what_is_kept
from align.adapters.adapter import Adapter
from align.adapters.card import installed_versions
from align.adapters.maps.linear import IdentityMap, mean_directions
from align.adapters.maps.residual import device_of
from align.adapters.trainable import residual
from align.adapters.training_items import remember_pairs
from align.data.embeddings import PairedEmbeddings, Vectors
from align.data.paired_arguments import as_pairs
from align.data.repeats import warn_of_repeats
from align.fitting.training.batches import PairRows
from align.fitting.training.config import TrainConfig
from align.fitting.training.gradient_cache import preserved_random_state
from align.fitting.training.logs import Log
from align.fitting.training.objectives import Loss, contrastive, name_of
from align.fitting.training.run import TrainingRun, Validate

DEFAULT = TrainConfig()


def train(
    adapter: Adapter,
    pairs: PairedEmbeddings | Vectors,
    target: Vectors | None = None,
    *,
    loss: Loss = contrastive,
    config: TrainConfig = DEFAULT,
    weights: Tensor | None = None,
    validate: Validate | None = None,
    checkpoint: str | Path | None = None,
    log: Sequence[Log] = (),
    progress: bool | None = None,
) -> Adapter:
    """An adapter trained by gradients on frozen embeddings; the one that came in stays as it is.

    A closed-form adapter has no weights to learn: it first becomes its linear ``residual``, which
    starts as the closed form to the last bit, on the sides that it maps (a side left as the
    encoder gave it beside a mapped one stays so). The same call gives the same adapter on the same
    machine, and so does one that was killed and called again with its ``checkpoint``.

    A correction of galleries is worked out anew through the trained maps, from as many of these
    pairs as it held before, with the settings that it had. Only ``validate`` tests whether those
    settings, or the training itself, improve on anything.

    Args:
        adapter: Where to start. Training runs where its tensors are.
        pairs: Pairs to learn from, of the encoders that the adapter was made for; or their sources,
            in any form that ``PairedEmbeddings.from_arrays`` takes. Maps do not look at lengths:
            they see these rows at unit norm.
        target: Their targets, ``(n, d_target)``, unless ``pairs`` holds both sides.
        loss: A function of a ``Batch``; ``align.fitting.training.objectives`` has some.
        config: Every setting.
        weights: How often each pair is drawn in proportion, ``(n,)``, not negative; batches are
            then drawn with replacement. Without, every pass deals each pair once.
        validate: Scores an adapter, higher is better; called at the start, every
            ``config.validate_every`` steps and at the end, and the best of these comes back, the
            earliest if some are equal. Pairs that it looks at must not be among ``pairs``.
        checkpoint: A file to write every ``config.checkpoint_every`` steps and at the end. If it
            is there already, training continues from it, or is over if it was.
        log: Called with a record of each step: ``step``, ``loss``, ``temperature``,
            ``learning_rate``, ``seconds`` and, where there was one, ``validation``.
        progress: Whether to draw a progress bar; by default in a terminal or notebook.

    Returns:
        The trained adapter; its card says the loss, the steps and what validation gave.

    Raises:
        TypeError: There is one side alone, or a side does not hold numbers.
        ValueError: The sides do not fit together; the pairs, the weights or the settings do
            not fit the adapter, the checkpoint is of another run, or ``validate`` gave no finite
            number.
        FloatingPointError: The loss or a gradient is not finite.

    Warns:
        RepeatedItems: Many pairs share an item, and no groups keep a loss from taking them for
            wrong answers to each other.

    Examples:
        >>> import numpy as np, align
        >>> rng = np.random.default_rng(0)
        >>> captions = rng.standard_normal((200, 8))
        >>> photos = captions @ rng.standard_normal((8, 12))
        >>> pairs = align.PairedEmbeddings.from_arrays(captions, photos)
        >>> config = align.TrainConfig(steps=5, batch_size=100)
        >>> trained = align.train(align.fit(pairs, effort="fast"), pairs, config=config)
        >>> trained.dim
        8
    """
    pairs = as_pairs(pairs, target)
    warn_of_repeats((pairs.source, pairs.target), pairs.groups, "train", stacklevel=2)
    work = _learnable(adapter, pairs)
    device = device_of(work)
    rows = PairRows.of(pairs, work, device)
    _check(config, weights, len(rows), device, validated=validate is not None)
    run = TrainingRun(work, rows, loss, config, weights, validate)
    path = None if checkpoint is None else Path(checkpoint).expanduser()

    def kept() -> str:
        if path is None:
            return "Nothing of the training is kept; pass checkpoint to keep it as it goes."
        if not run.written:
            return f"No step of the training is kept yet in {path}; run it again to start anew."
        return f"Training is kept up to step {run.written:,} in {path}; run it again to go on."

    with saying_what_is_kept(kept), preserved_random_state(device, seed=config.seed):
        run.go(path, log, progress)
    return _result(run, pairs)


def _learnable(adapter: Adapter, pairs: PairedEmbeddings) -> Adapter:
    """A copy of the adapter that has weights to learn."""
    if next(adapter.parameters(), None) is None:
        maps = (adapter.source_map, pairs.source), (adapter.target_map, pairs.target)
        source, target = (
            # The identity has no mean of its own to centre on.
            mean_directions(x).to(device_of(adapter)) if isinstance(side, IdentityMap) else None
            for side, x in maps
        )
        left = source is None and target is not None
        adapter = residual(adapter, sides="source" if left else "both", means=(source, target))
    if not any(weight.requires_grad for weight in adapter.parameters()):
        raise ValueError(
            "an adapter is trained by the weights that require a gradient; all of "
            f"{len(list(adapter.parameters()))} are frozen. Call requires_grad_() on some."
        )
    return copy.deepcopy(adapter)


def _check(
    config: TrainConfig, weights: Tensor | None, n: int, device: torch.device, *, validated: bool
) -> None:
    if n < 4:
        raise ValueError(
            f"training needs at least 4 pairs, to tell partners apart; got {n}. Add pairs."
        )
    if config.batch_size is not None and weights is None:
        check_k(config.batch_size, n, name="batch_size", of="the number of pairs")
    if config.patience is not None and not validated:
        raise ValueError(
            "patience counts validations without a new best; got "
            f"patience={config.patience} and no validate. Pass validate, or leave patience out."
        )
    if config.bfloat16 and device.type == "cpu":
        raise ValueError(
            "mixed precision needs a GPU; the tensors of the adapter are on the CPU. "
            "Move it with adapter.cuda(), or leave bfloat16 out."
        )
    if weights is not None and (
        weights.shape != (n,)
        or not weights.is_floating_point()
        or not bool((weights.isfinite() & (weights >= 0)).all())
        or not bool((weights > 0).any())
    ):
        raise ValueError(
            f"weights must be one finite number per pair, not negative and not all 0, ({n},); "
            f"got {weights.dtype} of shape {tuple(weights.shape)}. "
            "Say how often each pair is to be drawn, in proportion."
        )


def _result(run: TrainingRun, pairs: PairedEmbeddings) -> Adapter:
    """The adapter of a run, with a card that says how it was trained."""
    adapter = run.result()
    adapter.training_items = remember_pairs(adapter.training_items, pairs)
    adapter.calibration = None  # of the maps before
    card, loss = adapter.card, name_of(run.loss)
    words = f"trained on {len(pairs)} pairs for {run.step} of {run.steps} steps with {loss}"
    if run.best_value is None:
        words += ", with nothing held out to evaluate it"
    else:
        words += (
            f", kept after step {run.best_step}, where validation was {run.best_value:.4f} "
            f"({run.first_value:.4f} at the start)"
        )
    adapter.card = replace(
        card,
        method=f"{card.method}, trained with {loss}",
        n_pairs=card.n_pairs or len(pairs),
        n_groups=card.n_groups or len(set(pairs.groups)),
        seconds={**card.seconds, "training": round(run.seconds, 3)},
        verdict=f"{card.verdict}; {words}" if card.verdict else words,
        versions=installed_versions(),
    ).of_encoders(pairs)
    return adapter
