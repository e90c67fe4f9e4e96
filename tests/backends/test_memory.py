"""What an op allocates beyond its outputs, and what it says where there is not enough memory."""

import numpy as np

from support.op_table import OPS
from support.right_calls import calls
from support.subprocesses import BOTH, LEAVE, in_a_process

# Samples of one element: a number for each sample would be one for each element. Each call is in a child process, whose
# peak is its own.
TEMPORARIES = """
import ctypes, os, resource
import numpy as np
import torch
import fastblackout as fb
from support.right_calls import calls

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

def outputs(made):
    parts = made if isinstance(made, tuple) else (made,)
    return sum(np.asarray(part).nbytes for part in parts if part is not None)

for library in (np.asarray, torch.from_numpy):
    few, many = (calls(library, (samples,)) for samples in (50_000, 500_000))
    ctypes.CDLL(None).malloc_trim(0)  # what is free is the system's again, so that a child's peak starts without it
    for name in {names}:
        if os.fork() == 0:
            with fb.use_backend(threads=2):
                op, right = few[name]
                op(**right)  # threads, tables and code are there
                before = peak()
                op, right = many[name]
                made = op(**right)
            print((peak() - before - outputs(made)) / 500_000, flush=True)
            os._exit(0)
        os.wait()
"""
# transition_rows has no elements, and numbers for each element are taken apart.
NAMES = [name for name in calls(np.asarray) if name in OPS and name != "transition_rows"]


# Bytes an element: energy_loss keeps the norms that its gradient needs, posterior_loss a float32 sum a chunk.
MOST = dict.fromkeys(NAMES, 2.0) | {"energy_loss": 40.0, "posterior_loss": 6.0}


def test_an_op_allocates_little_beyond_its_outputs() -> None:
    printed = in_a_process(TEMPORARIES.format(names=NAMES), PYTHONPATH=BOTH).split()
    beyond = zip([*NAMES, *NAMES], map(float, printed), strict=True)
    assert [(name, each) for name, each in beyond if each > MOST[name]] == []


# Arrays that are large only by their shapes; what an op would allocate for them is more than there is.
TOO_LARGE = """
import torch
import fastblackout as fb
from support.op_table import OPS, PLAIN
from support.product import arguments, called

def wide(dtype, *shape):
    return torch.zeros(1, dtype=getattr(torch, dtype)).expand(*shape)

key, many = fb.Philox(1), 1 << 31
leave(1 << 30)
losses = (
    lambda as_kind: fb.birth_loss(*[as_kind(wide("float32", 1 << 40))] * 2, 1.0),
    lambda as_kind: fb.birth_loss(*[as_kind(wide("float32", 1 << 20, 1 << 20))] * 2, 1.0),  # sums of chunks
    lambda as_kind: fb.birth_loss(wide("float32", many).requires_grad_(), wide("float32", many), 1.0),
)

def drawn(op):
    right = arguments(op, PLAIN | {"shape": (1, 1)})
    for name in OPS[op].images:
        if name in right:
            right[name] = right[name].expand(1, many, *right[name].shape[2:])

    def call(as_kind):
        each = {name: as_kind(value) if isinstance(value, torch.Tensor) else value for name, value in right.items()}
        return called(op, each, key)

    return call

# A loss makes little, and so do rows, which have no elements.
calls = [*losses, *(drawn(op) for op in OPS if not op.endswith(("_loss", "rows")))]
for number, call in enumerate(calls):
    for as_kind in (lambda tensor: tensor, lambda tensor: tensor.numpy()):
        try:
            call(as_kind)
        except MemoryError:
            continue
        print(number, "has memory")
"""


def test_too_little_memory_is_a_memory_error() -> None:
    assert in_a_process(LEAVE + TOO_LARGE, PYTHONPATH=BOTH) == ""
