"""The CUDA and Triton kernels on a GPU, compared as everywhere else: with the reference, to the bit.

benchmarks/gpu.py runs this file in a process for every op and backend, so that a kernel that hangs ends nothing else.
"""

import math
import os
import time

import gpu_checks
import process_calls
import product
import pytest
import torch
from helpers import load_neighbour
from op_table import OPS

if not torch.cuda.is_available():
    pytest.skip("torch sees no GPU; the SIMT shim and Triton's interpreter run the kernels", allow_module_level=True)

GPU = torch.device("cuda", 0)
SHAPE = (3, 3, 32, 32)
START = time.monotonic()
SECONDS = float(os.environ.get("FASTBLACKOUT_TEST_SECONDS", "inf"))  # from START: no case begins after them
pytestmark = pytest.mark.filterwarnings("ignore")  # torch's own, which differ from card to card
every_op = pytest.mark.parametrize("op", OPS)
every_backend = pytest.mark.parametrize("backend", ["cuda", "triton"])


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@every_backend
@every_op
def test_graph(op, backend):
    gpu_checks.check_graph(op, backend, GPU, SHAPE)


@every_backend
@every_op
def test_flags(op, backend):
    gpu_checks.check_flags(op, backend, GPU, SHAPE)


@every_backend
@every_op
def test_ranks(op, backend):
    gpu_checks.check_ranks(op, backend, GPU, (256, 5, 7))


@every_backend
@every_op
def test_stream(op, backend):
    gpu_checks.check_stream(op, backend, GPU, SHAPE)


@every_backend
@every_op
def test_compiled(op, backend):
    gpu_checks.check_compiled(op, backend, GPU, SHAPE)


@every_backend
@every_op
def test_opcheck(op, backend):
    gpu_checks.check_opcheck(op, backend, GPU, SHAPE)


@every_backend
def test_philox_known_answers(backend):
    if backend == "cuda":
        gpu_checks.check_philox(GPU)
    else:
        load_neighbour("triton_single").known_answers(GPU)


@every_backend
@pytest.mark.parametrize("options", gpu_checks.SAMPLERS, ids=str)
def test_sample(options, backend):
    gpu_checks.check_sample(options, backend, GPU)


@every_backend
@pytest.mark.parametrize("name", process_calls.PROCESSES)
def test_process(name, backend):
    gpu_checks.check_process(name, backend, GPU)


@every_backend
@every_op
def test_product(op, backend, record_property):
    """The cases of an op as far as the time goes; how many those were is in the report."""
    report = product.run(op, backend, GPU, max(10.0, SECONDS - (time.monotonic() - START)))
    record_property("cases", report["done"])
    record_property("of", report["of"])
    assert report["failures"] == []
    assert report["done"] == report["of"] or not math.isinf(SECONDS)
