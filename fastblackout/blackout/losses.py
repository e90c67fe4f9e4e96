"""The loss of each head on a batch, and the unit it is reported in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict, cast

import numpy as np
import torch

from ..arrays import is_traced
from ..call.keys import from_tensor, key_of, resolve_rng
from ..ground.named import named
from ..ground.values import check_integer
from ..heads import head_named, head_of, weight_of
from ..heads.head import Noised
from ..models.interface import (
    check_schedule,
    conditions_on,
    count_of_grids,
    counts_of_model,
    described_by,
    labels_on,
    model_and_head,
)
from ..ops import thin
from ..probability import Prob
from ..schedule.indices import as_index
from ..schedule.schedule import Schedule
from ..schedule.times import draw_indices_by_tensor

if TYPE_CHECKING:
    from torch import Tensor

    from ..heads.head import Head
    from ..philox import Philox
    from ..typing import Labels, Times, Weight

    class Options(TypedDict, total=False):
        """The keywords of `loss`."""

        conditions: Tensor | None
        rng: Philox | Tensor | int | None
        generator: torch.Generator | None
        k: Tensor | None
        global_batch: int | None
        draws: int
        mask: Tensor | None


@named
def loss(
    model: Any,
    x_0: Tensor,
    labels: Labels | None = None,
    *,
    conditions: Tensor | None = None,
    rng: Philox | Tensor | int | None = None,
    generator: torch.Generator | None = None,
    k: Tensor | None = None,
    global_batch: int | None = None,
    draws: int = 2,
    mask: Tensor | None = None,
) -> Tensor:
    """The training loss of counts: each sample is noised at a random time, and the network judged on what is left.

    ::

        unit weight(k) (loss of the head, in nats, summed over the sample),    x_t ~ Binomial(x_0, p_k)

    Parameters
    ----------
    model : BlackoutModel or torch.nn.Module
        The model, or a module around it: DistributedDataParallel, FSDP, what accelerate prepared, torch.compile. The
        outermost is called, so that what it does takes place.
    x_0 : torch.Tensor
        Integer counts (B, C, ...) in 0..max_count, on the model's device.
    labels : int, sequence of int, array or torch.Tensor, optional
        One integer for all samples, or integers (B,), in 0..classes for a class-conditional network; `classes` itself
        stands for none.
    conditions : torch.Tensor, optional
        Floats (B, D), which the network gets after the labels.
    rng : Philox, torch.Tensor or int, optional
        The key: of the times, of the noise, and of the draws of head "implicit". An int is the seed of a Philox. A
        tensor is what `Philox.tensor` makes; it may lie on the device, and a compiled graph may take it.
    generator : torch.Generator, optional
        Where the seed comes from if there is no key.
    k : torch.Tensor, optional
        The times, integers (B,) in 1..steps. They are drawn by default, spread evenly over the batch, as the model's
        `times` says; see `Schedule.draw`.
    global_batch : int, optional
        The samples of all processes together, where each passes its part with a key whose `first_sample` is the number
        of samples before it. Times are then spread over all of them. By default it is B.
    draws : int, default 2
        How many joint draws head "implicit" makes of the births of a sample, at least 2.
    mask : torch.Tensor, optional
        Bools that broadcast to the shape of x_0: the loss is summed over the counts where it is True. Heads that give a
        law take it; with "negative-binomial" each count left out adds less than 7e-6 nats, and no slope. The network
        sees all counts; what it shall not see, or knows for certain, is told by `conditions`.

    Returns
    -------
    torch.Tensor
        float32 (B,). Its mean is of order 1, whatever the size of the samples, the schedule and the weight. So one
        learning rate and one bound of the gradient's norm (1.0) suit all. For heads that give a law it is in nats a
        pixel.

    Raises
    ------
    TypeError
        If an argument has a wrong type, or the model has no schedule of its own.
    ValueError
        If an argument is out of range.

    Notes
    -----
    Equal keys give equal losses, on every device and however the batch is split. Take another `call` for each step:
    `fb.loss(model, x_0, rng=fb.Philox(seed).at(call=step))`.

    References
    ----------
    Santos et al. 2023, arXiv 2305.11089. https://github.com/fastblackout/fastblackout/blob/main/docs/theory.md derives
    the weights, https://github.com/fastblackout/fastblackout/blob/main/docs/heads.md the losses of the heads.

    Examples
    --------
    >>> network = fb.models.small((1, 8, 8), outputs=2)
    >>> model = fb.BlackoutModel(network, fb.Schedule.cosine(100), max_count=16, input="unit", head="beta-binomial")
    >>> fb.loss(model, torch.randint(17, (4, 1, 8, 8)), rng=3).shape
    torch.Size([4])
    """
    op = "loss"
    net, _ = model_and_head(op, model)
    own = described_by(net)
    schedule = getattr(own, "schedule", None)
    if not isinstance(schedule, Schedule):
        raise TypeError(f"{op}: model: must have a Schedule as attribute schedule, got {type(schedule).__name__}")
    if not isinstance(x_0, torch.Tensor) or x_0.ndim < 2 or not x_0.numel():
        got = f"shape {tuple(x_0.shape)}" if isinstance(x_0, torch.Tensor) else type(x_0).__name__
        raise TypeError(f"{op}: x_0: must be a tensor of counts (B, C, ...), got {got}")
    x_0 = counts_of_model(op, own, x_0)
    check_integer(op, "draws", draws, 2, 1 << 10)
    if global_batch is not None:
        check_integer(op, "global_batch", global_batch, len(x_0), 1 << 31)
    labels = labels_on(op, labels, len(x_0), net, x_0.device)
    if torch.compiler.is_compiling():
        rng = key_of(op, rng, generator, x_0, len(x_0))
    elif not isinstance(rng, torch.Tensor):
        rng = resolve_rng(rng, generator, op)
    if k is None:
        k = times_of_batch(own, schedule, x_0, rng, global_batch)
    elif not isinstance(k, torch.Tensor) or k.shape != x_0.shape[:1]:
        form = str(tuple(k.shape)) if isinstance(k, torch.Tensor) else type(k).__name__
        raise TypeError(f"{op}: k: must be a tensor of integers ({len(x_0)},), got {form}")
    else:
        k = as_index(op, "k", k, 1, schedule.steps)
    given = getattr(own, "weight", None)  # a tensor, of a module that is like a BlackoutModel and has one of that name
    weight: Weight = cast("Weight", given) if isinstance(given, str) else weight_of(head_of(own).name)
    if hasattr(own, "loss_unit"):
        unit = own.loss_unit(x_0[0].numel())
    else:
        unit = loss_unit(schedule, weight, own.max_count, x_0[0].numel(), head_of(own).name)
    net, head = model_and_head(op, model, conditions_on(op, conditions, len(x_0), x_0.device))
    if mask is not None:
        mask = _checked_mask(op, mask, x_0, head)
    return blackout_loss(net, schedule, x_0, k, rng, weight, labels, draws, mask=mask) * unit


def _checked_mask(op: str, mask: Any, x_0: Tensor, head: Head) -> Tensor:
    """The mask in the shape of the counts."""
    if not isinstance(mask, torch.Tensor) or mask.dtype != torch.bool:
        got = str(mask.dtype) if isinstance(mask, torch.Tensor) else type(mask).__name__
        raise TypeError(f"{op}: mask: must be a bool tensor, got {got}")
    if not head.gives_law:
        raise ValueError(f"{op}: mask: must be None for head {head.name!r}, which gives no law, got a tensor")
    try:
        return mask.to(x_0.device).expand(x_0.shape)
    except RuntimeError:
        raise ValueError(f"{op}: mask: must broadcast to {tuple(x_0.shape)}, got {tuple(mask.shape)}") from None


def times_of_batch(
    model: Any, schedule: Schedule, like: Tensor, rng: Philox | Tensor, global_batch: int | None = None
) -> Tensor:
    """Times k (B,) for a batch on its device, as the model's attribute `times` says. A key that may not be looked at,
    as it lies on a GPU or is part of a graph, gives the same times by operations of torch."""
    batch = len(like)
    how: Times = getattr(model, "times", "uniform")
    if isinstance(rng, torch.Tensor) and (is_traced(rng) or rng.device.type != "cpu"):
        total = batch if global_batch is None else global_batch
        return draw_indices_by_tensor(schedule.steps, batch, rng, total, model.early_times if how == "early" else None)
    if isinstance(rng, torch.Tensor):
        rng = from_tensor(rng, "loss")
    return schedule.draw(
        batch, rng=rng, like=like, global_batch=global_batch, times=how, max_count=count_of_grids(model)
    )


class Numbers(NamedTuple):
    """What a loss takes of the schedule and the model at times k (B,): each (B,), all of one library."""

    p: Any  # the survival probabilities until k
    q: Any  # 1 - p
    weight: Any  # the weight of the loss
    center: Any  # the centre of the network's input; this and the next ones are used in float32
    scale: Any
    of_head: Any  # `Head.number` at k


def numbers_at(model: Any, schedule: Schedule, weight: Weight, k: Any) -> Numbers:
    """The numbers at k (B,), a NumPy array or a tensor. Training makes them on the host and copies all at once."""
    survival, of_head = schedule.survival(k), head_of(model).number(model, k)
    return Numbers(survival.p, survival.q, schedule.weight(weight, k), model.center(k), model.scale(k), of_head)


def blackout_loss(
    model: Any,
    schedule: Schedule,
    x_0: Tensor,
    k: Tensor,
    rng: Philox | Tensor,
    weight: Weight,
    labels: Tensor | None = None,
    draws: int = 2,
    numbers: Numbers | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    """The loss (B,) of counts x_0 (B, C, H, W) at times k (B,), before it is put into the unit.

    It is weight(k) times the loss of the model's head, which is in nats, summed over the sample. weight: a name that
    Schedule.weight knows; the heads' own weights are in
    https://github.com/fastblackout/fastblackout/blob/main/docs/heads.md. draws: how many outputs a head that takes
    noise makes for the same x_t. numbers: `numbers_at` of the same k, as tensors, where they are at hand. mask: as in
    `loss`.
    """
    op = "blackout_loss"
    model, head = model_and_head(op, model)
    check_schedule(op, schedule, model)
    p, q, weights, center, scale, of_head = numbers or numbers_at(model, schedule, weight, k)
    thinned = thin(
        x_0, Prob(p, q), rng=rng, max_count=model.max_count, center=center, scale=scale, outputs=head.thinned,
    )  # fmt: skip
    labels = labels_on(op, labels, len(x_0), model, x_0.device)
    return head.loss(model, Noised(*thinned, k, labels, weights, of_head, rng, draws, mask))


def loss_unit(schedule: Schedule, weight: Weight, max_count: int, elements: int, head: str = "mean") -> float:
    """What losses are multiplied by: `Head.unit`, so that one clipping norm suits all, whatever the size of the image,
    the steps, the weight and the depth of the counts."""
    k = np.arange(1, schedule.steps + 1)
    return head_named(head).unit(schedule.weight(weight, k), schedule.survival(k).q, elements, max_count)
