"""Inputs that somebody else writes to during a call: any result or a ValueError, but no access outside an array.

Values are checked in one pass over an array and used in another. Here another process writes to the memory, so that
there is no waiting for the interpreter's lock: mostly right values, and for a moment wrong ones.
"""

import pytest

from support.subprocesses import in_a_process

SCRIPT = """
import mmap, os, signal, sys, time
import numpy as np
import fastblackout as fb

def shared(shape, dtype, value):
    made = np.frombuffer(mmap.mmap(-1, int(np.prod(shape)) * np.dtype(dtype).itemsize), dtype).reshape(shape)
    made[...] = value
    return made

{prepare}

main, writer = os.getpid(), os.fork()
if writer == 0:
    while os.getppid() == main:
        changing[...] = wrong
        time.sleep(1e-5)  # the switch itself takes 50 microseconds more
        changing[...] = right
        time.sleep(3e-4)
    os._exit(0)
calls = 0
try:
    end = time.monotonic() + 0.5
    while time.monotonic() < end or calls < 3:
        key = fb.Philox(calls)
        try:
            {call}
        except ValueError:
            pass
        calls += 1
finally:
    os.kill(writer, signal.SIGKILL)
    os.waitpid(writer, 0)
print(calls)
"""
MATRIX = "matrix = np.full((16, 16), 1 / 16)\n"
STATES = MATRIX + "changing, wrong, right = shared((2, 100_000), np.int64, 0), (1 << 50) + 65535, 0"
INDEX = MATRIX + (
    "few, changing, wrong, right = np.zeros((2000, 7), np.uint8), shared(2000, np.int64, 0), -(1 << 50), 0\n"
    "matrices = np.stack([matrix, matrix])"
)
CHANCE = (
    "changing, wrong, right = shared(200, np.float64, 0.3), np.nan, 0.3\n"
    "counts = np.full((200, 300), 200, np.uint8)\n"
    "chance = fb.Prob(changing, np.full(200, 0.7))"
)
OFFSET = (
    "x, changing, wrong, right = np.zeros((200, 30), np.uint8), shared(200, np.float32, 0.0), np.nan, 0.0\n"
    "head = np.zeros(x.shape, np.float32), np.zeros(x.shape, np.float32)"
)
CASES = {
    "categorical": (STATES, "fb.categorical(changing, matrix, rng=key)"),
    "categorical of few elements": (STATES, "fb.categorical(changing[:, :40_000:4], np.stack([matrix] * 2), rng=key)"),
    "table": (STATES + "\ntable = fb.CategoricalTable(matrix)", "fb.categorical(changing, table, rng=key)"),
    "bridge from x_t": (
        STATES + "\nzeros = np.zeros(changing.shape, np.uint8)",
        "fb.categorical_bridge(changing, zeros, before=matrix, after=matrix, rng=key)",
    ),
    "bridge from x_0": (
        STATES + "\nzeros = np.zeros(changing.shape, np.uint8)",
        "fb.categorical_bridge(zeros, changing, before=matrix, after=matrix, rng=key)",
    ),
    "index": (INDEX, "fb.categorical(few, matrices, index=changing, rng=key)"),
    "index of a table": (
        INDEX + "\ntable = fb.CategoricalTable(matrices)",
        "fb.categorical(few, table, index=changing, rng=key)",
    ),
    "index of a bridge": (
        INDEX,
        "fb.categorical_bridge(few, few, before=matrices, after=matrices, index=changing, rng=key)",
    ),
    "thin": (CHANCE, "fb.thin(counts, chance, rng=key)"),
    "binomial": (
        "changing, wrong, right = shared((2, 50_000), np.float64, 1e4), 1e30, 1e4",
        "fb.binomial(changing, 0.4, rng=key)",
    ),
    "transition_rows": (CHANCE, "fb.transition_rows(chance, 63)"),
    "offset": (OFFSET, "fb.posterior_step(x, head, 0.5, family='bayes-logistic', offset=changing, rng=key)"),
}


@pytest.mark.parametrize("case", CASES)
def test_nothing_outside_an_array_is_touched(case: str) -> None:
    prepare, call = CASES[case]
    assert int(in_a_process(SCRIPT.format(prepare=prepare, call=call))) >= 3
