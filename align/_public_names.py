"""Public names of a package that load on first use, from where its stub says that they are."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

Names = tuple[Callable[[str], object], Callable[[], list[str]], list[str]]


def public_names(package: str, file: str) -> Names:
    """``__getattr__``, ``__dir__`` and ``__all__`` of a package with a stub, ``__init__.pyi``.

    The standard library is enough for it, so that ``align.light`` can be imported where nothing
    else of isthmus can.

    Args:
        package: Its ``__name__``.
        file: Its ``__file__``, beside which the stub lies.
    """
    stub = ast.parse(Path(file).with_suffix(".pyi").read_text(encoding="utf-8"))
    modules = {
        name.name: f"{'.' * line.level}{line.module}"
        for line in stub.body
        if isinstance(line, ast.ImportFrom)
        for name in line.names
    }

    def load(name: str) -> object:
        if name not in modules:
            raise AttributeError(
                f"module {package!r} has no attribute {name!r}; it has {sorted(modules)}"
            )
        value = getattr(import_module(modules[name], package), name)
        setattr(sys.modules[package], name, value)
        return value

    return load, lambda: sorted(modules), list(modules)
