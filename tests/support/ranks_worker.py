"""Ranks as torchrun starts them, on CPUs, but forked from one process that has imported what all of them need.

`python -m support.ranks_worker COMMANDS` in a folder, COMMANDS being a JSON list: for each rank a list of commands of
fastblackout, which it runs one after the other. Rank n has the process id in `n.pid`, prints into `n.out` and `n.err`,
and leaves what its training steps drew in `n.npz`. Prints the statuses, each that of the first command that failed.
"""

import json
import os
import socket
import sys

import matplotlib.pyplot
import numpy as np
import torch._dynamo

import fastblackout.training.run
from fastblackout.cli import main
from support.recorded_draws import recorded

LOADED = (matplotlib.pyplot, torch._dynamo, fastblackout.training.run)  # nothing of them has run yet: a fork is safe


def run(rank, commands):
    for stream, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(f"{rank}.{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
    with recorded() as draws:
        for command in commands:
            status = main(command)
            if status:
                return status
    np.savez(
        f"{rank}.npz", **{f"{name}-{n}": array for name, arrays in draws.items() for n, array in enumerate(arrays)}
    )
    return 0


def fork(rank, count, port, commands):
    if pid := os.fork():
        with open(f"{rank}.pid", "w") as file:
            file.write(str(pid))
        return pid
    variables = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "MASTER_ADDR": "localhost", "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in variables.items()})
    sys.exit(run(rank, commands))


if __name__ == "__main__":
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    every = json.loads(sys.argv[1])
    pids = [fork(rank, len(every), port, commands) for rank, commands in enumerate(every)]
    print(json.dumps([os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]))
