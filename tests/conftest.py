"""Runs the tests on a fastblackout that has kernels, and gives them every CPU backend of this processor."""

import importlib.util
import sys
from pathlib import Path

import pytest


def _load(name):
    """A helper module of this folder, importable by its name from the tests whatever the import mode."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).parent / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


_WHAT_TO_DO = _load("installed").use_compiled_package()
if _WHAT_TO_DO is None:
    _helpers = _load("helpers")


def pytest_configure(config):
    if _WHAT_TO_DO is not None:
        pytest.exit(_WHAT_TO_DO, returncode=4)


def pytest_generate_tests(metafunc):
    if "backend" in metafunc.fixturenames:
        metafunc.parametrize("backend", _helpers.BACKENDS, indirect=True)


@pytest.fixture
def backend(request):
    """Runs the test once a backend: "reference", "cpu-scalar", and as the processor has them cpu-avx2, cpu-avx512."""
    with _helpers.using(request.param):
        yield request.param
