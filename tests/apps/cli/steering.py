"""Names and texts that steer a terminal or look like markup, and encoders that take any text."""

import hashlib

import torch

from align.encoders.callable import CallableEncoder

NAME = "[/x] [bold]:dog: \x1b]0;taken over\x07 \x9b2J \x7f \u202egnp.exe\u2069 a\u2028b\rc"
# Progress bars begin their lines with a carriage return; one inside NAME is looked for as b\rc.
STEERING = {
    chr(code) for code in (*range(9), 11, 12, *range(14, 32), *range(127, 160), 0x2028, 0x202E)
}


def _vectors(texts, *, width):
    rows = []
    for text in texts:
        number = int.from_bytes(hashlib.sha256(str(text)[-3:].encode()).digest()[:6], "big")
        rows.append(torch.randn(width, generator=torch.Generator().manual_seed(number)))
    return torch.stack(rows)


def _encoder(width):
    return CallableEncoder(
        lambda texts: _vectors(texts, width=width), name=f"[/x]{width}", dim=width
    )


small, large = _encoder(6), _encoder(8)
