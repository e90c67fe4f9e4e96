"""Checks of the way in which compiled programs of JAX call the kernels; run by jax_checks.py."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import torch

import fastblackout as fb
import fastblackout.jax as fbj
from fastblackout.jax import calls
from support.jax_shared import KEY, LOGITS, P, X, raises, same


def weighted(losses):
    """One number, by which the losses have different gradients."""
    return (losses * jnp.arange(4.0)).sum()


CALLS = {
    "thin": lambda x, logits: fbj.thin(KEY, x, logits[:, 0, 0] ** 0, center=logits[:, :1, :1], max_count=255),
    "bridge_step": lambda x, logits: fbj.bridge_step(KEY, x, logits, 0.3, attrition=fb.Prob(P, 1 - P)),
    "tau_leap_step": lambda x, logits: fbj.tau_leap_step(KEY, x, births=X.astype(np.int64), step=0.3),
    "binomial": lambda x, logits: fbj.binomial(KEY, x, P.reshape(-1, 1, 1)),
    "poisson": lambda x, logits: fbj.poisson(KEY, jnp.exp(logits)),
    "birth_loss": lambda x, logits: fbj.birth_loss(logits, x, P, mask=x > 9),
    "birth_loss_backward": jax.grad(lambda x, logits: weighted(fbj.birth_loss(logits, x, P)), argnums=1),
}


def targets(text):
    """What a compiled program calls."""
    return set(re.findall(r'custom_call_target="(\w+)"', text))


def check_way():
    """Which custom calls the compiled program makes."""
    for name, call in CALLS.items():
        (target,) = targets(jax.jit(call).lower(X, LOGITS).compile().as_text())
        assert ("python" in target) if calls.switched_off else (target == f"fastblackout_cpu_{name}"), target
    spread = jax.jit(lambda x: fbj.thin(KEY, x, P[0] * np.ones((1, 3, 1)))).lower(X)
    assert "fastblackout_" not in spread.as_text()
    with fb.use_backend("reference"):
        assert "fastblackout_" not in jax.jit(lambda x: fbj.thin(KEY, x, 0.5)).lower(X).as_text()


def check_numbers():
    """Of every dtype, traced or not, for all samples or for each; counts of every dtype; shapes that broadcast."""
    rng = fbj.philox(KEY)
    for dtype in ("int16", "int32", "uint16", "float32"):
        wide = X.astype(dtype)
        same(fbj.thin(KEY, wide, 0.3, max_count=255), fb.thin(wide, 0.3, rng=rng, max_count=255))
    for center in (
        np.int8([-3, 2, 1, 0]),
        np.uint32([0, 1, 2, 1 << 31]),
        np.float16([0.1, -7, 3, 2]),
        np.int32([9])[0],
    ):
        for scale in (np.float64(0.1), np.array([[[0.3]], [[1]], [[2]], [[-1]]]), jnp.asarray([0.3, 1, 2, -1])):
            made = fbj.thin(KEY, X, 0.3, center=jnp.asarray(center), scale=scale, outputs="model_input").model_input
            how = {"center": center, "scale": np.asarray(scale), "outputs": "model_input"}
            same(made, fb.thin(X, 0.3, rng=rng, **how).model_input)
    for births in (X.astype(np.int64), X / 3, X.astype(np.int16), jnp.asarray(X / 7, jnp.float16)):
        made = fbj.tau_leap_step(KEY, X, births=births, step=jnp.float32(0.7), input_dtype="float16")
        expected = fb.tau_leap_step(X, births=np.asarray(births), step=np.float32(0.7), rng=rng, input_dtype="float16")
        same(made, expected)
    count, prob = X.astype(np.int32)[:, None], np.float32(P)[:3, None, None]
    same(fbj.binomial(KEY, count, jnp.asarray(prob)), fb.binomial(count, prob, rng=rng))
    same(fbj.binomial(KEY, count, fb.Prob(P[:3, None, None], 1 - P[:3, None, None])), fb.binomial(
        count, fb.Prob(P[:3, None, None], 1 - P[:3, None, None]), rng=rng))  # fmt: skip
    huge = np.full(X.shape, 2**54 + 2**30 + 1)  # by way of float64 it would be rounded down to float32
    same(fbj.birth_loss(LOGITS, huge, 1.0), fb.birth_loss(LOGITS, huge, 1.0))
    same(fbj.poisson(KEY, 7.5), fb.poisson(7.5, rng=rng))
    same(fbj.poisson(KEY, P[None] * 9), fb.poisson(P[None] * 9, rng=rng))
    same(fbj.thin(KEY, X[:0], 0.3), fb.thin(X[:0], 0.3, rng=rng))
    same(fbj.thin(KEY, X[0, 0, 0], 0.3), fb.thin(X[0, 0, 0], 0.3, rng=rng))


def check_masks():
    """Traced and constant, of sizes of 1; what lies outside may be any count, and any logit."""
    wild, mask, rng = X.astype(np.int32), X % 3 > 0, fbj.philox(KEY)
    wild[~mask] = -1 - 10**8 * wild[~mask]
    logits, births = np.where(mask, LOGITS, np.nan), np.where(mask, X / 3, -1)
    how = {"max_count": 255, "center": np.float32([0.1, 1, 2, 3]), "scale": 1e-44}
    for op in ("thin", "bridge_step", "tau_leap_step"):
        for given in ((0.3,),) if op == "thin" else ((LOGITS, 0.3), (logits, 0.3)):
            plain = getattr(fb, op)(wild, *given, rng=rng, mask=mask, **how)
            traced = jax.jit(lambda *given, op=op: getattr(fbj, op)(KEY, wild, *given, mask=jnp.asarray(mask), **how))
            same(traced(*given), plain)
    inputs = np.asarray(plain.model_input)
    assert ((inputs != 0) & (abs(inputs) < np.finfo(np.float32).tiny))[mask].any()
    each = np.array([[[True], [False], [True]]])
    how = {"births": births[:1], "step": 0.2, "max_count": 255}
    step = jax.vmap(lambda x, mask: fbj.bridge_step(KEY, x[None], mask=mask[None], **how))
    made, plain = step(wild[:1], mask[:1]), fb.bridge_step(wild[:1], mask=mask[:1], rng=rng, **how)
    same(jax.tree.map(lambda part: part[0], made), plain)
    same(fbj.thin(KEY, X, 0.3, mask=each, outputs="births"), fb.thin(X, 0.3, mask=each, rng=rng, outputs="births"))
    loss = lambda logits, mask: fbj.birth_loss(logits, births, P, mask=mask)  # noqa: E731
    same(jax.jit(loss)(logits, mask), fb.birth_loss(logits, births, P, mask=mask))
    assert (jax.grad(lambda logits: loss(logits, mask).sum())(logits)[~mask] == 0).all()
    raises("thin: mask: must be bools", lambda: fbj.thin(KEY, X, 0.3, mask=jnp.ones(5)))
    rule = "thin: mask: shape must be (), or have the dimensions of x_0 and broadcast to (4, 3, 5), got (4,)"
    raises(rule, lambda: fbj.thin(KEY, X, 0.3, mask=np.ones(4, bool)))
    raises(rule, lambda: fbj.thin(KEY, X, np.full((1, 3, 1), 0.3), mask=jnp.ones(4, bool)))


NUMBERS = {
    "thin": ({"x_0": X}, {"alive": 0.3}, ("alive", "center"), "x_0"),
    "bridge_step": ({"x_t": X, "logits": LOGITS}, {"step": 0.3}, ("gain", "max_count"), "x_t"),
    "tau_leap_step": ({"x_t": X, "logits": LOGITS}, {"step": 0.3}, ("step",), "x_t"),
    "birth_loss": ({"births": X, "logits": LOGITS}, {"weight": 0.3}, ("weight",), "logits"),
}


def check_shapes_of_numbers():
    """Traced or constant, alone or beside a mask, what is read, and what is refused, is as in NumPy."""
    values = np.float32(np.resize(P, X.shape))
    for op, (counts, needed, names, of) in NUMBERS.items():
        keys = ({}, {}) if op == "birth_loss" else ({"key": KEY}, {"rng": fbj.philox(KEY)})
        for name in names:
            for beside in ({}, {"mask": np.array(True)}):
                for shape in ((4,), (4, 1, 1), (1, 3, 1)):
                    value, given = np.resize(values, shape), needed | beside
                    if name == "max_count":
                        value = np.full(shape, 255)
                    expected = getattr(fb, op)(**keys[1], **counts, **given | {name: value})
                    traced = value if name == "max_count" else jnp.asarray(value)
                    same(getattr(fbj, op)(**keys[0], **counts, **given | {name: traced}), expected)
                for shape in ((1,), (3,), (4, 1), (3, 5), (1, 1), (3, 1, 1)):
                    wrong = np.resize(value, shape)
                    rule = f"{op}: {name}: shape must be (), (4,) or (4, 1, 1) for a number for each sample"
                    rule += f", or have the 3 dimensions of {of} and broadcast to (4, 3, 5), got {shape}"
                    for each in (wrong,) if name == "max_count" else (wrong, jnp.asarray(wrong)):
                        given = {**keys[0], **counts, **needed, **beside, name: each}
                        try:
                            getattr(fbj, op)(**given)
                        except ValueError as error:  # while JAX traces
                            assert str(error) == rule, str(error)
                        else:
                            raise AssertionError(rule)


def check_vmap_of_several():
    """Axes that some arguments lack, and more slices than threads."""
    keys, p, y = jax.random.split(KEY, (2, 2)), jnp.float32([0.1, 0.7]), jnp.asarray(X / 2, jnp.float32)
    step = lambda key, p, y: fbj.tau_leap_step(key, X[:2], births=y, step=p, center=p, outputs="x_s")[::2]  # noqa: E731
    y = y.reshape(2, 2, 3, 5)
    with fb.use_backend(threads=3):
        made, overshoot = jax.jit(jax.vmap(jax.vmap(step, (0, None, 0)), (0, 0, None)))(keys, p, y[:, :, :, ::-1])
    for i, j in np.ndindex(2, 2):
        p_i = np.asarray(p)[i]
        how = {"births": np.asarray(y)[j, :, :, ::-1], "step": p_i, "center": p_i, "outputs": "x_s"}
        expected = fb.tau_leap_step(X[:2], rng=fbj.philox(keys[i, j]), **how)
        same((made[i, j], overshoot[i, j]), (expected.x_s, expected.overshoot))


def check_subnormal():
    """XLA's threads take subnormal numbers as 0, the kernels do not."""
    tensor = torch.from_numpy(LOGITS.copy()).requires_grad_()
    fb.birth_loss(tensor, torch.from_numpy(X), 1e-42).sum().backward()
    made = jax.jit(jax.grad(lambda logits: fbj.birth_loss(logits, X, 1e-42).sum()))(LOGITS)
    assert 0 < tensor.grad.abs().max() < np.finfo(np.float32).tiny
    same(made, tensor.grad.numpy())


