"""The ways of denoising, a function each: Task -> rows of results. Peers without a package are written from their
papers.

In "a" a model was trained on images of ten times the dose, in "b" on the noisy images alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import log_softmax, poisson_nll_loss, softplus

import fastblackout as fb

SHARE = 0.1  # the dose of the noisy images, of the dose of the training images of "a"
DRAWS = 16
BATCH, RATE = 64, 4e-3
PARTS = 8  # splits of an image whose estimates are averaged
R2R_SHARE = 0.15  # the share of photons that Recorrupted-to-Recorrupted takes away


class Task(NamedTuple):
    """noisy, high: counts to train on, (N, 1, H, W), at the dose and at ten times the dose. truth, seen: what is
    judged, images at ten times the dose, and what a thinning to the dose leaves of them."""

    noisy: Tensor
    high: Tensor
    seen: Tensor
    truth: Tensor
    dose: float
    seed: int
    seconds: float


class Row(NamedTuple):
    """rate: the estimate of the rate at the dose (N, 1, H, W); calls: of the network for it; draws: of `of`, if any."""

    name: str
    rate: np.ndarray
    calls: int
    draws: np.ndarray | None = None
    of: np.ndarray | None = None


def thinned(counts: Tensor, share: Any, key: fb.Philox) -> Any:
    return fb.thin(counts, share, max_count=1 << 20, rng=key)


def _small(images: Tensor, outputs: int = 1) -> nn.Module:
    return fb.models.small(images.shape[1:], channels=16, outputs=outputs)


def _fit(parameters: Any, data: Tensor, seed: int, seconds: float, loss: Callable[[Tensor, int], Tensor]) -> int:
    """Adam for so many processor seconds, with a step size that falls to 0; how many steps were taken."""
    optimizer = torch.optim.Adam(parameters, RATE)
    order, step, began = np.random.default_rng(seed), 0, time.process_time()
    while (done := (time.process_time() - began) / seconds) < 1:
        optimizer.param_groups[0]["lr"] = RATE * min(1, (step + 1) / 50) * (1 - done)
        rows = torch.from_numpy(order.integers(0, len(data), BATCH))
        optimizer.zero_grad()
        loss(data[rows], step).backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        step += 1
    return step


def _blackout(data: Tensor, task: Task) -> fb.BlackoutModel:
    schedule = fb.Schedule.cosine(1000)
    model = fb.BlackoutModel(_small(data, 2), schedule, None, "log1p", head="negative-binomial", times="uniform")
    model.fit_input(data)

    def loss(x: Tensor, step: int) -> Tensor:
        return model.loss(x, rng=fb.Philox(task.seed, call=step)).mean()

    _fit(list(model.parameters()), data, task.seed, task.seconds, loss)
    return model.eval()


def blackout_a(task: Task) -> Iterator[Row]:
    """fb.photons.denoise: draws, their mean, and the mean of one call."""
    model = _blackout(task.high, task)
    for steps in (5, 20):
        found = fb.photons.denoise(model, task.seen, SHARE, DRAWS, steps, rng=task.seed, batch=256)
        mean = SHARE * found.mean.numpy()
        yield Row(f"fastblackout, {steps} steps", mean, steps * DRAWS, found.draws.numpy(), task.truth.numpy())
    one = fb.photons.denoise(model, task.seen, SHARE, draws=0)
    yield Row("fastblackout, one call", SHARE * one.mean.numpy(), 1)


def blackout_b(task: Task) -> Iterator[Row]:
    """fb.photons.rate of the image as it is, and of images thinned a little, averaged; draws up to the own dose."""
    model = _blackout(task.noisy, task)
    yield Row("fastblackout, rate", fb.photons.rate(model, task.seen).numpy(), 1)
    parts = [thinned(task.seen, 0.8, fb.Philox(task.seed, call=n)).x_t for n in range(PARTS)]
    rates = [fb.photons.rate(model, each, 0.8).numpy() for each in parts]
    half = thinned(task.seen, SHARE, fb.Philox(task.seed, call=PARTS)).x_t
    draws = fb.photons.denoise(model, half, SHARE, DRAWS, 20, rng=task.seed, batch=256).draws.numpy()
    yield Row("fastblackout, rate of 8 thinned", np.mean(rates, 0), PARTS, draws, task.seen.numpy())


def _called(network: nn.Module, counts: Tensor) -> Tensor:
    """A network without a time, asked about log(1 + counts)."""
    return network(torch.log1p(counts.float()), torch.zeros(len(counts), dtype=torch.int64))


def _gap(data: Tensor, task: Task) -> nn.Module:
    """Generative accumulation of photons (arXiv 2307.06607): where the next photon falls, by those that were seen."""
    network = _small(data)

    def loss(x: Tensor, step: int) -> Tensor:
        share = 10 ** -(2.5 * np.random.default_rng((task.seed, step)).random(len(x)))
        noised = thinned(x, share, fb.Philox(task.seed, call=step))
        where = log_softmax(_called(network, noised.x_t).flatten(1), 1)
        return -(noised.births.flatten(1) * where).sum() / noised.births.sum().clamp(min=1)

    _fit(list(network.parameters()), data, task.seed, task.seconds, loss)
    return network.eval()


@torch.inference_mode()
def _where(network: nn.Module, counts: Tensor) -> Tensor:
    parts = [torch.softmax(_called(network, part).flatten(1), 1) for part in counts.split(256)]
    return torch.cat(parts).view(counts.shape)


def gap_a(task: Task) -> Iterator[Row]:
    """Photons are added, 10% more in a call, until there are as many as ten times the dose gives."""
    network = _gap(task.high, task)
    calls = int(np.ceil(np.log(1 / SHARE) / np.log(1.1)))
    growth, random = (1 / SHARE) ** (1 / calls), np.random.default_rng(task.seed)
    state = task.seen.repeat(DRAWS, 1, 1, 1).double()
    for _ in range(calls):
        total = state.sum((1, 2, 3), keepdim=True)
        state = state + torch.from_numpy(random.poisson((growth - 1) * total * _where(network, state).double()))
    draws = state.view(DRAWS, *task.seen.shape).numpy()
    yield Row("GAP, 10% more a call", SHARE * draws.mean(0), calls * DRAWS, draws, task.truth.numpy())


def gap_b(task: Task) -> Iterator[Row]:
    network = _gap(task.noisy, task)
    total = task.seen.sum((1, 2, 3), keepdim=True)
    yield Row("GAP, mean", (total * _where(network, task.seen)).numpy(), 1)


class _Rate(nn.Module):
    """A network that is given a part of the photons and tells the rate of the whole image."""

    def __init__(self, images: Tensor) -> None:
        super().__init__()
        self.network = _small(images)

    def forward(self, counts: Tensor, physics: Any = None) -> Tensor:
        return softplus(_called(self.network, counts))


def noise2noise_b(task: Task) -> Iterator[Row]:
    """Noise2Noise (arXiv 1803.04189) of two halves of the photons, by the Poisson likelihood."""
    model = _Rate(task.noisy)

    def loss(x: Tensor, step: int) -> Tensor:
        halves = thinned(x, 0.5, fb.Philox(task.seed, call=step))
        return poisson_nll_loss(model(halves.x_t), 2 * halves.births, log_input=False)

    _fit(list(model.parameters()), task.noisy, task.seed, task.seconds, loss)
    model.eval()
    with torch.inference_mode():
        keys = [fb.Philox(task.seed + 1, call=n) for n in range(PARTS)]
        found = [model(thinned(task.seen, 0.5, key).x_t) for key in keys]
    yield Row("Noise2Noise of halves", torch.stack(found).mean(0).numpy(), PARTS)


def r2r_b(task: Task) -> Iterator[Row]:
    """Recorrupted-to-Recorrupted for Poisson noise (arXiv 2412.04648), by deepinv: the square error."""
    from deepinv.loss import R2RLoss
    from deepinv.physics import Denoising, PoissonNoise

    physics, r2r = Denoising(PoissonNoise(gain=1.0)), R2RLoss(alpha=R2R_SHARE, eval_n_samples=PARTS)
    model = r2r.adapt_model(_Rate(task.noisy))

    def loss(x: Tensor, step: int) -> Tensor:
        y = x.float()
        return r2r(model(y, physics, update_parameters=True), y, physics, model)

    _fit(list(model.parameters()), task.noisy, task.seed, task.seconds, loss)
    yield Row("R2R (deepinv)", model.eval()(task.seen.float(), physics).numpy(), PARTS)


def bm3d(task: Task) -> Iterator[Row]:
    """Anscombe's transform, BM3D and the exact unbiased inverse in closed form (Makitalo and Foi 2011)."""
    from bm3d import bm3d as filtered

    rates = []
    for image in task.seen[:, 0].numpy():
        d = np.maximum(filtered(2 * np.sqrt(image + 0.375), 1.0), 2 * np.sqrt(0.375))
        rates.append(d**2 / 4 + np.sqrt(1.5) / 4 / d - 11 / 8 / d**2 + 5 * np.sqrt(1.5) / 8 / d**3 - 1 / 8)
    yield Row("Anscombe and BM3D", np.maximum(rates, 0)[:, None], 0)


def as_it_is(task: Task) -> Iterator[Row]:
    yield Row("the noisy image", task.seen.numpy(), 0)


METHODS = {each.__name__: each for each in (
    as_it_is, bm3d, blackout_a, gap_a, blackout_b, gap_b, noise2noise_b, r2r_b)}  # fmt: skip
