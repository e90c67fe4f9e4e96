"""Processor seconds of the tests by folder, children included, which another program beside them leaves as they are."""

import os
from collections import Counter

import pytest


def used():
    """Of this process and of the children that it has waited for. Commands of forks.py are not among them."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


class ProcessorTime:
    def __init__(self):
        self.last, self.seconds, self.tests = used(), Counter(), Counter()

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_finish(self):
        self.last = used()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self):
        """Where the tests have workers, reports go from them to the process that prints."""
        report = yield
        now = used()
        report.processor_seconds, self.last = now - self.last, now
        return report

    def pytest_runtest_logreport(self, report):
        folder = report.nodeid.split("::")[0].rpartition("/")[0]
        self.seconds[folder] += getattr(report, "processor_seconds", 0.0)
        self.tests[folder] += report.when == "call"

    def pytest_terminal_summary(self, terminalreporter):
        terminalreporter.section("processor seconds of tests, by folder")
        for folder, seconds in self.seconds.most_common():
            terminalreporter.write_line(f"{seconds:6.0f} {folder}, {self.tests[folder]} tests")
        terminalreporter.write_line(f"{self.seconds.total():6.0f} in all")
