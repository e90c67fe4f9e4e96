"""The CUDA kernels on the CPU (fastblackout._simt, None where it is not built), small arguments of theirs, bits."""

import torch

from support.arrays import bits, first_difference

try:
    from fastblackout import _simt
except ImportError:
    _simt = None


def new_flag():
    return torch.zeros(1, dtype=torch.int32)


def column(values, samples, dtype=torch.float64):
    return torch.tensor([values[b % len(values)] for b in range(samples)], dtype=dtype)


def check(name, got, want):
    assert bits(got) == bits(want), f"{name}: {first_difference(got, want)}"
