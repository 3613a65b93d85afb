"""The modules of an adapter as one value: what is described in its ``config.json``."""

from __future__ import annotations

from dataclasses import dataclass, fields

from torch import nn

from align.adapters.calibration.calibration import Calibration
from align.adapters.corrections.preference import Preference
from align.adapters.corrections.reference_set import ReferenceSet
from align.adapters.maps.linear import SideMap
from align.adapters.recipes.statistics import SufficientStatistics
from align.adapters.training_items import TrainingItems


@dataclass(frozen=True, slots=True)
class Components:
    """Two maps into one space and what goes with them; ``Adapter`` says what each is for.

    Raises:
        ValueError: The maps end in spaces of two widths, or the preference is of other targets.
    """

    source_map: SideMap
    target_map: SideMap
    reference: ReferenceSet | None = None
    preference: Preference | None = None
    training_items: TrainingItems | None = None
    calibration: Calibration | None = None
    statistics: SufficientStatistics | None = None

    def __post_init__(self) -> None:
        if self.source_map.dim != self.target_map.dim:
            raise ValueError(
                "both maps of an adapter must end in one space; "
                f"got widths {self.source_map.dim} and {self.target_map.dim}. "
                "Give both the same dim."
            )
        if self.preference is not None and sum(self.preference.widths) != self.target_map.d_in:
            raise ValueError(
                "the parts that a preference distinguishes must be those of the targets, of width "
                f"{self.target_map.d_in}; got widths {list(self.preference.widths)}. "
                "Take them from target_parts of the pairs."
            )

    @property
    def d_search(self) -> int:
        """Width of the vectors that ``queries`` and ``gallery`` give where sources are queries."""
        corrected = self.reference is not None and self.reference.hubness is not None
        return (
            self.source_map.dim
            + corrected
            + (0 if self.preference is None else self.preference.dim)
        )

    def module(self) -> nn.ModuleDict:
        """All of them as one module, whose tensors have the names of the file of weights."""
        named = {field.name: getattr(self, field.name) for field in fields(self)}
        return nn.ModuleDict({name: part for name, part in named.items() if part is not None})
