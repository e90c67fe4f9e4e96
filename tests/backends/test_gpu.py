"""The CUDA and Triton kernels on a GPU, compared as everywhere else: with the reference, to the bit.

benchmarks/gpu runs this file in processes for every op and backend, so that a kernel that hangs ends nothing else.
FASTBLACKOUT_GPU=dry runs it on the CPU, to see that it runs.
"""

import math
import os
import time

import pytest
import torch

from support import gpu_checks, gpu_torch_checks, process_calls, product
from support.op_table import OPS

DRY = os.environ.get("FASTBLACKOUT_GPU") == "dry"
if not torch.cuda.is_available() and not DRY:
    pytest.skip("torch sees no GPU; the SIMT shim and Triton's interpreter run the kernels", allow_module_level=True)

GPU = torch.device("cpu") if DRY else torch.device("cuda", 0)
SHAPE = (3, 3, 32, 32)
START = time.monotonic()
SECONDS = float(os.environ.get("FASTBLACKOUT_TEST_SECONDS", "inf"))  # from START: no case begins after them
pytestmark = pytest.mark.filterwarnings("ignore")  # torch's own, which differ from card to card
every_op = pytest.mark.parametrize("op", OPS)
every_backend = pytest.mark.parametrize("backend", ["cpu"] if DRY else ["cuda", "triton"])


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.mark.parametrize("backend", ["cpu"] if DRY else ["cuda"])
@every_op
def test_first(op, backend):
    """Before all others of its process: an op has a first call once."""
    gpu_checks.check_first(op, backend, GPU, SHAPE)


@every_backend
@every_op
def test_graph(op, backend):
    gpu_checks.check_graph(op, backend, GPU, SHAPE)


@every_backend
@every_op
@pytest.mark.skipif(DRY, reason="on the CPU a wrong value raises at once")
def test_flags(op, backend):
    gpu_checks.check_flags(op, backend, GPU, SHAPE)


@every_backend
@every_op
def test_ranks(op, backend):
    """Of the ops whose samples have tables, so many that Triton's launches take them in turns, 1,024 at once."""
    gpu_checks.check_ranks(op, backend, GPU, (2304 if op in ("thin", "bridge_step") else 256, 5, 7))


@every_backend
@every_op
@pytest.mark.skipif(DRY, reason="the CPU has no streams")
def test_stream(op, backend):
    gpu_checks.check_stream(op, backend, GPU, SHAPE)


@every_backend
@every_op
def test_compiled(op, backend):
    gpu_torch_checks.check_compiled(op, backend, GPU, SHAPE)


@every_backend
@every_op
def test_reduce_overhead(op, backend):
    gpu_torch_checks.check_compiled(op, backend, GPU, SHAPE, mode="reduce-overhead")


@every_backend
@every_op
def test_opcheck(op, backend):
    gpu_torch_checks.check_opcheck(op, backend, GPU, SHAPE)


@every_backend
def test_losses(backend):
    gpu_torch_checks.check_losses(backend, GPU)


@every_backend
def test_philox_known_answers(backend):
    if backend == "cuda":
        gpu_checks.check_philox(GPU)
    elif backend == "triton":
        from support.triton_single import known_answers

        known_answers(GPU)


@every_backend
@pytest.mark.parametrize("options", gpu_checks.SAMPLERS, ids=str)
def test_sample(options, backend):
    gpu_checks.check_sample(options, backend, GPU)


@every_backend
@pytest.mark.parametrize("name", process_calls.PROCESSES)
def test_process(name, backend):
    gpu_checks.check_process(name, backend, GPU)


def test_tokens():
    gpu_checks.check_tokens(GPU)


@every_backend
@every_op
def test_product(op, backend, record_property):
    """The cases of an op as far as the time goes; how many those were is in the report."""
    report = product.run(op, backend, GPU, max(10.0, SECONDS - (time.monotonic() - START)), every=1)
    record_property("cases", report["done"])
    record_property("of", report["of"])
    assert report["failures"] == []
    assert report["done"] == report["of"] or not math.isinf(SECONDS)
