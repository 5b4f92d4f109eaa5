"""annlib/_core.pyi says what the compiled core has: every name, and every parameter by its name and place."""

from __future__ import annotations

import ast
import re
from importlib.resources import files
from typing import Any

import pytest

from annlib import _core

STUB = ast.parse(files("annlib").joinpath("_core.pyi").read_text())


def stub_members(body: list[ast.stmt]) -> dict[str, ast.FunctionDef | ast.ClassDef]:
    return {node.name: node for node in body if isinstance(node, (ast.FunctionDef, ast.ClassDef))}


CLASSES = {
    name: node
    for name, node in stub_members(STUB.body).items()
    if isinstance(node, ast.ClassDef) and not name.startswith("_")
}
FUNCTIONS = {
    name: node for name, node in stub_members(STUB.body).items() if isinstance(node, ast.FunctionDef)
}


def real_members(owner: Any) -> set[str]:
    """What `owner` itself defines; of the special methods those that say something about its use."""
    special = {"__init__", "__len__", "__contains__"}
    return {name for name in vars(owner) if not name.startswith("_") or name in special}


def docstring_parameters(function: Any) -> list[str]:
    """Parameter names in the signature that pybind11 puts into the first line of a docstring."""
    inside = function.__doc__.splitlines()[0].split("(", 1)[1].rpartition(") -> ")[0]
    while re.search(r"[\[(][^\[\]()]*[\])]", inside):  # types, innermost brackets first
        inside = re.sub(r"[\[(][^\[\]()]*[\])]", "", inside)
    return [part.split(":")[0].strip() for part in inside.split(",") if part.strip()]


def stub_parameters(node: ast.FunctionDef) -> list[str]:
    assert not node.args.kwonlyargs and not node.args.vararg and not node.args.defaults
    return [argument.arg for argument in [*node.args.posonlyargs, *node.args.args]]


def test_module() -> None:
    assert {name for name in vars(_core) if not name.startswith("_")} == {*CLASSES, *FUNCTIONS}


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_functions(name: str) -> None:
    assert docstring_parameters(getattr(_core, name)) == stub_parameters(FUNCTIONS[name])


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_classes(name: str) -> None:
    real, stub = getattr(_core, name), CLASSES[name]
    assert [base.__name__ for base in real.__bases__ if base.__name__ != "pybind11_object"] == [
        base.id for base in stub.bases if isinstance(base, ast.Name)
    ]
    members = stub_members(stub.body)
    # pybind11 gives a class without a constructor an __init__ that raises.
    assert real_members(real) - set(members) <= {"__init__"}
    assert set(members) <= real_members(real)
    for member, node in members.items():
        assert isinstance(node, ast.FunctionDef)
        decorators = {ast.unparse(decorator) for decorator in node.decorator_list}
        value = vars(real)[member]
        assert isinstance(value, property) == ("property" in decorators), member
        if "property" in decorators:
            assert value.fset is None, member
            continue
        assert isinstance(value, staticmethod) == ("staticmethod" in decorators), member
        assert docstring_parameters(getattr(real, member)) == stub_parameters(node), member
