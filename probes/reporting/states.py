"""The states that a report compares: raw, centred, aligned, and with the search corrected."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Literal, Protocol

import torch
from torch import Tensor

from align.data.embeddings import Embeddings, PairedEmbeddings
from align.data.splits import folds, group_codes
from probes.inputs import directions
from probes.reporting.model import Column
from probes.space import Search, Space, whole_groups
from probes.swapped_sides import centred_directions

LEAST_GROUPS = 20
"""With fewer independent pairs than this a 95 % interval means little."""

MOST_PAIRS = 5_000
"""Similarities of all pairs with all pairs are held at once; this bounds them to 100 MB each."""

CENTRING_FOLDS = 5

_ROUNDING = 1e-7
"""Of the coordinate of a unit vector in float32: rows that differ by no more are one direction."""


class Maps(Protocol):
    """Two maps into one space; an ``align.Adapter`` is one."""

    def source(self, x: Embeddings, /) -> Tensor:
        """Source embeddings in the shared space, ``(n, dim)``."""
        ...

    def target(self, y: Embeddings, /) -> Tensor:
        """Target embeddings in the shared space, ``(n, dim)``."""
        ...


class Searches(Maps, Protocol):
    """Maps that say what to search with and in, where that is more than a cosine."""

    def queries(self, x: Embeddings, /, *, side: Literal["source", "target"]) -> Tensor:
        """Vectors of the side that asks."""
        ...

    def gallery(self, y: Embeddings, /, *, side: Literal["source", "target"]) -> Tensor:
        """Vectors of the side that is searched."""
        ...


class Remembers(Maps, Protocol):
    """Maps that know the pairs that they were fitted on."""

    def trained_on(self, pairs: PairedEmbeddings, /) -> Tensor:
        """Whether each pair was among them, ``(n,)`` bool."""
        ...


def measurable(paired: PairedEmbeddings, *, seed: int) -> tuple[PairedEmbeddings, tuple[str, ...]]:
    """The pairs that a report measures, and the rules by which others were left out.

    Args:
        paired: Held-out pairs.
        seed: Seeds the draw where there are more than ``MOST_PAIRS``.

    Returns:
        Pairs in their order, and one sentence per rule that left any out.

    Raises:
        ValueError: Fewer than ``LEAST_GROUPS`` groups, or a side that is the same for all pairs.
    """
    rules = []
    kept = _first_of_repeats(paired)
    if len(kept) < len(paired):
        rules.append(
            f"{len(paired) - len(kept):,} of {len(paired):,} pairs repeat an item of their group "
            "and are left out, so that each item is in the gallery once."
        )
    codes = torch.from_numpy(group_codes([paired.groups[row] for row in kept.tolist()]))
    if len(codes) > MOST_PAIRS:
        generator = torch.Generator().manual_seed(seed)
        kept = kept[whole_groups(codes, MOST_PAIRS, generator)]
        rules.append(
            f"{len(kept):,} pairs are measured, a random sample of whole groups: a report holds "
            f"similarities of all pairs with all pairs, for at most {MOST_PAIRS:,}."
        )
    found = paired.take(kept)
    groups = len(set(found.groups))
    if groups < LEAST_GROUPS:
        raise ValueError(
            f"a report needs at least {LEAST_GROUPS} groups of pairs, for its intervals; got "
            f"{groups} groups in {len(paired)} pairs. Hold out more pairs."
        )
    for name, side in (("source", found.source), ("target", found.target)):
        units = directions(name, side.detach().cpu().double())
        if ((units - units[0]).abs() <= _ROUNDING).all():
            raise ValueError(
                f"the {name} side must differ between pairs; all {len(side)} rows are equal, or "
                "point one way. Check what was encoded."
            )
    rules += _repeats_between_groups(found)
    return found, tuple(rules)


def states(
    paired: PairedEmbeddings, adapter: Maps | Searches | None, *, seed: int
) -> dict[Column, Space]:
    """Each state that exists, in the order of a report.

    Rows are divided by their norms: all probes look at directions. The centred state subtracts
    means of the other folds, so that no pair is centred by itself.

    Args:
        paired: Pairs, as ``measurable`` leaves them.
        adapter: What aligns them, or ``None``.
        seed: Seeds folds, samples and nulls.

    Raises:
        ValueError: A row is all zeros, or the adapter refuses the vectors or maps them to a space
            of two widths.
    """
    codes = torch.from_numpy(group_codes(paired.groups))
    raw = Space(
        directions("source", paired.source.detach().cpu().double()).float(),
        directions("target", paired.target.detach().cpu().double()).float(),
        codes,
        seed,
    )
    fold = torch.from_numpy(folds(paired.groups, CENTRING_FOLDS, seed=seed))
    centred = Space(
        centred_directions("source", raw.source, fold),
        centred_directions("target", raw.target, fold),
        codes, seed, before=raw, folds=fold,
    )  # fmt: skip
    found: dict[Column, Space] = {"raw": raw, "centred": centred}
    if adapter is None:
        return found
    sides = {
        "source": Embeddings(paired.source, paired.source_fingerprint, paired.ids),
        "target": Embeddings(paired.target, paired.target_fingerprint, paired.ids),
    }
    z = _plain("aligned source", adapter.source(sides["source"]))
    w = _plain("aligned target", adapter.target(sides["target"]))
    if z.shape[1] != w.shape[1]:
        raise ValueError(
            "an adapter must map both sides into one space; got widths "
            f"{z.shape[1]} and {w.shape[1]}. Report on it without an adapter, or mend the adapter."
        )
    aligned = Space(
        directions("aligned source", z), directions("aligned target", w), codes, seed, before=raw
    )
    found["aligned"] = aligned
    corrected = _corrected(adapter, sides)
    if corrected is not None and not _same(corrected, aligned.searches):
        found["corrected"] = Space(
            aligned.source, aligned.target, codes, seed, corrected=corrected, before=raw
        )
    return found


def trained_on(adapter: Maps | Remembers, paired: PairedEmbeddings) -> int | None:
    """How many of the pairs the adapter was fitted on; ``None`` where it does not remember.

    Args:
        adapter: What aligns them.
        paired: Pairs.

    Raises:
        ValueError: The adapter does not answer with one boolean per pair.
    """
    if not hasattr(adapter, "trained_on"):
        return None
    try:
        known = torch.as_tensor(adapter.trained_on(paired))
    except ValueError:  # as align.Adapter does where it was put together by hand
        return None
    if known.dtype != torch.bool or known.shape != (len(paired),):
        raise ValueError(
            f"trained_on must give one boolean per pair; got {known.dtype} of shape "
            f"{tuple(known.shape)} for {len(paired)} pairs. Mend the adapter."
        )
    return int(known.sum())


def _first_of_repeats(paired: PairedEmbeddings) -> Tensor:
    """Rows that bring a source and a target item that their group has not had yet."""
    seen: tuple[set[tuple[int, bytes]], ...] = (set(), set())
    sides = [_digests(paired.source), _digests(paired.target)]
    kept = []
    for row, code in enumerate(group_codes(paired.groups).tolist()):
        keys = [(code, side[row]) for side in sides]
        if not any(key in known for key, known in zip(keys, seen, strict=True)):
            kept.append(row)
            for key, known in zip(keys, seen, strict=True):
                known.add(key)
    return torch.tensor(kept)


def _repeats_between_groups(paired: PairedEmbeddings) -> list[str]:
    rules = []
    for name, side in (("source", paired.source), ("target", paired.target)):
        again = len(side) - len(set(_digests(side)))
        if again:
            rules.append(
                f"{again:,} {name} vectors equal one of another group: such ties count against "
                "retrieval, and near neighbours are not to be trusted."
            )
    return rules


def _digests(x: Tensor) -> list[bytes]:
    rows = x.detach().cpu().contiguous().view(torch.uint8).numpy()
    return [blake2b(row.data, digest_size=16).digest() for row in rows]


def _plain(name: str, x: Tensor) -> Tensor:
    return torch.as_tensor(x).detach().cpu().float()


def _corrected(
    adapter: Maps | Searches, sides: dict[str, Embeddings]
) -> tuple[Search, Search] | None:
    if not (hasattr(adapter, "queries") and hasattr(adapter, "gallery")):
        return None
    asks = [
        _plain("queries", adapter.queries(sides["source"], side="source")),
        _plain("queries", adapter.queries(sides["target"], side="target")),
    ]
    found = [
        _plain("gallery", adapter.gallery(sides["target"], side="target")),
        _plain("gallery", adapter.gallery(sides["source"], side="source")),
    ]
    return Search(asks[0], found[0]), Search(asks[1], found[1])


def _same(a: Sequence[Search], b: Sequence[Search]) -> bool:
    return all(
        x.shape == y.shape and torch.allclose(x, y, atol=1e-6)
        for one, other in zip(a, b, strict=True)
        for x, y in zip(one, other, strict=True)
    )
