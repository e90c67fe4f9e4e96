"""fastblackout.jax: under jit, vmap and grad the bits of NumPy's and torch's calls, by all ways to the kernels."""

import ast
import importlib.util
import os

import pytest
import torch

from fastblackout.backends import available
from support import ROOT
from support.subprocesses import report_of

if importlib.util.find_spec("jax") is None:
    pytest.skip("jax is not installed", allow_module_level=True)

NAMES = ("jax_checks", "jax_way_checks", "jax_device_checks")
PROGRAMS = [ast.parse((ROOT / f"tests/support/{name}.py").read_text()) for name in NAMES]
TWO = "--xla_force_host_platform_device_count=2"
CHECKS = [each.name for program in PROGRAMS for each in program.body if getattr(each, "name", "").startswith("check_")]
# A device does not tell of wrong values, and programs call its kernels by other names.
OF_THE_HOST = ("check_errors", "check_errors_of_numbers", "check_way", "check_refused")
SIMT = available.load("_simt")
GPU = torch.cuda.is_available() and any(map(importlib.util.find_spec, ("jax_cuda12_plugin", "jax_cuda13_plugin")))
SLOW = [pytest.param(way, marks=pytest.mark.slow) for way in ("callback", "simt", "gpu")]


@pytest.fixture(scope="module", params=["ffi", *SLOW])
def way(request):
    if request.param == "simt" and isinstance(SIMT, str):
        pytest.skip(SIMT)
    if request.param == "gpu" and not GPU:
        pytest.skip("torch sees no GPU, or JAX has no plugin for it")
    return request.param


@pytest.fixture(scope="module")
def report(way, tmp_path_factory):
    platform = "cuda" if way == "gpu" else "cpu"
    environment = {**os.environ, "JAX_PLATFORMS": platform, "OMP_NUM_THREADS": "1", "XLA_FLAGS": TWO}
    folder = tmp_path_factory.mktemp("jax")
    return report_of("jax_checks", way, folder=folder, environment=environment, timeout=550)


@pytest.mark.parametrize("name", CHECKS)
def test_jax(way, report, name):
    if name.startswith("check_device_") and (way != "ffi" or isinstance(SIMT, str)):
        pytest.skip(SIMT if isinstance(SIMT, str) else "once is enough")
    if way in ("simt", "gpu") and name in OF_THE_HOST:
        pytest.skip("of the CPU's kernels")
    if way == "gpu" and name == "check_devices":
        pytest.skip("of two devices")
    assert report[name] == ""
