"""What the tests of the draws' specification share: keys, inputs at the edges of every rule, and the comparison."""

import numpy as np

import fastblackout as fb
from support.helpers import BACKENDS, using

KEYS = [
    fb.Philox(0),
    fb.Philox(2**32 + 5, first_sample=7, call=3),
    fb.Philox(2**64 - 1, first_sample=2**32 - 12, call=2**32 - 1),
]
# (p, 1 - p) of samples: both limits, the middle and what is next to it, and a small p whose complement rounds to 1.
PAIRS = [(0.0, 1.0), (1.0, 0.0), (0.5, 0.5), (np.nextafter(0.5, 1), 0.5), (0.3, 0.7), (0.9, 0.1), (1e-9, 1.0 - 1e-9)]
PAIRS += [(1.0 - 1e-12, 1e-12)]
PROBS = fb.Prob(*np.array(PAIRS).T)
DIGITS = [0, 1, 15, 16, 17, 31, 32, 128, 200, 239, 240, 254, 255]  # around the parts 16 a and b of a table draw
LARGE = [256, 257, 300, 1000, 99_999]


def mixed(shape, values, seed=1):
    return np.random.default_rng(seed).permutation(np.resize(values, int(np.prod(shape)))).reshape(shape)


def equal(wanted, call):
    """What `call` makes is `wanted`, to the bit, on every CPU backend."""
    for backend in BACKENDS:
        with using(backend):
            np.testing.assert_array_equal(call(), wanted, strict=True, err_msg=backend)


def rows_of_chances(states, seed=3):
    made = np.random.default_rng(seed).random((states, states)) ** 6
    made[:, 2] = made[::2, -1] = 0.0
    return made / made.sum(1, keepdims=True)
