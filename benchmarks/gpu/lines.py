"""A plugin of pytest for the check phase: tells when a test begins and ends; ends a process that has lost its device.

python -m pytest -p gpu.lines ...
"""

from __future__ import annotations

import json
import os
from typing import Any

from gpu.children import LOST, MARK, is_lost

_stdout = os.dup(1)  # before pytest puts its own in its place


def _tell(**facts: Any) -> None:
    os.write(_stdout, ("\n" + MARK + json.dumps(facts) + "\n").encode())  # pytest may be in the middle of a line


def pytest_runtest_logstart(nodeid: str, location: Any) -> None:
    _tell(begun=nodeid.rpartition("::")[2])


def pytest_runtest_logreport(report: Any) -> None:
    """A test is over with its call, or before it where something went wrong or skipped it."""
    if report.when != "call" and report.passed:
        return
    name, text = report.nodeid.rpartition("::")[2], "" if report.passed else str(report.longrepr)
    facts = dict(report.user_properties)
    _tell(test=name, outcome=report.outcome, seconds=round(report.duration, 2), text=text[-3000:], **facts)
    if is_lost(text):
        os._exit(LOST)


def pytest_collectreport(report: Any) -> None:
    """A file that cannot be imported, or skips itself, has no tests to tell of."""
    if not report.passed:
        _tell(collected=report.outcome, text=str(report.longrepr)[-3000:])
