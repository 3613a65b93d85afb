"""One name for what an adapter computes: caches of others must not mix what two of them gave."""

from __future__ import annotations

import json
from dataclasses import replace

from align._files.tensors import digest_of
from align.adapters.artifact.config import describe
from align.adapters.components import Components


def adapter_digest(components: Components, **words: str | None) -> str:
    """SHA-256 over weights, architecture and corrections of an adapter, in hexadecimal.

    Two adapters of one digest give the same vectors. What is remembered of training, the
    calibration and the card change no vector and do not count. ``words`` are what else the vectors
    depend on, by name, such as fingerprints of encoders.

    Raises:
        TypeError: A map is none of those in ``align.adapters.maps``.
    """
    plain = replace(components, training_items=None, calibration=None, statistics=None)
    parts = describe(plain)
    del parts["training_items"], parts["calibration"], parts["statistics"]
    texts = {name: json.dumps(word) for name, word in words.items()}
    texts["architecture"] = json.dumps(parts, sort_keys=True)
    return digest_of(plain.module().state_dict(), texts)


def check_digest(components: Components, digest: str | None, name: str) -> None:
    """Raise ``ValueError`` unless an adapter, loaded from ``name``, is the one that is expected.

    ``digest`` is what ``adapter_digest`` gave of that; ``None`` takes any.
    """
    actual = None if digest is None else adapter_digest(components)
    if actual != digest:
        raise ValueError(
            f"the adapter must be the one that the stored vectors came from, {str(digest)[:16]}; "
            f"{name!r} is now {str(actual)[:16]}. Put the former back, or embed all items anew "
            "with this one, into a new place."
        )
