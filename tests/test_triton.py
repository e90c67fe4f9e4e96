"""The Triton kernels' own tests, in the interpreter; test_product.py compares every op with the reference."""

import os
import subprocess
import sys
from pathlib import Path

import fastblackout as fb


def test_in_the_interpreter(tmp_path):
    """triton_single.py: known answers, portable floats, batch splits, ties of the rounding, flags."""
    environment = os.environ | {"TRITON_INTERPRET": "1", "PYTHONPATH": str(Path(fb.__file__).parents[1])}
    command = [sys.executable, str(Path(__file__).parent / "triton_single.py")]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stderr.split() == ["known_answers", "portable_floats", "batch_split", "rounding_ties", "flags"]
