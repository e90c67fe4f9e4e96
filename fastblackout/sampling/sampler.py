"""The reverse process, from a black image to a sample."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.functional import logsigmoid, softplus

from ..call.keys import resolve_rng
from ..data.dataset import count_dtype
from ..ground.values import check_integer
from ..models.interface import as_model, check_schedule, labels_on
from ..ops import bridge_step, tau_leap_step, thin
from ..philox import Philox
from ..probability import Prob
from .checks import SAMPLERS, check_callback, check_guidance, check_mask, check_rule, counts_like, shape_of

if TYPE_CHECKING:
    from torch import Tensor

    from ..schedule.schedule import Schedule

__all__ = ["SAMPLERS", "sample", "sample_in_batches"]

EVERYTHING = Prob(1.0, 0.0)


@torch.inference_mode()
def sample(
    model: Any,
    schedule: Schedule,
    shape: tuple[int, ...],
    steps: int = 100,
    grid: str = "cosine",
    sampler: str = "bridge",
    rounding: str = "stochastic",
    attrition: float = 0.0,
    rng: Philox | None = None,
    labels: Tensor | None = None,
    guidance: float = 0.0,
    known: Tensor | None = None,
    mask: Tensor | None = None,
    start: Tensor | None = None,
    callback: Callable[[int, int, Tensor], None] | None = None,
    cuda_graph: bool = False,
) -> Tensor:
    """Integer counts of the given shape (B, ...), drawn by the reverse process; on the model's device.

    For the times k_t > k_s of `schedule.grid(steps, grid)`, T down to 0, starting from x = 0:
        y = gain(k_t) softplus(model((x - center(k_t)) scale(k_t), k_t))    the expected births E[x_0 - x_t | x_t]
        x <- x + Binomial(N(y), (p_s - p_t) / (1 - p_t))                    sampler "bridge"; N(y): y made an integer
    or x <- x + Poisson(y c), c the same number ("tau-leap") or (t - s) p_t / (1 - p_t) ("tau-leap-rate").

    model: a BlackoutModel, or anything with its max_count, center, scale, gain and call; or a module around one, say
        DistributedDataParallel, which is called. It runs in eval mode. schedule: that of the model.
    rounding, attrition: see `bridge_step`; the tau-leaping samplers take neither.
    rng: the n-th step (n = 0 first) draws with rng.at(call=n), so a batch may be split by first_sample at will.
    labels: integers (B,) for a class-conditional model; guidance w: log y = (1 + w) log y_labels - w log y_without.
    known, mask: counts and bools that broadcast to `shape`: where mask is true, x is drawn anew from the forward law
        given `known` before each step, and is `known` at the end (imputation). start: counts at time T, default zero.
    callback(n, k, x): called with the start (n = 0, k = T) and after each step (n steps done, time k).
    cuda_graph: on a CUDA device, capture a step (network and all) in a CUDA graph once and replay it, with no work on
        the host between steps; the model must be capturable, and there can be no callback. Elsewhere the same steps
        run without a graph. The counts are the same as without it.
    Returns uint8 for max_count <= 255, else int16, int32 or int64. Raises TypeError or ValueError naming the argument
    that is wrong, before anything is drawn.
    """
    model, shape = as_model("sample", model), shape_of(shape)
    check_schedule("sample", schedule, model)
    check_rule(sampler, rounding, attrition)
    check_mask(known, mask)
    check_callback(callback, cuda_graph)
    device = next((p.device for p in _parameters(model)), torch.device("cpu"))
    labels = labels_on("sample", labels, shape[0], device)
    check_guidance(guidance, labels)
    rng = resolve_rng(rng, None, "sample")
    dtype = getattr(torch, count_dtype(model.max_count).__name__)
    black = torch.zeros(shape, dtype=dtype, device=device)
    x = black if start is None else counts_like(start, black, model.max_count, "start")
    if mask is not None:
        known = counts_like(known, black, model.max_count, "known")
        try:
            mask = mask.to(device).expand(shape)
        except RuntimeError:
            raise ValueError(f"sample: mask: must broadcast to {shape}, got {tuple(mask.shape)}") from None
    grid_times = [int(k) for k in schedule.grid(steps, kind=grid)]
    if cuda_graph:
        from . import cuda_graph as graph_sampling

        rule = graph_sampling.Rule(model, sampler, rounding, attrition, labels, guidance, known, mask)
        with evaluating(model):
            x = graph_sampling.run(rule, schedule, x, grid_times, rng)
        return x if known is None or mask is None else torch.where(mask, known, x)
    reverse_step = _STEPS[sampler]
    if sampler == "bridge":
        reverse_step = partial(reverse_step, rounding=rounding, attrition=attrition)
    if callback is not None:
        callback(0, grid_times[0], x)

    with evaluating(model):
        model_input = None
        for n, (k_t, k_s) in enumerate(pairwise(grid_times)):
            key = rng.at(call=n)
            if known is not None and mask is not None:
                drawn = thin(known, schedule.survival(k_t), rng=key, max_count=model.max_count, outputs=("x_t",)).x_t
                x, model_input = torch.where(mask, drawn, x), None
            if model_input is None:
                model_input = _model_input(model, x, k_t)
            times = torch.full((len(x),), k_t, dtype=torch.int64, device=x.device)
            prediction = predict(model, model_input, times, model.gain(k_t), labels, guidance)
            step_to = {"rng": key, "max_count": model.max_count, "center": model.center(k_s), "scale": model.scale(k_s)}
            x, model_input = reverse_step(x, schedule, k_t, k_s, **prediction, **step_to)
            if callback is not None:
                callback(n + 1, k_s, x)
    return x if known is None or mask is None else torch.where(mask, known, x)


def sample_in_batches(
    model: Any,
    schedule: Schedule,
    shape: tuple[int, ...],
    batch: int,
    rng: Philox,
    labels: Tensor | None = None,
    **options: Any,
) -> Iterator[Tensor]:
    """`sample` for the rows of `shape` in parts of at most `batch`; put together, what one call would draw."""
    batch, shape = check_integer("sample", "batch", batch, 1, 1 << 62), shape_of(shape)
    rng = resolve_rng(rng, None, "sample")
    labels = labels_on("sample", labels, shape[0])
    for first in range(0, shape[0], batch):
        count = min(batch, shape[0] - first)
        part = None if labels is None else labels[first : first + count]
        key = rng.at(first_sample=rng.first_sample + first)
        yield sample(model, schedule, (count, *shape[1:]), rng=key, labels=part, **options)


def _bridge(
    x: Tensor, schedule: Schedule, k_t: int, k_s: int, rounding: str, attrition: float, **arguments: Any
) -> tuple[Tensor, Tensor]:
    if attrition == 0:
        stepped = bridge_step(x, step=schedule.bridge(k_t, k_s), rounding=rounding, **arguments)
    else:
        birth, death = schedule.bridge_with_attrition(k_t, k_s, attrition)
        stepped = bridge_step(x, step=birth, attrition=death, rounding=rounding, **arguments)
    return stepped.x_s, stepped.model_input


def _tau_leap(x: Tensor, schedule: Schedule, k_t: int, k_s: int, **arguments: Any) -> tuple[Tensor, Tensor]:
    leaped = tau_leap_step(x, step=schedule.leap(k_t, k_s, form="bridge-mean"), **arguments)
    return leaped.x_s, leaped.model_input


def _tau_leap_rate(x: Tensor, schedule: Schedule, k_t: int, k_s: int, **arguments: Any) -> tuple[Tensor, Tensor]:
    leaped = tau_leap_step(x, step=schedule.leap(k_t, k_s, form="rate"), **arguments)
    return leaped.x_s, leaped.model_input


_STEPS: dict[str, Callable[..., tuple[Tensor, Tensor]]] = {
    "bridge": _bridge,
    "tau-leap": _tau_leap,
    "tau-leap-rate": _tau_leap_rate,
}


def _model_input(model: Any, x: Tensor, k: int) -> Tensor:
    # Thinning with survival 1 keeps every count, so it is the op that centres and scales and nothing else.
    kept = thin(
        x, EVERYTHING, rng=Philox(), max_count=model.max_count, center=model.center(k), scale=model.scale(k),
        outputs=("model_input",),
    )  # fmt: skip
    return kept.model_input


def predict(
    model: Any, model_input: Tensor, times: Tensor, gain: Any, labels: Tensor | None, guidance: float
) -> dict[str, Any]:
    """What a step is given: logits and gain, or with guidance births. gain: a number or (B,), the same for all."""
    logits = model(model_input, times, labels)
    if guidance == 0:
        return {"logits": logits, "gain": gain}
    without = model(model_input, times, None)
    log_y = (1 + guidance) * _log_softplus(logits) - guidance * _log_softplus(without)
    factor = gain[0] if isinstance(gain, torch.Tensor) and gain.ndim else float(gain)
    # Far from the data the ratio can overflow; more than max_count births can never happen.
    return {"births": torch.clamp(factor * torch.exp(log_y), max=float(model.max_count))}


def _log_softplus(logits: Tensor) -> Tensor:
    logits = logits.float()
    # softplus(x) = exp(x) (1 - exp(x)/2 + ...): below -15 its logarithm is x to float32 precision, and never log(0).
    return torch.where(logits < -15, logsigmoid(logits), torch.log(softplus(logits.clamp(min=-15))))


@contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """The model in eval mode, and back as it was."""
    was_training = getattr(model, "training", False)
    if was_training:
        model.eval()
    try:
        yield
    finally:
        if was_training:
            model.train()


def _parameters(model: Any) -> Iterator[Tensor]:
    return model.parameters() if hasattr(model, "parameters") else iter(())
