"""What the tests of the command line share. A module that has runs of its own makes them once, in a fixture `home`."""

import shutil

import pytest


@pytest.fixture
def place(home, tmp_path, monkeypatch):
    """A copy of the module's folder of runs, as the working folder: a test may harm it."""
    copy = tmp_path / "home"
    shutil.copytree(home, copy)
    monkeypatch.chdir(copy)
    return copy
