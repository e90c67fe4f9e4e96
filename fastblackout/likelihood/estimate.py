"""A bound as the mean over a uniform number, by Monte Carlo, with its errors."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from ..ground.values import check_integer
from ..philox import Philox
from ..schedule.times import draw_fractions

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

# Called with u in (0, 1), the index of each sample and a key; returns nats (B,).
Cost = Callable[["Tensor", "Tensor", Philox], "Tensor"]


class Bound(NamedTuple):
    """An estimated bound in bits per dimension, and the two reasons for which it may be off.

    Parameters
    ----------
    bits : float
        The estimate, the mean over the images.
    monte_carlo_error : float
        Its standard error at these very images, from independent repeats of all draws.
    image_error : float
        The standard error from there being finitely many images: the spread between images with the Monte Carlo noise
        taken out; NaN for one image.
    per_image : numpy.ndarray
        The estimate of each image, float64 (B,).
    """

    bits: float
    monte_carlo_error: float
    image_error: float
    per_image: NDArray[np.float64]


def estimate(
    costs: Sequence[Cost],
    x_0: Tensor,
    draws: int,
    batch: int,
    keys: list[Philox],
    over: Callable[..., Iterable[Any]] = map,
) -> list[Bound]:
    """The mean over u in (0, 1) of each cost(u, sample, key), in bits per dimension; a repeat for each key, over(f,
    keys). Cost n has the call of the key + n. The costs of a batch are taken in turn, so that a part of the work tells
    how long the rest will take.

    Point g of a repeat's low-discrepancy set belongs to sample g mod B. So the points are evenly spread over u for
    every sample, too.
    """
    samples = len(x_0)
    total = samples * draws

    def repeat(key: Philox) -> Any:
        own = [key.at(call=key.call + n) for n in range(len(costs))]
        points: list[Any] = [draw_fractions(total, each.at(first_sample=0), None, None, x_0) for each in own]
        sums = torch.zeros((len(costs), samples), dtype=torch.float64, device=x_0.device)
        for first in range(0, total, batch):
            which = torch.arange(first, min(first + batch, total), device=x_0.device) % samples
            for cost, each, u, sum_ in zip(costs, own, points, sums, strict=True):
                sum_.index_add_(0, which, cost(u[first : first + batch], which, each.at(first_sample=first)))
        return (sums / draws).cpu().numpy()

    values = np.stack(list(over(repeat, keys)), 1)  # (costs, repeats, B)
    return [_bound(of_cost) for of_cost in values / (math.log(2.0) * x_0[0].numel())]


def _bound(values: Any) -> Bound:
    """values: (repeats, B)."""
    repeats, images = values.shape
    of_repeats, per_image = values.mean(1), values.mean(0)
    noise = values.var(axis=0, ddof=1).mean() / repeats
    between = per_image.var(ddof=1) - noise if images > 1 else math.nan
    image_error = math.sqrt(max(between, 0.0) / images) if images > 1 else math.nan
    return Bound(float(per_image.mean()), float(of_repeats.std(ddof=1) / math.sqrt(repeats)), image_error, per_image)


def check_images(op: str, x_0: Any, largest: int, draws: int, repeats: int, batch: int) -> None:
    if not isinstance(x_0, torch.Tensor) or x_0.is_floating_point() or x_0.dtype == torch.bool:
        got = x_0.dtype if isinstance(x_0, torch.Tensor) else type(x_0).__name__
        raise TypeError(f"{op}: x_0: must be a tensor of integer counts, got {got}")
    if x_0.ndim < 2 or not x_0.numel():
        raise ValueError(f"{op}: x_0: must be (B, ...) with at least one count, got {tuple(x_0.shape)}")
    check_integer(op, "draws", draws, 1, 1 << 20)
    check_integer(op, "repeats", repeats, 2, 1 << 20)
    check_integer(op, "batch", batch, 1, 1 << 31)
    if len(x_0) * draws >= 1 << 32:
        raise ValueError(f"{op}: draws: images times draws must be below 2^32, got {len(x_0)} times {draws}")
    low, high = int(x_0.min()), int(x_0.max())
    if low < 0 or high > largest:
        raise ValueError(f"{op}: x_0: counts must lie in 0..{largest}, got {low if low < 0 else high}")
