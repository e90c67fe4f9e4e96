"""thin and the reverse steps in JAX."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from .. import ops
from ..call.declared import DECLARED
from ..call.request import names_of
from .callback import check_counts, parted, readable_dtype, whole_dtype
from .keys import from_words, words_of
from .layout import layout_of
from .way import run


def thin(
    key: Any, x_0: Any, alive: Any, *, max_count: Any = None, center: Any = 0.0, scale: Any = 1.0,
    mask: Any = None, outputs: Sequence[str] = ("x_t", "births", "model_input"), input_dtype: Any = "float32",
    first_sample: Any = None, call: Any = None,
) -> ops.Thinned:  # fmt: skip
    """fb.thin with a key of JAX: x_t ~ Binomial(x_0, alive), births = x_0 - x_t, and the network's next input.

    key: of jax.random, of any implementation, or a fb.Philox. Under vmap one key for all slices draws the same in each.
    first_sample, call: of the fb.Philox that is made of the key, 0 where None, or in place of those of a fb.Philox;
        integers in 0..2^32 - 1, or arrays of JAX, such as the counter of a loop. Out of range they are an error on the
        CPU, and wrap around on CUDA.
    The others are those of fb.thin. Returns Thinned(x_t, births, model_input) of arrays of JAX.

        >>> x_0 = jnp.array([[0, 50, 100, 200]], jnp.uint8)
        >>> thinned = jax.jit(lambda key, x: fbj.thin(key, x, 0.5))(jax.random.key(1), x_0)
        >>> thinned.x_t.dtype, thinned.model_input.dtype
        (dtype('uint8'), dtype('float32'))
    """
    values = {"x_0": x_0, "alive": alive, "center": center, "scale": scale, "mask": mask}
    step = _Step(ops.thin, values, outputs, input_dtype, {"max_count": max_count})
    return ops.Thinned(**step(words_of(key, first_sample, call)))


def bridge_step(
    key: Any, x_t: Any, logits: Any = None, step: Any = None, *, births: Any = None, max_count: Any = None,
    gain: Any = 1.0, rounding: str = "stochastic", attrition: Any = 0.0, center: Any = 0.0, scale: Any = 1.0,
    mask: Any = None, outputs: Sequence[str] = ("x_s", "model_input"), input_dtype: Any = "float32",
    first_sample: Any = None, call: Any = None,
) -> ops.Stepped:  # fmt: skip
    """fb.bridge_step with a key of JAX: a reverse step by the binomial bridge. Arguments as in fbj.thin."""
    values = {"x_t": x_t, "logits": logits, "step": step, "births": births, "gain": gain, "attrition": attrition}
    values |= {"center": center, "scale": scale, "mask": mask}
    made = _Step(ops.bridge_step, values, outputs, input_dtype, {"max_count": max_count, "rounding": rounding})
    return ops.Stepped(**made(words_of(key, first_sample, call)))


def tau_leap_step(
    key: Any, x_t: Any, logits: Any = None, step: Any = None, *, births: Any = None, max_count: Any = None,
    gain: Any = 1.0, center: Any = 0.0, scale: Any = 1.0, mask: Any = None,
    outputs: Sequence[str] = ("x_s", "model_input"), input_dtype: Any = "float32", first_sample: Any = None,
    call: Any = None,
) -> ops.Leaped:  # fmt: skip
    """fb.tau_leap_step with a key of JAX: a reverse step with Poisson births. Arguments as in fbj.thin."""
    values = {"x_t": x_t, "logits": logits, "step": step, "births": births, "gain": gain}
    values |= {"center": center, "scale": scale, "mask": mask}
    made = _Step(ops.tau_leap_step, values, outputs, input_dtype, {"max_count": max_count}, counted="overshoot")
    return ops.Leaped(**made(words_of(key, first_sample, call)))


class _Step:
    """A call of thin or of a reverse step, but for its key. values: its arrays and numbers, the counts first."""

    def __init__(
        self, op: Callable[..., Any], values: dict[str, Any], outputs: Sequence[str], input_dtype: Any,
        options: dict[str, Any], counted: str = "",
    ) -> None:  # fmt: skip
        first = next(iter(values))
        counts = values[first] = jnp.asarray(values[first])
        self.op, self.counted, self.ndim = op, counted, counts.ndim
        check_counts(op.__name__, first, counts)
        most = options["max_count"]
        if isinstance(most, jax.core.Tracer):
            rule = "must be a constant under jit, an integer or a NumPy array"
            raise TypeError(f"{op.__name__}: max_count: {rule}, got a traced array of {most.dtype}, shape {most.shape}")
        known = DECLARED[op.__name__].outputs.names
        asked = names_of(op.__name__, "outputs", outputs, known)
        self.outputs = tuple(name for name in known if name in asked)
        input_dtype = jax.dtypes.canonicalize_dtype(input_dtype)
        arguments = {**values, **options}
        request = self.outputs, readable_dtype(input_dtype).name
        self.layout = layout_of(op.__name__, arguments, request)
        self.options = {**options, "outputs": self.outputs, "input_dtype": readable_dtype(input_dtype)}
        self.traced, self.fixed = parted(values)
        dtypes = {name: input_dtype if name == "model_input" else counts.dtype for name in self.outputs}
        self.results = {name: jax.ShapeDtypeStruct(counts.shape, dtype) for name, dtype in dtypes.items()}
        if counted:
            self.results[counted] = jax.ShapeDtypeStruct(counts.shape[:1] or (1,), whole_dtype())

    def __call__(self, words: Any) -> dict[str, Any]:
        def run_host(words: Any, **given: Any) -> dict[str, Any]:
            made = self.op(**given, **self.fixed, **self.options, rng=from_words(words))
            return {name: getattr(made, name) for name in self.results}

        return run(self.layout, run_host, {"words": words, **self.traced}, self.results, 1)
