"""The ops in JAX: element-wise draws, thin and the reverse steps, and the birth loss with its gradient."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from .. import ops
from ..call.declared import DECLARED
from ..call.numbers import largest
from ..call.outputs import names_of
from ..ops.birth_loss import check_alone, gradient_by_expected, gradient_of
from .calls import check_counts, parted, readable_dtype, whole_dtype
from .keys import from_words, words_of
from .layout import Layout, layout_of, run

if TYPE_CHECKING:
    from jax.typing import ArrayLike

    from ..philox import Philox
    from ..probability import Prob, ProbLike
    from ..typing import Array, FloatDtypeLike, Numbers, Rounding, StepOutput, ThinOutput


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


def birth_loss(
    logits: ArrayLike | None, births: ArrayLike, weight: Numbers, *, expected: ArrayLike | None = None,
    gain: Numbers = 1.0, mask: Array | None = None,
) -> jax.Array:  # fmt: skip
    """Sum over each sample the cost of predicting y births, as fb.birth_loss does.

    ::

        y = gain * softplus(logits),  loss_b = weight_b * sum over the sample of (y - births * log y)

    Parameters
    ----------
    logits : array (B, ...) or None
        The outputs of a network. None where `expected` is given.
    births : array
        x_0 - x_t, in the shape of `logits`.
    weight : number or array
        As in fb.birth_loss.
    expected : array, optional
        y itself in place of `logits`.
    gain : number or array, optional
        As in fb.birth_loss.
    mask : array of bool, optional
        True where elements count.

    Returns
    -------
    jax.Array of float32 (B,)
        The loss of each sample.

    Raises
    ------
    TypeError, ValueError
        If a shape, a dtype or a constant is wrong, while JAX traces. A wrong value in an array raises the same error
        when the call runs on the CPU, in whatever JAX raises then. CUDA clamps it.

    Notes
    -----
    jax.grad differentiates it once, by `logits` or by `expected`. By the others it has no derivative: this is a
    TypeError, unless jax.lax.stop_gradient makes them constants.
    """
    name, first = ("logits", logits) if expected is None else ("expected", expected)
    if expected is not None:
        check_alone(logits, gain)
    elif logits is None:
        raise TypeError("birth_loss: logits: exactly one of logits and expected must be given, got none")
    array = jnp.asarray(first)
    values = {"births": births, "weight": weight, "mask": mask}
    if expected is None:
        values["gain"] = gain
    traced, fixed = parted(values)
    loss_of = ops.birth_loss if expected is None else functools.partial(ops.birth_loss, None)
    gradient = gradient_of if expected is None else gradient_by_expected

    def layout(upstream: str = "") -> Layout | None:
        if expected is not None:
            return None
        return layout_of("birth_loss", {"logits": array, **values}, upstream=upstream)

    @jax.custom_vjp
    def loss(first: Any, traced: dict[str, Any]) -> Any:
        host = lambda **given: {"loss": loss_of(**given, **fixed)}  # noqa: E731
        results = {"loss": jax.ShapeDtypeStruct(first.shape[:1], np.float32)}
        return run(layout(), host, {name: first, **traced}, results, first.ndim)["loss"]

    def forward(first: Any, traced: dict[str, Any]) -> Any:
        for name, each in traced.items():
            if each.perturbed:
                rule = "must be a constant, as jax.lax.stop_gradient makes it, there being no derivative by it"
                raise TypeError(f"birth_loss: {name}: {rule}, got an array that is differentiated by")
        given = first.value, {name: each.value for name, each in traced.items()}
        return loss(*given), given

    def backward(kept: Any, upstream: Any) -> Any:
        first, traced = kept
        host = lambda **given: {"grad": gradient(**given, **fixed)}  # noqa: E731
        given = {name: first, "upstream": upstream, **traced}
        results = {"grad": jax.ShapeDtypeStruct(first.shape, first.dtype)}
        return run(layout("upstream"), host, given, results, first.ndim)["grad"], None

    loss.defvjp(forward, backward, symbolic_zeros=True)
    return loss(array, traced)
