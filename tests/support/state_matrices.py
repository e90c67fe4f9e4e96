"""Matrices of transition probabilities for kernels that run on the CPU, and arrays between NumPy and torch."""

import numpy as np
import torch

from fastblackout.reference import categorical as reference


def rows(random, *shape):
    """Probabilities with zeros among them."""
    w = random.gamma(0.2, size=shape)
    w[w < 1e-3] = 0.0
    w[..., -1] += 1e-9
    return w / w.sum(-1, keepdims=True)


def strided(array, how):
    return array if how == "dense" else np.ascontiguousarray(array.swapaxes(-1, -2)).swapaxes(-1, -2)


def tied(rng, stream, refine, states):
    """Rows (states, states) whose first threshold shares the 32 leading bits of element i's uniform, i the row."""
    v = reference.uniforms(1, states, rng, stream, refine)[0]
    first = ((v >> 16) + 0.5) / 2.0**32
    made = np.zeros((states, states))
    made[:, 0], made[:, 1] = first, 1.0 - first
    return made, (v & 0xFFFF >= 0x8000).astype(np.int32)[None]


def tensor(values):
    return None if values is None else torch.from_numpy(values)


def array(values):
    return None if values is None else values.numpy()
