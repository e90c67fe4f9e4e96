"""Trainings ended at random moments by every kind of fault; `python tests/faults` plays more rounds."""

import subprocess
import sys

import pytest

from support import ROOT
from support.subprocesses import elsewhere


@pytest.mark.slow
def test_faults_and_resuming_change_no_bit():
    command = [sys.executable, str(ROOT / "tests" / "faults"), "--rounds=5"]
    done = subprocess.run(command, capture_output=True, text=True, env=elsewhere(OMP_NUM_THREADS="1"))
    assert done.returncode == 0, done.stdout + done.stderr
