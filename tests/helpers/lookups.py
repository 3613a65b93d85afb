"""Encoders that look planted vectors up by name, so that raw items have known answers."""

from __future__ import annotations

import torch

from align import CallableEncoder, Embeddings, PairedEmbeddings
from tests.helpers.planted import shared_factors


def lookup(prefix, rows, *, modality="text", name=None):
    """An encoder of the items ``prefix0``, ``prefix1``, ... that gives the rows of a matrix."""
    return CallableEncoder(
        lambda items: torch.stack([rows[int(item.removeprefix(prefix))] for item in items]),
        name=name or f"lookup-{prefix}",
        dim=rows.shape[1],
        modality=modality,
    )


def planted_pairs(n=200, *, seed=0):
    """Pairs of 12 and 9 dimensions that share six factors, with the encoders that give them."""
    source, target = shared_factors(n, (12, 9), shared=6, noise=0.05, seed=seed)
    encoders = lookup("s", source), lookup("t", target)
    sides = [
        Embeddings(rows, encoder.fingerprint, tuple(map(str, range(n))))
        for rows, encoder in zip((source, target), encoders, strict=True)
    ]
    return PairedEmbeddings.from_arrays(*sides), *encoders
