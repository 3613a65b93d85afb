"""Run as a child: encodes into a store and kills itself, without warning, at a chosen moment.

python encode_then_die.py ROOT MOMENT, where MOMENT is one of those in ``MOMENTS`` or ``never``.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import contextmanager

from align.encoders.cache import database as store_file
from align.encoders.cache.store import EmbeddingStore
from tests.helpers.counting_encoder import CountingEncoder

WORDS = [f"item {i}" for i in range(25)]
BATCH = 10


def die(*args, **kwargs):
    os.kill(os.getpid(), signal.SIGKILL)


class Dying(CountingEncoder):
    """Dies inside its third batch."""

    def encode(self, items, *, progress=False):
        found = super().encode(items)
        if len(self.batches) == 3:
            die()
        return found


def on_call(number, function, instead):
    """``function``, until its call ``number``, which is ``instead``."""
    calls = 0

    def wrapped(*args, **kwargs):
        nonlocal calls
        calls += 1
        return (instead if calls == number else function)(*args, **kwargs)

    return wrapped


def encoder_that_dies(moment):
    if moment == "inside the third batch":
        return Dying()
    if moment == "halfway through writing the second batch":
        store_file.checksum = on_call(15, store_file.checksum, die)
    if moment == "before the second batch is committed":
        store_file.transaction = on_call(3, store_file.transaction, dying_transaction)
    return CountingEncoder()


@contextmanager
def dying_transaction(db):
    db.execute("BEGIN IMMEDIATE")
    yield
    die()


if __name__ == "__main__":
    root, moment = sys.argv[1:]
    encoder = encoder_that_dies(moment)
    EmbeddingStore(root, batch=BATCH).encode(encoder, WORDS)
