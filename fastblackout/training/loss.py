"""The loss of each head on a batch, and the unit it is reported in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..heads import head_named, head_of
from ..heads.head import Noised
from ..models.interface import check_schedule, model_and_head
from ..models.labels import labels_on
from ..ops import thin
from ..probability import Prob

if TYPE_CHECKING:
    from torch import Tensor

    from ..philox import Philox
    from ..schedule.schedule import Schedule
    from ..typing import HeadName, Weight


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
) -> Tensor:
    """The loss (B,) of counts x_0 (B, C, H, W) at times k (B,).

    It is weight(k) times the loss of the model's head, which is in nats, summed over the sample. weight: a name that
    Schedule.weight knows; the heads' own weights are in docs/heads.md. draws: how many outputs a head that takes noise
    makes for the same x_t. numbers: `numbers_at` of the same k, as tensors, where they are at hand.
    """
    op = "blackout_loss"
    model, head = model_and_head(op, model)
    check_schedule(op, schedule, model)
    p, q, weights, center, scale, of_head = numbers or numbers_at(model, schedule, weight, k)
    thinned = thin(
        x_0, Prob(p, q), rng=rng, max_count=model.max_count, center=center, scale=scale, outputs=head.thinned,
    )  # fmt: skip
    labels = labels_on(op, labels, len(x_0), model, x_0.device)
    return head.loss(model, Noised(*thinned, k, labels, weights, of_head, rng, draws))


def loss_unit(schedule: Schedule, weight: Weight, max_count: int, elements: int, head: HeadName = "mean") -> float:
    """What losses are multiplied by: `Head.unit`, so that one clipping norm suits all, whatever the size of the image,
    the steps, the weight and the depth of the counts."""
    k = np.arange(1, schedule.steps + 1)
    return head_named(head).unit(schedule.weight(weight, k), schedule.survival(k).q, elements, max_count)
