"""Every public name resolves and says what it is."""

import ast
import inspect
import re
from pathlib import Path

import pytest

import align
import probes

ROOT = Path(align.__file__).parents[1]
FILES = sorted(
    path
    for package in ("align", "probes")
    for path in (ROOT / package).rglob("*.py")
    if not path.name.startswith("_")
)
# The version and what `probes.STANDARD` holds are values: there is nothing to document on them.
NAMES = [(align, name) for name in align.__all__ if name != "__version__"] + [
    (probes, name) for name in probes.__all__ if name != "STANDARD"
]
NAMED = pytest.mark.parametrize(
    ("package", "name"), NAMES, ids=[f"{package.__name__}.{name}" for package, name in NAMES]
)


def name_of(path):
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def is_stub(function):
    """Whether the body is only ``...``: an attribute that a Protocol asks for."""
    body = function.body
    return (
        len(body) == 1
        and isinstance(body[0], ast.Expr)
        and (isinstance(body[0].value, ast.Constant) and body[0].value.value is ...)
    )


def public(tree):
    """``(name, node)`` of the public classes, functions and methods of a module."""
    for node in tree.body:
        if not isinstance(node, ast.ClassDef | ast.FunctionDef) or node.name.startswith("_"):
            continue
        yield node.name, node
        for inner in node.body if isinstance(node, ast.ClassDef) else ():
            if isinstance(inner, ast.FunctionDef) and not inner.name.startswith("_"):
                yield f"{node.name}.{inner.name}", inner


@pytest.mark.parametrize("package", [align, probes])
def test_all_public_names_resolve(package):
    assert all(getattr(package, name) is not None for name in package.__all__)


@NAMED
def test_a_public_name_has_a_docstring_of_its_own(package, name):
    doc = getattr(package, name).__doc__
    assert doc and doc.strip(), name
    assert not doc.startswith(f"{name}("), f"{name}: the docstring was made by dataclass"


def test_an_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(AttributeError, match=r"no attribute 'fitt'; it has \['Adapter'"):
        _ = align.fitt
    with pytest.raises(AttributeError, match=r"no attribute 'reprot'; it has \['About'"):
        _ = probes.reprot


@pytest.mark.parametrize("package", [align, probes])
def test_the_names_are_listed_for_completion(package):
    assert set(package.__all__) <= set(dir(package))


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_every_public_thing_has_a_docstring(path):
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree), "the module itself"
    bare = [
        name for name, node in public(tree) if not ast.get_docstring(node) and not is_stub(node)
    ]
    assert bare == []


@NAMED
def test_the_front_door_explains_what_it_needs_by_name(package, name):
    thing = getattr(package, name)
    about = inspect.getdoc(thing) or ""
    functions = [thing]
    if inspect.isclass(thing):
        functions = [
            getattr(thing, method)
            for method in vars(thing)
            if not method.startswith("_") and callable(getattr(thing, method))
        ]
    for function in functions:
        # What the class says of its attributes holds for arguments of the same name.
        words = set(re.findall(r"\w+", f"{about} {inspect.getdoc(function)}"))
        needed = {
            parameter.name
            for parameter in inspect.signature(function).parameters.values()
            if parameter.default is parameter.empty and parameter.name != "self"
        }
        # A lone argument is what the sentence is about, whatever its name.
        assert len(needed) < 2 or needed <= words, f"{function.__qualname__}: {needed - words}"
