"""The CUDA kernels as nvcc compiles them, PTX, executed on the CPU (tests/ptx): equal to the reference to the bit.

The package's own flags make the PTX. Threads run forward, in reverse and at random; shared memory and registers
hold anything at first; approximate instructions err by as much as the PTX ISA allows, to either side; every access to
memory must be aligned and inside of it; in every second run of a case no two accesses may race (ptx/races.cpp). A run
takes every 24th case of each op's cover, from one on that the day tells, by one schedule each, and one of the wrong
texts that must be noticed; FASTBLACKOUT_PTX=all takes all cases by all three schedules, all wrong texts, and the shim's
tests with AddressSanitizer too (.ci/nightly).
"""

import datetime
import os
import re
import subprocess
import sys

import pytest

from support import ROOT, ptx_kernels
from support.op_table import OPS
from support.ptx_mutations import MUTATIONS
from support.subprocesses import BOTH, asked

_simt = pytest.importorskip("fastblackout._simt", reason="fastblackout._simt is not built")
pytestmark = [pytest.mark.timeout(3600), *ptx_kernels.needs_nvcc()]
SHIM = ("xla_device", "simt", "simt_device", "simt_flags", "simt_states", "quick_device")


def environment(sanitizer=True, **more):
    ptx_kernels.libraries("90")  # compiled here, where no sanitizer slows it down
    checked = ptx_kernels.sanitizer() if sanitizer else {}
    return {**os.environ, "PYTHONPATH": BOTH, "OMP_NUM_THREADS": "1", **checked, **more}


@pytest.fixture(scope="module")
def product():
    every = 1 if ptx_kernels.ALL else 24
    schedules = 3 if ptx_kernels.ALL else 1
    how = "90", every, datetime.date.today().toordinal() % every, schedules
    yield from asked("ptx_product", *how, environment=environment())


@pytest.fixture(scope="module")
def mutations():
    yield from asked("ptx_mutations", environment=environment())


@pytest.mark.parametrize("op", OPS)
def test_ptx_equals_the_reference(product, op):
    report = product(op)
    print(report)
    assert report["failures"] == [] and report["cases"] > 0 and report["launches"]


@pytest.mark.parametrize("name", ptx_kernels.of_today(MUTATIONS, 1))
def test_wrong_ptx_is_noticed(mutations, name):
    failures, mutation = mutations(name), MUTATIONS[name]
    assert failures and re.search(mutation.fails, failures[0])
    if mutation.races:
        assert [text for text in failures if not re.search(mutation.fails, text)] == []
        assert {text.split()[1].rstrip(",") for text in failures} == {"forward", "reverse", "random"}


_PAST_THE_END = """
import numpy as np
from ptx.harness import HEADER, library, run
body = "{ .reg .b64 %rd<3>; ld.param.u64 %rd1, [p]; ld.global.u8 %rd2, [%rd1+15]; ld.global.u8 %rd2, [%rd1+16]; ret; }"
try:
    run(library(HEADER + ".entry k(.param .u64 p) " + body.replace("; ", ";\\n")), "k", np.zeros(16, np.uint8))
except RuntimeError as error:
    print(error)
"""


def test_accesses_of_global_memory_are_checked():
    if not ptx_kernels.sanitizer():
        pytest.skip("no AddressSanitizer, as it comes with g++: accesses of global memory are not checked")
    command = [sys.executable, "-c", _PAST_THE_END]
    done = subprocess.run(command, cwd="/", env=environment(), capture_output=True, text=True, check=True)
    assert done.stdout.startswith("simt: line 7 of the PTX: an access is outside of memory")


def test_ptx_passes_the_tests_of_the_shim():
    """Flags of wrong values, tables, quick calls, and what XLA calls, at nights from JAX too."""
    files = [f"tests/backends/test_{name}.py" for name in SHIM] + ["tests/ops/test_jax.py"] * ptx_kernels.ALL
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:benchmark", *files]
    how = environment(sanitizer=ptx_kernels.ALL, FASTBLACKOUT_PTX_KERNELS="90")
    done = subprocess.run(command, cwd=ROOT, env=how, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-5000:]


def test_every_kernel_is_replaced():
    ptx_kernels.replace("90")
    try:
        entries = sum(len(made.entries) for made in ptx_kernels.libraries("90").values())
        assert len(_simt.replaced()) == entries > 40
    finally:
        _simt.restore()
