"""Align two frozen encoders from a few thousand pairs, and search across them.

The public names load on first use, so that ``import align`` stays light.
"""

from align._public_names import public_names

__getattr__, __dir__, __all__ = public_names(__name__, __file__)
