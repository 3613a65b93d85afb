"""Peak memory of this process, for costs that are measured in a process of their own."""

from __future__ import annotations

import re
import resource
import sys
from pathlib import Path


def peak_mib() -> float:
    """Largest resident memory so far, in MiB."""
    if sys.platform == "linux":
        # What getrusage gives begins with the peak of whoever started this process.
        status = Path("/proc/self/status").read_text(encoding="ascii")
        if found := re.search(r"VmHWM:\s+(\d+) kB", status):
            return int(found[1]) / 2**10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10  # bytes there, KiB on Linux
