"""CPU kernels read no byte past their arguments: each ends where its memory does, before a page nobody may read."""

import ctypes
import mmap
import subprocess
import sys

import numpy as np

import fastblackout as fb
from fastblackout import _cpu

SIZES = (*range(1, 40), *range(48, 544, 16), 1008, 1024, 1040, 2064)
PAGES = 4  # before the one that may not be read


def at_the_end(values):
    """A copy of the values whose last byte is the last of a page, before one without rights."""
    room = mmap.mmap(-1, (PAGES + 1) * mmap.PAGESIZE)
    start = ctypes.addressof(ctypes.c_char.from_buffer(room))
    library = ctypes.CDLL(None, use_errno=True)
    if library.mprotect(ctypes.c_void_p(start + PAGES * mmap.PAGESIZE), ctypes.c_size_t(mmap.PAGESIZE), 0):
        raise OSError(ctypes.get_errno(), "mprotect")
    copy = np.frombuffer(room, values.dtype, values.size, PAGES * mmap.PAGESIZE - values.nbytes).reshape(values.shape)
    copy[...] = values
    return copy


def main():
    import torch

    random = np.random.default_rng(0)
    rng, prob = fb.Philox(1), fb.Prob(0.3, 0.7)
    for size in SIZES:
        counts = at_the_end(random.integers(0, 256, (1, size), dtype=np.uint8))
        logits = at_the_end(random.normal(0, 3, (1, size)).astype(np.float32))
        births = at_the_end(random.integers(0, 9, (1, size)).astype(np.float32))
        for isa in _cpu.isas():
            with fb.use_backend("cpu", isa=isa, threads=1):
                fb.thin(counts, prob, rng=rng)
                fb.bridge_step(counts, logits, prob, rng=rng)
                fb.tau_leap_step(counts, logits, 0.1, rng=rng)
                for born in (counts, births):
                    fb.birth_loss(logits, born, 1.0)
                    graded = torch.from_numpy(logits).requires_grad_()
                    fb.birth_loss(graded, torch.from_numpy(born), 1.0).backward()
    print("read nothing else")


def test_nothing_is_read_past_the_end():
    done = subprocess.run([sys.executable, "-P", __file__], capture_output=True, text=True, timeout=300)
    assert done.stdout == "read nothing else\n", (done.returncode, done.stderr[-2000:])


if __name__ == "__main__":
    main()
