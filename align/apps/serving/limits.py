"""What a request may ask for at most."""

MOST_HITS = 100
"""Hits of one answer."""

MOST_CHARACTERS = 2000
"""Characters of a text query; encoders cut texts off much earlier."""

MOST_UPLOADS = 4
"""Pictures that are uploaded or searched with at a time; others are told to come again."""

UPLOAD_SECONDS = 30.0
"""Time for a whole upload to arrive, however slowly it trickles in."""

MOST_CONNECTIONS = 100
"""Connections at a time; a page opens six."""

STOP_SECONDS = 3
"""Time for open requests to end when the server is stopped; they are cut off then."""

MOST_BYTES = 10 << 20
"""Bytes of a picture that is uploaded."""
