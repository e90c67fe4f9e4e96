"""Keys of JAX as those of the ops."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..philox import Philox


def philox(key: Any, *, first_sample: int = 0, call: int = 0) -> Philox:
    """The fb.Philox of a key of JAX: its seed is w0 + 2^32 w1, w = jax.random.bits(key, (2,), "uint32")."""
    return from_words(np.asarray(words_of(key, first_sample, call)))


def words_of(key: Any, first_sample: Any, call: Any) -> Any:
    """(seed below, seed above, first sample, call) of a key, each below 2^32."""
    if isinstance(key, Philox):
        numbers = key.seed & 0xFFFFFFFF, key.seed >> 32, key.first_sample, key.call
        return jnp.asarray(np.array(numbers, np.uint32))
    seed = jax.random.bits(key, (2,), "uint32")
    return jnp.concatenate([seed, jnp.stack([jnp.asarray(each).astype("uint32") for each in (first_sample, call)])])


def from_words(words: Any) -> Philox:
    low, high, first_sample, call = (int(word) for word in words)
    return Philox(low | high << 32, first_sample, call)
