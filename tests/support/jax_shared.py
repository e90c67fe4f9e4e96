"""What the checks of fastblackout.jax share (jax_checks.py, jax_way_checks.py)."""

import jax
import numpy as np

KEY = jax.random.key(7)
RNG = np.random.default_rng(0)
X = RNG.integers(0, 256, (4, 3, 5)).astype(np.uint8)
P = RNG.random(4)
LOGITS = RNG.normal(size=X.shape).astype(np.float32)


def same(made, expected):
    """A result of JAX and one of NumPy, array by array and to the bit."""
    made, expected = jax.tree.leaves(made), [each for each in jax.tree.leaves(expected) if each is not None]
    assert len(made) == len(expected) > 0
    for a, b in zip(made, expected, strict=True):
        a = np.asarray(a)
        if b.dtype == np.int64:
            b = b.astype(np.int32)  # JAX has no int64 here
        assert a.dtype == b.dtype and a.shape == b.shape and (a == b).all()


def raises(text, call):
    try:
        jax.block_until_ready(call())
    except Exception as error:
        assert text in str(error), (text, str(error))
    else:
        raise AssertionError(text)