def check_x64():
    jax.config.update("jax_enable_x64", True)
    try:
        key, rate = jax.random.key(5), np.array([[3.0, 1e10]])
        made = jax.jit(lambda rate: fbj.poisson(key, rate))(rate)
        assert made.dtype == np.int64 and (np.asarray(made) == fb.poisson(rate, rng=fbj.philox(key))).all()
        count = jnp.asarray(X, jnp.int64) << 35
        drawn = jax.jit(lambda count, p: fbj.binomial(key, count, p))(count, P.reshape(4, 1, 1))
        assert (drawn == fb.binomial(np.asarray(count), P.reshape(4, 1, 1), rng=fbj.philox(key))).all()
        thinned = fbj.thin(key, X, jnp.asarray(P), input_dtype="float64", center=jnp.asarray(P))
        assert thinned.model_input.dtype == np.float64
        same(thinned, fb.thin(X, P, rng=fbj.philox(key), input_dtype="float64", center=P))
        leaped = fbj.tau_leap_step(key, X, births=X.astype(np.int64), step=jnp.asarray(P)).overshoot
        expected = fb.tau_leap_step(X, births=X.astype(np.int64), step=P, rng=fbj.philox(key)).overshoot
        assert leaped.dtype == np.int64 and (np.asarray(leaped) == expected).all()
    finally:
        jax.config.update("jax_enable_x64", False)


