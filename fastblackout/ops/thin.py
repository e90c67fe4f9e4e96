"""Thinning: the forward process of blackout diffusion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .. import checks, dispatch
from ..arrays import COUNTS, Array, adopt, store
from ..philox import Philox, resolve_rng
from ..probability import as_prob
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
    rng: Philox | None = None,
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
    alive: the survival probability p in [0, 1], a fb.Prob (from Schedule.survival), a float, or float64 of shape () or
        (B,).
    rng, generator: the key of the draw (see fb.Philox); neither: a fresh seed from torch's default generator. Equal
        keys give equal results, whatever the batch split, backend, thread count or strides.
    max_count: the largest count x_0 may hold, declared (it chooses the draw; default 255 for uint8, else required):
        at most 255 the law is within 1e-13 total variation of the binomial, above see fb.binomial.
    center, scale: finite numbers or (B,), rounded to float32; model_input is computed in float32 and rounded to
        input_dtype (float32, float64, bfloat16, float16).
    outputs: which of x_t, births, model_input to make, in one pass. out: a Thinned of arrays to write instead; x_t may
        be x_0 itself.
    Returns Thinned(x_t, births, model_input) in x_0's library, memory order and (x_t, births) dtype.
    Raises TypeError or ValueError naming op, argument, rule and value, with nothing written.
    Source: Santos et al., ICML 2023, arXiv 2305.11089, section 4.
    """
    op = "thin"
    x = adopt(x_0, op, "x_0", COUNTS)
    limit = checks.max_count_of(op, max_count, x.dtype)
    wanted = checks.names_of(op, "outputs", outputs, OUTPUTS)
    kind = checks.float_dtype(op, "input_dtype", input_dtype, x)
    chosen = dispatch.choose(op, backend, x.device)
    key = resolve_rng(rng, generator, op)
    size = checks.size_of(op, "x_0", x, key)
    made = checks.outputs_of(op, x, {"x_t": x.dtype, "births": x.dtype, "model_input": kind}, wanted, out, "x_t")
    if chosen == "cuda":
        return _thin_cuda(x, alive, key, size, limit, center, scale, made)
    p, q = as_prob(alive, size[0], op, "alive")
    if chosen == "cpu":
        middle = checks.per_sample(op, "center", center, size[0], np.float32)
        factor = checks.per_sample(op, "scale", scale, size[0], np.float32)
        dispatch.cpu_module(op).thin(
            size,
            (key.seed, key.first_sample, key.call),
            dispatch.threads(),
            dispatch.isa(),
            x.describe(),
            *(None if array is None else array.describe() for array in made.values()),
            (p, q),
            middle,
            factor,
            limit,
        )
    else:
        middle, factor = (checks.per_sample(op, n, v, size[0]) for n, v in (("center", center), ("scale", scale)))
        asked = {name for name, array in made.items() if array is not None}
        results = reference_thin(x.numpy(), p, q, key, limit, middle, factor, asked, kind)
        for array, result in zip(made.values(), results, strict=True):
            if array is not None and result is not None:
                store(result, array)
    return Thinned(*(None if array is None else array.give() for array in made.values()))


def _thin_cuda(
    x: Array,
    alive: Any,
    key: Philox,
    size: tuple[int, int],
    limit: int,
    center: Any,
    scale: Any,
    made: dict[str, Array | None],
) -> Thinned:
    """The CUDA kernel: uint8 counts in C order, float32 model input, on torch's current stream."""
    import torch

    op = "thin"
    module = dispatch.cuda_module(op, op)
    if x.dtype != "uint8":
        raise TypeError(f"{op}: x_0: dtype must be uint8 for the CUDA kernel of this version, got {x.dtype}")
    for name, array in {"x_0": x, **made}.items():
        if array is not None and not array.value.is_contiguous():
            raise ValueError(
                f"{op}: {name}: must be contiguous for the CUDA kernel of this version, got strides {array.strides()}"
            )
    if (inputs := made["model_input"]) is not None and inputs.dtype != "float32":
        raise TypeError(f"{op}: input_dtype: must be float32 for the CUDA kernel of this version, got {inputs.dtype}")
    device = x.value.device

    def on_device(values: Any, dtype: torch.dtype) -> torch.Tensor:
        if isinstance(values, np.ndarray):
            values = torch.from_numpy(values)
        return values.to(device=device, dtype=dtype).expand(size[0]).contiguous()

    pair = alive if isinstance(alive, tuple) else None
    if pair is not None and isinstance(pair[0], torch.Tensor) and pair[0].device == device:
        p, q = (on_device(value, torch.float64) for value in pair)  # from the schedule: checked where it was made
    else:
        p, q = (on_device(value, torch.float64) for value in as_prob(alive, size[0], op, "alive"))
    middle, factor = (
        on_device(value, torch.float32)
        if isinstance(value, torch.Tensor) and value.device == device
        else on_device(checks.per_sample(op, name, value, size[0], np.float32), torch.float32)
        for name, value in (("center", center), ("scale", scale))
    )
    with torch.cuda.device(device):
        module.thin(
            size,
            (key.seed, key.first_sample, key.call),
            torch.cuda.current_stream().cuda_stream,
            x.address(),
            *(0 if array is None else array.address() for array in made.values()),
            *(values.data_ptr() for values in (p, q, middle, factor)),
            limit,
        )
    return Thinned(*(None if array is None else array.value for array in made.values()))
