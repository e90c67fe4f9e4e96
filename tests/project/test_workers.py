"""Which tests run in several processes."""

import types

import pytest

from support import ROOT, workers

PLAIN = {"numprocesses": None, "dist": "no", "tx": [], "capture": "fd"} | dict.fromkeys(workers.TOLD, False)


@pytest.mark.parametrize(
    ("given", "arguments", "chosen"),
    [
        ({}, ["tests"], (3, "worksteal")),
        ({}, ["tests/project/test_workers.py", "tests/ops"], (3, "worksteal")),
        ({}, ["tests/project/test_workers.py"], (None, "no")),
        ({}, ["tests/project/test_workers.py::test_a", "tests/project/test_workers.py::test_b"], (None, "no")),
        ({"capture": "no"}, ["tests"], (None, "no")),
        *(({name: True}, ["tests"], (None, "no")) for name in workers.TOLD),
        ({"numprocesses": 0}, ["tests"], (0, "no")),
        ({"numprocesses": 5}, ["tests/project/test_workers.py"], (5, "worksteal")),
        ({"numprocesses": 5, "dist": "loadfile"}, ["tests"], (5, "loadfile")),
    ],
)
def test_a_worker_a_core_but_not_for_one_file(given, arguments, chosen, monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(workers.os, "sched_getaffinity", lambda process: {0, 2, 4})
    options = types.SimpleNamespace(**(PLAIN | given))
    workers.choose(options, arguments)
    assert (options.numprocesses, options.dist) == chosen
