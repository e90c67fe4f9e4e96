"""Docstrings in NumPy style: numpydoc finds no fault in public names, and examples give what they say."""

import doctest
import functools
import importlib
import importlib.util
import inspect
import re
import tomllib
from types import FunctionType
from typing import Any

import pytest

import fastblackout as fb
from support import ROOT
from support.source_tree import modules

try:
    from numpydoc import validate
except ImportError:
    validate = None
needs_numpydoc = pytest.mark.skipif(validate is None, reason="numpydoc is not installed: pip install numpydoc")

CHECKS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["numpydoc_validation"]["checks"]
MODULES = (
    "cells",
    "data",
    "diffusers",
    "distributions",
    "evaluation",
    "jax",
    "models",
    "photons",
    "processes",
    "processes.conversion",
    "sampling",
)
# What these take and give, which a user meets without importing it.
OTHERS = (
    "likelihood.blackout.BitsPerDim", "likelihood.estimate.Bound", "sampling.plan.Tuned", "processes.Process",
    "training.checkpoint.Checkpoint", "training.checkpoint.export_checkpoint", "training.config.TrainConfig",
    "training.config.preset", "training.convert.convert", "training.trained_model.Run",
    "training.trained_model.load_run", "tuning.tune.Judged", "tuning.tune.Told",
)  # fmt: skip


def public_names():
    """The functions and classes of fastblackout and of its modules."""
    names = [f"fastblackout.{name}" for name in (*fb.__all__, *OTHERS)]
    for module in MODULES:
        if module not in ("diffusers", "jax") or importlib.util.find_spec(module):
            known = importlib.import_module(f"fastblackout.{module}").__all__
            names += [f"fastblackout.{module}.{name}" for name in known]
    return sorted({name for name in names if isinstance(value_of(name), (type, FunctionType))})


def value_of(path):
    return getattr(importlib.import_module(path.rpartition(".")[0]), path.rpartition(".")[2])


def parts_of(path):
    """Names and values: of the path itself, and of the public methods and properties of a class, inherited ones too."""
    value = value_of(path)
    yield path, value
    for kind in value.__mro__ if isinstance(value, type) else ():
        for name, each in vars(kind).items() if kind.__module__.startswith("fastblackout.") else ():
            if not name.startswith("_") and type(each) in (property, classmethod, staticmethod, FunctionType):
                yield f"{kind.__module__}.{kind.__qualname__}.{name}", each


@functools.cache  # subclasses share what they inherit
def errors_of(name):
    return [error for error in validate.validate(name)["errors"] if error[0] in CHECKS]


@needs_numpydoc
@pytest.mark.parametrize("path", public_names())
def test_numpydoc_finds_nothing(path):
    found = {each: errors for each, _ in parts_of(path) if (errors := errors_of(each))}
    assert not found, "\n".join(f"{each}: {code} {text}" for each, errors in found.items() for code, text in errors)


@pytest.mark.parametrize("path", public_names())
def test_no_function_gives_any(path):
    """A type checker then knows nothing of what comes out, and finds no mistake in what is done with it."""
    for each, value in parts_of(path):
        function = getattr(value, "fget", None) or getattr(value, "__func__", value)
        given = {} if isinstance(function, type) else inspect.get_annotations(inspect.unwrap(function))
        assert isinstance(function, type) or "return" in given, each
        assert given.get("return") not in (Any, "Any"), each


# The examples of the ops are run by test_documentation.py.
ABSENT = [name for name in ("diffusers", "jax") if importlib.util.find_spec(name) is None]
FOLDERS = ("ops", "kernels", "call", "reference", *ABSENT)
WITH_EXAMPLES = [
    name for name, (path, _) in modules().items()
    if name.startswith("fastblackout.") and name.split(".")[1] not in FOLDERS and ">>> " in path.read_text()
]  # fmt: skip


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_the_examples_of_a_module_give_what_they_say(name):
    """After the line of docs/api with which they begin."""
    module, known = importlib.import_module(name), {}
    for page in ("index", "jax") if name.startswith("fastblackout.jax") else ("index",):
        (line,) = re.findall(r"begin with ``(.*)``", (ROOT / f"docs/api/{page}.rst").read_text())
        exec(line, known)
    tried = 0
    for found in doctest.DocTestFinder().find(module, globs=known):
        result = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(found)
        tried += result.attempted
        assert not result.failed, found.name
    assert tried
