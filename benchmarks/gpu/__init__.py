"""Checks the kernels on an NVIDIA GPU, and times them: `python benchmarks/gpu`, whose phases run.py lists."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(1, str(ROOT / "tests"))  # after benchmarks/: inputs, checks and counts of its `support` are used here
