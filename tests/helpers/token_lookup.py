"""Planted vectors and token states by row number."""

from __future__ import annotations

from align import MultiVector


class TokenLookup:
    """Items are row numbers; ``calls`` counts those of ``encode`` and of ``encode_tokens``."""

    modality = "text"
    fingerprint = "planted rows with token states"

    def __init__(self, rows, tokens):
        self.rows, self.tokens, self.calls = rows, tokens, (0, 0)
        self.dim = rows.shape[1]
        self.token_dim = None if tokens is None else tokens.dim

    def encode(self, items, *, progress=False):
        self.calls = (self.calls[0] + 1, self.calls[1])
        return self.rows[[int(item) for item in items]]

    def encode_tokens(self, items, *, progress=False):
        self.calls = (self.calls[0], self.calls[1] + 1)
        return MultiVector.pack([self.tokens[int(item)] for item in items])
