"""Docstrings in NumPy style: every public name of the package has one that numpydoc finds nothing in."""

import importlib
import inspect
import tomllib
from types import FunctionType

import pytest

import fastblackout as fb
from support import ROOT

validate = pytest.importorskip("numpydoc.validate", reason="numpydoc is not installed: pip install numpydoc")

CHECKS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["numpydoc_validation"]["checks"]

MODULES = ["data", "distributions", "evaluation", "models", "processes"]
if importlib.util.find_spec("jax"):
    MODULES.append("jax")


def public_names():
    """Paths of the functions and classes of fastblackout and of its modules."""
    modules = [fb, *(importlib.import_module(f"fastblackout.{name}") for name in MODULES)]
    paths = [
        f"{module.__name__}.{name}" for module in modules for name in module.__all__ if callable(getattr(module, name))
    ]
    return sorted(paths)


def parts_of(path):
    """The name itself, and the public functions and properties that a class defines in its own body."""
    yield path
    value = getattr(importlib.import_module(path.rpartition(".")[0]), path.rpartition(".")[2])
    if inspect.isclass(value):
        for name, each in vars(value).items():
            if not name.startswith("_") and type(each) in (property, classmethod, staticmethod, FunctionType):
                yield f"{path}.{name}"


@pytest.mark.parametrize("path", public_names())
def test_numpydoc_finds_nothing(path):
    found = {
        each: errors
        for each in parts_of(path)
        if (errors := [error for error in validate.validate(each)["errors"] if error[0] in CHECKS])
    }
    assert not found, "\n".join(f"{each}: {code} {text}" for each, errors in found.items() for code, text in errors)
