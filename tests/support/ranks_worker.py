"""Ranks as torchrun starts them, on CPUs, but forked from one process, itself a fork (forks.py).

`start` takes for each rank a list of commands of fastblackout, which it runs one after the other. Rank n has its
process id in the file `n.pid`, prints into `n.out` and `n.err`, and leaves what its training steps drew in `n.npz`.
"""

import json
import os
import socket
import sys
import warnings

import numpy as np

from fastblackout.cli import main
from support.recorded_draws import recorded


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


def start(every):
    """Prints a status for each rank: how the first of its commands that failed ended."""
    warnings.simplefilter("ignore")
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    pids = [fork(rank, len(every), port, commands) for rank, commands in enumerate(every)]
    print(json.dumps([os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]))
