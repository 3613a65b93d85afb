"""Result of a search over settings: every trial, their front, and the adapter of one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from align._display.lines import count, one_line, percent, rounded
from align._display.panel import Folded, Panel, Table, Tile, render
from align.adapters.adapter import Adapter
from align.adapters.card import Candidate, Card
from align.adapters.training_items import TrainingItems
from align.fitting.model_selection.fit import card_of
from align.fitting.model_selection.gallery_correction import GalleryChoice
from align.fitting.model_selection.map_search import identity_maps
from align.fitting.model_selection.outcome import Outcome, score_raw
from align.fitting.model_selection.shuffled_pairs import against_chance
from align.fitting.tuning.setting import BYTES, Params, Setting, SettingScorer
from align.metrics.chance import AgainstChance, HeldOutRanks
from align.scoring.ties import MEANS


@dataclass(frozen=True, slots=True)
class Trial:
    """One setting, and what it scored on all folds, or on the first alone if it was pruned."""

    number: int  # place among the trials that were finished, from 0
    params: Params  # what was tried, by name
    setting: Setting  # the same as a setting
    mrr: float  # mean reciprocal rank of held-out pairs, in [0, 1]
    error: float  # its standard error
    recall_at_10: float  # share of held-out queries with their pair in the top ten
    pruned: bool

    def __repr__(self) -> str:
        return one_line(
            "Trial",
            str(self.number),
            f"MRR {rounded(self.mrr)} ± {rounded(self.error)}",
            f"recall@10 {percent(self.recall_at_10)}",
            f"{self.cost:,} bytes",
            "pruned" if self.pruned else "",
            str(self.setting),
        )

    @property
    def cost(self) -> int:
        """Bytes per gallery vector."""
        return self.setting.bytes_per_item


@dataclass(frozen=True, slots=True)
class Tuning:
    """Finished trials in order, and the way from one to an adapter.

    The score of the best of many trials is a little too high: it was chosen for it. Evaluate the
    adapter on pairs that were not in ``align.tune``.

    Attributes:
        trials: Pruned ones too.
        importance: Share of the variance of the score that each parameter explains, of those that
            every trial has; sums to 1. Empty with fewer than ten whole trials.
        raw_mrr: Mean reciprocal rank of the raw cosine on the same folds, or ``None`` where the
            sides differ in width.
        seconds: Seconds spent on these trials, over all calls.
        scorer: What scored them.
    """

    trials: tuple[Trial, ...]
    importance: Mapping[str, float]
    raw_mrr: float | None
    seconds: float
    scorer: SettingScorer

    def __repr__(self) -> str:
        if not self.whole:
            return one_line("Tuning", count(len(self.trials), "trial"), "none on every fold")
        best = self.best()
        return one_line(
            "Tuning",
            count(len(self.trials), "trial"),
            f"best MRR {rounded(best.mrr)} (chance {rounded(self.chance_mrr)})",
            f"at {best.cost:,} bytes",
            f"trial {best.number}",
        )

    def _repr_html_(self) -> str:
        return render(tuning_panel(self))

    @property
    def whole(self) -> tuple[Trial, ...]:
        """Trials that were scored on every fold."""
        return tuple(trial for trial in self.trials if not trial.pruned)

    @property
    def front(self) -> tuple[Trial, ...]:
        """Trials than which none is at once no dearer and better; cheapest first."""
        best: list[Trial] = []
        for trial in sorted(self.whole, key=lambda t: (t.cost, -round(t.mrr, 9), t.number)):
            if not best or trial.mrr > best[-1].mrr + MEANS:
                best.append(trial)
        return tuple(best)

    def best(self, *, max_bytes: int | None = None) -> Trial:
        """The trial of highest score, of those within ``max_bytes`` per gallery vector.

        Raises:
            ValueError: No trial is that cheap.
        """
        affordable = [t for t in self.front if max_bytes is None or t.cost <= max_bytes]
        if not affordable:
            raise ValueError(
                f"max_bytes must be at least the {self.front[0].cost} bytes per gallery vector of "
                f"the cheapest trial; got {max_bytes}. Raise it, or tune with smaller dims."
            )
        return affordable[-1]

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
        sizes = torch.tensor([len(fold.held_out) for fold in self.scorer.cv().folds])
        gallery = sizes.repeat_interleave(sizes)
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
        scorer, setting = self.scorer, trial.setting
        cv = scorer.cv(setting)
        outcome = Outcome.pooled(list(scorer.outcomes(setting)), k=cv.k)
        raw = score_raw(scorer.cv())
        verdict = (
            f"{setting} scored {trial.mrr:.4f} ± {trial.error:.4f} MRR on held-out folds at "
            f"{trial.cost} bytes per gallery vector, trial {trial.number} of {len(self.trials)}"
        )
        gain = None if raw is None else outcome.gain_over(raw)
        if gain is not None:
            verdict += f", {gain} from the raw cosine"
        chosen: Trial | None = trial
        method, reference = str(setting), None
        if gain is None or gain.exceeds(2) or not self._may_be_raw(trial, number, max_bytes):
            maps = scorer.fit(setting)
            gallery = GalleryChoice(setting.hubness, setting.expansion, outcome)
            reference = gallery.reference(cv, maps)
        else:
            assert raw is not None  # as there is a gain over it
            method, maps, outcome, chosen = "identity", identity_maps(*cv.widths), raw, None
            verdict = (
                f"{setting} did not beat the raw cosine by two standard errors ({gain}) "
                "on held-out folds"
            )
        chance = against_chance(cv, outcome, raw)
        card = self._card(method, verdict, chance, chosen)
        chance.warn("this adapter", stacklevel=3)
        items = TrainingItems.of(cv.data.source, cv.data.target)
        return Adapter(*maps, card, reference=reference, training_items=items)

    def _may_be_raw(self, trial: Trial, number: int | None, max_bytes: int | None) -> bool:
        """Whether raw vectors are cheap enough to stand in for a trial."""
        raw = BYTES * self.scorer.pairs.source.shape[1]
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

    def _card(self, method: str, verdict: str, chance: AgainstChance, chosen: Trial | None) -> Card:
        mrr_at_random, recall_at_random = self.chance_mrr, self.chance_at_10
        candidates = [
            Candidate(
                "tuned",
                str(trial.setting),
                trial.mrr,
                trial.mrr - 1.96 * trial.error,
                trial.mrr + 1.96 * trial.error,
                trial.recall_at_10,
                trial is chosen,
                mrr_at_random,
                recall_at_random,
            )
            for trial in self.whole
        ]
        seconds = {"tuning": self.seconds}
        return card_of(self.scorer.cv(), method, verdict, chance, candidates, seconds)


def tuning_panel(tuning: Tuning) -> Panel:
    """The best trial beside chance, the front of cost and score, and every trial folded away."""
    tiles = [Tile("trials", f"{len(tuning.trials):,}", f"{len(tuning.whole):,} on every fold")]
    columns = ["trial", "MRR ± error", "recall@10", "bytes", "setting"]
    if not tuning.whole:
        return Panel("Tuning", tiles=tiles, tables=[_trials(tuning.trials, columns, "")])
    best = tuning.best()
    at_random = f"chance {rounded(tuning.chance_mrr)}"
    tiles += [
        Tile("best MRR", f"{rounded(best.mrr)} ± {rounded(best.error)}", at_random),
        Tile("recall@10", percent(best.recall_at_10), f"chance {percent(tuning.chance_at_10)}"),
        Tile("bytes", f"{best.cost:,}", "per gallery vector"),
    ]
    if tuning.raw_mrr is not None:
        tiles.append(Tile("raw cosine", rounded(tuning.raw_mrr), "MRR on the same folds"))
    importance = sorted(tuning.importance.items(), key=lambda each: -each[1])
    facts = {"took": f"{tuning.seconds:,.1f} seconds"}
    if importance:
        facts["matters most"] = ", ".join(f"{k} {percent(v)}" for k, v in importance[:5])
    front = "trials than which none is at once no dearer and better"
    summary = f"all {count(len(tuning.trials), 'trial')}"
    return Panel(
        "Tuning",
        sentence="The score of the best of many trials is a little too high: evaluate the adapter "
        "on pairs that were not in align.tune.",
        tiles=tiles,
        facts=facts,
        tables=[_trials(tuning.front, columns, front)],
        folded=[Folded(summary, [_trials(tuning.trials, columns, "")])],
    )


def _trials(trials: Sequence[Trial], columns: Sequence[str], title: str) -> Table:
    rows = [
        [
            str(each.number),
            f"{rounded(each.mrr)} ± {rounded(each.error)}",
            percent(each.recall_at_10),
            f"{each.cost:,}",
            f"{each.setting}{' (pruned)' if each.pruned else ''}",
        ]
        for each in trials
    ]
    return Table(columns, rows, title=title, numeric=range(4))
