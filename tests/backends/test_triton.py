"""Triton's interpreter beyond test_product.py: matrices of other shapes and strides, ties, wrong values, split batches.

support/triton_single.py and triton_states.py hold the cases (a pairwise cover, outputs in poisoned memory), which
triton_worker.py runs in a process of its own for each group; the 20 keys of helpers.py go round the cases of every
group. About a minute in all on one core.
"""

import os

import pytest

from support.subprocesses import report_of
from support.today import NIGHT

# Cases at least, so that a cover that shrinks shows.
GROUPS = {"single": 14, "categorical": 35, "categorical_bridge": 42, "transition": 34}


# 0, no limit, at night: `single` then splits 256 samples of every op, for more than 500 s on a slow machine
@pytest.mark.slow
@pytest.mark.timeout(0 if NIGHT else 500)
@pytest.mark.parametrize("group", GROUPS)
def test_interpreter_equals_cpu(group, tmp_path):
    report = report_of("triton_worker", group, folder=tmp_path, environment=os.environ | {"TRITON_INTERPRET": "1"})
    assert report["failures"] == []
    assert report["cases"] >= GROUPS[group]
