"""The CPU kernels' threads and others: forks, the end of the interpreter, and too few threads or memory for them."""

import pytest

from support.helpers import by_day
from support.subprocesses import LEAVE, in_a_process

FORKS = """
import os, signal, sys, threading, time
import numpy as np
import fastblackout as fb

x = np.full((3, 22000), 200, np.uint8)  # enough elements for two threads
{prepare}

def draw():
    with fb.use_backend(threads=2):
        return fb.thin({draw})

def keep_drawing():
    while True:
        draw()

draw()
sys.setswitchinterval(1e-4)
for _ in range(3):
    threading.Thread(target=keep_drawing, daemon=True).start()
for _ in range({forks} // 20):
    children = []
    for _ in range(20):
        children.append(os.fork())
        if children[-1] == 0:
            draw()
            os._exit(0)
    end = time.monotonic() + 30
    while children and time.monotonic() < end:
        children = [child for child in children if os.waitpid(child, os.WNOHANG) == (0, 0)]
        time.sleep(1e-3)
    for child in children:
        os.kill(child, signal.SIGKILL)
    if children:
        print("children hang:", len(children), flush=True)
        os._exit(1)
print("done", flush=True)
os._exit(0)  # the end of the interpreter is another test's
"""


@pytest.mark.slow
def test_a_forked_child_draws_whatever_the_parents_threads_do() -> None:
    script = FORKS.format(prepare="key = fb.Philox(1)", draw="x, 0.5, rng=key, outputs=('births',)", forks=500)
    assert in_a_process(script, timeout=300) == "done\n"


def test_a_forked_child_draws_a_seed_whatever_the_parents_threads_do() -> None:
    """Torch's generators have locks of their own. Small arrays: most of the time goes into seeds."""
    script = FORKS.format(prepare="import torch", draw="x[:, :1], 0.5, outputs=('births',)", forks=100)
    assert in_a_process(script, timeout=300) == "done\n"


EXIT = """
import threading
import numpy as np
import fastblackout as fb

x, rate, key = np.full((4, {size}), 200, np.uint8), np.full((4, {size}), 30.0), fb.Philox(1)
many = threading.Event()

def keep_drawing():
    while True:
        for _ in range(20):
            {draw}
        many.set()

threading.Thread(target=keep_drawing, daemon=True).start()
many.wait()
print("done")
"""


# Without a key torch draws the seeds.
@pytest.mark.parametrize(
    "draw",
    by_day(
        ("fb.thin(x, 0.5, rng=key)", "fb.poisson(rate, rng=key)", "fb.thin(x, 0.5), fb.poisson(rate)"),
        "fb.poisson(rate, rng=key)",
    ),
)
def test_the_interpreter_ends_while_a_daemon_thread_draws(draw: str) -> None:
    for size in (10, 10000):
        assert in_a_process(EXIT.format(draw=draw, size=size)) == "done\n"


FEW = """
import os
import numpy as np, torch
import fastblackout as fb

x = np.random.default_rng(0).integers(0, 256, (4, 20_000), dtype=np.uint8)

def draw(x):
    return np.asarray(fb.thin(x, 0.5, rng=fb.Philox(1), outputs=("x_t",)).x_t)

with fb.use_backend(threads=1):
    wanted, _ = draw(x), draw(torch.from_numpy(x))
tasks = "/proc/self/task"
before = len(os.listdir(tasks))
leave(1_700_000)  # the stack of a thread takes 2 MB or more
with fb.use_backend(threads=4):
    for kind in (x, torch.from_numpy(x)):
        assert (draw(kind) == wanted).all()
print(len(os.listdir(tasks)) - before)
"""


def test_where_no_thread_can_be_started_the_calling_one_does_the_work() -> None:
    assert in_a_process(LEAVE + FEW) == "0\n"


# Each thread needs 4 MB for the sums of eight rows, and keeps them: the calling one has them already, or not.
PART = """
import os
import numpy as np
import fastblackout as fb

probs, state = np.full((2, 65536), 2.0**-16), np.zeros((64, 4), np.int32)

def draw(threads):
    with fb.use_backend(threads=threads):
        return fb.categorical(state, probs, rng=fb.Philox(1))

tasks = "/proc/self/task"
before = len(os.listdir(tasks))
with fb.use_backend(threads=4):
    fb.thin(np.zeros((4, 20_000), np.uint8), 0.5, rng=fb.Philox(1))  # starts the threads
if {calling}:
    draw(1)
leave(2_000_000)
told = 0
for _ in range(20):
    try:
        draw(4)
    except MemoryError:
        told += 1
resource.setrlimit(resource.RLIMIT_AS, (resource.getrlimit(resource.RLIMIT_AS)[1],) * 2)
assert (draw(4) == draw(1)).all()
print(told > 0, len(os.listdir(tasks)) - before)
"""


@pytest.mark.parametrize("calling", (False, True))
def test_memory_that_a_thread_lacks_is_an_error_and_the_threads_go_on(calling: bool) -> None:
    assert in_a_process(LEAVE + PART.format(calling=calling), MALLOC_ARENA_MAX="1") == "True 3\n"
