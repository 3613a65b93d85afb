"""``instruct``: instructions beside queries, learned on top of a fitted adapter."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from align._checks import check_at_least, check_one_of
from align._display.interruption import saying_what_is_kept
from align._display.progress import Stages, staged
from align.adapters.adapter import Adapter
from align.adapters.card import Card
from align.adapters.instructions import pairs_for, takes_instructions, with_instructions
from align.adapters.maps.instructed import InstructedMap
from align.adapters.maps.linear import IdentityMap
from align.adapters.trainable import instructed
from align.adapters.training_items import remember_pairs
from align.data.embeddings import PairedEmbeddings
from align.data.repeats import warn_of_repeats
from align.data.splits import deal, group_codes
from align.fitting.instructions.preference import holds_several_kinds, learn_preference
from align.fitting.model_selection.fit import FitAdapter, fit
from align.fitting.model_selection.outcome import Outcome
from align.fitting.training.config import TrainConfig
from align.fitting.training.objectives import contrastive, modality_aware
from align.fitting.training.train import train
from align.metrics.chance import without_chance_warnings
from align.metrics.ranks import rank_positives

log = logging.getLogger(__name__)

BATCH = 512
CONFIG = TrainConfig(
    steps=100,
    learning_rate=1e-3,
    weight_decay=0.0,
    warmup=0.03,
    temperature=0.1,
    learn_temperature=False,
)


def closed_form(pairs: PairedEmbeddings) -> Adapter:
    """The adapter of ``align.fit`` without what it trains."""
    return fit(pairs, effort="fast")


def instruct(
    adapter: Adapter,
    pairs: PairedEmbeddings,
    *,
    side: Literal["both", "source"] = "both",
    config: TrainConfig = CONFIG,
    fit_adapter: FitAdapter = closed_form,
    folds: int = 3,
    seed: int = 0,
    progress: bool | None = None,
) -> Adapter:
    """The adapter with sources that bring an instruction, if that helps held-out queries.

    Two things are learned, and each is used only if it gains two standard errors of reciprocal
    rank, over held-out groups, in the mixed gallery of their targets. There an answer is of the
    query's group and of its own target's modality.

    - A preference (``align.adapters.corrections.preference``), where targets are of several kinds:
      how much an instruction adds to the score of each kind. A convex problem.
    - A shift of the query (``InstructedMap``), in the manner of UNITE's second stage: from source
      to target only, with targets of other modalities masked where the pairs say what those are.

    The adapter's maps and its correction of galleries stay as they are, and sources without an
    instruction are ranked as before. An instruction that no pair had works too, as it is a vector.
    Each fold is evaluated with an adapter fitted to the others, as an adapter ranks the pairs that
    it was fitted on better than new ones.

    Args:
        adapter: Of sources without instructions.
        pairs: With ``instructions``, and with ``target_modality`` if targets are of several. They
            may be those that the adapter was fitted on.
        side: ``"both"``, or ``"source"`` to leave gallery vectors, and an index of them, as they
            are: a preference, which an index holds the kinds of its items for, is not tried then.
        config: How the shift is trained, in batches of at most ``BATCH`` pairs unless it says how
            many. ``seed`` takes the place of its seed.
        fit_adapter: How the adapter of a fold is fitted to the pairs outside; ``align.fit`` without
            training if left out. ``lambda _: adapter`` where the adapter has not seen the pairs.
        folds: Parts that the groups are dealt into, >= 2.
        seed: Seeds folds, samples and batches.
        progress: Whether to draw a progress bar; by default in a terminal or notebook.

    Returns:
        An adapter whose sources are ``with_instructions``; or, where nothing helped, the maps as
        they were. ``sources_for`` gives either what it takes; the card says what was tried.

    Raises:
        ValueError: The pairs have no instructions or do not fit the adapter, its sources bring
            instructions already, ``side`` is unknown, or there are fewer groups than folds.

    Warns:
        RepeatedItems: Many pairs share an item and no groups say so.

    Reference:
        Kong et al. 2025, arXiv:2505.19650 (UNITE), for the loss of the shift and its schedule. The
        temperature, the rate and the preference are ours.

    Examples:
        >>> import torch, align
        >>> rng = torch.Generator().manual_seed(0)
        >>> notes, way = torch.randn(240, 8, generator=rng), torch.randn(12, 12, generator=rng)
        >>> wanted = torch.eye(4)[torch.randint(4, (240,), generator=rng)]
        >>> photos = torch.cat([notes, 3 * wanted], dim=1) @ way
        >>> pairs = align.PairedEmbeddings.from_arrays(notes, photos, instructions=wanted)
        >>> plain = align.fit(notes, photos, effort="fast")
        >>> adapter = align.instruct(plain, pairs, folds=2, config=align.TrainConfig(steps=20))
        >>> adapter.dim == plain.dim  # queries still fit the same gallery
        True
    """
    check_at_least("folds", folds, 2)
    check_one_of("side", side, ("both", "source"), 'Use "source" to leave gallery vectors alone.')
    _check(adapter, pairs)
    assert pairs.instructions is not None  # as checked
    # The same item with another instruction is another question.
    queries = torch.cat([pairs.source.float(), pairs.instructions.float()], dim=1)
    warn_of_repeats((queries, pairs.target), pairs.group_key, "instruct", stacklevel=2)
    start = time.perf_counter()
    learning = _Learning(pairs, config, seed)
    several_kinds = side == "both" and holds_several_kinds(pairs)
    options = (PREFERENCE, SHIFT) if several_kinds else (SHIFT,)
    with (
        saying_what_is_kept(
            lambda: "Nothing learned from instructions is kept; run it again to start anew."
        ),
        staged(progress) as stages,
    ):
        selected, outcome, tried = _selected(learning, options, fit_adapter, folds, stages)
        stages.begin("learning from all pairs")
        rows = torch.arange(len(pairs))
        built = learning.on_top(adapter, rows, selected) if selected else adapter
    verdict = "instructions did not help and were not kept"
    if selected:
        gain = outcome.gain_over(tried[0][1])
        verdict = f"{' and '.join(selected)} by instruction gained {gain} MRR"
    log.info("%s", verdict)
    chosen = " and ".join(selected) or tried[0][0]
    candidates = [
        each.candidate("instructions", name, chosen=name == chosen) for name, each in tried
    ]
    card = replace(
        built.card,
        candidates=(*adapter.card.candidates, *candidates),
        verdict="; ".join(filter(None, (adapter.card.verdict, verdict))),
        seconds={**adapter.card.seconds, "instructions": round(time.perf_counter() - start, 3)},
        source_fingerprint=adapter.card.source_fingerprint,
    ).of_encoders(pairs)
    instructed_adapter = built.replaced(card=card)
    if selected:
        instructed_adapter.training_items = remember_pairs(adapter.training_items, pairs)
    return instructed_adapter


@dataclass(frozen=True, slots=True)
class _Learning:
    """What is learned, from any of the pairs."""

    pairs: PairedEmbeddings
    config: TrainConfig
    seed: int

    @property
    def codes(self) -> Tensor:
        """Pairs of one group and modality answer each other; ``(n,)`` int64."""
        modality = self.pairs.target_modality
        kinds = [0] * len(self.pairs) if modality is None else modality.tolist()
        names = [f"{kind}:{group}" for kind, group in zip(kinds, self.pairs.groups, strict=True)]
        return torch.from_numpy(group_codes(names))

    def on_top(self, base: Adapter, rows: Tensor, wanted: tuple[str, ...]) -> Adapter:
        """An adapter with what is wanted, learned from the pairs at ``rows``."""
        if not wanted:
            return base
        data, codes = self.pairs.take(rows), self.codes[rows]
        assert data.instructions is not None
        built = instructed(base, data.instructions.shape[1])
        preference = None
        if PREFERENCE in wanted:
            preference = learn_preference(base, data, codes, seed=self.seed)
        if SHIFT in wanted:
            shift = _learn_shift(base, data, codes, replace(self.config, seed=self.seed))
            built.source_map = InstructedMap(base.source_map, shift)
        return built.replaced(preference=preference)

    def ranks(self, adapter: Adapter, rows: Tensor) -> Tensor:
        """Rank of the best answer of each of ``rows`` among the targets of all of them."""
        data, codes = self.pairs.take(rows), self.codes[rows]
        queries = adapter.queries(pairs_for(adapter, data).source)
        return rank_positives(queries, adapter.gallery(data.target), codes, codes).first


PREFERENCE, SHIFT = "a preference", "a shift"


def _selected(
    learning: _Learning,
    options: tuple[str, ...],
    fit_adapter: FitAdapter,
    folds: int,
    stages: Stages,
) -> tuple[tuple[str, ...], Outcome, list[tuple[str, Outcome]]]:
    """What improves held-out results, those results, and everything that was tried."""
    pairs = learning.pairs
    dealt = deal(pairs.group_key, folds, seed=learning.seed)
    with without_chance_warnings():
        bases = []
        stages.begin("an adapter per fold", folds)
        for rest, _ in dealt:
            bases.append(fit_adapter(pairs.take(rest)))
            stages.step()
    order = torch.cat([inside for _, inside in dealt]).tolist()
    codes = torch.from_numpy(group_codes([pairs.group_key[row] for row in order]))

    def outcome(wanted: tuple[str, ...]) -> Outcome:
        ranks = [
            learning.ranks(learning.on_top(base, rest, wanted), inside)
            for base, (rest, inside) in zip(bases, dealt, strict=True)
        ]
        return _by_group(torch.cat(ranks).double(), codes)

    selected: tuple[str, ...] = ()
    stages.begin("what instructions may ask for", len(options))
    best = outcome(selected)
    tried = [("no instructions", best)]
    for option in options:
        wanted = (*selected, option)
        scored = outcome(wanted)
        tried.append((" and ".join(wanted), scored))
        if scored.improves_on(best):
            selected, best = wanted, scored
        stages.step()
    return selected, best, tried


def _by_group(ranks: Tensor, codes: Tensor) -> Outcome:
    """Results of held-out queries, averaged over those that were held out together."""
    sizes = torch.bincount(codes).double()

    def mean(values: Tensor) -> Tensor:
        return torch.zeros_like(sizes).index_add(0, codes, values) / sizes

    return Outcome(mean(ranks.reciprocal()), mean((ranks <= 10).double()))


def _learn_shift(
    base: Adapter, pairs: PairedEmbeddings, codes: Tensor, config: TrainConfig
) -> Tensor:
    """The matrix ``(d_instruction, dim)`` of an ``InstructedMap``, beside mapped vectors."""
    assert pairs.instructions is not None
    # The maps stay, so that everything goes through them once and not at every step.
    z, w = base.source(pairs.source).clone(), base.target(pairs.target).clone()
    mapped = PairedEmbeddings.from_arrays(
        with_instructions(z, pairs.instructions.float()),
        w,
        groups=list(map(str, codes.tolist())),
        target_modality=pairs.target_modality,
    )
    same = IdentityMap(base.dim)
    card = Card("mapped", len(pairs), base.dim, base.dim)
    start = instructed(Adapter(same, same, card), pairs.instructions.shape[1])
    if config.batch_size is None:
        config = replace(config, batch_size=min(BATCH, len(pairs)))
    masked = pairs.target_modality is not None
    loss = modality_aware if masked else partial(contrastive, symmetric=False)
    with torch.enable_grad(), without_chance_warnings():
        learned = train(start, mapped, loss=loss, config=config)
    assert isinstance(learned.source_map, InstructedMap)
    return learned.source_map.shift.detach()


def _check(adapter: Adapter, pairs: PairedEmbeddings) -> None:
    if takes_instructions(adapter):
        raise ValueError(
            "instructions are learned on top of an adapter without; the sources of this one bring "
            f"{adapter.source_map.parts} already. Start from the adapter that align.fit gave."
        )
    if pairs.instructions is None or not bool((pairs.instructions != 0).any()):
        raise ValueError(
            "instructions are learned from pairs that have some; these have none. Name their "
            "column, instruction=, when reading the pairs."
        )
