"""What to say where the package of an extra is missing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def extra(name: str) -> Iterator[None]:
    """An ``ImportError`` inside names the extra of isthmus that brings the package."""
    try:
        yield
    except ImportError as error:
        raise ImportError(
            f"this integration needs the packages of isthmus[{name}]; importing them failed with: "
            f"{error}. Install them by: pip install 'isthmus[{name}]'.",
            name=error.name,
        ) from error
