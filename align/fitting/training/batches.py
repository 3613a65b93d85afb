"""The pairs on their device, and the order in which they are drawn in batches."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from align._checks import check_matrix, check_no_zero_rows
from align.adapters.adapter import Adapter
from align.adapters.corrections.reference_set import ROWS, ReferenceSet
from align.adapters.maps.linear import SideMap, directions
from align.data.embeddings import PairedEmbeddings
from align.data.sides import Side
from align.data.splits import group_codes
from align.fitting.losses.mixup import shared_mixup


@dataclass(frozen=True, slots=True, eq=False)
class PairRows:
    """Pairs to train on, or a batch of them."""

    source: Tensor  # unit-norm float32, (n, d_source): maps do not look at lengths
    target: Tensor  # (n, d_target)
    groups: Tensor  # group codes, int64 (n,)
    source_modality: Tensor | None  # bit masks, int64 (n,)
    target_modality: Tensor | None

    @classmethod
    def of(cls, pairs: PairedEmbeddings, adapter: Adapter, device: torch.device) -> PairRows:
        """The pairs on a device, checked against the adapter that they will train."""

        def prepared(side: Side, x: Tensor, side_map: SideMap) -> Tensor:
            adapter.check_fingerprint(side, getattr(pairs, f"{side}_fingerprint"))
            x = x.to(device, torch.float32)
            check_matrix(f"{side} embeddings", x, d=side_map.d_in)
            check_no_zero_rows(f"{side} embeddings", x)
            return directions(x)

        return cls(
            prepared("source", pairs.source, adapter.source_map),
            prepared("target", pairs.target, adapter.target_map),
            torch.from_numpy(group_codes(pairs.groups)).to(device),
            None if pairs.source_modality is None else pairs.source_modality.to(device),
            None if pairs.target_modality is None else pairs.target_modality.to(device),
        )

    def __len__(self) -> int:
        return len(self.groups)

    def take(self, index: Tensor) -> PairRows:
        """The rows at ``index``, int64, which may repeat."""
        masks = self.source_modality, self.target_modality
        taken = (None if mask is None else mask[index] for mask in masks)
        return PairRows(self.source[index], self.target[index], self.groups[index], *taken)

    def mixed(self, alpha: float, generator: torch.Generator) -> PairRows:
        """Both halves blended by one share; each blend is its own group, of both modalities."""
        source, target = shared_mixup(self.source, self.target, alpha=alpha, generator=generator)
        half = len(source)
        either = [
            None if mask is None else mask[:half] | mask[half : 2 * half]
            for mask in (self.source_modality, self.target_modality)
        ]
        return PairRows(source, target, torch.arange(half, device=source.device), *either)


class BatchSampler:
    """Draws row numbers in batches: shuffled passes over all rows, or draws by weight."""

    def __init__(
        self, n: int, batch_size: int | None, weights: Tensor | None, generator: torch.Generator
    ) -> None:
        self.n, self.batch_size = n, batch_size or n
        self.weights, self.generator = weights, generator
        self.left = torch.empty(0, dtype=torch.int64)  # what this pass has not drawn yet

    def draw(self) -> Tensor:
        """Rows of the next batch, int64 on the CPU."""
        if self.weights is not None:
            return torch.multinomial(
                self.weights, self.batch_size, replacement=True, generator=self.generator
            )
        if len(self.left) == 0:
            self.left = torch.randperm(self.n, generator=self.generator)
        # What is left in nearly equal parts: no pass ends in a tiny batch without negatives.
        size = math.ceil(len(self.left) / math.ceil(len(self.left) / self.batch_size))
        batch, self.left = self.left[:size], self.left[size:]
        return batch


def projected_reference(
    adapter: Adapter, reference: ReferenceSet, rows: PairRows, *, seed: int
) -> ReferenceSet:
    """A reference set with the same settings, and as many of these pairs where there are."""
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))
    chosen = order[: len(reference.source_reference)].sort().values.to(rows.groups.device)
    sample = rows.take(chosen)

    @torch.no_grad()
    def mapped(side_map: nn.Module, x: Tensor) -> Tensor:
        return torch.cat([side_map(piece) for piece in torch.split(x, ROWS)])

    return reference.of_other_pairs(
        mapped(adapter.source_map, sample.source), mapped(adapter.target_map, sample.target)
    )
