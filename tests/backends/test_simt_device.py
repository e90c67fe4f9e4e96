"""All that takes a GPU's tensors, on tensors that pretend to be on one: devices, bits, what a call leaves behind.

support/pretend_cuda.py has the device, support/device_worker.py the cases, which run in one process of their own,
15 s on a Zen 4.
"""

import pytest

from support.subprocesses import report_of

CASES = (
    "the_device_refuses_what_a_gpu_refuses", "what_outlives_a_call_is_noticed",
    "first_calls_keep_nothing_of_the_callers_memory_and_wait_for_nothing", "an_op_runs_first_in_a_capture",
    "every_op_gives_the_bits_of_the_cpu",
    "flags", "parts_of_a_batch", "numbers_that_differ_within_a_sample", "arrays_of_another_library", "processes",
    "tokens", "samples", "losses_and_their_gradients", "training", "schedules", "waits_are_refused",
    "no_training_step_waits", "batches_are_those_of_the_host",
    "a_graph_of_the_step_takes_the_same_steps", "saving_waits_for_nothing_and_a_restored_run_goes_on",
)  # fmt: skip


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    return report_of("device_worker", folder=tmp_path_factory.mktemp("device"))


@pytest.mark.parametrize("case", CASES)
def test_case(case, report):
    assert report[case] == ""


def test_every_case_has_run(report):
    assert sorted(report) == sorted(CASES)
