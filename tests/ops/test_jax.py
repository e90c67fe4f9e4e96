"""fastblackout.jax: under jit, vmap and grad the bits of NumPy's and torch's calls."""

import ast
import importlib.util
import os

import pytest

from support import ROOT
from support.subprocesses import report_of

if importlib.util.find_spec("jax") is None:
    pytest.skip("jax is not installed", allow_module_level=True)

PROGRAM = ast.parse((ROOT / "tests/support/jax_checks.py").read_text())
CHECKS = [each.name for each in PROGRAM.body if getattr(each, "name", "").startswith("check_")]


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "OMP_NUM_THREADS": "1"}
    return report_of("jax_checks", folder=tmp_path_factory.mktemp("jax"), environment=environment, timeout=300)


@pytest.mark.parametrize("name", CHECKS)
def test_jax(report, name):
    assert report[name] == ""