def check_devices():
    """Of two devices: the second alone, both with a key for all, and each with its own."""
    first, second = jax.devices()[:2]
    x, expected = jax.device_put(X, second), fb.thin(X, 0.3, rng=fbj.philox(KEY))
    made = jax.jit(lambda x: fbj.thin(KEY, x, 0.3))(x)
    assert made.x_t.devices() == {second}
    same(made, expected)
    mesh = jax.sharding.Mesh([first, second], "batch")
    halves = jax.device_put(X, jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("batch")))
    if not calls.switched_off:  # a callback is run on one device
        same(jax.jit(lambda x: fbj.thin(KEY, x, 0.3))(halves), expected)
    keys = jax.random.split(KEY, 2)
    each = jax.pmap(lambda key, x: fbj.thin(key, x, 0.3).x_t)(keys, X.reshape(2, 2, 3, 5))
    for i in range(2):
        same(each[i], fb.thin(X[2 * i : 2 * i + 2], 0.3, rng=fbj.philox(keys[i])).x_t)


def check_errors_of_numbers():
    """In traced arrays, of one slice of several, and under jit; wrong constants, shapes, dtypes while JAX traces."""
    nan, few = jnp.float32(jnp.nan), {"births": X, "step": 0.5}
    wrong = {
        "thin: center: must be finite, got nan": lambda n: fbj.thin(KEY, X, 0.5, center=nan * n),
        "thin: scale: must be finite, got inf": lambda n: fbj.thin(KEY, X, 0.5, scale=n / 0),
        "bridge_step: gain: must be finite and at least 0, got -1": lambda n: fbj.bridge_step(KEY, X, **few, gain=-n),
        "bridge_step: step: must be in [0, 1], got 2": lambda n: fbj.bridge_step(KEY, X, LOGITS, 2 * n),
        "bridge_step: attrition: must be in [0, 1], got 3": lambda n: fbj.bridge_step(KEY, X, **few, attrition=3 * n),
        "tau_leap_step: step: must be finite and at least 0, got -1": lambda n: fbj.tau_leap_step(KEY, X, LOGITS, -n),
        "birth_loss: weight: must be finite, got nan": lambda n: fbj.birth_loss(LOGITS, X, nan * n),
        "birth_loss: gain: must be finite and above 0, got 0": lambda n: fbj.birth_loss(LOGITS, X, 1.0, gain=0 * n),
        "binomial: prob: must be in [0, 1], got 5": lambda n: fbj.binomial(KEY, X, 5 * n),
        "poisson: rate: must be finite and": lambda n: fbj.poisson(KEY, -n),
        "thin: x_0: must be whole numbers in 0..9": lambda n: fbj.thin(KEY, X * n.astype(jnp.uint8), 0.5, max_count=9),
        "thin: rng: first_sample + samples must be at most 2^32": lambda n: fbj.thin(
            fb.Philox(1, first_sample=2**32 - 3), X, n / 2
        ),
        "thin: alive: shape must be": lambda n: fbj.thin(KEY, X, n * jnp.ones(3)),
        "thin: alive: must be in [0, 1], got 7": lambda n: fbj.thin(KEY, X, 7.0),
        "bridge_step: births: must have": lambda n: fbj.bridge_step(KEY, X, births=n * jnp.ones((4, 3)), step=0.5),
        "thin: outputs: must be some of": lambda n: fbj.thin(KEY, X, n / 2, outputs=("births", "x_s")),
        "bridge_step: rounding: must be one of": lambda n: fbj.bridge_step(KEY, X, **few, rounding="up", gain=n),
    }
    for text, call in wrong.items():
        raises(text, lambda call=call: jax.jit(call)(jnp.float32(1)))
    slices = jnp.float32([0.5, 1.5])
    raises("thin: alive: must be in [0, 1], got 1.5", lambda: jax.vmap(lambda p: fbj.thin(KEY, X, p))(slices))


def check_refused():
    """Where JAX does not register the kernels, calls go back to Python, and it is said why."""
    kept, refused = calls._interface, calls._refused
    calls._interface, calls._refused = _Refusing, refused.__wrapped__
    try:
        why = calls.switched_off or "JAX refuses the kernels: version 0.1 is too old"
        assert calls.described().endswith(f" through jax.pure_callback: {why}")
        same(fbj.thin(KEY, X, 0.5), fb.thin(X, 0.5, rng=fbj.philox(KEY)))
    finally:
        calls._interface, calls._refused = kept, refused


class _Refusing:
    def register_ffi_target(self, *_, **__):
        raise ValueError("version 0.1\nis too old")
