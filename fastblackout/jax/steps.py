"""thin and the reverse steps in JAX."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from .. import ops
from ..call.declared import DECLARED
from ..call.request import names_of
from .callback import check_counts, parted, readable_dtype, whole_dtype
from .keys import from_words, words_of
from .layout import layout_of
from .way import run

if TYPE_CHECKING:
    from jax.typing import ArrayLike

    from ..philox import Philox
    from ..probability import ProbLike
    from ..typing import Array, FloatDtypeLike, Numbers, Rounding, StepOutput, ThinOutput


def thin(
    key: jax.Array | Philox, x_0: ArrayLike, alive: ProbLike, *, max_count: Numbers | None = None,
    center: Numbers = 0.0, scale: Numbers = 1.0, mask: Array | None = None,
    outputs: ThinOutput | Sequence[ThinOutput] = ("x_t", "births", "model_input"),
    input_dtype: FloatDtypeLike = "float32", first_sample: int | jax.Array | None = None,
    call: int | jax.Array | None = None,
) -> ops.Thinned[jax.Array]:  # fmt: skip
    """Thin counts as fb.thin does, with a key of JAX.

    ::

        x_t ~ Binomial(x_0, alive),  births = x_0 - x_t,  model_input = (x_t - center) * scale

    Parameters
    ----------
    key : key of jax.random or Philox
        The key of the draw, of any implementation. Under vmap one key for all slices draws the same in each.
    x_0 : array of counts (B, ...)
        As in fb.thin.
    alive : number, array or Prob
        The survival probability, as in fb.thin.
    max_count : integer or array, optional
        As in fb.thin, but never traced: a constant under jit.
    center, scale : number or array, optional
        As in fb.thin.
    mask : array of bool, optional
        True where elements take part.
    outputs : {"x_t", "births", "model_input"} or a sequence of these, optional
        What to make. What is not named is None in the result.
    input_dtype : dtype, optional
        The dtype of model_input.
    first_sample, call : integer, optional
        Numbers of the fb.Philox that is made of the key, 0 by default. Where a fb.Philox is given, they replace its
        own. They are in 0..2^32 - 1, or arrays of JAX, such as the counter of a loop. Out of range they are
        an error on the CPU, and wrap around on CUDA.

    Returns
    -------
    Thinned
        Arrays of JAX.

    Raises
    ------
    TypeError, ValueError
        If a shape, a dtype or a constant is wrong, while JAX traces. A wrong value in an array raises the same error
        when the call runs on the CPU, in whatever JAX raises then. CUDA clamps it.

    Examples
    --------
    >>> x_0 = jnp.array([[0, 50, 100, 200]], jnp.uint8)
    >>> thinned = jax.jit(lambda key, x: fbj.thin(key, x, 0.5))(jax.random.key(1), x_0)
    >>> thinned.x_t.dtype, thinned.model_input.dtype
    (dtype('uint8'), dtype('float32'))
    """
    values = {"x_0": x_0, "alive": alive, "center": center, "scale": scale, "mask": mask}
    step = _Step(ops.thin, values, outputs, input_dtype, {"max_count": max_count})
    return ops.Thinned(**step(words_of(key, first_sample, call)))


def bridge_step(
    key: jax.Array | Philox, x_t: ArrayLike, logits: ArrayLike | None = None, step: ProbLike | None = None, *,
    births: ArrayLike | None = None, max_count: Numbers | None = None, gain: Numbers = 1.0,
    rounding: Rounding = "stochastic", attrition: ProbLike = 0.0, center: Numbers = 0.0, scale: Numbers = 1.0,
    mask: Array | None = None, outputs: StepOutput | Sequence[StepOutput] = ("x_s", "model_input"),
    input_dtype: FloatDtypeLike = "float32", first_sample: int | jax.Array | None = None,
    call: int | jax.Array | None = None,
) -> ops.Stepped[jax.Array]:  # fmt: skip
    """Make one reverse step by the binomial bridge as fb.bridge_step does, with a key of JAX.

    Parameters
    ----------
    key : key of jax.random or Philox
        The key of the draw, of any implementation. Under vmap one key for all slices draws the same in each.
    x_t : array of counts (B, ...)
        As in fb.bridge_step.
    logits : array, optional
        The outputs of a network.
    step : number, array or Prob
        The birth probability, as in fb.bridge_step.
    births : array, optional
        The expected births in place of `logits`.
    max_count : integer or array, optional
        As in fb.thin, but never traced: a constant under jit.
    gain : number or array, optional
        As in fb.bridge_step.
    rounding : {"stochastic", "nearest"}, optional
        How the expected births are made a whole number.
    attrition : number, array or Prob, optional
        The probability that a particle dies again.
    center, scale : number or array, optional
        They make the next input of the network.
    mask : array of bool, optional
        True where elements take part.
    outputs : {"x_s", "model_input"} or a sequence of these, optional
        What to make. What is not named is None in the result.
    input_dtype : dtype, optional
        The dtype of model_input.
    first_sample, call : integer, optional
        Numbers of the fb.Philox that is made of the key, 0 by default. Where a fb.Philox is given, they replace its
        own. They are in 0..2^32 - 1, or arrays of JAX, such as the counter of a loop. Out of range they are
        an error on the CPU, and wrap around on CUDA.

    Returns
    -------
    Stepped
        Arrays of JAX.

    Raises
    ------
    TypeError, ValueError
        If a shape, a dtype or a constant is wrong, while JAX traces. A wrong value in an array raises the same error
        when the call runs on the CPU, in whatever JAX raises then. CUDA clamps it.
    """
    values = {"x_t": x_t, "logits": logits, "step": step, "births": births, "gain": gain, "attrition": attrition}
    values |= {"center": center, "scale": scale, "mask": mask}
    made = _Step(ops.bridge_step, values, outputs, input_dtype, {"max_count": max_count, "rounding": rounding})
    return ops.Stepped(**made(words_of(key, first_sample, call)))


def tau_leap_step(
    key: jax.Array | Philox, x_t: ArrayLike, logits: ArrayLike | None = None, step: ProbLike | None = None, *,
    births: ArrayLike | None = None, max_count: Numbers | None = None, gain: Numbers = 1.0, center: Numbers = 0.0,
    scale: Numbers = 1.0, mask: Array | None = None,
    outputs: StepOutput | Sequence[StepOutput] = ("x_s", "model_input"), input_dtype: FloatDtypeLike = "float32",
    first_sample: int | jax.Array | None = None, call: int | jax.Array | None = None,
) -> ops.Leaped[jax.Array]:  # fmt: skip
    """Make one reverse step by tau-leaping as fb.tau_leap_step does, with a key of JAX.

    Parameters
    ----------
    key : key of jax.random or Philox
        The key of the draw, of any implementation. Under vmap one key for all slices draws the same in each.
    x_t : array of counts (B, ...)
        As in fb.tau_leap_step.
    logits : array, optional
        The outputs of a network.
    step : number, array or Prob
        The factor on the expected births, as in fb.tau_leap_step.
    births : array, optional
        The expected births in place of `logits`.
    max_count : integer or array, optional
        As in fb.thin, but never traced: a constant under jit.
    gain : number or array, optional
        As in fb.tau_leap_step.
    center, scale : number or array, optional
        They make the next input of the network.
    mask : array of bool, optional
        True where elements take part.
    outputs : {"x_s", "model_input"} or a sequence of these, optional
        What to make. What is not named is None in the result.
    input_dtype : dtype, optional
        The dtype of model_input.
    first_sample, call : integer, optional
        Numbers of the fb.Philox that is made of the key, 0 by default. Where a fb.Philox is given, they replace its
        own. They are in 0..2^32 - 1, or arrays of JAX, such as the counter of a loop. Out of range they are
        an error on the CPU, and wrap around on CUDA.

    Returns
    -------
    Leaped
        Arrays of JAX.

    Raises
    ------
    TypeError, ValueError
        If a shape, a dtype or a constant is wrong, while JAX traces. A wrong value in an array raises the same error
        when the call runs on the CPU, in whatever JAX raises then. CUDA clamps it.
    """
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
