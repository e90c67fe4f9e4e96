"""Bits per dimension of Blackout Diffusion: two upper bounds of -log p(x_0), by Monte Carlo.

The bound in continuous time. Let p be the survival probability and lambda = log(p / (1 - p)). For the births x_0 - x_t
and a model y of their mean,

    -log p(x_0) <= integral over all lambda of p E[ D(x_0 - x_t || y) ],    D(a || b) = b - a + a log(a / b).

There is no prior term, because at p = 0 the image is black, whatever it was. It is an equality for
y = E[x_0 - x_t | x_t].

The bound of a sampler that takes finitely many steps, each with Poisson(q y) births:

    -log p(x_0) <= sum over steps of E[ KL(Binomial(x_0 - x_t, q) || Poisson(q y)) ],    q = (p_s - p_t) / (1 - p_t),

or, for a head that gives a law of the births, with the law of a step's births in the place of the Poisson one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from ..call.keys import resolve_rng
from ..ground.values import check_integer, real_array
from ..models.interface import check_schedule, model_and_head
from ..models.labels import labels_on
from ..ops import binomial_log_prob
from ..philox import Philox
from ..probability import Prob
from ..processes.reverse.divergence import rate_divergence
from ..sampling.plan import STEPS
from ..sampling.sampler import evaluating
from ..schedule.grids import times_of
from ..schedule.stratified import fractions
from .terms import Line, Steps

if TYPE_CHECKING:
    from torch import Tensor

    from ..schedule.schedule import Schedule

# Called with u in (0, 1), the index of each sample and a key; returns nats (B,).
Cost = Callable[["Tensor", "Tensor", Philox], "Tensor"]


class Bound(NamedTuple):
    """An estimated bound in bits per dimension, the mean over the images, and the two reasons it may be off.

    bits: the estimate. monte_carlo_error: its standard error at these very images, from independent repeats of all
    draws. image_error: the standard error from there being finitely many images, the spread between images with the
    Monte Carlo noise taken out; NaN for one image. per_image: float64 NumPy (B,), the estimate of each image.
    """

    bits: float
    monte_carlo_error: float
    image_error: float
    per_image: Any


class BitsPerDim(NamedTuple):
    """What bits_per_dim returns: the bound in continuous time, and that of the sampler with finitely many steps."""

    continuous: Bound
    discrete: Bound


@torch.inference_mode()
def bits_per_dim(
    model: Any,
    schedule: Schedule,
    x_0: Tensor,
    *,
    rng: Philox | None = None,
    generator: torch.Generator | None = None,
    labels: Tensor | None = None,
    steps: int | None = None,
    grid: str | Sequence[float] = "cosine",
    draws: int = 16,
    repeats: int = 8,
    batch: int = 256,
    noises: int = 16,
    over: Callable[..., Iterable[Any]] = map,
) -> BitsPerDim:
    """Two upper bounds of -log2 p(x_0) per dimension with their errors: BitsPerDim(continuous, discrete).

    The continuous bound draws lambda = logit p with low discrepancy over all images at once, on the whole line, most
    of the draws between the first and the last time of the schedule, the others in the tails. A model knows
    the schedule's times only: at p between them the nearest k (in the angle arcsin sqrt p) is asked, about an x_t drawn
    at p itself, and y / (1 - p) is held at its value there, likewise in the tails: as p -> 1 this holds the rate
    y p / (1 - p), as p -> 0 the births y. (Held constant, y itself would cost infinitely much as p -> 1, the rate as
    p -> 0.)
    The discrete bound is that of `fb.sample(model, schedule, shape, steps, grid, sampler="tau-leap")`, which starts at
    black: its first step counts as one from p = 0. The clamp of overshooting births only lowers the true value.
    With a head that gives a law, such as "beta-binomial", the continuous bound is that of its mean, at any p, and the
    discrete one that of `fb.sample` with its only sampler: KL(Binomial(x_0 - x_t, q) || the law of the step's births),
    by the exact sum over the births that the head holds possible, at births of the step that are drawn.
    With head "negative-binomial" the law of a step is closed, and KL is an exact sum over its births, with nothing
    drawn; all births beyond max_count - x_t count as that many, as `fb.sample` takes them.
    An implicit head gives draws and no law: both bounds are then those of the mean of its draws for `noises` noises,
    the discrete one of tau-leaping with that mean, which is not how `fb.sample` uses such a head. More noises give
    lower bounds, in so many calls of the network.

    model, schedule: as in fb.sample. steps, grid: as of `Schedule.grid`; 100 steps where nothing says how many.
    x_0: integer counts (B, ...) in 0..max_count on the model's device. labels: integers (B,), for p(x_0 | label).
    rng: repeat r uses calls 2 r (continuous) and 2 r + 1 (discrete); the key's own call is not used.
    draws: of lambda, and of the step, an image and repeat; with a multiple of `steps` each repeat visits every step of
        every image. repeats: at least 2; the Monte Carlo error comes from their spread, so it is itself good to about
        a share 0.7 / sqrt(repeats - 1).
    batch: samples in one call of the network; changes no draw. noises: of an implicit head, 1 to 256.
    over: takes a function and the repeats' keys and gives the results in their order, as the built-in map; another one
        may share the repeats among processes, and changes no bit.
    Raises TypeError, ValueError. Source: the weight that makes the paper's loss (arXiv 2305.11089) a likelihood bound
    is derived in docs/theory.md.
    """
    op = "bits_per_dim"
    model, _ = model_and_head(op, model)
    check_schedule(op, schedule, model)
    check_images(op, x_0, model.max_count, draws, repeats, batch)
    labels = labels_on(op, labels, len(x_0), model, x_0.device)
    key = resolve_rng(rng, generator, op)
    noises = check_integer(op, "noises", noises, 1, 256)  # draw_keys parts the seeds in so many
    line = Line(schedule, x_0.device, noises)
    steps = min(STEPS, schedule.steps) if steps is None and isinstance(grid, str) else steps
    times = times_of(op, "grid", schedule.p, steps, grid, int(model.max_count))
    chain = Steps(schedule, times, x_0.device, noises)
    places: tuple[Line | Steps, ...] = (line, chain)

    def cost_of(place: Line | Steps) -> Cost:
        return lambda u, which, this: place.cost(model, x_0[which], u, None if labels is None else labels[which], this)

    with evaluating(model):
        bounds = [
            estimate(cost_of(place), x_0, draws, batch, [key.at(call=2 * r + n) for r in range(repeats)], over)
            for n, place in enumerate(places)
        ]
    return BitsPerDim(*bounds)


def estimate(
    cost: Cost, x_0: Tensor, draws: int, batch: int, keys: list[Philox], over: Callable[..., Iterable[Any]] = map
) -> Bound:
    """The mean over u in (0, 1) of cost(u, sample, key), in bits per dimension; one repeat for each key, over(f, keys).

    Point g of a repeat's low-discrepancy set belongs to sample g mod B: evenly spread over u for every sample, too.
    """
    samples = len(x_0)
    total = samples * draws

    def repeat(key: Philox) -> Any:
        u = fractions(total, key.at(first_sample=0), None, None, x_0)
        sums = torch.zeros(samples, dtype=torch.float64, device=x_0.device)
        for first in range(0, total, batch):
            which = torch.arange(first, min(first + batch, total), device=x_0.device) % samples
            sums.index_add_(0, which, cost(u[first : first + batch], which, key.at(first_sample=first)))
        return (sums / draws).cpu().numpy()

    values = np.stack(list(over(repeat, keys)))
    return _bound(values / (math.log(2.0) * x_0[0].numel()))


def _bound(values: Any) -> Bound:
    """values: (repeats, B)."""
    repeats, images = values.shape
    of_repeats, per_image = values.mean(1), values.mean(0)
    noise = values.var(axis=0, ddof=1).mean() / repeats
    between = per_image.var(ddof=1) - noise if images > 1 else math.nan
    image_error = math.sqrt(max(between, 0.0) / images) if images > 1 else math.nan
    return Bound(float(per_image.mean()), float(of_repeats.std(ddof=1) / math.sqrt(repeats)), image_error, per_image)


def exact_bound(mean_births: Callable[..., Any], data_law: Any, *, reach: float = 45.0, step: float = 0.05) -> float:
    """The continuous bound of one dimension in nats, averaged over a known law of x_0: no draw, no network.

    mean_births(x_t, p, q): the model's y for counts x_t = 0..S - 1, float64 (S,) like x_t, at survival p = 1 - q.
    data_law: probabilities of x_0 = 0..S - 1. The integral over lambda in -reach..reach is the trapezoidal rule, which
    converges exponentially for an analytic integrand that vanishes at both ends; the expectation over x_t is a sum.
    Equals the entropy of data_law for the exact posterior mean, and lies above it for any other y.
    Raises ValueError unless data_law is a law.
    """
    law = real_array("exact_bound", "data_law", data_law).astype(np.float64)
    if law.ndim != 1 or not (law >= 0).all() or not abs(law.sum() - 1) <= 1e-9:
        raise ValueError(f"exact_bound: data_law: must be (S,) probabilities that sum to 1, got {data_law!r}")
    counts = np.arange(len(law))
    births = (counts[:, None] - counts).clip(0)
    lambdas = np.arange(-round(reach / step), round(reach / step) + 1) * step
    total = []
    for p, q in zip(1 / (1 + np.exp(-lambdas)), 1 / (1 + np.exp(lambdas)), strict=True):
        joint = law[:, None] * np.exp(binomial_log_prob(counts, counts[:, None], Prob(p, q)))
        y = np.asarray(mean_births(counts, p, q), dtype=np.float64)
        cost = rate_divergence(births, np.broadcast_to(y, births.shape))
        total.append(p * (joint * np.where(joint > 0, cost, 0.0)).sum())
    return float(step * math.fsum(total))


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
    if x_0.min() < 0 or x_0.max() > largest:
        worst = x_0.min() if x_0.min() < 0 else x_0.max()
        raise ValueError(f"{op}: x_0: counts must lie in 0..{largest}, got {int(worst)}")
