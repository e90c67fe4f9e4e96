"""The modules of benchmarks/, which are on no path of the tests."""

import importlib

import pytest

from support import ROOT


@pytest.fixture
def script(monkeypatch):
    """Imports a module of benchmarks/ by its name."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module
