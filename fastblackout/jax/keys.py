"""Keys of JAX as keys of the ops."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..ground.values import check_integer
from ..philox import Philox

_LAST = 0xFFFFFFFF


def philox(key: jax.Array | Philox, *, first_sample: int | None = None, call: int | None = None) -> Philox:
    """Make the fb.Philox of a key of JAX.

    ::

        seed = w0 + 2^32 w1,  w = jax.random.bits(key, (2,), "uint32")

    Parameters
    ----------
    key : key of jax.random or Philox
        A key with a value: under jit it has none yet.
    first_sample, call : integer, optional
        Numbers of the fb.Philox, 0 by default. Of a given fb.Philox they replace its own. They are in 0..2^32 - 1.

    Returns
    -------
    Philox
        The key with which the op of the same name draws the same.

    Raises
    ------
    TypeError, ValueError
        If the key is none, or a number is out of range.
    """
    return from_words(np.asarray(words_of(key, first_sample, call)))


def words_of(key: Any, first_sample: Any, call: Any) -> Any:
    """Seed, first sample and call of a key, each as the two halves of an int64, the lower first."""
    if isinstance(key, Philox):
        seed = jnp.asarray(np.array([key.seed & _LAST, key.seed >> 32], np.uint32))
        first_sample = key.first_sample if first_sample is None else first_sample
        call = key.call if call is None else call
    else:
        if not isinstance(key, (jax.Array, np.ndarray)):
            rule = "must be a key of jax.random or a fb.Philox"
            raise TypeError(f"fastblackout.jax: key: {rule}, got {type(key).__name__}")
        seed = jax.random.bits(key, (2,), "uint32")
    return jnp.concatenate([seed, *_halves("first_sample", first_sample), *_halves("call", call)])


def _halves(name: str, value: Any) -> tuple[Any, Any]:
    """The lower and the upper half. What runs the draw refuses an upper one that is not 0, where it looks at values."""
    if not isinstance(value, jax.Array):
        number = 0 if value is None else check_integer("fastblackout.jax", name, value, 0, _LAST)
        return jnp.full(1, number, "uint32"), jnp.zeros(1, "uint32")
    if not jnp.issubdtype(value.dtype, jnp.integer) or value.shape != ():
        rule = "must be an integer or an array of one integer"
        raise TypeError(f"fastblackout.jax: {name}: {rule}, got {value.dtype}, shape {value.shape}")
    upper = value >> 32 if value.dtype.itemsize == 8 else jnp.where(value < 0, jnp.uint32(_LAST), jnp.uint32(0))
    return value.astype("uint32")[None], upper.astype("uint32")[None]


def from_words(words: Any) -> Philox:
    """ValueError for a first sample or a call out of range."""
    seed, first_sample, call = (int(number) for number in np.ascontiguousarray(words).view(np.int64))
    for name, value in (("first_sample", first_sample), ("call", call)):
        check_integer("fastblackout.jax", name, value, 0, _LAST)
    return Philox(seed & (1 << 64) - 1, first_sample=first_sample, call=call)
