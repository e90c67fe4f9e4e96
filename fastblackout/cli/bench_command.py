"""What `fastblackout bench` does."""

from __future__ import annotations

import subprocess
import sys
from argparse import Namespace
from pathlib import Path


def bench_command(options: Namespace) -> int:
    """Runs the benchmarks of a clone by pytest, or writes tables and plots of their results."""
    if not Path("benchmarks").is_dir():
        raise ValueError("bench: no benchmarks folder here; run it in a clone of the repository")
    if options.arguments[:1] == ["report"]:
        return subprocess.run([sys.executable, "benchmarks/report", *options.arguments[1:]]).returncode
    try:
        import pytest
    except ImportError:
        raise ValueError("bench: needs pytest; pip install 'fastblackout[bench]'") from None
    return int(pytest.main(["benchmarks", *options.arguments]))
