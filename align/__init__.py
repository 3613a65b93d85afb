"""Align two frozen encoders from a few thousand pairs, and search across them.

The public names load on first use, so that ``import align`` stays light.
"""

import lazy_loader

_load, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'align' has no attribute {name!r}; it has {sorted(__all__)}")
    return _load(name)
