"""Items in, one tensor per item out: in batches of like length, in the order of the items."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

from align._checks import as_list
from align._display.progress import progress_bar

T = TypeVar("T")


def checked_items(
    items: Iterable[Any], kinds: tuple[type, ...] = (), what: str = "anything"
) -> list[Any]:
    """The items that a caller passed to ``encode``, in order; a generator is used up.

    ``kinds`` are types that an item may have, empty for any, and ``what`` is those in words.

    Raises:
        TypeError: ``items`` is one string, has no order, or an item is of another type.
        ValueError: There are no items.
    """
    listed = as_list("items", items)
    if not listed:
        raise ValueError(
            "items must hold at least one item; got none. Check what selected the items."
        )
    for position, item in enumerate(listed if kinds else ()):
        if not isinstance(item, kinds):
            raise TypeError(
                f"every item must be {what}; item {position} is of type {type(item).__name__}. "
                "Convert it or drop it, and its id."
            )
    return listed


def run_batches(
    items: Sequence[T],
    forward: Callable[[list[T], list[int]], Iterable[Tensor]],
    *,
    batch_size: int,
    length: Callable[[T], int] | None = None,
    progress: bool | None = None,
    label: str = "items",
) -> list[Tensor]:
    """The tensor of each item, in the order of ``items``, computed in inference mode.

    ``forward`` gives one tensor per item of a batch of at most ``batch_size``, and also gets the
    positions of these items. With ``length``, the size of an item, items of like size share a
    batch, longest first, so that padding is little and a lack of memory shows at once.
    ``progress`` draws a bar, called ``label``, on stderr, by default where that is watched.
    """
    order = list(range(len(items)))
    if length is not None:
        order.sort(key=lambda i: -length(items[i]))
    done: dict[int, Tensor] = {}
    with (
        torch.inference_mode(),
        progress_bar(progress, total=len(items), unit="item", label=label) as bar,
    ):
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            outputs = forward([items[i] for i in rows], rows)
            done.update(zip(rows, outputs, strict=True))
            bar.update(len(rows))
    return [done[i] for i in range(len(items))]
