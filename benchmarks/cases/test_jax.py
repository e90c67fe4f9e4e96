"""fastblackout.jax under jit, beside JAX's own draw."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastblackout as fb
from cases import peers
from cases.workloads import SHAPE, images


@pytest.mark.parametrize("width", ["sample", pytest.param("element", marks=pytest.mark.long)])
def test_thin(bench: Any, width: str) -> None:
    jax = peers.load("jax")
    if isinstance(jax, str):
        pytest.skip(f"JAX is not installed: {jax}")
    import fastblackout.jax as fbj

    shape = SHAPE if width == "element" else (SHAPE[0], 1, 1, 1)
    alive = np.random.default_rng(3).random(shape, np.float32)
    x_0, p = jax.numpy.asarray(images().numpy()), jax.numpy.asarray(alive)
    thinned = jax.jit(lambda key, x, p: fbj.thin(key, x, p, outputs="x_t").x_t)
    sample = jax.jit(lambda key, x, p: jax.random.binomial(key, x.astype("float32"), p).astype("uint8"))
    key = jax.random.key(0)

    def check() -> None:
        low, high = map(int, jax.random.bits(key, (2,), "uint32"))
        plain = fb.thin(np.asarray(x_0), alive, rng=fb.Philox(low | high << 32), outputs="x_t").x_t
        assert np.array_equal(np.asarray(thinned(key, x_0, p)), plain), "ours differs from fb.thin: not timed"

    bench(
        f"fastblackout.jax thin under jit, an alive for each {width}",
        x_0.size,
        lambda i: thinned(jax.random.fold_in(key, i), x_0, p).block_until_ready(),
        {"jax.random.binomial": lambda i: sample(jax.random.fold_in(key, i), x_0, p).block_until_ready()},
        check,
    )
