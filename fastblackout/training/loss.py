"""The loss of Blackout Diffusion on a batch, and the unit it is reported in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..models.interface import as_model, check_schedule, labels_on
from ..ops import birth_loss, thin

if TYPE_CHECKING:
    from torch import Tensor

    from ..philox import Philox
    from ..schedule.schedule import Schedule


def blackout_loss(
    model: Any, schedule: Schedule, x_0: Tensor, k: Tensor, rng: Philox, weight: str, labels: Tensor | None = None
) -> Tensor:
    """The loss (B,) of counts x_0 (B, C, H, W) at times k (B,): weight(k) times the sum of y - (x_0 - x_t) log y."""
    op = "blackout_loss"
    model = as_model(op, model)
    check_schedule(op, schedule, model)
    noised = thin(
        x_0, schedule.survival(k), rng=rng, max_count=model.max_count, center=model.center(k), scale=model.scale(k),
        outputs=("births", "model_input"),
    )  # fmt: skip
    labels = labels_on(op, labels, len(x_0), x_0.device)
    logits = model(noised.model_input, k, labels)
    return birth_loss(logits, noised.births, schedule.weight(weight, k), gain=model.gain(k))


def loss_unit(schedule: Schedule, weight: str, max_count: int, elements: int) -> float:
    """What losses are multiplied by: 1 / (elements x mean over k of weight_k (1 - p_k) x max_count / 4).

    (1 - p_k) max_count / 4 are the births of a pixel at a quarter of max_count, so losses and gradients are of order 1
    whatever the size of the image, the steps, the weight and the depth of the counts: one clipping norm suits all.
    """
    k = np.arange(1, schedule.steps + 1)
    births = float((schedule.weight(weight, k) * schedule.survival(k).q).mean()) * max_count / 4
    return 1.0 / (elements * births)
