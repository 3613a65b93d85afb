"""The systems that ``experiments.unite`` compares: from training pairs to scores of a gallery."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from align.adapters.adapter import Adapter
from align.adapters.instructions import pairs_for
from align.adapters.trainable import instructed, linear_heads, residual
from align.curation.mixing import composition, temperature_weights
from align.data.embeddings import PairedEmbeddings
from align.data.splits import group_codes
from align.fitting.instructions.preference import learn_preference
from align.fitting.model_selection.fit import fit
from align.fitting.training.config import TrainConfig
from align.fitting.training.objectives import (
    Loss,
    contrastive,
    modality_aware,
    softly_modality_aware,
)
from align.fitting.training.stages import Stage, train_stages
from align.fitting.training.train import train
from experiments.mixed import KINDS, only, rows_of

LOSSES: Mapping[str, Loss] = {
    "mask": modality_aware,
    "no mask": partial(contrastive, symmetric=False),
    "soft": softly_modality_aware,
}
TEMPERATURES = (1.0, 2.0, math.inf)

CLOSED, PREFERRING = "closed form", "closed form, preference"
STAGE_1, STAGE_2, RANDOM = "stage 1", "stages 1+2", "random start"
COSINES, STANDARDISED = "adapter per kind, cosines", "adapter per kind, standardised"


def unite_stages(*, steps: int = 200, batch_size: int | None = None) -> tuple[Stage, Stage]:
    """UNITE's two stages, of ``steps`` of ``batch_size`` pairs each (``None`` for all).

    The first, retrieval adaptation, is symmetric and sees all targets as negatives; the second,
    instruction tuning, goes from source to target only and masks targets of other modalities
    (``modality_aware``), at a fifth of the rate. As in the paper: the losses, the temperature of
    0.03 that is not learned, no weight decay, a warm-up of 0.03, a half cosine, and rates of 1e-4
    and 2e-5, though there they are those of low-rank updates of the backbone, trained for one epoch
    in batches of 1,024 or 4,096. Pairs of one group are left out of each other's negatives.

    To instruct, start from ``instructed(residual(adapter), d_instruction)`` and pass sources
    ``with_instructions``, zero in the first stage. Each stage may bring its own pairs, by
    ``dataclasses.replace(stage, pairs=...)``. Where targets were of several modalities, each
    centred by itself, this gained no recall (``experiments/results/unite.json``): to say which
    modality is wanted, use ``align.fitting.instructions.fit.instruct``.

    Reference:
        Kong et al. 2025, arXiv:2505.19650 (UNITE), and the scripts of its repository.
    """
    first = TrainConfig(
        steps=steps,
        batch_size=batch_size,
        learning_rate=1e-4,
        weight_decay=0.0,
        warmup=0.03,
        temperature=0.03,
        learn_temperature=False,
    )
    return (
        Stage("retrieval-adaptation", contrastive, first),
        Stage("instruction-tuning", modality_aware, replace(first, learning_rate=2e-5)),
    )


def told(system: str) -> str:
    """The name of a system whose queries bring instructions."""
    return f"{system}, instructed"


def uncentred(system: str) -> str:
    """The name of a system whose learned shift sees targets that are not centred."""
    return f"{system}, uncentred"


def drawn_at(temperature: float) -> str:
    """The name of a system whose batches are drawn at a temperature."""
    return f"{RANDOM}, drawn at T = {temperature:g}"


_STARTS = (STAGE_2, RANDOM)
COMPARED = (
    (STAGE_1, CLOSED),
    *((f"{on}, {loss}", f"{on}, no mask") for on in _STARTS for loss in ("mask", "soft")),
    *((told(f"{on}, {loss}"), f"{on}, {loss}") for on in _STARTS for loss in ("mask", "no mask")),
    *(
        (uncentred(told(f"{STAGE_2}, {loss}")), f"{STAGE_2}, {loss}")
        for loss in ("mask", "no mask")
    ),
    (PREFERRING, CLOSED),
    (COSINES, CLOSED),
    (STANDARDISED, CLOSED),
    *((drawn_at(temperature), drawn_at(TEMPERATURES[0])) for temperature in TEMPERATURES[1:]),
)
"""Which systems are compared where both are there: the first minus the second."""


@dataclass(frozen=True, slots=True)
class Training:
    """How systems are trained.

    Attributes:
        steps: Of each of UNITE's two stages, on top of the closed form.
        second_rate: Learning rate of the second stage; that of the first is UNITE's.
        random_steps: From a random start.
        random_rate: Learning rate from there.
        batch_size: Pairs per step, or all if there are fewer.
    """

    steps: int = 60
    second_rate: float = 3e-4
    random_steps: int = 150
    random_rate: float = 1e-3
    batch_size: int = 512


@dataclass(frozen=True, slots=True, eq=False)
class Arena:
    """One draw of training pairs and what it is judged on.

    Attributes:
        pairs: Training pairs of all kinds.
        gallery: Held-out pairs of all kinds.
        training: How systems are trained.
        seed: Of random starts.
        verdicts: What ``fit`` said is added here.
    """

    pairs: PairedEmbeddings
    gallery: PairedEmbeddings
    training: Training
    seed: int
    verdicts: list[str] = field(default_factory=list)


def balanced(arena: Arena) -> Iterator[tuple[str, Tensor]]:
    """Every system but those that draw by temperature: its name and its scores of the gallery."""
    closed = fit(arena.pairs, effort="fast")
    yield CLOSED, scores(closed, arena.gallery)
    arena.verdicts.append(closed.card.verdict)
    yield PREFERRING, scores(_preferring(closed, arena), arena.gallery)
    own = {kind: fit(only(arena.pairs, kind), effort="fast") for kind in KINDS}
    for name, standardised in ((COSINES, False), (STANDARDISED, True)):
        yield name, side_by_side(own, arena.gallery, standardised=standardised)
    yield from _staged(closed, arena)
    yield from _from_random(arena)


def uneven(arena: Arena) -> Iterator[tuple[str, Tensor]]:
    """Heads from a random start, without a mask, on batches drawn at each of ``TEMPERATURES``."""
    strata = composition(arena.pairs).strata
    for temperature in TEMPERATURES:
        weights = temperature_weights(strata, temperature=temperature)
        found = train(
            _random(arena),
            arena.pairs,
            loss=LOSSES["no mask"],
            config=_random_config(arena),
            weights=weights,
        )
        yield drawn_at(temperature), scores(found, arena.gallery)


def scores(adapter: Adapter, gallery: PairedEmbeddings) -> Tensor:
    """Score of every target for every source, ``(n, n)``; with instructions if it takes them."""
    sources = pairs_for(adapter, gallery).source
    return adapter.queries(sources) @ adapter.gallery(gallery.target).T


def side_by_side(
    adapters: Mapping[str, Adapter], gallery: PairedEmbeddings, *, standardised: bool
) -> Tensor:
    """Scores of each kind of target by the adapter of that kind, ``(n, n)``.

    Args:
        adapters: By kind, each with a space of its own.
        gallery: Pairs of all kinds.
        standardised: Whether the scores, corrected as each adapter would, are brought to mean 0
            and deviation 1 for each query and kind; otherwise they are cosines.
    """
    found = torch.empty(len(gallery), len(gallery))
    for kind, adapter in adapters.items():
        target = only(gallery, kind).target
        if standardised:
            block = adapter.queries(gallery.source) @ adapter.gallery(target).T
            block = (block - block.mean(dim=1, keepdim=True)) / block.std(dim=1, keepdim=True)
        else:
            block = adapter.source(gallery.source) @ adapter.target(target).T
        found[:, rows_of(gallery, kind)] = block
    return found


def _preferring(closed: Adapter, arena: Arena) -> Adapter:
    """The closed form with a preference by instruction, whether or not ``instruct`` would keep it.

    The gate of ``instruct`` would fit a closed form per fold.
    """
    made = instructed(closed, _d_instruction(arena.pairs))
    codes = torch.from_numpy(group_codes(arena.pairs.groups))
    learned = learn_preference(closed, arena.pairs, codes, seed=arena.seed)
    return Adapter(
        made.source_map, made.target_map, made.card, reference=made.reference, preference=learned
    )


def seeing_kinds(adapter: Adapter) -> Adapter:
    """The adapter with a further shift to learn, which sees targets that are not centred.

    A target that is centred with its kind says little of its kind; its mean is what does.
    """
    return residual(adapter, means=(None, torch.zeros(adapter.card.d_target)))


def _staged(closed: Adapter, arena: Arena) -> Iterator[tuple[str, Tensor]]:
    """UNITE's stages on top of the closed form; the first is trained once and then resumed."""
    training, pairs, gallery = arena.training, arena.pairs, arena.gallery
    batch_size = min(training.batch_size, len(pairs))
    first, second = unite_stages(steps=training.steps, batch_size=batch_size)
    config = replace(second.config, learning_rate=training.second_rate)
    seconds = {
        name: replace(second, name=name.replace(" ", "-"), loss=loss, config=config)
        for name, loss in LOSSES.items()
    }
    with TemporaryDirectory() as folder:
        here = Path(folder)
        adapted = train_stages(closed, pairs, [first], folder=here)
        yield STAGE_1, scores(adapted, gallery)
        for name, stage in seconds.items():
            tuned = train_stages(closed, pairs, [first, stage], folder=here)
            yield f"{STAGE_2}, {name}", scores(tuned, gallery)
        seeing = seeing_kinds(adapted)
        for name in ("mask", "no mask"):
            for start, system in ((adapted, told), (seeing, lambda each: uncentred(told(each)))):
                label = system(f"{STAGE_2}, {name}")
                start = instructed(start, _d_instruction(pairs))
                tuned = train_stages(
                    start, pairs_for(start, pairs), [seconds[name]], folder=here / label
                )
                yield label, scores(tuned, gallery)


