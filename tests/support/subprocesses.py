"""Python processes on the tested package: what a script prints, or what a program of this folder reports."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import fastblackout as fb
from support import ROOT

PACKAGE = str(Path(fb.__file__).parents[1])
BOTH = os.pathsep.join([PACKAGE, str(ROOT / "tests")])  # the path to the package and to this folder


def elsewhere(**more):
    """The environment of a Python process on the tested package, which must start outside the clone: `-c` puts the
    current folder first on sys.path, and after an install that is not editable ./fastblackout has no kernels.

    It is no worker of pytest-xdist: there pytest-benchmark ends in a warning."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_XDIST")}
    return {**inherited, "PYTHONPATH": PACKAGE, **more}


def in_a_process(code, timeout=100, **environment):
    """What a script on the tested package prints, run in a process of its own: it must end well, and in time."""
    command = [sys.executable, "-W", "ignore", "-c", code]
    environment = elsewhere(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", **environment)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen(command, cwd="/", env=environment, text=True, start_new_session=True, **pipes)
    try:
        printed, errors = process.communicate(timeout=timeout)
    finally:  # with the children it may have left
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 0, (process.returncode, printed[-2000:], errors[-2000:])
    return printed


# For such a script: from leave(extra) on it has so many more bytes of memory.
LEAVE = """
import ctypes, resource

def leave(extra):
    ctypes.CDLL(None).malloc_trim(0)  # memory that is free, but not the system's
    pages = int(open("/proc/self/statm").read().split()[0])
    size = pages * resource.getpagesize() + extra
    resource.setrlimit(resource.RLIMIT_AS, (size, resource.getrlimit(resource.RLIMIT_AS)[1]))
"""


def report_of(program, *arguments, folder, environment=None, timeout=None):
    """The JSON in the last line of what a program of this folder prints, run in another folder and in a process of its
    own. What it says of its progress, and its errors, go where the output of the tests goes."""
    environment = {**(os.environ if environment is None else environment), "PYTHONPATH": BOTH}
    command = [sys.executable, "-m", f"support.{program}", *arguments]
    done = subprocess.run(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True, timeout=timeout, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def asked(program, *arguments, environment):
    """Yields a function that asks a program of this folder, which goes on running, for a line of JSON."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    command = [sys.executable, "-m", f"support.{program}", *map(str, arguments)]
    with subprocess.Popen(command, cwd="/", env=environment, **pipes) as process:

        def ask(line):
            print(line, file=process.stdin, flush=True)
            return json.loads(process.stdout.readline())

        yield ask
        process.stdin.close()
