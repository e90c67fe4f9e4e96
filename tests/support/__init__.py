"""What several test files share: inputs, calls and checks, and the programs that tests start as processes of their own.

This file imports nothing of fastblackout, since tests/conftest.py takes support.installed from here to decide which
fastblackout that is.
"""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]  # of the repository
