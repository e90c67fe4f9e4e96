"""fastblackout.jax: under jit, vmap and grad the bits of NumPy's and torch's calls, by both ways to the kernels."""

import ast
import importlib.util
import os

import pytest

from support import ROOT
from support.subprocesses import report_of

if importlib.util.find_spec("jax") is None:
    pytest.skip("jax is not installed", allow_module_level=True)

PROGRAMS = [ast.parse((ROOT / f"tests/support/{name}.py").read_text()) for name in ("jax_checks", "jax_way_checks")]
TWO = "--xla_force_host_platform_device_count=2"
CHECKS = [each.name for program in PROGRAMS for each in program.body if getattr(each, "name", "").startswith("check_")]


@pytest.fixture(scope="module", params=["ffi", pytest.param("callback", marks=pytest.mark.slow)])
def report(request, tmp_path_factory):
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "OMP_NUM_THREADS": "1", "XLA_FLAGS": TWO}
    folder = tmp_path_factory.mktemp("jax")
    return report_of("jax_checks", request.param, folder=folder, environment=environment, timeout=300)


@pytest.mark.parametrize("name", CHECKS)
def test_jax(report, name):
    assert report[name] == ""
