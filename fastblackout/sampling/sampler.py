"""The reverse process, from a black image to a sample."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict, Unpack

import torch
from torch import Tensor

from ..call.keys import resolve_rng
from ..data.dataset import count_dtype
from ..ground.named import named
from ..ground.values import check_integer
from ..models.interface import check_schedule, conditions_on, labels_on, model_and_head
from ..philox import Philox
from .plan import Asked, plan_of
from .rules import Rule, last_rule_of, rule_of
from .steps import Setting, keeping_dropout, numbers_of, one_step, run_from_table, state_at

if TYPE_CHECKING:
    from ..schedule.schedule import Schedule
    from ..typing import Grid, Labels, LastStep, Rounding, Sampler

    class Checked(TypedDict, total=False):
        """The keywords of `reverse_of`."""

        generator: torch.Generator | None
        conditions: Tensor | None
        grid: Grid | Sequence[float] | None
        sampler: Sampler
        rounding: Rounding
        attrition: float
        guidance: float | Sequence[float] | None
        known: Tensor | None
        mask: Tensor | None
        start: Tensor | None
        last_step: LastStep | None

    class Options(Checked, total=False):
        """The keywords of `sample` that parts of a batch share."""

        callback: Callable[[int, int, Tensor], None] | None
        cuda_graph: bool


@torch.inference_mode()
@named
def sample(
    model: Callable[..., Any],
    schedule: Schedule,
    shape: tuple[int, ...],
    steps: int | None = None,
    grid: Grid | Sequence[float] | None = None,
    sampler: Sampler = "bridge",
    rounding: Rounding = "stochastic",
    attrition: float = 0.0,
    rng: Philox | int | None = None,
    labels: Labels | None = None,
    guidance: float | Sequence[float] | None = None,
    known: Tensor | None = None,
    mask: Tensor | None = None,
    start: Tensor | None = None,
    callback: Callable[[int, int, Tensor], None] | None = None,
    cuda_graph: bool = False,
    last_step: LastStep | None = None,
    generator: torch.Generator | None = None,
    conditions: Tensor | None = None,
) -> Tensor:
    """Draw counts by the reverse process, from x = 0 at the last time to a sample.

    ::

        y = gain(k_t) softplus(model((x - center(k_t)) scale(k_t), k_t))      the expected births E[x_0 - x_t | x_t]
        x <- x + Binomial(N(y), (p_s - p_t) / (1 - p_t))                      for the times k_t > k_s of the grid

    N(y) is y made an integer. The times are `schedule.grid(steps, grid, model.max_count)`. The equations hold for
    head "mean" and sampler "bridge"; the notes say what other heads and samplers do.

    Parameters
    ----------
    model : BlackoutModel or torch.nn.Module
        The model. Any callable of the same form that has max_count, center, scale and gain will do. For heads that give
        a law it also needs head and offset, for "implicit" also draw_noise. A module around a model, such as
        DistributedDataParallel, is called itself. The model runs in eval mode.
    schedule : Schedule
        The schedule of the model.
    shape : tuple of int
        The shape (B, ...) of the counts.
    steps : int, optional
        How many steps. The default is 100, and 10 for head "implicit".
    grid : {"cosine", "index", "early"} or sequence of float, optional
        Where the steps lie: a name, or a list of time indices or survival probabilities; see `Schedule.grid`. The
        default is "cosine" for head "mean" and "early" for all others, unless the model has times of its own.
    sampler : {"bridge", "tau-leap", "tau-leap-rate", "lanl-2023"}, default "bridge"
        The rule of a step; see the notes.
    rounding : {"stochastic", "nearest"}, default "stochastic"
        How y becomes an integer, as in `bridge_step`. The tau-leaping samplers do not take it.
    attrition : float, default 0.0
        The share of particles that a step kills, as in `bridge_step`. The tau-leaping samplers do not take it.
    rng : Philox or int, optional
        The key, or the seed of one. The n-th step (n = 0 first) draws with rng.at(call=n). Row b is sample
        rng.first_sample + b of the sequence that the seed stands for.
    labels : int, sequence of int, array or torch.Tensor, optional
        One integer for all samples, or integers (B,), in 0..classes - 1 for a class-conditional model; `classes` itself
        stands for none.
    guidance : float or sequence of float, optional
        The guidance w, at least 0: log y = (1 + w) log y_labels - w log y_without. One number, or a list of one for
        each step. It is 0 by default.
    known : torch.Tensor, optional
        Counts that broadcast to `shape`, for imputation.
    mask : torch.Tensor, optional
        Bools that broadcast to `shape`. Where it is true, x is drawn anew from the forward law given `known` before
        each step, and is `known` at the end.
    start : torch.Tensor, optional
        Counts at the last time. They are 0 by default.
    callback : callable, optional
        `callback(n, k, x)` is called with the start (n = 0, k = T), and after each step (n steps done, time k).
    cuda_graph : bool, default False
        On a CUDA device, capture a step once in a CUDA graph, network and all, and replay it, with no work on the host
        between steps. The model must be capturable, and there can be no callback. Elsewhere the same steps run without
        a graph. The counts are the same.
    last_step : {"draw", "mean"}, optional
        "draw", the default, is like the steps before it. "mean" is x <- x + the mean of the births that are left by the
        head's law, rounded to the nearest number, whatever the sampler. Images then have less noise, most of all after
        few steps, whose last one is long. But they are no exact draws any more. An implicit head takes its draw for the
        mean.
    generator : torch.Generator, optional
        Where the seed comes from if there is no key.
    conditions : torch.Tensor, optional
        Floats (B, D), which the network gets after the labels, with guidance and without.

    Returns
    -------
    torch.Tensor
        Counts of `shape` on the model's device: uint8 for max_count <= 255, else int16, int32 or int64.

    Raises
    ------
    TypeError
        If an argument has a wrong type.
    ValueError
        If an argument is out of range or does not fit the others. All is checked before anything is drawn.

    Notes
    -----
    Samplers:

    - "bridge": as above.
    - "tau-leap": x <- x + Poisson(y c), c = (p_s - p_t) / (1 - p_t).
    - "tau-leap-rate": x <- x + Poisson(y c), c = (t - s) p_t / (1 - p_t).
    - "lanl-2023": the bridge as the authors' program has it, to compare with. y is rounded to the nearest number. The
      network's dropout stays on, with masks drawn with the step's key. With every time of the schedule
      (steps=schedule.steps, grid="index") it draws as they do.

    Heads that give a law take the sampler "bridge" alone, without rounding or attrition. q is the bridge's probability.
    Their guidance mixes all numbers of the head, (1 + w) of those with the labels and -w of the others.

    - "beta-binomial": x <- x + Binomial(max_count - x, f q), f a beta number by the two numbers that the model gives
      each pixel.
    - other laws: x <- x + Binomial(N, q), N by the numbers that the model gives each pixel. With "negative-binomial" x
      is cut at max_count. See `posterior_step`.
    - "implicit": y is a joint draw, (max_count - x) sigmoid(2 model(..., k_t, labels, noise) + offset(k_t)), of noise
      by model.draw_noise with the step's key. Guidance then mixes the logits.

    A trained model has times of its own for few steps in `model.tuned`. One that `fastblackout tune` tuned has also a
    usual number of steps. It is sampled at these times where no grid is given, and with the guidance and the last step
    that were found where these are not given.

    Parts of a batch with first_sample = 0, 100, ... draw what one batch would, wherever the network's outputs do not
    depend on the batch.

    Examples
    --------
    >>> run = fb.load_pretrained("digits", device="cpu")
    >>> fb.sample(run.model, run.schedule, (2, *run.shape), steps=5, rng=fb.Philox(1)).shape
    torch.Size([2, 1, 8, 8])
    """
    options: Checked = {
        "generator": generator, "conditions": conditions, "grid": grid, "sampler": sampler, "rounding": rounding,
        "attrition": attrition, "guidance": guidance, "known": known, "mask": mask, "start": start,
        "last_step": last_step,
    }  # fmt: skip
    if not isinstance(cuda_graph, bool):
        raise TypeError(f"sample: cuda_graph: must be a bool, got {cuda_graph!r}")
    if callback is not None and not callable(callback):
        raise TypeError(f"sample: callback: must be called with n, k and x, got {type(callback).__name__}")
    if callback is not None and cuda_graph:
        raise ValueError("sample: callback: must be None with cuda_graph, got one")
    run = reverse_of(model, schedule, shape, steps, rng, labels, **options)
    setting, key, final = run.setting, run.rng, len(run.times) - 2
    with evaluating(setting.model), keeping_dropout(setting.model, run.rule.dropout) as dropout:
        setting = setting._replace(dropout=dropout)
        done = 0 if not cuda_graph else final if run.last_rule is not run.rule else final + 1
        if done:
            state = run_from_table(setting, run.x, run.times[: done + 1], run.guidance[:done], key)
        else:
            state = state_at(setting.model, run.x, run.times[0], key)
        if callback is not None:
            callback(0, run.times[0], run.x)
        for n in range(done, final + 1):
            if n == final:
                setting = setting._replace(rule=run.last_rule)
            numbers = numbers_of(setting, run.times[n], run.times[n + 1], run.guidance[n])
            state = one_step(setting, numbers, state._replace(key=key.at(call=n)))
            if callback is not None:
                callback(n + 1, run.times[n + 1], state.x)
    return state.x if setting.mask is None else torch.where(setting.mask, setting.known, state.x)


class Reverse(NamedTuple):
    """A run that may begin: all of it is checked. x: the counts at times[0]; last_rule: of the step to time 0."""

    setting: Setting
    x: Tensor
    times: list[int]
    guidance: list[float]
    rule: Rule
    last_rule: Rule
    rng: Philox


def reverse_of(
    model: Callable[..., Any],
    schedule: Schedule,
    shape: tuple[int, ...],
    steps: int | None,
    rng: Philox | int | None,
    labels: Labels | None,
    op: str = "sample",
    **options: Unpack[Checked],
) -> Reverse:
    """The arguments of `sample`, or of another op that draws, checked before anything is drawn."""
    (net, head), shape = model_and_head(op, model), shape_of(shape)
    check_schedule(op, schedule, net)
    sampler = options.get("sampler", "bridge")
    rule = rule_of(sampler, options.get("rounding", "stochastic"), options.get("attrition", 0.0), head)
    known, mask, start = options.get("known"), options.get("mask"), options.get("start")
    if (known is None) != (mask is None):
        raise ValueError("sample: known, mask: must come together, got one alone")
    if mask is not None and (not isinstance(mask, Tensor) or mask.dtype != torch.bool):
        got = mask.dtype if isinstance(mask, Tensor) else type(mask).__name__
        raise TypeError(f"sample: mask: must be a bool tensor, got {got}")
    parameters = net.parameters() if hasattr(net, "parameters") else ()
    device = next((each.device for each in parameters), torch.device("cpu"))
    labels = labels_on(op, labels, shape[0], net, device)
    if (conditions := conditions_on(op, options.get("conditions"), shape[0], device)) is not None:
        net, _ = model_and_head(op, net, conditions)
    asked = Asked(steps, options.get("grid"), options.get("guidance"), options.get("last_step"), sampler)
    plan = plan_of(op, net, schedule, asked, labels is not None)
    key = resolve_rng(rng, options.get("generator"), op)
    black = torch.zeros(shape, dtype=getattr(torch, count_dtype(net.max_count).__name__), device=device)
    x = black if start is None else counts_like(start, black, net.max_count, "start")
    if mask is not None:
        known = counts_like(known, black, net.max_count, "known")
        mask = _expanded("mask", mask.to(device), shape)
    setting = Setting(net, schedule, rule, labels, any(plan.guidance), known, mask)
    return Reverse(setting, x, plan.times, plan.guidance, rule, last_rule_of(plan.last_step, rule), key)


def sample_in_batches(
    model: Callable[..., Any],
    schedule: Schedule,
    shape: tuple[int, ...],
    batch: int,
    rng: Philox | int | None = None,
    labels: Labels | None = None,
    steps: int | None = None,
    **options: Unpack[Options],
) -> Iterator[Tensor]:
    """`sample` for the rows of `shape` in parts. Put together, they are what one call would draw.

    Parameters
    ----------
    model : BlackoutModel or torch.nn.Module
        The model, as in `sample`.
    schedule : Schedule
        The schedule of the model.
    shape : tuple of int
        The shape (B, ...) of all counts.
    batch : int
        The most rows of a part.
    rng : Philox or int, optional
        The key, or the seed of one. The first row is sample rng.first_sample, so processes or machines may share a
        sequence.
    labels : int, sequence of int, array or torch.Tensor, optional
        One integer for all samples, or integers (B,), as in `sample`.
    steps : int, optional
        How many steps, as in `sample`.
    **options : object
        Other arguments of `sample`.

    Yields
    ------
    torch.Tensor
        The counts of each part.

    Examples
    --------
    Two machines draw the halves of one sequence::

        keys = [fb.Philox(1, first_sample=first) for first in (0, 25)]
        halves = [sample_in_batches(model, schedule, (25, 3, 32, 32), 10, key) for key in keys]
    """
    batch, shape = check_integer("sample", "batch", batch, 1, 1 << 62), shape_of(shape)
    told: dict[str, Any] = dict(options)
    rng = resolve_rng(rng, told.pop("generator", None), "sample")
    labels = labels_on("sample", labels, shape[0], model_and_head("sample", model)[0])
    conditions = told.pop("conditions", None)
    conditions_on("sample", conditions, shape[0], "cpu" if conditions is None else conditions.device)
    by_row = {"labels": labels, "conditions": conditions}
    for name in ("known", "mask", "start"):
        if isinstance(told.get(name), torch.Tensor):  # `sample` has the errors of anything else
            by_row[name] = _expanded(name, told.pop(name), shape)
    for first in range(0, shape[0], batch):
        rows = slice(first, min(first + batch, shape[0]))
        here: Any = {name: None if each is None else each[rows] for name, each in by_row.items()}
        key = rng.at(first_sample=rng.first_sample + first)
        yield sample(model, schedule, (rows.stop - first, *shape[1:]), steps, rng=key, **told, **here)


def _expanded(argument: str, value: Tensor, shape: tuple[int, ...]) -> Tensor:
    try:
        return value.expand(shape)
    except RuntimeError:
        raise ValueError(f"sample: {argument}: must broadcast to {shape}, got {tuple(value.shape)}") from None


def shape_of(shape: Any, op: str = "sample", least: int = 2) -> tuple[int, ...]:
    """(batch, ...) as a tuple. TypeError unless a sequence of integers, ValueError for too few or one below 0."""
    if not isinstance(shape, Sequence) or isinstance(shape, (str, bytes)):
        raise TypeError(f"{op}: shape: must be (batch, ...) of integers at least 0, got {shape!r}")
    if len(shape) < least:
        raise ValueError(f"{op}: shape: must be (batch, ...) of integers at least 0, got {shape}")
    return tuple(check_integer(op, "shape", size, 0, (1 << 63) - 1) for size in shape)


def counts_like(value: Any, like: Tensor, max_count: int, argument: str, op: str = "sample") -> Tensor:
    """Counts in 0..max_count with the shape, dtype and device of `like`. TypeError or ValueError when they are not."""
    if not isinstance(value, Tensor) or value.is_floating_point() or value.is_complex() or value.dtype == torch.bool:
        got = value.dtype if isinstance(value, Tensor) else type(value).__name__
        raise TypeError(f"{op}: {argument}: must be a tensor of integer counts, got {got}")
    low, high = (int(value.min()), int(value.max())) if value.numel() else (0, 0)
    if low < 0 or high > max_count:
        raise ValueError(f"{op}: {argument}: counts must lie in 0..{max_count}, got {low if low < 0 else high}")
    try:
        return value.to(like.device, like.dtype).expand(like.shape).contiguous()
    except RuntimeError:
        raise ValueError(f"{op}: {argument}: must broadcast to {like.shape}, got {tuple(value.shape)}") from None


@contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """Within the block the model is in eval mode. After it, it is as it was."""
    was_training = getattr(model, "training", False)
    if was_training:
        model.eval()
    try:
        yield
    finally:
        if was_training:
            model.train()
