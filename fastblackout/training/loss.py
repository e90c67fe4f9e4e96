"""The loss of each head on a batch, and the unit it is reported in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from ..models.interface import LAWS, arrays_of, as_model, check_schedule, draw_keys, head_of
from ..models.labels import labels_on
from ..ops import birth_loss, energy_loss, posterior_loss, thin
from ..probability import Prob

if TYPE_CHECKING:
    from torch import Tensor

    from ..philox import Philox
    from ..schedule.schedule import Schedule


class Numbers(NamedTuple):
    """What a loss takes of the schedule and the model at times k (B,): each (B,), all of one library."""

    p: Any  # survival probabilities until k
    q: Any  # 1 - p
    weight: Any  # of the loss
    center: Any  # of the network's input; this and the next ones are used in float32
    scale: Any
    of_head: Any  # gain(k) of head "mean", offset(k) of the others


def numbers_at(model: Any, schedule: Schedule, weight: str, k: Any) -> Numbers:
    """The numbers at k (B,), a NumPy array or a tensor. Training makes them on the host and copies all at once."""
    survival = schedule.survival(k)
    of_head = model.gain(k) if head_of(model) == "mean" else model.offset(k)
    return Numbers(*survival, schedule.weight(weight, k), model.center(k), model.scale(k), of_head)


def blackout_loss(
    model: Any,
    schedule: Schedule,
    x_0: Tensor,
    k: Tensor,
    rng: Philox | Tensor,
    weight: str,
    labels: Tensor | None = None,
    draws: int = 2,
    numbers: Numbers | None = None,
) -> Tensor:
    """The loss (B,) of counts x_0 (B, C, H, W) at times k (B,).

    Head "mean": weight(k) times the sum of y - (x_0 - x_t) log y. A law, such as "beta-binomial":
    weight(k) times the sum of -log of its probability of x_0 - x_t. Head "implicit": weight(k) times the energy score
    of `draws` outputs for the same x_t with different noise.
    numbers: `numbers_at` of the same k, as tensors, where they are at hand.
    """
    op = "blackout_loss"
    model = as_model(op, model)
    check_schedule(op, schedule, model)
    head = head_of(model)
    outputs = ("births", "model_input") if head == "mean" else ("x_t", "births", "model_input")
    p, q, weights, center, scale, of_head = numbers or numbers_at(model, schedule, weight, k)
    noised = thin(
        x_0, Prob(p, q), rng=rng, max_count=model.max_count, center=center, scale=scale, outputs=outputs,
    )  # fmt: skip
    labels = labels_on(op, labels, len(x_0), model, x_0.device)
    if head == "mean":
        return birth_loss(model(noised.model_input, k, labels), noised.births, weights, gain=of_head)
    how = {"offset": of_head, "max_count": model.max_count}
    if head in LAWS:
        arrays = arrays_of(head, model(noised.model_input, k, labels), x_0)
        return posterior_loss(arrays, noised.x_t, noised.births, weights, family=head, **how)
    noise = torch.cat([model.draw_noise(noised.model_input, key) for key in draw_keys(rng, draws)])
    many = noised.model_input.repeat(draws, *[1] * (x_0.ndim - 1))
    logits = model(many, k.repeat(draws), None if labels is None else labels.repeat(draws), noise)
    logits = logits.view(draws, *x_0.shape)
    return energy_loss(logits, noised.x_t, noised.births, weights, **how)


def loss_unit(schedule: Schedule, weight: str, max_count: int, elements: int, head: str = "mean") -> float:
    """What losses are multiplied by: 1 / (elements x mean over k of weight_k (1 - p_k) x max_count / 4).

    (1 - p_k) max_count / 4 are the births of a pixel at a quarter of max_count, so losses and gradients are of order 1
    whatever the size of the image, the steps, the weight and the depth of the counts: one clipping norm suits all.
    Of a law it is 1 / (elements x mean of weight_k): losses are then nats a pixel. Of head "implicit" it is
    1 / (sqrt(elements) x mean of weight_k sqrt(1 - p_k) x max_count / 4), as norms go with sqrt((1 - p_k) elements).
    """
    k = np.arange(1, schedule.steps + 1)
    weights, q = schedule.weight(weight, k), schedule.survival(k).q
    if head in LAWS:
        return 1.0 / (elements * float(weights.mean()))
    if head == "implicit":
        return 4.0 / (float(elements) ** 0.5 * float((weights * np.sqrt(q)).mean()) * max_count)
    return 4.0 / (elements * float((weights * q).mean()) * max_count)
