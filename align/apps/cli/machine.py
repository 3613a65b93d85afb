"""What isthmus runs on here, and what it found out about it."""

from __future__ import annotations

from typing import Any


def machine() -> dict[str, Any]:
    """Versions, devices and how vectors are multiplied, by name, ready for JSON.

    How MaxSim reads documents is tried for some milliseconds, as it is in the first large call of
    a process.
    """
    import platform

    import torch

    from align._device import find_device
    from align._version import __version__
    from align.scoring.kernels.cpu_blocks import multiplies_exactly
    from align.scoring.kernels.cpu_maxsim import copies_blocks

    found = "copied block by block" if copies_blocks() else "where they lie"
    int8 = multiplies_exactly(128) and torch.cpu._is_vnni_supported()
    return {
        "isthmus": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "device": str(find_device("auto")),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "int8_products": "several times as fast" if int8 else "no faster",
        "maxsim_reads_documents": found,
    }
