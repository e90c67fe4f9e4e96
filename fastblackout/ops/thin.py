"""Thinning: the forward process of blackout diffusion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..arrays import COUNTS, Array, adopt, store
from ..backends import select
from ..call import checks, short
from ..call.keys import resolve_rng
from ..call.probabilities import as_prob
from ..call.route import readable, through_torch
from ..philox import Philox
from ..reference.thin import thin as reference_thin

if TYPE_CHECKING:
    import torch

OUTPUTS = ("x_t", "births", "model_input")


class Thinned(NamedTuple):
    """What thin returns; None for what was not asked for."""

    x_t: Any = None
    births: Any = None
    model_input: Any = None


def thin(
    x_0: Any,
    alive: Any,
    *,
    rng: Philox | torch.Tensor | None = None,
    generator: torch.Generator | None = None,
    max_count: int | None = None,
    center: Any = 0.0,
    scale: Any = 1.0,
    outputs: Sequence[str] = OUTPUTS,
    input_dtype: Any = "float32",
    out: Thinned | None = None,
    backend: str = "auto",
) -> Thinned:
    """Thins counts: each of the x_0 particles of an element survives with its sample's probability, independently.

        x_t ~ Binomial(x_0, p),  births = x_0 - x_t,  model_input = (x_t - center) * scale

    x_0: counts (B, ...) in 0..max_count, uint8, int16, int32 or int64; any strides. Dimension 0 is the sample.
    alive: the survival probability p in [0, 1], per sample: a fb.Prob (from Schedule.survival), or p alone, taken
        exactly as it is, with 1 - p made in float64.
    Per sample, here and in the other ops: one number for all or one for each, as a Python number, a list, a NumPy array
        or a tensor of any real dtype, of shape (), (B,) or (B, 1, ..., 1).
    rng, generator: the key of the draw: a fb.Philox, or its tensor on x_0's device (fb.Philox.tensor), of which nothing
        is read on the host; neither: a fresh seed from torch's default generator. Equal keys give equal results,
        whatever the batch split, backend, thread count or strides.
    max_count: the largest count x_0 may hold, declared (it chooses the draw; default 255 for uint8, else required):
        at most 255 the law is within 1e-13 total variation of the binomial, above see fb.binomial.
    center, scale: finite, per sample, rounded to float32; model_input is computed in float32 and rounded to input_dtype
        (float32, float64, bfloat16, float16).
    outputs: which of x_t, births, model_input to make, in one pass. out: a Thinned of arrays to write instead, which
        share no memory with each other or an argument, but x_t may be x_0 itself.
    Returns Thinned(x_t, births, model_input) in x_0's library, memory order and (x_t, births) dtype.
    Raises TypeError or ValueError naming op, argument, rule and value, with nothing written; on CUDA devices wrong
    values in tensors are clamped and told by fb.check_values.
    Source: Santos et al., ICML 2023, arXiv 2305.11089, section 4.
    """
    op = "thin"
    made = short.thin(x_0, alive, rng, generator, max_count, center, scale, outputs, input_dtype, out, backend)
    if made is not None:
        return Thinned(*made)
    x_0, alive, rng, center, scale = readable(op, x_0, x_0=x_0, alive=alive, rng=rng, center=center, scale=scale)
    if through_torch(x_0, backend):
        from .. import torch_calls

        return Thinned(
            *torch_calls.thin(x_0, alive, rng, generator, max_count, center, scale, outputs, input_dtype, out, backend)
        )
    x = adopt(x_0, op, "x_0", COUNTS)
    max_count = checks.max_count_of(op, max_count, x.dtype)
    wanted = checks.names_of(op, "outputs", outputs, OUTPUTS)
    input_dtype = checks.float_dtype(op, "input_dtype", input_dtype, x)
    chosen = select.select_host(op, backend)
    key = resolve_rng(rng, generator, op)
    size = checks.size_of(op, "x_0", x, key)
    dtypes = {"x_t": x.dtype, "births": x.dtype, "model_input": input_dtype}
    read = {"alive": alive, "rng": rng, "center": center, "scale": scale}
    results = checks.outputs_of(op, x, dtypes, wanted, out, "x_t", read)
    pair = as_prob(alive, size[0], op, "alive")
    center = checks.per_sample(op, "center", center, size[0], np.float32)
    scale = checks.per_sample(op, "scale", scale, size[0], np.float32)
    run(chosen, x, pair, key, size, max_count, center, scale, results, input_dtype)
    return Thinned(*[None if array is None else array.give() for array in results.values()])


def run(
    chosen: str, x: Array, pair: tuple[Any, Any], key: Philox, size: tuple[int, int], max_count: int,
    center: Any, scale: Any, made: dict[str, Array | None], input_dtype: str,
) -> None:  # fmt: skip
    """The "cpu" or "reference" kernel on checked arguments; writes `made`."""
    if chosen == "cpu":
        select.cpu_module("thin").thin(
            size,
            (key.seed, key.first_sample, key.call),
            select.threads(),
            select.isa(),
            x.describe(),
            *[None if array is None else array.describe() for array in made.values()],
            pair,
            center,
            scale,
            max_count,
        )
        return
    asked = {name for name, array in made.items() if array is not None}
    results = reference_thin(x.numpy(), *pair, key, max_count, center, scale, asked, input_dtype)
    for array, result in zip(made.values(), results, strict=True):
        if array is not None and result is not None:
            store(result, array)
