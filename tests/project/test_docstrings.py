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
# What else than the ops is to be written in this style yet. The list only gets shorter.
NOT_YET = {
    "Absorbing", "Ehrenfest", "ImmigrationDeath", "MarkovProcess", "Philox", "Prob", "PureDeath", "RandomWalk",
    "Redraw", "Schedule", "Uniform", "bits_per_dim", "check_values", "data", "evaluation", "load_pretrained", "models",
    "process_bits_per_dim", "processes", "sample", "sampler_bits_per_dim", "train", "tune", "use_backend",
}  # fmt: skip


def public_names():
    """fastblackout's names, and those of its modules."""
    names = {name: f"fastblackout.{name}" for name in fb.__all__}
    for module in ("data", "distributions", "evaluation", "jax", "models", "processes"):
        if module not in NOT_YET and (module != "jax" or importlib.util.find_spec("jax")):
            known = importlib.import_module(f"fastblackout.{module}").__all__
            names |= {f"{module}.{name}": f"fastblackout.{module}.{name}" for name in known}
    return {name: path for name, path in names.items() if name not in NOT_YET | {"STREAM_VERSION", "__version__"}}


def parts_of(path):
    """The name itself, and the public functions and properties that a class defines in its own body."""
    yield path
    value = getattr(importlib.import_module(path.rpartition(".")[0]), path.rpartition(".")[2])
    if inspect.isclass(value):
        for name, each in vars(value).items():
            if not name.startswith("_") and type(each) in (property, classmethod, staticmethod, FunctionType):
                yield f"{path}.{name}"


@pytest.mark.parametrize("path", public_names().values())
def test_numpydoc_finds_nothing(path):
    found = {
        each: errors
        for each in parts_of(path)
        if (errors := [error for error in validate.validate(each)["errors"] if error[0] in CHECKS])
    }
    assert not found, "\n".join(f"{each}: {code} {text}" for each, errors in found.items() for code, text in errors)


def test_the_list_of_what_is_to_be_written_has_nothing_else():
    assert {*fb.__all__, "data", "evaluation", "processes"} >= NOT_YET
