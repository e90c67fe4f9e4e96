"""bridge_step rounds births to the bits of the reference: of those that float32 no longer holds, and of ties, too."""

import numpy as np
import pytest

import fastblackout as fb
from fastblackout.reference.philox import Stream, philox4x32
from support.helpers import BACKENDS, using

SEED, SHAPE = 1, (2, 6000)
WHERE_FLOATS_ARE_WHOLE = 2.0**24 + np.array([-2.0, -1.0, 0.0, 2.0, 4.0])


def _tying_births() -> np.ndarray:
    """Whose fraction is, where float32 holds it, the first 32 bits that it is rounded with, and a half more."""
    blocks = SHAPE[1] // 4
    sample, block = np.divmod(np.arange(SHAPE[0] * blocks), blocks)
    words = np.stack(philox4x32(block, sample, 0, Stream.ROUNDING.word(), SEED, 0), axis=1).reshape(SHAPE)
    ties = words < 2**23
    assert ties.sum() > 10
    return np.where(ties, (words + 0.5) / 2**32, 0.25).astype(np.float32)


def _large_births() -> np.ndarray:
    random = np.random.default_rng(0)
    births = random.choice([0.0, 0.5, 1.5, 254.5, 255.5, 3000.5, 2.0**22 + 0.5, 2.0**31, 1e15], SHAPE)
    births[:, 1100:2000] = random.choice(WHERE_FLOATS_ARE_WHOLE, (SHAPE[0], 900))
    births[:, 2048:5000] = np.minimum(births[:, 2048:5000], 2.0**24 - 1)
    return births.astype(np.float32)


@pytest.mark.parametrize("rounding", ["stochastic", "nearest"])
@pytest.mark.parametrize("most", [254, 500, 2**24 + 3, 2**53])
@pytest.mark.parametrize("births", [_tying_births, _large_births])
def test_rounded_births(births, most: int, rounding: str) -> None:
    """With step 1 all births take place."""
    x = np.zeros(SHAPE, np.int64)
    x[:, ::7] = most - np.arange(x[:, ::7].size).reshape(x[:, ::7].shape) % min(most, 2**24 + 2)
    found = {}
    for backend in BACKENDS:
        with using(backend):
            how = {"rng": fb.Philox(SEED), "max_count": most, "rounding": rounding}
            found[backend] = fb.bridge_step(x, step=1.0, births=births(), outputs="x_s", **how).x_s
    for backend, drawn in found.items():
        assert np.array_equal(drawn, found["reference"]), backend
