"""Starts several ranks, see ranks_worker.py, and waits for their ends."""

import contextlib
import json
import os
import time

from support.forks import Fork


@contextlib.contextmanager
def ranks(folder, *commands):
    """Processes in a folder, rank n with the commands[n]; none is left behind. Gives what waits for their end: it
    returns for each rank the status, and what is on its stdout and stderr."""
    code = "import json, sys; from support.ranks_worker import start; start(json.loads(sys.argv[1]))"
    with Fork(code, json.dumps(commands), folder=folder) as process:

        def wait(timeout=200):
            out, err = process.communicate(timeout)
            assert process.returncode == 0, err
            said = [[(folder / f"{rank}.{end}").read_text() for end in ("out", "err")] for rank in range(len(commands))]
            return [(status, *texts) for status, texts in zip(json.loads(out), said, strict=True)]

        yield wait


def send(folder, rank, number):
    """A signal to a rank."""
    os.kill(int((folder / f"{rank}.pid").read_text()), number)


def wait_for(condition):
    for _ in range(12_000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("nothing happened for two minutes")
