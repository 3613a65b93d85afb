"""Functions of the running Python's standard library and what their docstrings say."""

from __future__ import annotations

import ast
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from align.data.pairs import Pairs

# Tests, applications, what is installed beside the library, and packages gone since Python 3.13.
SKIPPED = frozenset(
    {
        "test",
        "tests",
        "idlelib",
        "turtledemo",
        "site-packages",
        "dist-packages",
        "distutils",
        "lib2to3",
    }
)
FEWEST_WORDS = 4
MOST_CHARACTERS = 2_000  # of code; an encoder reads a few hundred tokens
_Function = ast.FunctionDef | ast.AsyncFunctionDef


def stdlib_code() -> Pairs:
    """Docstrings and code of about 4,700 functions of the running Python's standard library.

    The same Python gives the same pairs. What is taken: see ``documented_functions``.
    """
    return documented_functions(Path(sysconfig.get_paths()["stdlib"]))


def documented_functions(root: Path) -> Pairs:
    """First docstring paragraphs and the code of the functions and methods below a folder.

    The code is written back from the syntax tree, so it has neither docstrings, those of inner
    functions included, nor comments. A function is left out if its body only passes or raises, if
    its code is longer than ``MOST_CHARACTERS``, if its paragraph has fewer than ``FEWEST_WORDS``
    words, or if an earlier one has the same paragraph or the same code. Files are read in sorted
    order; folders named in ``SKIPPED`` are not entered.

    Returns:
        ``source`` holds paragraphs on one line, ``target`` code, ids are ``"module:name:line"``,
        and the group is the top-level module, so that a split tests on modules never trained on.
        Such groups say nothing about right answers: to compute recall, let each test pair be its
        own group.
    """
    ids, paragraphs, codes, modules = [], [], [], []
    seen: set[str] = set()
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        if SKIPPED.intersection(parts[:-1]):
            continue
        module = ".".join(parts).removesuffix(".__init__")
        for name, line, paragraph, code in _described(ast.parse(path.read_bytes())):
            if paragraph in seen or code in seen:
                continue
            seen |= {paragraph, code}
            ids.append(f"{module}:{name}:{line}")
            paragraphs.append(paragraph)
            codes.append(code)
            modules.append(parts[0])
    return Pairs.from_lists(paragraphs, codes, ids=ids, groups=modules)


def _described(tree: ast.Module) -> Iterator[tuple[str, int, str, str]]:
    """Name, line, paragraph and bare code of each function worth taking, in source order."""
    said = [
        (name, function, _paragraph(ast.get_docstring(function)))
        for name, function in _functions(tree, "")
    ]
    for node in ast.walk(tree):
        if isinstance(node, _Function | ast.ClassDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    for name, function, paragraph in said:
        if len(paragraph.split()) < FEWEST_WORDS:
            continue
        if all(isinstance(statement, ast.Pass | ast.Raise) for statement in function.body):
            continue
        code = ast.unparse(function)
        if len(code) <= MOST_CHARACTERS:
            yield name, function.lineno, paragraph, code


def _functions(node: ast.AST, prefix: str) -> Iterator[tuple[str, _Function]]:
    """Every function below ``node`` with its dotted name, outermost first."""
    for child in ast.iter_child_nodes(node):
        inner = prefix
        if isinstance(child, _Function | ast.ClassDef):
            inner = f"{prefix}{child.name}."
        if isinstance(child, _Function):
            yield prefix + child.name, child
        yield from _functions(child, inner)


def _paragraph(docstring: str | None) -> str:
    """The first paragraph with its line breaks and runs of spaces turned into single spaces."""
    return " ".join((docstring or "").strip().split("\n\n")[0].split())