def _from_random(arena: Arena) -> Iterator[tuple[str, Tensor]]:
    """Linear heads from a random start, trained from source to target by one loss throughout."""
    config = _random_config(arena)
    for name in LOSSES:
        yield f"{RANDOM}, {name}", scores(from_random(arena, name), arena.gallery)
    for name in ("mask", "no mask"):
        start = instructed(_random(arena), _d_instruction(arena.pairs))
        found = train(start, pairs_for(start, arena.pairs), loss=LOSSES[name], config=config)
        yield told(f"{RANDOM}, {name}"), scores(found, arena.gallery)


def from_random(arena: Arena, loss: str) -> Adapter:
    """Linear heads from a random start, trained by one of ``LOSSES``."""
    return train(_random(arena), arena.pairs, loss=LOSSES[loss], config=_random_config(arena))


def _random(arena: Arena) -> Adapter:
    generator = torch.Generator().manual_seed(arena.seed)
    d_source, d_target = arena.pairs.source.shape[1], arena.pairs.target.shape[1]
    return linear_heads(d_source, d_target, generator=generator)


def _random_config(arena: Arena) -> TrainConfig:
    """UNITE's settings, but for the length and the rate."""
    training = arena.training
    batch_size = min(training.batch_size, len(arena.pairs))
    _, second = unite_stages(steps=training.random_steps, batch_size=batch_size)
    return replace(second.config, learning_rate=training.random_rate)


def _d_instruction(pairs: PairedEmbeddings) -> int:
    assert pairs.instructions is not None
    return pairs.instructions.shape[1]
