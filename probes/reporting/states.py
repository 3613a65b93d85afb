"""The states that a report compares: raw, centred, aligned, and with the search corrected."""

from __future__ import annotations

from hashlib import blake2b
from typing import Protocol

import torch
from torch import Tensor

from align.data.embeddings import Embeddings, PairedEmbeddings
from align.data.splits import folds, group_codes
from probes.inputs import directions
from probes.nulls import centred_directions
from probes.reporting.model import Column
from probes.space import SearchSides, Space, whole_groups

CENTRING_FOLDS = 5


class AdapterLike(Protocol):
    """Two maps into one space; an ``align.Adapter`` is one.

    One may also have ``queries(x, side=...)`` and ``gallery(y, side=...)``, the vectors to search
    with and in where that is more than a cosine; and ``trained_on(pairs)``, whether each pair was
    among those that it was fitted on, ``(n,)`` bool.
    """

    def source(self, x: Embeddings, /) -> Tensor:
        """Source embeddings in the shared space, ``(n, dim)``."""
        ...

    def target(self, y: Embeddings, /) -> Tensor:
        """Target embeddings in the shared space, ``(n, dim)``."""
        ...


def measurable(
    paired: PairedEmbeddings, *, seed: int, most_pairs: int = 5_000
) -> tuple[PairedEmbeddings, tuple[str, ...]]:
    """The pairs that a report measures, in order, and a sentence per rule that left others out.

    ``seed`` draws where there are more than ``most_pairs``: similarities of all pairs with all
    pairs are held at once, and 5,000 bounds them to 100 MB each. Fewer than 20 groups, or a side
    that is the same for all pairs, raise ``ValueError``.
    """
    rules = []
    rows = _first_of_repeats(paired)
    if len(rows) < len(paired):
        rules.append(
            f"{len(paired) - len(rows):,} of {len(paired):,} pairs repeat an item of their group "
            "and are left out, so that each item is in the gallery once."
        )
    codes = torch.from_numpy(group_codes([paired.groups[row] for row in rows.tolist()]))
    if len(codes) > most_pairs:
        generator = torch.Generator().manual_seed(seed)
        rows = rows[whole_groups(codes, most_pairs, generator)]
        rules.append(
            f"{len(rows):,} pairs are measured, a random sample of whole groups: a report holds "
            f"similarities of all pairs with all pairs, for at most {most_pairs:,}."
        )
    measured = paired.take(rows)
    groups = len(set(measured.groups))
    least = 20  # with fewer independent pairs a 95 % interval means little
    if groups < least:
        raise ValueError(
            f"a report needs at least {least} groups of pairs, for its intervals; got "
            f"{groups} groups in {len(paired)} pairs. Hold out more pairs."
        )
    for name, side in zip(paired.side_names, (measured.source, measured.target), strict=True):
        units = directions(name, side.detach().cpu().double())
        # Unit vectors of float32 that differ by no more than rounding are one direction.
        if ((units - units[0]).abs() <= 1e-7).all():
            raise ValueError(
                f"the {name} side must differ between pairs; all {len(side)} rows are equal, or "
                "point one way. Check what was encoded."
            )
        repeats = len(side) - len(set(_digests(side)))
        if repeats:
            rules.append(
                f"{repeats:,} {name} vectors equal one of another group: such ties count against "
                "retrieval, and near neighbours are not to be trusted."
            )
    return measured, tuple(rules)


def states(
    paired: PairedEmbeddings, adapter: AdapterLike | None, *, seed: int
) -> dict[Column, Space]:
    """Each state that exists, in the order in which they are measured.

    Rows are divided by their norms: all probes look at directions. The centred state subtracts
    means of the other folds, so that no pair is centred by itself. ``ValueError`` if a row is all
    zeros, or the adapter refuses the vectors or maps them to a space of two widths.
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
        codes,
        seed,
        before=raw,
        folds=fold,
    )
    spaces: dict[Column, Space] = {"raw": raw, "centred": centred}
    if adapter is None:
        return spaces
    source = Embeddings(paired.source, paired.source_fingerprint, paired.ids)
    target = Embeddings(paired.target, paired.target_fingerprint, paired.ids)
    z, w = _float(adapter.source(source)), _float(adapter.target(target))
    if z.shape[1] != w.shape[1]:
        raise ValueError(
            "an adapter must map both sides into one space; got widths "
            f"{z.shape[1]} and {w.shape[1]}. Report on it without an adapter, or mend the adapter."
        )
    z, w = directions("aligned source", z), directions("aligned target", w)
    aligned = Space(z, w, codes, seed, before=raw)
    spaces["aligned"] = aligned
    if hasattr(adapter, "queries") and hasattr(adapter, "gallery"):
        queries, gallery = adapter.queries, adapter.gallery
        forth = queries(source, side="source"), gallery(target, side="target")
        back = queries(target, side="target"), gallery(source, side="source")
        corrected = SearchSides(*map(_float, forth)), SearchSides(*map(_float, back))
        if not all(map(_same, corrected, aligned.searches)):
            spaces["corrected"] = Space(z, w, codes, seed, corrected=corrected, before=raw)
    return spaces


def trained_on(adapter: AdapterLike, paired: PairedEmbeddings) -> int | None:
    """How many of the pairs the adapter was fitted on; ``None`` where it does not remember."""
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
    seen: set[tuple[str, int, bytes]] = set()
    rows = []
    codes = group_codes(paired.groups).tolist()
    items = zip(codes, _digests(paired.source), _digests(paired.target), strict=True)
    for row, (code, source, target) in enumerate(items):
        keys = {("source", code, source), ("target", code, target)}
        if not keys & seen:
            rows.append(row)
            seen |= keys
    return torch.tensor(rows)


def _digests(x: Tensor) -> list[bytes]:
    rows = x.detach().cpu().contiguous().view(torch.uint8).numpy()
    return [blake2b(row.data, digest_size=16).digest() for row in rows]


def _float(x: Tensor) -> Tensor:
    return torch.as_tensor(x).detach().cpu().float()


def _same(a: SearchSides, b: SearchSides) -> bool:
    return all(
        x.shape == y.shape and torch.allclose(x, y, atol=1e-6) for x, y in zip(a, b, strict=True)
    )
