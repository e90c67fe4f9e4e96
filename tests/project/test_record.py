"""The recorder of what users see: a wrong bit, word or default in one of many calls is told, and nothing else."""

import copy

import numpy as np
import pytest

import fastblackout as fb
from record import calls, compare


@pytest.fixture(scope="module")
def record():
    odd = {"nan": np.nan, "object": object()}
    groups = calls.library_calls(np.asarray, calls.SHAPES[:2], odd, "poisson")
    return {"about": {"numpy": np.__version__}, "parts": {"numpy": dict(groups)}}


def test_calls_end_as_they_did(record):
    again = dict(calls.library_calls(np.asarray, calls.SHAPES[1:2], {}, "poisson"))
    other = {**record, "parts": {"numpy": {**record["parts"]["numpy"], **again}}}
    assert len(again) == 1 and compare.differences(record, other) == []
    ends = record["parts"]["numpy"]["poisson (2, 3)"]
    assert ends["rate: odd nan"].startswith("ValueError: poisson: rate: must be finite and")
    assert "drew a seed" in ends["rng: None"] and len(ends) > 80


def test_a_change_is_told(record):
    other = copy.deepcopy(record)
    ends = other["parts"]["numpy"]["poisson (2, 3)"]
    ends["rate: odd nan"] = ends["rate: odd nan"].replace("finite", "finit")
    lines = compare.differences(record, other)
    assert len(lines) == 3 and lines[0] == "1 cases, first numpy, poisson (2, 3), rate: odd nan"
    assert "must be finit and" in lines[2]


def test_what_a_call_does_beside_its_result_is_part_of_its_end():
    a = np.zeros(3)

    def call(a):
        a[1] = 1
        fb.poisson(np.ones(2))
        return a.T

    assert calls.ends(call, {"a": a}).endswith("; drew a seed; wrote a")
    assert calls.described(np.zeros((2, 3))) != calls.described(np.zeros((3, 2)).T)
