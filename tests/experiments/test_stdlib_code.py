"""Functions of the standard library and their docstrings."""

from __future__ import annotations

import ast

import pytest

from experiments.datasets import stdlib_code
from experiments.datasets.stdlib_code import documented_functions


@pytest.fixture(scope="module")
def pairs():
    return stdlib_code()


def test_there_are_thousands_of_pairs_in_many_modules_and_no_tests_among_them(pairs):
    assert 4_000 < len(pairs) < 6_000
    assert len(set(pairs.groups)) > 100
    assert {"json", "heapq", "asyncio"} <= set(pairs.groups)
    assert not {"test", "idlelib", "site-packages", "turtledemo", "lib2to3"} & set(pairs.groups)
    assert not any(".tests." in name for name in pairs.ids)


def test_groups_are_the_top_level_modules_of_the_ids(pairs):
    modules = [name.split(":")[0].split(".")[0] for name in pairs.ids]
    assert list(pairs.groups) == modules


def test_paragraphs_and_codes_are_unique(pairs):
    assert len(set(pairs.source)) == len(set(pairs.target)) == len(pairs)


def test_no_docstring_is_left_in_any_code(pairs):
    for code in pairs.target:
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                assert ast.get_docstring(node) is None, code


SOURCE = '''
def kept(x):
    """Add one to the
    number x.

    Second paragraph.
    """
    # a comment
    def inner():
        """Say something about inner."""
        return x + 1
    class Local:
        """Hold one number."""
        number = 1
    return inner()

class Box:
    async def open(self):
        """Open the box and look."""
        return self.x

def same_words():
    """Open the box and look."""
    return 1

def raises():
    """Do nothing but raise here."""
    raise NotImplementedError

def empty():
    """Do nothing at all here."""

def brief():
    """Only three words."""
    return 2
'''


def test_paragraphs_are_first_and_code_is_bare(tmp_path):
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / "__init__.py").write_text(SOURCE)
    pairs = documented_functions(tmp_path)
    assert pairs.ids == ("pack:kept:2", "pack:kept.inner:9", "pack:Box.open:18")
    assert pairs.source[0] == "Add one to the number x."
    assert pairs.target[0] == (
        "def kept(x):\n\n    def inner():\n        return x + 1\n\n"
        "    class Local:\n        number = 1\n    return inner()"
    )
    assert pairs.target[2] == "async def open(self):\n    return self.x"
    assert pairs.groups == ("pack",) * 3


def test_the_order_of_files_on_the_disk_does_not_matter(tmp_path):
    files = {"b.py": SOURCE, "a.py": SOURCE.replace("box", "jar"), "test/c.py": SOURCE}
    for name, order in (("one", files), ("two", dict(reversed(files.items())))):
        for file, text in order.items():
            path = tmp_path / name / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    one, two = documented_functions(tmp_path / "one"), documented_functions(tmp_path / "two")
    assert (one.ids, one.source, one.target) == (two.ids, two.source, two.target)
    # The first file in sorted order owns what both say. Its words on the jar are its own, so
    # the second file may still say "box", with a function that nothing described before.
    assert one.groups == ("a", "a", "a", "b")
    assert one.ids[-1] == "b:same_words:22"
