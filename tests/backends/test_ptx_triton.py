"""The Triton kernels as Triton compiles them, PTX, executed on the CPU (tests/ptx): equal to the reference to the bit.

The launches are the package's own; support/ptx_triton.py stands for the GPU. Schedules, poison, errors of approximate
instructions and checked accesses are as in test_ptx.py. Each case has kernels of its own, which take seconds to
compile: a run takes three ops, which change daily, of each every 72nd case of its cover from one on that changes too,
one of the single tests of wrong values and ties, and one wrong text that must be noticed. FASTBLACKOUT_PTX=all takes
every fourth case of all ops, by all three schedules, all single tests and all wrong texts (.ci/nightly).
"""

import datetime
import os
import re
import shutil

import pytest

from support import ptx_kernels
from support.op_table import OPS
from support.ptx_triton_mutations import MUTATIONS
from support.subprocesses import BOTH, asked, report_of

pytest.importorskip("fastblackout._simt", reason="fastblackout._simt is not built")
triton = pytest.importorskip("triton", minversion="3.6", reason="no Triton, or one before 3.6")
CXX = ptx_kernels.build()["CXX"]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(shutil.which(CXX) is None, reason=f"no {CXX}, which compiles the translated PTX"),
]
SINGLE = ("flags", "number_flags", "law_flags", "step_flags", "state_flags", "rounding_ties", "state_ties")


def environment():
    others = {name: value for name, value in os.environ.items() if not name.startswith("TRITON_")}
    return {**others, "PYTHONPATH": BOTH, "OMP_NUM_THREADS": "1", **ptx_kernels.sanitizer()}


@pytest.fixture(scope="module")
def product():
    every, schedules = (4, 3) if ptx_kernels.ALL else (72, 1)
    how = "triton", every, datetime.date.today().toordinal() % every, schedules
    yield from asked("ptx_product", *how, environment=environment())


@pytest.mark.parametrize("op", ptx_kernels.of_today(OPS, 3))
def test_ptx_equals_the_reference(product, op):
    report = product(op)
    print(triton.__version__, report)
    assert report["failures"] == [] and report["cases"] > 0 and report["launches"]


@pytest.mark.parametrize("name", ptx_kernels.of_today(SINGLE, 1))
def test_wrong_values_and_ties(name, tmp_path):
    report = report_of("triton_worker", name, "compiled", folder=tmp_path, environment=environment())
    assert report["failures"] == [] and report["cases"] > 0


@pytest.mark.parametrize("name", ptx_kernels.of_today(MUTATIONS, 1))
def test_wrong_ptx_is_noticed(name, tmp_path):
    failures = report_of("ptx_triton_mutations", name, folder=tmp_path, environment=environment())
    assert failures and re.search(MUTATIONS[name].fails, failures[0])
