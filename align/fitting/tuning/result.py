"""What a search over settings found: every trial, the front of them, and the adapter of one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from align.adapters.adapter import Adapter
from align.adapters.card import Candidate, Card, installed_versions
from align.adapters.maps.linear import IdentityMap
from align.adapters.training_items import TrainingItems
from align.fitting.model_selection.cross_validation import pooled
from align.fitting.model_selection.fit import MIN_STANDARD_ERRORS
from align.fitting.model_selection.gallery_correction import GalleryChoice
from align.fitting.model_selection.shuffled_pairs import against_chance
from align.fitting.tuning.setting import BYTES, Judge, Params, Setting
from align.metrics.chance import AgainstChance, HeldOutRanks
from align.scoring.ties import MEANS


@dataclass(frozen=True, slots=True)
class Trial:
    """One setting, and what it scored on held-out pairs.

    Attributes:
        number: Place among the trials that were finished, from 0.
        params: What was tried, by name.
        setting: The same as a setting.
        mrr: Mean reciprocal rank over all folds, in [0, 1]; over the first alone if pruned.
        error: Its standard error.
        recall_at_10: Share of held-out queries with their pair in the top ten, likewise.
        pruned: Whether it was given up after the first fold.
    """

    number: int
    params: Params
    setting: Setting
    mrr: float
    error: float
    recall_at_10: float
    pruned: bool

    @property
    def cost(self) -> int:
        """Bytes per gallery vector."""
        return self.setting.bytes_per_item


@dataclass(frozen=True, slots=True)
class Tuning:
    """Finished trials in order, and the way from one to an adapter.

    The score of the best of many trials is a little too high: it was chosen for it. Judge the
    adapter on pairs that were not in ``align.tune``.

    Attributes:
        trials: Pruned ones too.
        importance: Share of the variance of the score that each parameter explains, of those that
            every trial has; sums to 1. Empty with fewer than ten whole trials.
        raw_mrr: Mean reciprocal rank of the raw cosine on the same folds, or ``None`` where the
            sides differ in width.
        seconds: Seconds spent on these trials, over all calls.
        judge: What scored them.
    """

    trials: tuple[Trial, ...]
    importance: Mapping[str, float]
    raw_mrr: float | None
    seconds: float
    judge: Judge

    @property
    def whole(self) -> tuple[Trial, ...]:
        """Trials that were scored on every fold."""
        return tuple(trial for trial in self.trials if not trial.pruned)

    @property
    def front(self) -> tuple[Trial, ...]:
        """Trials than which none is at once no dearer and better; cheapest first."""
        found: list[Trial] = []
        for trial in sorted(self.whole, key=lambda t: (t.cost, -round(t.mrr, 9), t.number)):
            if not found or trial.mrr > found[-1].mrr + MEANS:
                found.append(trial)
        return tuple(found)

    def best(self, *, max_bytes: int | None = None) -> Trial:
        """The trial of the front with the highest score, of those within a budget.

        Args:
            max_bytes: Most bytes per gallery vector, or ``None`` for any.

        Raises:
            ValueError: No trial is that cheap.
        """
        fitting = [t for t in self.front if max_bytes is None or t.cost <= max_bytes]
        if not fitting:
            raise ValueError(
                f"max_bytes must be at least the {self.front[0].cost} bytes per gallery vector of "
                f"the cheapest trial; got {max_bytes}. Raise it, or tune with smaller dims."
            )
        return fitting[-1]

    @property
    def chance_mrr(self) -> float:
        """Mean reciprocal rank of a random order of the galleries of the folds."""
        return self._random.mean_reciprocal_rank_at_random

    @property
    def chance_at_10(self) -> float:
        """Recall at 10 of a random order of the galleries of the folds."""
        return self._random.recall_at_random(10)

    @property
    def _random(self) -> HeldOutRanks:
        sizes = [len(fold.held_out) for fold in self.judge.cv().folds]
        gallery = torch.tensor([size for size in sizes for _ in range(size)])
        return HeldOutRanks(gallery[:, None], gallery)

    @torch.no_grad()
    def fit(self, number: int | None = None, *, max_bytes: int | None = None) -> Adapter:
        """The adapter of one setting, refitted on all pairs.

        Where the raw cosine is defined, within the budget, and not beaten by two standard errors
        on the held-out folds, the identity comes back, as from ``align.fit``. A trial that was
        named by its number and is cheaper than raw vectors stays.

        Args:
            number: Of the trial; by default the best within ``max_bytes``.
            max_bytes: Most bytes per gallery vector; only without ``number``.

        Warns:
            NoBetterThanChance: Held-out pairs were not found more often than by chance.

        Raises:
            ValueError: There is no such trial, it was pruned, no trial is that cheap, or both a
                number and a budget were given.
        """
        trial = self._trial(number, max_bytes)
        judge, setting = self.judge, trial.setting
        cv = judge.cv(setting)
        outcome = pooled(list(judge.outcomes(setting)), k=cv.k)
        verdict = (
            f"{setting} scored {trial.mrr:.4f} ± {trial.error:.4f} MRR on held-out folds at "
            f"{trial.cost} bytes per gallery vector, trial {trial.number} of {len(self.trials)}"
        )
        raw = judge.raw()
        found = against_chance(cv, outcome, raw)
        if raw is not None:
            gain, error = outcome.gain_over(raw)
            if gain <= MIN_STANDARD_ERRORS * error and self._may_be_raw(trial, number, max_bytes):
                verdict = (
                    f"{setting} did not beat the raw cosine by two standard errors "
                    f"({gain:+.4f} ± {error:.4f}) on held-out folds"
                )
                d = self.judge.pairs.source.shape[1]
                found = against_chance(cv, raw, raw)
                found.warn("this adapter", stacklevel=3)
                card = self._card("identity", verdict, found)
                return Adapter(IdentityMap(d), IdentityMap(d), card, training_items=self._items())
            verdict += f", {gain:+.4f} ± {error:.4f} from the raw cosine"
        maps = judge.fit(setting)
        reference = GalleryChoice(setting.hubness, setting.expansion, outcome).reference(cv, maps)
        found.warn("this adapter", stacklevel=3)
        card = self._card(str(setting), verdict, found, trial)
        return Adapter(*maps, card, reference=reference, training_items=self._items())

    def _items(self) -> TrainingItems:
        return TrainingItems.of(self.judge.pairs.source, self.judge.pairs.target)

    def _may_be_raw(self, trial: Trial, number: int | None, max_bytes: int | None) -> bool:
        """Whether raw vectors are cheap enough to stand in for a trial."""
        raw = BYTES * self.judge.pairs.source.shape[1]
        if number is None:
            return max_bytes is None or raw <= max_bytes
        return raw <= trial.cost

    def _trial(self, number: int | None, max_bytes: int | None) -> Trial:
        if number is None:
            return self.best(max_bytes=max_bytes)
        if max_bytes is not None:
            raise ValueError(
                "a setting is named by its number or chosen within a budget; "
                f"got number={number} and max_bytes={max_bytes}. Leave one of them out."
            )
        known = {trial.number: trial for trial in self.whole}
        if number not in known:
            raise ValueError(
                f"number must be that of a trial scored on every fold, {sorted(known)}; "
                f"got {number}. Choose one of the front."
            )
        return known[number]

    def _card(
        self, method: str, verdict: str, found: AgainstChance, chosen: Trial | None = None
    ) -> Card:
        judge = self.judge
        cv, pairs = judge.cv(), judge.pairs
        return Card(
            method=method,
            n_pairs=len(pairs),
            d_source=pairs.source.shape[1],
            d_target=pairs.target.shape[1],
            n_groups=cv.n_groups,
            source_fingerprint=pairs.source_fingerprint,
            target_fingerprint=pairs.target_fingerprint,
            encoders=pairs.encoders,
            seed=judge.seed,
            folds=(cv.k, cv.repeats),
            fold_gallery=len(cv.folds[0].held_out),
            seconds={"tuning": self.seconds},
            candidates=tuple(
                Candidate(
                    "tuned",
                    str(trial.setting),
                    trial.mrr,
                    trial.mrr - 1.96 * trial.error,
                    trial.mrr + 1.96 * trial.error,
                    trial.recall_at_10,
                    trial is chosen,
                    self.chance_mrr,
                    self.chance_at_10,
                )
                for trial in self.whole
            ),
            verdict=f"{found}; {verdict}",
            better_than_chance=found.better,
            versions=installed_versions(),
        )
