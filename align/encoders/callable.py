"""Any function as an encoder: a network that transformers does not know, or a web service."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from align._checks import check_matrix
from align._display.panel import render
from align.encoders.batches import checked_items, run_batches
from align.encoders.panels import callable_line, callable_panel
from align.encoders.pretrained.weights import fingerprint


@dataclass(frozen=True, eq=False)
class CallableEncoder:
    """A function from a list of items to one vector per item.

    Attributes:
        function: Takes a list of up to ``batch_size`` items and returns their vectors in the same
            order, ``(b, dim)`` floating point: a tensor, an array, or a list of lists.
        name: The caller's promise, and the base of the fingerprint: the same name always means
            the same vectors for the same items. Put a version into it.
        dim: Width of the vectors.
        modality: Kind of the items.
        batch_size: Items per call.

    Raises:
        ValueError: ``name`` is empty, or ``dim`` or ``batch_size`` is below 1.

    Examples:
        >>> import numpy as np, align
        >>> def count(texts):
        ...     return np.array([[len(text), text.count(" ")] for text in texts], "f4")
        >>> encoder = align.CallableEncoder(count, name="lengths-v1", dim=2)
        >>> encoder.encode(["a red dog", "cat"]).tolist()
        [[9.0, 2.0], [3.0, 0.0]]
    """

    function: Callable[[list[Any]], Any]
    _: KW_ONLY
    name: str
    dim: int
    modality: str = "text"
    batch_size: int = 32

    def __post_init__(self) -> None:
        if not self.name or self.dim < 1 or self.batch_size < 1:
            raise ValueError(
                "name must not be empty, and dim and batch_size must be at least 1; "
                f"got name {self.name!r}, dim {self.dim} and batch_size {self.batch_size}. "
                "Name the function and its version, and give the width of its vectors."
            )

    def __repr__(self) -> str:
        return callable_line(self.name, self.dim, self.modality)

    def _repr_html_(self) -> str:
        return render(
            callable_panel(self.name, self.dim, self.modality, batch_size=self.batch_size)
        )

    @cached_property
    def fingerprint(self) -> str:
        """Changes with ``name``, ``dim`` and ``modality``."""
        parts = {"name": self.name, "dim": self.dim}
        return fingerprint(self.modality, "callable", self.name, parts)

    def encode(self, items: Sequence[Any], *, progress: bool | None = None) -> Tensor:
        """The vector of each item, ``(n, dim)`` float32 on the CPU.

        An error of ``function`` passes through: trying again is its own matter.

        Args:
            items: ``n`` items, at least one.
            progress: Whether to draw a progress bar; by default in a terminal or notebook.

        Raises:
            TypeError: ``items`` is one string.
            ValueError: There are no items, or ``function`` returned anything but finite floating
                point vectors, ``(b, dim)``.
        """
        rows = run_batches(
            checked_items(items),
            self._vectors,
            batch_size=self.batch_size,
            progress=progress,
            label=self.modality,
        )
        return torch.stack(rows)

    def _vectors(self, items: list[Any], rows: list[int]) -> Tensor:
        output = self.function(items)
        try:
            vectors = output if isinstance(output, Tensor) else torch.as_tensor(np.asarray(output))
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"{self.name!r} must return a matrix of numbers, ({len(items)}, {self.dim}) for "
                f"this batch; got {type(output).__name__} that is none ({error}). "
                "Return a tensor, an array, or lists of equal length."
            ) from error
        if tuple(vectors.shape) != (len(items), self.dim):
            raise ValueError(
                f"{self.name!r} must return one vector of width {self.dim} for each of the "
                f"{len(items)} items of a batch; got shape {tuple(vectors.shape)}. "
                "Check dim, and that no item is dropped."
            )
        check_matrix(f"what {self.name!r} returned for items {rows[0]}..{rows[-1]}", vectors)
        return vectors.detach().float().cpu()
