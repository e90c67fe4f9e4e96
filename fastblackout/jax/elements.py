"""Element-wise draws in JAX."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .. import ops
from ..call.numbers import largest
from .callback import check_counts, parted, whole_dtype
from .keys import from_words, words_of
from .layout import layout_of
from .way import run


def binomial(key: Any, count: Any, prob: Any, *, first_sample: Any = None, call: Any = None) -> Any:
    """fb.binomial with a key of JAX: Binomial(count, prob), element by element, in count's dtype."""
    count = jnp.asarray(count)
    check_counts("binomial", "count", count)
    shape = jnp.broadcast_shapes(count.shape, np.shape(prob[0] if isinstance(prob, tuple) else prob))
    return _drawn(ops.binomial, {"count": count, "prob": prob}, shape, count.dtype, words_of(key, first_sample, call))


def poisson(key: Any, rate: Any, *, first_sample: Any = None, call: Any = None) -> Any:
    """fb.poisson with a key of JAX: Poisson(rate), element by element; int32 where JAX has no int64."""
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
