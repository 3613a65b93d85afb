"""Peak memory of this process, for costs that are measured in a process of their own."""

from __future__ import annotations

import resource
import sys


def peak_mib() -> float:
    """Largest resident memory so far, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10  # bytes there, KiB on Linux
