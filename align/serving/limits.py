"""What a request may ask for at most."""

MOST_HITS = 100
"""Hits of one answer."""

MOST_CHARACTERS = 2000
"""Characters of a text query; encoders cut texts off much earlier."""

MOST_BYTES = 10 << 20
"""Bytes of a picture that is uploaded."""
