"""The space that settings are drawn from, and what is tried first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from align.fitting.tuning.setting import Params, SettingScorer

LEAST_DIM = 32


@dataclass(frozen=True, slots=True)
class SearchSpace:
    """The ranges that settings are drawn from."""

    dims: tuple[int, int]  # least and greatest width of the shared space
    parts: tuple[int, int]  # parts of each side whose weights are chosen
    comparable: bool = False  # whether the sides have one width, for a shared projection

    @classmethod
    def of(cls, scorer: SettingScorer, dims: tuple[int, int] | None) -> Self:
        """The space for the pairs of a scorer."""
        widest = scorer.widest
        if dims is None:
            dims = max(1, min(LEAST_DIM, widest // 4)), widest
        if not 1 <= dims[0] <= dims[1] <= widest:
            raise ValueError(
                f"dims must rise and lie in [1, {widest}], the directions that every fold has; "
                f"got {dims}. Choose others, or leave them out."
            )
        return cls(dims, scorer.weighed, scorer.cv().is_comparable)

    def starts(self) -> list[dict[str, Any]]:
        """What is tried first: what ``align.fit`` tries, one step at a time, wide and narrow."""
        low, high = self.dims
        plain = {
            "dim": high,
            "source_root": False,
            "target_root": False,
            "correction": "inverted_softmax",
            "sharpness": 10.0,
            "expansion": False,
            **{name: 0 for name in self._weights()},
        }
        expanded = {"expansion": True, "expansion_weight": 0.3, "expansion_sharpness": 20.0}
        starts = [
            {**plain, "source_ridge": ridge, "target_ridge": ridge, "power": power, **step}
            for ridge, power, step in (
                (3.0, 1.0, {}),
                (10.0, 0.5, {}),
                (3.0, 0.5, expanded),
                (3.0, 0.5, {**expanded, "source_root": True}),
                (3.0, 0.5, {**expanded, "target_root": True}),
                (10.0, 0.5, {"dim": max(low, high // 2)}),
                (3.0, 1.0, {"dim": max(low, high // 4)}),
            )
        ]
        if not self.comparable:
            return starts
        return [
            *({"map": "rcca", **start} for start in starts),
            {"map": "centred", **plain},
            {"map": "both", "centred_share": 0.5, **starts[1]},
        ]

    def suggest(self, trial: Any) -> Params:
        """Parameters of an Optuna trial; some are drawn only where they mean something."""
        kind = "rcca"
        if self.comparable:
            kind = trial.suggest_categorical("map", ("rcca", "centred", "both"))
        if kind == "both":
            trial.suggest_float("centred_share", 0.1, 0.9)
        for side in ("source", "target"):
            if kind != "centred":
                trial.suggest_float(f"{side}_ridge", 0.03, 300, log=True)
            trial.suggest_categorical(f"{side}_root", (False, True))
        if kind != "centred":
            trial.suggest_float("power", 0, 2)
        trial.suggest_int("dim", *self.dims, log=True)
        for name in self._weights():
            trial.suggest_int(name, -2, 2)
        match trial.suggest_categorical("correction", ("none", "nnn", "inverted_softmax")):
            case "nnn":
                trial.suggest_int("nnn_k", 4, 256, log=True)
                trial.suggest_float("nnn_alpha", 0.1, 1)
            case "inverted_softmax":
                trial.suggest_float("sharpness", 2, 40, log=True)
        if trial.suggest_categorical("expansion", (False, True)):
            trial.suggest_float("expansion_weight", 0.05, 0.8)
            trial.suggest_float("expansion_sharpness", 5, 80, log=True)
        params: Params = trial.params
        return params

    def _weights(self) -> list[str]:
        sides = zip(("source", "target"), self.parts, strict=True)
        return [f"{side}_part_{part}" for side, n in sides for part in range(2, n + 1)]
