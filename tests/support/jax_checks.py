"""Checks of fastblackout.jax, run by tests/ops/test_jax.py in a process of its own: JAX's threads forbid later forks.

The kernels are called by XLA's foreign function interface or, with the argument "callback", by jax.pure_callback; with
"simt" they are a GPU's, in the SIMT shim, with "gpu" on one. Prints, as JSON, what each check raised, of here,
of jax_way_checks.py and of jax_device_checks.py: "" where it passed.
"""

import importlib
import json
import sys
import traceback

import jax
import jax.numpy as jnp
import numpy as np
import torch

import fastblackout as fb
import fastblackout.jax as fbj
from fastblackout.jax import calls
from support import jax_device_checks, jax_way_checks, ptx_kernels
from support.jax_shared import KEY, LOGITS, RNG, P, X, raises, same


def step_arguments():
    return {"gain": 30.0, "center": jnp.arange(4.0), "scale": np.float32(0.5), "mask": jnp.asarray(X % 3 > 0)}


def check_steps_equal_numpy():
    x, p, rng = jnp.asarray(X), jnp.asarray(P, jnp.float32), fbj.philox(KEY)
    p_32 = np.asarray(p)
    given = {name: np.asarray(value) for name, value in step_arguments().items()}
    inputs = {name: given[name] for name in ("center", "scale", "mask")}
    same(jax.jit(lambda x, p: fbj.thin(KEY, x, p))(x, p), fb.thin(X, p_32, rng=rng))
    same(fbj.thin(KEY, x, fb.Prob(P, 1 - P)), fb.thin(X, fb.Prob(P, 1 - P), rng=rng))
    same(fbj.thin(KEY, x, p, **inputs), fb.thin(X, p_32, rng=rng, **inputs))
    for op, other in ((fbj.bridge_step, fb.bridge_step), (fbj.tau_leap_step, fb.tau_leap_step)):
        stepped = jax.jit(lambda x, logits, op=op: op(KEY, x, logits, 0.3, **step_arguments()))(x, LOGITS)
        same(stepped, other(X, LOGITS, 0.3, rng=rng, **given))
    how = {"births": X // 2, "step": 0.4, "attrition": P, "rounding": "nearest", "outputs": ("x_s",)}
    same(fbj.bridge_step(KEY, x, **how), fb.bridge_step(X, rng=rng, **how))
    wide = jnp.asarray(X, jnp.int32) * 1000
    same(fbj.thin(KEY, wide, p, max_count=255_000), fb.thin(np.asarray(wide), p_32, rng=rng, max_count=255_000))


def check_bfloat16():
    logits = jnp.asarray(LOGITS, jnp.bfloat16)
    made = fbj.bridge_step(KEY, X, logits, 0.3, gain=30.0, center=9.3, scale=0.7, input_dtype=jnp.bfloat16)
    tensors = torch.from_numpy(X), torch.from_numpy(LOGITS).bfloat16()
    how = {"gain": 30.0, "center": 9.3, "scale": 0.7, "input_dtype": torch.bfloat16}
    x_s, value = fb.bridge_step(*tensors, 0.3, rng=fbj.philox(KEY), **how)
    assert made.model_input.dtype == jnp.bfloat16 and (np.asarray(made.x_s) == x_s.numpy()).all()
    assert (np.asarray(made.model_input.astype(jnp.float32)) == value.float().numpy()).all()


def check_elements():
    rng, rate = fbj.philox(KEY), np.float32([[0.1, 3.0], [40.0, 1e5]])
    same(jax.jit(lambda rate: fbj.poisson(KEY, rate))(rate), fb.poisson(rate, rng=rng))
    count = np.array([[10], [1000]], np.int32)
    same(fbj.binomial(KEY, count, jnp.float32([0.2, 0.9])), fb.binomial(count, np.float32([0.2, 0.9]), rng=rng))
    same(fbj.binomial(KEY, jnp.asarray(count), fb.Prob(0.2, 0.8)), fb.binomial(count, fb.Prob(0.2, 0.8), rng=rng))


def check_vmap():
    keys = jax.random.split(KEY, (2, 4))
    step = lambda key, x, p: fbj.thin(key, x, p, center=p)  # noqa: E731
    made = jax.jit(jax.vmap(jax.vmap(step), in_axes=(0, None, None)))(keys, X, jnp.asarray(P, jnp.float32))
    for i in range(2):
        for j in range(4):
            p = np.float32(P[j])
            each = jax.tree.map(lambda a, at=(i, j): a[at], made)
            same(each, fb.thin(X[j], p, rng=fbj.philox(keys[i, j]), center=p))
    shared = jax.vmap(lambda x: fbj.thin(fb.Philox(3), x, 0.5, outputs="x_t").x_t)(jnp.asarray(X))
    same(shared[1], fb.thin(X[1], 0.5, rng=fb.Philox(3)).x_t)


def check_keys():
    for key in (
        jax.random.key(1),
        jax.random.PRNGKey(1),
        jax.random.key(1, impl="rbg"),
        fb.Philox(1 << 40, first_sample=3, call=2),
    ):
        same(fbj.thin(key, X, 0.5), fb.thin(X, 0.5, rng=fbj.philox(key)))
    low, high = (int(word) for word in jax.random.bits(KEY, (2,), "uint32"))
    assert fbj.philox(KEY).seed == low + (high << 32)
    assert fbj.philox(fb.Philox(1 << 40, first_sample=3, call=2)) == fb.Philox(1 << 40, first_sample=3, call=2)
    same(fbj.thin(fb.Philox(9), X, 0.5, call=2).x_t, fb.thin(X, 0.5, rng=fb.Philox(9, call=2)).x_t)
    assert fbj.philox(jax.random.key(1)) != fbj.philox(jax.random.key(2))
    assert fbj.philox(KEY, first_sample=5, call=6) == fb.Philox(fbj.philox(KEY).seed, first_sample=5, call=6)
    once = lambda n, x: fbj.thin(KEY, x, 0.9, call=n, outputs=("x_t",)).x_t  # noqa: E731
    looped, x = jax.jit(lambda x: jax.lax.fori_loop(0, 3, once, x))(jnp.asarray(X)), X
    for n in range(3):
        x = fb.thin(x, 0.9, rng=fbj.philox(KEY, call=n)).x_t
    same(looped, x)


def check_gradient():
    mask, weight = X % 3 > 0, RNG.random(4)
    tensor = torch.from_numpy(LOGITS.copy()).requires_grad_()
    losses = fb.birth_loss(tensor, torch.from_numpy(X), weight, gain=2.0, mask=torch.from_numpy(mask))
    (3 * losses).sum().backward()
    loss = lambda logits, births: 3 * fbj.birth_loss(logits, births, weight, gain=2.0, mask=mask).sum()  # noqa: E731
    same(jax.jit(jax.grad(loss))(LOGITS, jnp.asarray(X)), tensor.grad.numpy())
    same(fbj.birth_loss(LOGITS, X, weight, gain=2.0, mask=mask), losses.detach().numpy())
    alone = lambda logits, births, weight: fbj.birth_loss(logits[None], births[None], weight)[0]  # noqa: E731
    made = jax.vmap(jax.grad(alone))(jnp.asarray(LOGITS), jnp.asarray(X), jnp.asarray(weight, jnp.float32))
    tensor.grad = None
    fb.birth_loss(tensor, torch.from_numpy(X), np.float32(weight)).sum().backward()
    same(made, tensor.grad.numpy())
    # What comes from numbers that are differentiated by is a constant where stop_gradient says so.
    kept = lambda logits, w: fbj.birth_loss(logits, X, jax.lax.stop_gradient(w)).sum()  # noqa: E731
    same(jax.grad(kept, argnums=(0, 1))(LOGITS, 1.0), (jax.grad(kept)(LOGITS, 1.0), np.float32(0)))
    half = jax.grad(lambda logits: fbj.birth_loss(logits, X, weight).sum())(jnp.asarray(LOGITS, jnp.bfloat16))
    assert half.dtype == jnp.bfloat16


def check_numbers_within_a_sample():
    """Of the steps and of the loss: gains, weights and largest counts of each feature or element."""
    gain, most, weight = np.float32([[[1.5], [20], [90]]]), X.max((0, 2)).reshape(1, 3, 1), RNG.normal(size=X.shape)
    step = jax.jit(lambda x, gain: fbj.bridge_step(KEY, x, LOGITS, 0.3, gain=gain, max_count=most, outputs="x_s").x_s)
    same(step(X, gain), fb.bridge_step(X, LOGITS, 0.3, gain=gain, max_count=most, rng=fbj.philox(KEY)).x_s)
    tensor = torch.from_numpy(LOGITS.copy()).requires_grad_()
    losses = fb.birth_loss(tensor, torch.from_numpy(X), weight.astype(np.float32), gain=gain)
    (3 * losses).sum().backward()
    loss = lambda logits: fbj.birth_loss(logits, X, jnp.asarray(weight), gain=jnp.asarray(gain))  # noqa: E731
    same(loss(LOGITS), losses.detach().numpy())
    same(jax.jit(jax.grad(lambda logits: 3 * loss(logits).sum()))(LOGITS), tensor.grad.numpy())


def check_expected():
    """The loss of the expected births themselves: with a mask, weights within a sample, and where both are 0."""
    y, births = np.abs(LOGITS) * (X > 40), (X // 3 * (X > 99)).astype(np.int32)
    each, some = RNG.normal(size=X.shape).astype(np.float32), X % 3 > 0
    for weight, mask in ((P, None), (np.float32(2), some), (each, None), (jnp.asarray(each), jnp.asarray(some))):
        tensor, of = torch.from_numpy(y).requires_grad_(), None if mask is None else torch.from_numpy(some)
        tensor.grad = None
        losses = fb.birth_loss(None, torch.from_numpy(births), np.asarray(weight), expected=tensor, mask=of)
        (losses * torch.arange(4.0)).sum().backward()
        loss = lambda y, how={"weight": weight, "mask": mask}: fbj.birth_loss(None, births, expected=y, **how)  # noqa: E731
        same(jax.jit(loss)(y), losses.detach().numpy())
        same(jax.jit(jax.grad(lambda y, loss=loss: (loss(y) * jnp.arange(4.0)).sum()))(y), tensor.grad.numpy())
    alone = lambda y, births, weight: fbj.birth_loss(None, births[None], weight, expected=y[None])[0]  # noqa: E731
    made = jax.vmap(jax.grad(alone))(jnp.asarray(y), jnp.asarray(births), jnp.asarray(P, jnp.float32))
    tensor.grad = None
    fb.birth_loss(None, torch.from_numpy(births), np.float32(P), expected=tensor).sum().backward()
    same(made, tensor.grad.numpy())
    half = jax.grad(lambda y: fbj.birth_loss(None, births, 1.0, expected=y).sum())(jnp.asarray(y, jnp.bfloat16))
    assert half.dtype == jnp.bfloat16


def thin_at_a_wide_call(call):
    jax.config.update("jax_enable_x64", True)
    try:
        return jax.block_until_ready(fbj.thin(KEY, X, 0.5, call=jnp.int64(call)))
    finally:
        jax.config.update("jax_enable_x64", False)


def check_errors():
    wrong = {
        "thin: alive: must be in [0, 1], got 1.5": lambda: jax.jit(fbj.thin)(KEY, X, jnp.float32(1.5)),
        "bridge_step: logits: exactly one of": lambda: fbj.bridge_step(KEY, X, step=0.5),
        "poisson: rate: counts above 2^31 - 1 need jax_enable_x64": lambda: fbj.poisson(KEY, jnp.float32(1e12)),
        "poisson: results: must fit int32, JAX has": lambda: fb.poisson(jnp.float32([2, 3e9]), rng=1),
        "skellam: results: must fit int32, JAX has": lambda: fb.skellam(jnp.float32([2, 3e9]), 2.0, rng=1),
        "thin: x_0: dtype must be one of": lambda: fbj.thin(KEY, jnp.asarray(X, jnp.bfloat16), 0.5, max_count=255),
        "binomial: count: dtype must be one of": lambda: fbj.binomial(KEY, jnp.float16(3), 0.5),
        "fastblackout.jax: call: must be an integer, got 1.5": lambda: fbj.thin(KEY, X, 0.5, call=1.5),
        "fastblackout.jax: call: must be in 0..4294967295, got -1": lambda: fbj.thin(KEY, X, 0.5, call=-1),
        "fastblackout.jax: call: must be an integer or": lambda: fbj.thin(KEY, X, 0.5, call=jnp.float32(1)),
        "must be in 0..4294967295, got -5": lambda: fbj.thin(KEY, X, 0.5, call=jnp.int8(-5)),
        "must be in 0..4294967295, got -6": lambda: jax.jit(lambda n: fbj.poisson(KEY, 9.0, first_sample=n))(-6),
        "must be in 0..4294967295, got 4294967299": lambda: thin_at_a_wide_call(2**32 + 3),
        "must be in 0..4294967295, got -7": lambda: fbj.philox(KEY, call=jnp.int32(-7)),
        "birth_loss: births: must be finite": lambda: fbj.birth_loss(LOGITS, -jnp.ones(X.shape), 1.0),
        "birth_loss: logits: must be None where": lambda: fbj.birth_loss(LOGITS, X, 1.0, expected=LOGITS),
        "birth_loss: logits: exactly one of logits and expected": lambda: fbj.birth_loss(None, X, 1.0),
        "birth_loss: weight: must be a constant,": lambda: jax.grad(lambda w: fbj.birth_loss(LOGITS, X, w).sum())(1.0),
        "birth_loss: gain: must be a constant,": lambda: jax.jit(
            jax.grad(lambda gain: fbj.birth_loss(LOGITS, X, 1.0, gain=gain).sum())
        )(jnp.ones(4)),
        "birth_loss: births: must be a constant,": lambda: jax.vmap(
            jax.grad(lambda births: fbj.birth_loss(None, births, 1.0, expected=LOGITS + 9).sum())
        )(jnp.ones((1, *X.shape))),
        "thin: max_count: must be a constant under jit": lambda: jax.jit(
            lambda most: fbj.thin(KEY, X, 0.5, max_count=most)
        )(jnp.int32(200)),
        "fastblackout.jax: key: must be a key of jax.random or a fb.Philox, got int": lambda: fbj.thin(1, X, 0.5),
        "birth_loss: gain: must be 1 where expected": lambda: fbj.birth_loss(None, X, 1.0, gain=2, expected=LOGITS),
        "birth_loss: births: must be 0 where expected is 0": lambda: fbj.birth_loss(None, X, 1.0, expected=0.0 * X),
    }
    for text, call in wrong.items():
        raises(text, call)


def check_without_jax():
    kept = {name: sys.modules.pop(name) for name in list(sys.modules) if name.split(".")[0] == "jax"}
    kept["fastblackout.jax"] = sys.modules.pop("fastblackout.jax")
    sys.modules["jax"] = None
    try:
        importlib.import_module("fastblackout.jax")
    except ModuleNotFoundError as error:
        assert "pip install 'fastblackout[jax]'" in str(error)
    else:
        raise AssertionError("it was imported without jax")
    finally:
        sys.modules.update(kept)


if __name__ == "__main__":
    if sys.argv[1:] == ["callback"]:
        calls.switched_off = "the test wants it"
    if sys.argv[1:] == ["simt"]:
        calls.PLATFORMS = {"cpu": ("_simt", "cpu")}
    ptx_kernels.replace_if_asked()
    if sys.argv[1:] == ["gpu"]:
        assert calls.modules()["cuda"] == "_cuda", calls.described()
    known, report = {**globals(), **vars(jax_way_checks), **vars(jax_device_checks)}, {}
    for name in [name for name in known if name.startswith("check_")]:
        try:
            known[name]()
            report[name] = ""
        except Exception:
            report[name] = traceback.format_exc()
    print(json.dumps(report))
