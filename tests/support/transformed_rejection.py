"""The transformation that the per-element draws reject from."""

import numpy as np


def cell_ends(a, b, offset, k):
    """u with (2 a / (1/2 - |u|) + b) u + offset = k, from the quadratic in |u|."""
    g = np.abs(k - offset)
    h = 2 * a + 0.5 * b + g
    return np.sign(k - offset) * g / (h + np.sqrt(h * h - 2 * b * g))
