"""All that takes a GPU's tensors, on tensors that pretend to be on one: devices, bits, what a call leaves behind.

pretend_cuda.py has the device, device_worker.py the cases, which run in one process of their own, 15 s on a Zen 4.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import elsewhere

WORKER = Path(__file__).with_name("device_worker.py")
CASES = (
    "the_device_refuses_what_a_gpu_refuses", "what_outlives_a_call_is_noticed",
    "first_calls_keep_nothing_of_the_callers_memory_and_wait_for_nothing", "every_op_gives_the_bits_of_the_cpu",
    "flags", "parts_of_a_batch", "processes", "samples", "losses_and_their_gradients", "training", "schedules",
)  # fmt: skip


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    environment = elsewhere()
    environment["PYTHONPATH"] += f":{WORKER.parent}"
    folder = tmp_path_factory.mktemp("device")
    done = subprocess.run([sys.executable, str(WORKER)], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("case", CASES)
def test_case(case, report):
    assert report[case] == ""


def test_every_case_has_run(report):
    assert sorted(report) == sorted(CASES)
