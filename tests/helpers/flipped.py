"""A file on disk that loses one bit, at place after place."""

from __future__ import annotations

import random


def flipped(path, *, tries, seed=0):
    """Flip one bit at each of ``tries`` random places of the file in turn; gives the place."""
    whole = path.read_bytes()
    drawn = random.Random(seed)
    for _ in range(tries):
        at = drawn.randrange(len(whole))
        data = bytearray(whole)
        data[at] ^= 1 << drawn.randrange(8)
        path.write_bytes(data)
        yield at
    path.write_bytes(whole)
