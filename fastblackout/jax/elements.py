"""Element-wise draws in JAX."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from .. import ops
from ..call.numbers import largest
from .callback import check_counts, parted, whole_dtype
from .keys import from_words, words_of
from .layout import layout_of
from .way import run

if TYPE_CHECKING:
    from jax.typing import ArrayLike

    from ..philox import Philox
    from ..probability import Prob


def binomial(
    key: jax.Array | Philox, count: ArrayLike, prob: ArrayLike | Prob[Any], *,
    first_sample: int | jax.Array | None = None, call: int | jax.Array | None = None,
) -> jax.Array:  # fmt: skip
    """Draw as fb.binomial does, with a key of JAX.

    Parameters
    ----------
    key : key of jax.random or Philox
        The key of the draw, of any implementation. Under vmap one key for all slices draws the same in each.
    count : array or number
        Whole numbers, as in fb.binomial.
    prob : array, number or Prob
        In [0, 1], as in fb.binomial. It broadcasts with `count`.
    first_sample, call : integer, optional
        Numbers of the fb.Philox that is made of the key, 0 by default. Where a fb.Philox is given, they replace its
        own. They are in 0..2^32 - 1, or arrays of JAX, such as the counter of a loop. Out of range they are
        an error on the CPU, and wrap around on CUDA.

    Returns
    -------
    jax.Array
        In the dtype of `count`.

    Raises
    ------
    TypeError, ValueError
        If a shape, a dtype or a constant is wrong, while JAX traces. A wrong value in an array raises the same error
        when the call runs on the CPU, in whatever JAX raises then. CUDA clamps it.
    """
    count = jnp.asarray(count)
    check_counts("binomial", "count", count)
    shape = jnp.broadcast_shapes(count.shape, np.shape(prob[0] if isinstance(prob, tuple) else prob))
    return _drawn(ops.binomial, {"count": count, "prob": prob}, shape, count.dtype, words_of(key, first_sample, call))


def poisson(
    key: jax.Array | Philox, rate: ArrayLike, *, first_sample: int | jax.Array | None = None,
    call: int | jax.Array | None = None,
) -> jax.Array:  # fmt: skip
    """Draw as fb.poisson does, with a key of JAX.

    Parameters
    ----------
    key : key of jax.random or Philox
        The key of the draw, of any implementation. Under vmap one key for all slices draws the same in each.
    rate : array or number
        As in fb.poisson.
    first_sample, call : integer, optional
        Numbers of the fb.Philox that is made of the key, 0 by default. Where a fb.Philox is given, they replace its
        own. They are in 0..2^32 - 1, or arrays of JAX, such as the counter of a loop. Out of range they are
        an error on the CPU, and wrap around on CUDA.

    Returns
    -------
    jax.Array
        In int64, or in int32 where JAX has no int64. A count above 2^31 - 1 then is an error on the CPU, and becomes
        2^31 - 1 on CUDA.

    Raises
    ------
    TypeError, ValueError
        If a shape, a dtype or a constant is wrong, while JAX traces. A wrong value in an array raises the same error
        when the call runs on the CPU, in whatever JAX raises then. CUDA clamps it.
    """
    return _drawn(ops.poisson, {"rate": rate}, np.shape(rate), whole_dtype(), words_of(key, first_sample, call))


def _drawn(op: Callable[..., Any], values: dict[str, Any], shape: Any, dtype: Any, words: Any) -> Any:
    """An element-wise draw."""
    traced, fixed = parted(values)

    def run_host(words: Any, **given: Any) -> Any:
        made = op(**given, **fixed, rng=from_words(words))
        if made.size and made.max() > largest(np.dtype(dtype).name):
            raise ValueError(f"{op.__name__}: rate: counts above 2^31 - 1 need jax_enable_x64, got {int(made.max())}")
        return {"out": made}

    given, results = {"words": words, **traced}, {"out": jax.ShapeDtypeStruct(tuple(shape), dtype)}
    return run(layout_of(op.__name__, values), run_host, given, results, 1)["out"]
