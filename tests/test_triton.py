"""Triton's interpreter beyond test_product.py: matrices of other shapes and strides, ties, wrong values, split batches.

tests/triton_worker.py and triton_states.py hold the cases (a pairwise cover, outputs in poisoned memory), which run in
processes of their own; the 20 keys of helpers.py go round the cases of every group. About a minute in all on one core.
"""

import json
import subprocess
import sys
from pathlib import Path

import product
import pytest
from helpers import elsewhere

# Cases at least, so that a cover that shrinks shows.
GROUPS = {
    "single": 9, "categorical": 35, "categorical_bridge": 42, "transition": 34,
}  # fmt: skip


# 0, no limit, at night: `single` then splits 256 samples of every op, for more than 500 s on a slow machine
@pytest.mark.slow
@pytest.mark.timeout(500 if product.WHICH == "cover" else 0)
@pytest.mark.parametrize("group", GROUPS)
def test_interpreter_equals_cpu(group, tmp_path):
    environment = elsewhere(TRITON_INTERPRET="1")
    worker = Path(__file__).parent / "triton_worker.py"
    command = [sys.executable, str(worker), group]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["failures"] == []
    assert report["cases"] >= GROUPS[group]
