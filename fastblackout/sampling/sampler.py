"""The reverse process, from a black image to a sample."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from ..call.keys import resolve_rng
from ..data.dataset import count_dtype
from ..ground.values import check_integer
from ..models.interface import check_schedule, model_and_head
from ..models.labels import labels_on
from ..philox import Philox
from .checks import check_callback, check_mask, counts_like, last_rule_of, rule_of, shape_of
from .cuda_graph import run as run_from_table
from .dropout import keeping_dropout
from .plan import Asked, plan_of
from .rules import SAMPLERS
from .steps import Setting, numbers_of, one_step, state_at

if TYPE_CHECKING:
    from torch import Tensor

    from ..schedule.schedule import Schedule

__all__ = ["SAMPLERS", "sample", "sample_in_batches"]


@torch.inference_mode()
def sample(
    model: Any,
    schedule: Schedule,
    shape: tuple[int, ...],
    steps: int | None = None,
    grid: str | Sequence[float] | None = None,
    sampler: str = "bridge",
    rounding: str = "stochastic",
    attrition: float = 0.0,
    rng: Philox | None = None,
    labels: Tensor | None = None,
    guidance: float | Sequence[float] | None = None,
    known: Tensor | None = None,
    mask: Tensor | None = None,
    start: Tensor | None = None,
    callback: Callable[[int, int, Tensor], None] | None = None,
    cuda_graph: bool = False,
    last_step: str | None = None,
) -> Tensor:
    """Integer counts of the given shape (B, ...), drawn by the reverse process; on the model's device.

    For the times k_t > k_s of `schedule.grid(steps, grid, model.max_count)`, T down to 0, starting from x = 0:
        y = gain(k_t) softplus(model((x - center(k_t)) scale(k_t), k_t))    the expected births E[x_0 - x_t | x_t]
        x <- x + Binomial(N(y), (p_s - p_t) / (1 - p_t))                    sampler "bridge"; N(y): y made an integer
    or x <- x + Poisson(y c), c the same number ("tau-leap") or (t - s) p_t / (1 - p_t) ("tau-leap-rate"). The sampler
    "lanl-2023" is the bridge as the authors' program has it, to compare with: y is rounded to the nearest number, and
    the network's dropout stays on, its masks drawn with the step's key. With every time of the schedule
    (steps=schedule.steps, grid="index") it draws as they do.

    With an implicit head y is a joint draw, (max_count - x) sigmoid(2 model(..., k_t, labels, noise) + offset(k_t)), of
    noise by model.draw_noise with the step's key; guidance then mixes the logits, (1 + w) of one and -w of the other.

    With head "beta-binomial" x <- x + Binomial(max_count - x, f q), q the bridge's probability and f a beta number by
    the two numbers that the model gives each pixel; with another law x <- x + Binomial(N, q), N by the numbers that the
    model gives it; with "negative-binomial" x is cut at max_count; see `posterior_step`. The sampler is then "bridge",
    without rounding or attrition. Guidance mixes all numbers, (1 + w) of those with the labels and -w of the others.

    model: a BlackoutModel, or anything that can be called like one and has max_count, center, scale and gain; for
        heads that give a law also head and offset, for "implicit" also head, offset and draw_noise; or a module around
        one, say DistributedDataParallel, which is called. It runs in eval mode.
    schedule: that of the model.
    steps, grid: how many steps (100), and where they lie: the name of a grid ("cosine"; "early" is the better for up to
        50 or so), or a list of time indices or survival probabilities; see Schedule.grid. A trained model has times of
        its own for few steps in `model.tuned`; one that was tuned by `fastblackout tune` has also a usual number of
        steps. It is sampled at these times where no grid is given, and with the guidance and the last step that were
        found where these are not.
    rounding, attrition: see `bridge_step`; the tau-leaping samplers take neither.
    rng: the n-th step (n = 0 first) draws with rng.at(call=n). Row b is sample rng.first_sample + b of the sequence
        that the seed stands for, so parts with first_sample = 0, 100, ... are what one batch would be, wherever the
        network's outputs do not depend on the batch.
    labels: integers (B,) in 0..classes - 1 for a class-conditional model, where `classes` itself stands for none;
        guidance w, at least 0 (0): log y = (1 + w) log y_labels - w log y_without; or a list of one w a step.
    known, mask: counts and bools that broadcast to `shape`: where mask is true, x is drawn anew from the forward law
        given `known` before each step, and is `known` at the end (imputation). start: counts at time T, default zero.
    callback(n, k, x): called with the start (n = 0, k = T) and after each step (n steps done, time k).
    cuda_graph: on a CUDA device, capture a step (network and all) in a CUDA graph once and replay it, with no work on
        the host between steps; the model must be capturable, and there can be no callback. Elsewhere the same steps
        run without a graph. The counts are the same as without it.
    last_step: "draw" (the default), like the steps before it, or "mean": x <- x + the mean of the births that are left,
        by the head's law, rounded to the nearest number, whatever the sampler. Images have less noise then, most of all
        those of few steps, whose last one is long; but they are no exact draws any more. Of an implicit head: its draw.
    Returns uint8 for max_count <= 255, else int16, int32 or int64. Raises TypeError or ValueError naming the argument
    that is wrong, before anything is drawn.
    """
    (model, head), shape = model_and_head("sample", model), shape_of(shape)
    check_schedule("sample", schedule, model)
    rule = rule_of(sampler, rounding, attrition, head)
    check_mask(known, mask)
    check_callback(callback, cuda_graph)
    device = next((p.device for p in _parameters(model)), torch.device("cpu"))
    labels = labels_on("sample", labels, shape[0], model, device)
    asked = Asked(steps, grid, guidance, last_step, sampler)
    times, guided, last_step, _ = plan_of("sample", model, schedule, asked, labels is not None)
    last_rule = last_rule_of(last_step, rule)
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
    with evaluating(model), keeping_dropout(model, rule.dropout) as dropout:
        setting = Setting(model, schedule, rule, labels, any(guided), known, mask, dropout)
        last = len(times) - 2
        done = 0 if not cuda_graph else last if last_rule is not rule else last + 1
        if done:
            state = run_from_table(setting, x, times[: done + 1], guided[:done], rng)
        else:
            state = state_at(model, x, times[0], rng)
        if callback is not None:
            callback(0, times[0], x)
        for n in range(done, last + 1):
            if n == last:
                setting = setting._replace(rule=last_rule)
            numbers = numbers_of(setting, times[n], times[n + 1], guided[n])
            state = one_step(setting, numbers, state._replace(key=rng.at(call=n)))
            if callback is not None:
                callback(n + 1, times[n + 1], state.x)
    x = state.x
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
    """`sample` for the rows of `shape` in parts of at most `batch`; put together, what one call would draw.

    The first row is sample rng.first_sample, so processes or machines may share a sequence:

        >>> halves = [sample_in_batches(model, schedule, (25, 3, 32, 32), 10, fb.Philox(1, first)) for first in (0, 25)]
    """
    batch, shape = check_integer("sample", "batch", batch, 1, 1 << 62), shape_of(shape)
    rng = resolve_rng(rng, None, "sample")
    labels = labels_on("sample", labels, shape[0], model_and_head("sample", model)[0])
    for first in range(0, shape[0], batch):
        count = min(batch, shape[0] - first)
        part = None if labels is None else labels[first : first + count]
        key = rng.at(first_sample=rng.first_sample + first)
        yield sample(model, schedule, (count, *shape[1:]), rng=key, labels=part, **options)


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
