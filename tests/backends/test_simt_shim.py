"""The shim that runs CUDA kernels on the CPU: it computes what CUDA does and catches what CUDA forbids."""

import pytest

try:
    from fastblackout import _simt
except ImportError:
    _simt = None

SCHEDULES = ["forward", "reverse", "random"]


@pytest.fixture(autouse=True)
def built():
    yield
    _simt.configure("forward", 0, 1)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("threads", [1, 3])
def test_the_shim_computes_what_cuda_does(schedule, threads):
    _simt.configure(schedule, 7, threads)
    assert _simt.selftest("rotate") == [(i + 1) % 64 for i in range(64)] * 4
    assert _simt.selftest("warp_sum")[:64] == [100000 + 496] * 32 + [0 + sum(range(32, 64))] * 32
    assert _simt.selftest("count")[0] == 6400


def test_a_missing_barrier_makes_results_depend_on_the_schedule():
    seen = set()
    for schedule in SCHEDULES:
        _simt.configure(schedule, 7, 1)
        seen.add(tuple(_simt.selftest("rotate_without_barrier")))
    assert len(seen) == 3


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize(
    ("kernel", "text"),
    [
        ("divergent", r"divergent barrier: thread \d+ waits at __syncthreads \(selftest.cu:\d+\), thread \d+ has ret"),
        ("two_barriers", r"divergent barrier: thread \d+ waits at .*:\d+\), thread \d+ waits at __syncthreads"),
        ("missing_lane", r"^simt: lane 5 of the mask 0xffffffff is missing: .*, thread 5 has returned"),
        ("outside_mask", r"a lane calls __ballot_sync with a mask that leaves it out"),
        ("crossed", r"deadlock: lane \d+ of the mask 0xffffffff is missing: thread \d+ waits at __syncwarp"),
    ],
)
def test_the_shim_catches(schedule, kernel, text):
    _simt.configure(schedule, 7, 2)
    with pytest.raises(RuntimeError, match=text):
        _simt.selftest(kernel)


def test_configure_refuses_what_it_does_not_know():
    with pytest.raises(ValueError, match="simt: schedule: must be forward, reverse or random, got sideways"):
        _simt.configure("sideways")
    with pytest.raises(ValueError, match="simt: threads: must be at least 1, got 0"):
        _simt.configure("forward", 0, 0)
