"""Probes of the modality gap: embeddings in, numbers with intervals and nulls out.

The public names load on first use, so that ``import probes`` stays light.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from probes.document import Report as Report
    from probes.reporting import report as report

_HOME = {
    "report": "probes.reporting",
    "Report": "probes.document",
}

__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'probes' has no attribute {name!r}; it has {sorted(_HOME)}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
