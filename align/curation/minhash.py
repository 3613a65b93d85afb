"""Near-duplicate texts: candidates by MinHash and banding, then the exact Jaccard similarity."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from align._checks import check_at_least
from align.curation.duplicates import Duplicates, check_threshold, common_length

Hashes = NDArray[np.uint64]

PERMUTATIONS = 128
CROWD, CHECKED = 256, 16  # rows looked at in a band, and rows checked exactly, for each row
MISSED = 1e-3  # chance that two texts exactly at the threshold never meet in a band
SEED = 0x9E3779B97F4A7C15


def near_texts(*sides: Sequence[str], threshold: float = 0.8, shingle: int = 5) -> Duplicates:
    """Rows whose texts share most of their character shingles on every side.

    Two texts are as alike as the Jaccard similarity of their sets of ``shingle`` characters in a
    row, letter case aside and any white space counted as one space; rows as their least alike
    side. Candidates come from banded MinHash signatures of the first side, and are checked
    exactly: nothing below the threshold is called a duplicate. Rows of the same shingles are always
    found, and of others all but 1 in 1,000 at the threshold, fewer above, unless in a crowd: of
    many texts almost alike enough, as from one template, the 256 kept last in each band are looked
    at, and the 16 of the most alike signatures are checked. So time grows with the number of rows.

    Args:
        *sides: One sequence of ``n`` texts per side.
        threshold: Least Jaccard similarity of duplicates, in (0, 1].
        shingle: Characters in a row, >= 1; a shorter text is one shingle.

    Raises:
        ValueError: The sides differ in length or there is none, or an option is out of range.

    Reference:
        Broder 1997, doi:10.1109/SEQUEN.1997.666900 (shingles, MinHash); Leskovec, Rajaraman and
        Ullman 2014, Mining of Massive Datasets, section 3.4 (banding).
    """
    n = common_length(sides)
    check_threshold(threshold)
    check_at_least("shingle", shingle, 1)
    sets = [[shingles(text, shingle) for text in side] for side in sides]
    rows_per_band = _rows_per_band(threshold)
    stands_in, likeness = np.arange(n), np.ones(n)
    same: dict[tuple[bytes, ...], int] = {}
    buckets: dict[tuple[int, bytes], deque[int]] = {}
    signatures = np.empty((n, PERMUTATIONS), dtype=np.uint64)
    for row in range(n):
        all_of_it = tuple(side[row].tobytes() for side in sets)
        first = same.setdefault(all_of_it, row)
        if first != row:
            # Equal to a kept row, or to one that another stands in for.
            stands_in[row], likeness[row] = stands_in[first], likeness[first]
            continue
        signatures[row] = signature(sets[0][row])
        bands = signatures[row].reshape(-1, rows_per_band)
        keys = [(number, band.tobytes()) for number, band in enumerate(bands)]
        met = sorted({kept for key in keys for kept in buckets.get(key, ())})
        if len(met) > CHECKED:  # those whose signatures agree most, in order
            agreeing = (signatures[met] == signatures[row]).sum(axis=1)
            most = np.argsort(-agreeing, kind="stable")[:CHECKED]
            met = sorted(met[place] for place in most.tolist())
        alike = [min(jaccard(side[row], side[kept]) for side in sets) for kept in met]
        if alike and max(alike) >= threshold:
            best = int(np.argmax(alike))
            stands_in[row], likeness[row] = met[best], alike[best]
        else:
            for key in keys:
                buckets.setdefault(key, deque(maxlen=CROWD)).append(row)
    rule = f"Jaccard similarity of {shingle}-character shingles of at least {threshold:g}"
    return Duplicates(torch.from_numpy(stands_in), torch.from_numpy(likeness), rule)


def shingles(text: str, length: int) -> Hashes:
    """Hashes of the distinct runs of ``length`` characters in a text, sorted, uint64."""
    plain = " ".join(text.casefold().split())
    codes = np.frombuffer(plain.encode("utf-32-le"), dtype="<u4").astype(np.uint64)
    if len(codes) < length:
        codes = np.concatenate([codes, np.zeros(length - len(codes), dtype=np.uint64)])
    hashed = np.zeros(len(codes) - length + 1, dtype=np.uint64)
    for offset in range(length):
        hashed = _mixed(hashed ^ codes[offset : offset + len(hashed)])
    return np.unique(hashed)


def signature(hashes: Hashes) -> Hashes:
    """Least value of each of 128 random functions over a set of hashes, ``(128,)``.

    Two sets agree in each entry with a chance that is their Jaccard similarity.
    """
    found: Hashes = _mixed(hashes[:, None] ^ _SALTS).min(axis=0)
    return found


def jaccard(left: Hashes, right: Hashes) -> float:
    """Size of the intersection over that of the union of two sorted sets, in [0, 1]."""
    shared = len(np.intersect1d(left, right, assume_unique=True))
    return shared / (len(left) + len(right) - shared)


def _mixed(x: Hashes) -> Hashes:
    """The output function of SplitMix64: every bit in changes about half of the bits out."""
    # Steele, Lea and Flood 2014, doi:10.1145/2660193.2660195.
    x = x + np.uint64(SEED)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


_SALTS = _mixed(np.arange(1, PERMUTATIONS + 1, dtype=np.uint64) * np.uint64(SEED))


def _rows_per_band(threshold: float) -> int:
    """The longest bands that still let texts at the threshold meet.

    With ``b`` bands of ``r`` rows, texts of similarity ``s`` never meet with chance
    ``(1 - s^r)^b``.
    """
    fitting = [
        rows
        for rows in (1, 2, 4, 8, 16, 32)
        if (1 - threshold**rows) ** (PERMUTATIONS // rows) <= MISSED
    ]
    if not fitting:
        raise ValueError(
            f"threshold must be high enough for {PERMUTATIONS} permutations to find it; "
            f"got {threshold}. Pass 0.1 or more."
        )
    return max(fitting)
