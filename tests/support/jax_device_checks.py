"""Checks of the kernels of a GPU as programs of JAX call them, in the SIMT shim on the CPU; run by jax_checks.py."""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np

import fastblackout as fb
import fastblackout.jax as fbj
from fastblackout.jax import calls
from support.jax_shared import KEY, LOGITS, X, same
from support.jax_way_checks import CALLS, targets, weighted


@contextlib.contextmanager
def platforms(**given):
    """Within the block compiled programs call these modules' kernels."""
    kept, calls.PLATFORMS = calls.PLATFORMS, given
    try:
        yield
    finally:
        calls.PLATFORMS = kept


def on_simt():
    return platforms(cpu=("_simt", "cpu"))


def check_device_calls():
    """They are called, and their bits are the bits of the CPU's kernels."""
    wide = jnp.linspace(-9, 9, 20 * 1024 + 1)[None]
    masked = lambda x, _: fbj.thin(KEY, x.astype(int) - 9, 0.3, max_count=246, center=3, mask=x > 9)  # noqa: E731
    loss = lambda *_: fbj.birth_loss(wide, jnp.ones_like(wide), jnp.int16([2]), gain=jnp.uint8(7))  # noqa: E731
    sum_of = lambda logits, x: weighted(fbj.birth_loss(logits, x, jnp.float16(0.3)))  # noqa: E731
    others = {
        "thin model_input": masked,
        "birth_loss": loss,
        "birth_loss_backward": lambda *a: jax.grad(sum_of)(*a[::-1]),
    }
    for names, call in (*CALLS.items(), *others.items()):
        with on_simt():  # a function of its own, since JAX keeps what it has traced
            compiled = jax.jit(lambda *given, call=call: call(*given)).lower(X, LOGITS).compile()
        assert targets(compiled.as_text()) == {f"fastblackout_simt_{name}" for name in names.split()}
        same(compiled(X, LOGITS), jax.tree.map(np.asarray, jax.jit(call)(X, LOGITS)))


def check_device_numbers():
    """Of dtypes that have to be converted: for each of many slices, by several launches, and as many as an op has."""
    keys, gains = jax.random.split(KEY, 30), jnp.arange(90, dtype=jnp.uint32).reshape(30, 3, 1, 1)
    step, how = jnp.float16([0.25, 0.5, 1.0]), {"center": jnp.int8([-3, 0, 7]), "scale": jnp.int16([1, 300, -2])}
    bridge = lambda key, gain: fbj.bridge_step(key, X[:3], LOGITS[:3], step, gain=gain, **how)  # noqa: E731
    numbers = {"attrition": jnp.float16(0.25), "gain": jnp.int16(9), "center": jnp.int32([3]), "scale": jnp.uint8(2)}
    single = lambda: fbj.bridge_step(KEY, X[:1], LOGITS[:1], jnp.float32(0.7), **numbers)  # noqa: E731
    with on_simt():
        made, alone = jax.vmap(bridge)(keys, gains), single()
    same(made, jax.tree.map(np.asarray, jax.vmap(bridge)(keys, gains)))
    same(alone, jax.tree.map(np.asarray, single()))


def check_device_wrong_values():
    """Are not told, and are what they are for tensors on a GPU."""
    with on_simt():
        p = jnp.float32([1.5, -1, np.nan, 0.5])
        made = jax.jit(lambda p: fbj.thin(KEY, X, p, outputs="x_t").x_t)(p)
        most = fbj.poisson(KEY, jnp.float32([1e12]))
    same(made, fb.thin(X, np.float32([1, 0, 0, 0.5]), rng=fbj.philox(KEY), outputs="x_t").x_t)
    assert most == 2**31 - 1


def check_device_platforms():
    """A program that is made for CUDA calls the kernels of that module; for others it goes back to Python."""
    thin = jax.jit(lambda x: fbj.thin(KEY, x, 0.5))

    def calls_kernel(platform, kernel):
        text = jax.jit(lambda x: thin(x)).trace(X).lower(lowering_platforms=(platform,)).as_text()
        found = {word for word in ("fastblackout_cpu_thin", "fastblackout_simt_thin", "callback") if word in text}
        return found == {kernel} or (kernel in found and "stablehlo.case" in text)  # which older JAX leaves to XLA

    with platforms(cpu=("_cpu", "cpu"), cuda=("_simt", "CUDA")):
        assert calls.described().endswith("calls the cpu kernels by XLA's FFI; on a GPU the cuda kernels, too")
        assert calls_kernel("cpu", "fastblackout_cpu_thin") and calls_kernel("cuda", "fastblackout_simt_thin")
        with fb.use_backend("cpu"):
            assert calls.modules() == {"cpu": "_cpu"}
    with platforms(cpu=("_cpu", "cpu"), cuda=("_none", "CUDA")):
        assert calls.modules() == {"cpu": "_cpu"}
        assert calls.described().endswith("; from a GPU through jax.pure_callback, as the cuda backend is absent")
