"""Bits per dimension of Blackout Diffusion: two upper bounds of -log p(x_0), by Monte Carlo.

The bound in continuous time. Let p be the survival probability and lambda = log(p / (1 - p)). For the births x_0 - x_t
and a model y of their mean,

    -log p(x_0) <= integral over all lambda of p E[ D(x_0 - x_t || y) ],    D(a || b) = b - a + a log(a / b).

There is no prior term, because at p = 0 the image is black, whatever it was. For y = E[x_0 - x_t | x_t] it is an
equality.

The bound of a sampler that takes finitely many steps, each with Poisson(q y) births:

    -log p(x_0) <= sum over steps of E[ KL(Binomial(x_0 - x_t, q) || Poisson(q y)) ],    q = (p_s - p_t) / (1 - p_t).

For a head that gives a law of the births, the law of a step's births takes the place of the Poisson law.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict

import numpy as np
import torch

from ..call.keys import resolve_rng
from ..ground.named import named
from ..ground.values import check_integer, real_array
from ..heads import head_of
from ..heads.head import Head, Predicted, StepProbs
from ..models.interface import check_schedule, conditions_on, count_of_grids, counts_of_model, labels_on, model_and_head
from ..ops import binomial_log_prob, thin
from ..philox import Philox
from ..probability import Prob
from ..processes.rate_loss import rate_divergence
from ..sampling.sampler import evaluating
from ..schedule.times import times_of
from .estimate import Bound, Cost, check_images, estimate

if TYPE_CHECKING:
    from torch import Tensor

    from ..schedule.schedule import Schedule
    from ..typing import Grid, Labels

    class Options(TypedDict, total=False):
        """The keywords of `bits_per_dim`."""

        rng: Philox | int | None
        generator: torch.Generator | None
        labels: Labels | None
        conditions: Tensor | None
        steps: int | None
        grid: Grid | Sequence[float]
        draws: int
        repeats: int
        batch: int
        noises: int
        over: Callable[..., Iterable[Any]]


class BitsPerDim(NamedTuple):
    """Two bounds in bits per dimension, which `bits_per_dim` returns.

    Parameters
    ----------
    continuous : Bound
        The bound in continuous time.
    discrete : Bound
        The bound of the sampler with finitely many steps.
    """

    continuous: Bound
    discrete: Bound


@torch.inference_mode()
@named
def bits_per_dim(
    model: Callable[..., Any],
    schedule: Schedule,
    x_0: Tensor,
    *,
    rng: Philox | int | None = None,
    generator: torch.Generator | None = None,
    labels: Labels | None = None,
    conditions: Tensor | None = None,
    steps: int | None = None,
    grid: Grid | Sequence[float] = "cosine",
    draws: int = 16,
    repeats: int = 8,
    batch: int = 256,
    noises: int = 16,
    over: Callable[..., Iterable[Any]] = map,
) -> BitsPerDim:
    """Two upper bounds of -log2 p(x_0) per dimension.

    ::

        continuous: integral over lambda = logit p of p E[ D(x_0 - x_t || y) ],    D(a || b) = b - a + a log(a / b)
        discrete:   sum over steps of E[ KL(Binomial(x_0 - x_t, q) || the law of a step's births) ]

    y is the model of the mean births, and q = (p_s - p_t) / (1 - p_t).

    Parameters
    ----------
    model : BlackoutModel or torch.nn.Module
        The model, as in `fb.sample`.
    schedule : Schedule
        The schedule of the model.
    x_0 : torch.Tensor
        Integer counts (B, ...) in 0..max_count, on the model's device.
    rng : Philox or int, optional
        The key, or the seed of one. Repeat r uses calls 2 r (continuous) and 2 r + 1 (discrete). The key's own call is
        not used.
    generator : torch.Generator, optional
        Where the seed comes from if there is no key.
    labels : int, sequence of int, array or torch.Tensor, optional
        One integer for all samples, or integers (B,), for p(x_0 | label).
    conditions : torch.Tensor, optional
        Floats (B, D), which the network gets after the labels.
    steps : int, optional
        The steps of the sampler, as in `Schedule.grid`; 100 where nothing says how many, 10 for an implicit head.
    grid : {"cosine", "index", "early"} or sequence of float, default "cosine"
        Where the steps lie, as in `Schedule.grid`.
    draws : int, default 16
        Draws of lambda, and of the step, for each image and repeat. With a multiple of `steps`, each repeat visits
        every step of every image.
    repeats : int, default 8
        Independent repeats, at least 2. The Monte Carlo error comes from their spread. So it is itself good to about a
        share 0.7 / sqrt(repeats - 1).
    batch : int, default 256
        The most samples in one call of the network. It changes no draw.
    noises : int, default 16
        How many noises an implicit head draws for each mean, 1 to 256. More give lower bounds, and take as many calls
        of the network.
    over : callable, default map
        It takes a function and the repeats' keys, and gives the results in their order. Another one than the built-in
        map may share the repeats among processes. It changes no bit.

    Returns
    -------
    BitsPerDim
        The two bounds, each with its errors.

    Raises
    ------
    TypeError
        If an argument has a wrong type.
    ValueError
        If an argument is out of range.

    Notes
    -----
    The continuous bound draws lambda with low discrepancy over all images at once, on the whole line. Most draws lie
    between the first and the last time of the schedule, the others in the tails. A model knows the schedule's times
    only. At p between them the nearest k (in the angle arcsin sqrt p) is asked, about an x_t drawn at p itself, and y /
    (1 - p) is held at its value there. It is held in the tails, too. As p -> 1 this holds the rate y p / (1 - p), as p
    -> 0 the births y. If y itself were held, it would cost infinitely much as p -> 1; the rate would as p -> 0.

    The discrete bound is for `fb.sample(model, schedule, shape, steps, grid, sampler="tau-leap")`, which starts at
    black: its first step counts as one from p = 0. The clamp of overshooting births only lowers the true value.

    What differs by head:

    - A head that gives a law, such as "beta-binomial": the continuous bound is for its mean, at any p. The discrete
      bound is for `fb.sample` with its only sampler. KL is an exact sum over the births that the head holds
      possible, at births of the step that are drawn.
    - "negative-binomial": the law of a step is closed. KL is an exact sum over its births, and nothing is drawn. All
      births beyond max_count - x_t count as that many, as `fb.sample` takes them.
    - "implicit": it gives draws and no law. Both bounds are for the mean of its draws. The discrete one is for
      tau-leaping with this mean, which is not how `fb.sample` uses such a head.

    References
    ----------
    Santos et al., arXiv 2305.11089. https://github.com/fastblackout/fastblackout/blob/main/docs/theory.md derives the
    weight that makes the paper's loss a likelihood bound.

    Examples
    --------
    With a run and its data::

        bound = fb.bits_per_dim(run.model, run.schedule, torch.from_numpy(data.held_out[:64]), rng=fb.Philox(1))
        bound.continuous.bits, bound.continuous.monte_carlo_error
    """
    op = "bits_per_dim"
    net, head = model_and_head(op, model)
    check_schedule(op, schedule, net)
    check_images(op, x_0, net.max_count, draws, repeats, batch)
    x_0 = counts_of_model(op, net, x_0)
    labels = labels_on(op, labels, len(x_0), net, x_0.device)
    conditions = conditions_on(op, conditions, len(x_0), x_0.device)
    key = resolve_rng(rng, generator, op)
    noises = check_integer(op, "noises", noises, 1, 256)  # draw_keys parts the seeds in so many
    line = Line(schedule, x_0.device, noises)
    steps = min(head.most_steps, schedule.steps) if steps is None and isinstance(grid, str) else steps
    times = times_of(op, "grid", schedule.p, steps, grid, count_of_grids(net))
    chain = Steps(schedule, times, x_0.device, noises)
    places: tuple[Line | Steps, ...] = (line, chain)

    def cost_of(place: Line | Steps) -> Cost:
        def cost(u: Tensor, which: Tensor, this: Philox) -> Tensor:
            asked = net if conditions is None else model_and_head(op, net, conditions[which])[0]
            return place.cost(asked, x_0[which], u, None if labels is None else labels[which], this)

        return cost

    with evaluating(net):
        keys = [key.at(call=2 * r) for r in range(repeats)]
        bounds = estimate([cost_of(place) for place in places], x_0, draws, batch, keys, over)
    return BitsPerDim(*bounds)


def exact_bound(mean_births: Callable[..., Any], data_law: Any, *, reach: float = 45.0, step: float = 0.05) -> float:
    """The continuous bound of one dimension in nats, averaged over a known law of x_0: no draw, no network.

    mean_births(x_t, p, q): the model's y for counts x_t = 0..S - 1, float64 (S,) like x_t, at survival p = 1 - q.
    data_law: probabilities of x_0 = 0..S - 1. The integral over lambda in -reach..reach is the trapezoidal rule, which
    converges exponentially for an analytic integrand that vanishes at both ends; the expectation over x_t is a sum.

    It equals the entropy of data_law for the exact posterior mean, and lies above it for any other y. ValueError unless
    data_law is a law.
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


# Beyond the trained range lambda is drawn as TAIL_LENGTH times a standard exponential away from its end, with a density
# that joins that inside. The integrand falls like exp(-distance) times its logarithm, so that any length above 1 keeps
# the variance finite, with nothing cut off.
TAIL_LENGTH = 2.0


class Line:
    """The whole line of lambda, from u in (0, 1): the trained range between two tails."""

    def __init__(self, schedule: Schedule, device: Any, noises: int = 1) -> None:
        p, q, self.noises = schedule.p, schedule.q, noises
        inner = p[1:] > 0  # p = 0, where the image is black, has no logit
        # A schedule of a single step to p = 0 has no logit at all: then its trained range is the point 0.
        logits = np.log(p[1:][inner] / q[1:][inner]) if inner.any() else np.zeros(1)
        self.high, self.low = float(logits[0]), float(logits[-1])
        # Growing angles from p = 1; the middles between neighbours, from k = 1, say which k is nearest.
        angle = np.arctan2(np.sqrt(q[1:]), np.sqrt(p[1:]))
        self.middles = torch.tensor((angle[1:] + angle[:-1]) / 2, device=device)
        self.schedule = schedule

    def at(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """(lambda, d lambda / d u)."""
        # One density inside, 1 / slope, which is the density of both tails where they begin.
        slope = self.high - self.low + 2 * TAIL_LENGTH
        share = TAIL_LENGTH / slope
        to_edge = torch.minimum(u, 1 - u).clamp(min=2.0**-54) / share  # in the tails this is below 1
        distance = -TAIL_LENGTH * torch.log(to_edge)
        tail = torch.where(u < 0.5, self.low - distance, self.high + distance)
        within = self.low + (u - share) * slope
        return torch.where(to_edge < 1, tail, within), slope / to_edge.clamp(max=1)

    def cost(self, model: Any, x_0: Tensor, u: Tensor, labels: Tensor | None, key: Philox) -> Tensor:
        """The integrand over u (B,), in nats."""
        lam, slope = self.at(u)
        alive = Prob(torch.sigmoid(lam), torch.sigmoid(-lam))
        k = 1 + torch.searchsorted(self.middles, torch.atan2(alive.q.sqrt(), alive.p.sqrt()))
        head, at = _predict(model, x_0, alive, k, labels, key, self.noises)
        log_y = head.log_mean(at, (alive.q, self.schedule.survival(k).q))
        return slope * alive.p * rate_divergence(at.births, log_model_rate=log_y).flatten(1).sum(1)


class Steps:
    """The steps of a sampler, one picked by u in (0, 1)."""

    def __init__(self, schedule: Schedule, times: Any, device: Any, noises: int = 1) -> None:
        self.noises = noises
        pairs = list(pairwise(int(k) for k in times))
        black = Prob(0.0, 1.0)
        self.k = torch.tensor([k_t for k_t, _ in pairs], device=device)
        # `start` and `true` are what the forward process does; its first step counts as one from p = 0, since the
        # sampler starts at black. `assumed` is what the sampler takes the steps to be.
        start = [black] + [schedule.survival(k_t) for k_t, _ in pairs[1:]]
        true = [schedule.survival(pairs[0][1])] + [schedule.bridge(*pair) for pair in pairs[1:]]
        assumed = [schedule.bridge(*pair) for pair in pairs]
        self.start, self.true, self.assumed = (
            Prob(*torch.tensor([tuple(pair) for pair in values], dtype=torch.float64, device=device).T)
            for values in (start, true, assumed)
        )

    def cost(self, model: Any, x_0: Tensor, u: Tensor, labels: Tensor | None, key: Philox) -> Tensor:
        """The number of steps times the cost (B,) of the step picked, in nats."""
        n = (u * len(self.k)).long()
        alive = Prob(self.start.p[n].contiguous(), self.start.q[n].contiguous())
        head, at = _predict(model, x_0, alive, self.k[n], labels, key, self.noises)
        cost = head.step_divergence(at, StepProbs(n, self.true, self.assumed), key)
        return len(self.k) * cost.flatten(1).sum(1)


def _predict(
    model: Any, x_0: Tensor, alive: Prob, k: Tensor, labels: Tensor | None, key: Philox, noises: int
) -> tuple[Head, Predicted]:
    """What the model says at k of an x_t drawn at `alive`."""
    noised = thin(x_0, alive, rng=key, max_count=model.max_count, center=model.center(k), scale=model.scale(k))
    head = head_of(model)
    outputs = head.predict(model, (noised.model_input, k, labels), key, noises).double()
    room, number = (model.max_count - noised.x_t).double(), head.number(model, k)
    return head, Predicted(noised.births.double(), room, outputs, number, model.max_count)
