"""Python programs as processes that import nothing: forks of one that has imported torch and more, for seconds.

`Fork` is for tests as `subprocess.Popen` of `python -c CODE ARGUMENT ...` on the tested package would be, but for what
a process has from its birth: memory, modules that are not there. The first one starts the server, `python -m
support.forks`, which ends when its socket is closed.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

MAIN = "import sys; from fastblackout.cli import main; sys.exit(main())"
IMPORTED = ("matplotlib.pyplot", "sklearn.datasets", "sklearn.svm", "torch._dynamo", "fastblackout.training.run")
IMPORTED += (
    "fastblackout.cli.command_line",
    "fastblackout.data",
    "fastblackout.evaluation",
    "fastblackout.sampling.sampler",
)


def serve(connection: socket.socket) -> None:
    """Forks for each request. Nothing of what it imports has run, no thread among it: a fork is safe."""
    for module in IMPORTED:
        importlib.import_module(module)
    while True:
        request, files, _, _ = socket.recv_fds(connection, 1 << 20, 4)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if not request or os.fork() == 0:
            break
        for file in files:
            os.close(file)
    if request:
        connection.close()
        watch(*json.loads(request), *files)


def watch(
    folder: str, environment: dict[str, str], line: list[str], stdin: int, out: int, err: int, report: int
) -> None:
    """Forks once more, for the program, and reports its process id, then its status."""
    pid = os.fork()
    if pid:
        for file in (stdin, out, err):
            os.close(file)
        with contextlib.suppress(BrokenPipeError):  # nobody waits for it any more
            os.write(report, b"%d\n" % pid)
            os.write(report, b"%d\n" % os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        os._exit(0)
    os.close(report)
    os.setsid()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    for number, file in enumerate((stdin, out, err)):
        os.dup2(file, number)
        os.close(file)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which a job in the background ignores
    code, *sys.argv[1:] = line
    sys.argv[0] = "-c"
    exec(compile(code, "<string>", "exec"), {"__name__": "__main__"})  # and then Python ends as ever


@functools.cache
def server() -> socket.socket:
    from support.subprocesses import BOTH

    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    environment = {**os.environ, "PYTHONPATH": BOTH, "OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg"}
    line = [sys.executable, "-m", "support.forks", str(theirs.fileno())]
    with theirs:
        process = subprocess.Popen(line, cwd="/", env=environment, pass_fds=[theirs.fileno()], start_new_session=True)
    atexit.register(process.wait)
    atexit.register(ours.close)
    return ours


class Fork:
    """A process that runs some code: its stdout and stderr are texts in pipes."""

    def __init__(self, code: str, *arguments: Any, folder: str | Path = "/") -> None:
        (nothing, end), (stdout, out), (stderr, err), (report, told) = (os.pipe() for _ in range(4))
        os.close(end)
        request = json.dumps([str(folder), dict(os.environ), [code, *map(str, arguments)]]).encode()
        socket.send_fds(server(), [request], [nothing, out, err, told])
        for file in (nothing, out, err, told):
            os.close(file)
        self.stdout, self.stderr, self._report = open(stdout), open(stderr), open(report)  # noqa: SIM115
        self.returncode: int | None = None
        self.pid = int(self._report.readline())

    def wait(self, timeout: float | None = None) -> int | None:
        """The status, or None where the process goes on for longer."""
        if self.returncode is None and select.select([self._report], [], [], timeout)[0]:
            self.returncode = int(self._report.readline())
        return self.returncode

    def poll(self) -> int | None:
        return self.wait(0)

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def communicate(self, timeout: float = 300) -> tuple[str, str]:
        """What it prints until its end; one that does not end in time is killed, which its status says."""
        with ThreadPoolExecutor(2) as pool:
            streams = [pool.submit(stream.read) for stream in (self.stdout, self.stderr)]
            if self.wait(timeout) is None:
                self.kill()
            out, err = (stream.result() for stream in streams)
        self.wait()
        self.__exit__()
        return out, err

    def __enter__(self) -> Fork:
        return self

    def __exit__(self, *error: object) -> None:
        with contextlib.suppress(ProcessLookupError):  # with the children it may have left
            os.killpg(self.pid, signal.SIGKILL)
        for file in (self.stdout, self.stderr, self._report):
            file.close()


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as connection:
        serve(connection)
