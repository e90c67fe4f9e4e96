"""Starts several ranks, see ranks_worker.py, and waits for their ends."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time

from support.subprocesses import BOTH


@contextlib.contextmanager
def ranks(folder, *commands):
    """Processes in a folder, rank n with the commands[n]; none is left behind. Gives what waits for their end: it
    returns for each rank the status, and what is on its stdout and stderr."""
    environment = {**os.environ, "PYTHONPATH": BOTH, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    line = [sys.executable, "-W", "ignore", "-m", "support.ranks_worker", json.dumps(commands)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(line, cwd=folder, env=environment, start_new_session=True, **pipes)

    def wait(timeout=200):
        out, err = process.communicate(timeout=timeout)
        assert process.returncode == 0, err
        said = [[(folder / f"{rank}.{end}").read_text() for end in ("out", "err")] for rank in range(len(commands))]
        return [(status, *texts) for status, texts in zip(json.loads(out), said, strict=True)]

    try:
        yield wait
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def send(folder, rank, number):
    """A signal to a rank."""
    os.kill(int((folder / f"{rank}.pid").read_text()), number)


def wait_for(condition):
    for _ in range(12_000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("nothing happened for two minutes")
