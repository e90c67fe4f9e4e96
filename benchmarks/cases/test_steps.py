"""Whole steps on the shapes people train on: noising with all three outputs and a reverse step, and their share.

A noising step goes from uint8 images and time indices to x_t, births and the network's input, with every conversion a
method needs on the way; a reverse step from the network's float32 logits to the next state and the next input.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

import fastblackout as fb
from cases import peers, test_bridge
from cases.harness import as_reference, same_as_reference
from cases.training_steps import trainer_for
from cases.workloads import SETS, SHAPES, grid_indices, images, reverse_path, schedule
from fastblackout.training.trainer import Trainer

# --quick: CIFAR alone
NAMES = [n if n == "CIFAR" else pytest.param(n, marks=pytest.mark.long) for n in SHAPES]


@pytest.mark.parametrize("name", NAMES)
def test_noising_step(bench: Any, name: str) -> None:
    shape = SHAPES[name]
    x_0, ks = images(shape), grid_indices(shape[0])
    survival = torch.tensor(schedule().p)
    table, noisifier = survival.float(), peers.noisifiers()[peers.AUTHORS]

    def ours(i: int, part: slice = slice(None), backend: str = "auto") -> fb.Thinned:
        k = ks[i % SETS][part]
        center = 127.5 * survival[k]
        return fb.thin(x_0[part], schedule().survival(k), rng=fb.Philox(i), center=center, backend=backend)

    def eager(i: int) -> tuple[torch.Tensor, ...]:
        n, p = x_0.float(), table[ks[i % SETS]].view(-1, 1, 1, 1)
        x_t = torch.binomial(n, p.expand_as(n))
        return x_t, n - x_t, x_t - 127.5 * p

    others: peers.Calls = {
        "eager torch.binomial": eager,
        peers.AUTHORS: lambda i: noisifier(x_0.long(), ks[i % SETS]),
    }
    case = f"noising step, {name} {'x'.join(map(str, shape))}"
    bench(case, x_0.numel(), ours, others, as_reference(ours))


@pytest.mark.parametrize("name", NAMES)
def test_reverse_step(bench: Any, name: str) -> None:
    """Every fourth step of test_bridge's path, times summed; the authors' rounding."""
    batch, *shape = SHAPES[name]
    path = reverse_path(batch, tuple(shape))[::4]

    def ours(i: int) -> None:
        for n, reverse in enumerate(path):
            test_bridge.ours(reverse, fb.Philox(i, call=n), "nearest")

    def check() -> None:
        for r in path:
            same_as_reference(lambda part, backend, r=r: test_bridge.ours(r, fb.Philox(1), "nearest", part, backend))

    others: peers.Calls = {"eager torch.binomial": lambda _: [test_bridge.eager(r, "nearest") for r in path]}
    if not isinstance(peers.load("scipy"), str):
        others["scipy round trip"] = lambda _: [test_bridge.scipy_round_trip(r) for r in path]
    case = f"{len(path)} reverse steps, {name} {'x'.join(map(str, SHAPES[name]))}"
    bench(case, sum(r.x_t.numel() for r in path), ours, others, check)


class Small(NamedTuple):
    """The small network in training on images of MNIST's shape, and one batch of its own."""

    trainer: Trainer
    x_0: torch.Tensor
    k: torch.Tensor


@functools.cache
def small() -> Small:
    trainer = trainer_for("eager", "mnist", torch.device("cpu"))
    x_0 = trainer.batch()[0]
    return Small(trainer, x_0, trainer.schedule.draw(len(x_0), rng=fb.Philox(1), like=x_0))


@pytest.mark.last
def test_share_of_a_training_step(bench: Any) -> None:
    """Noising, loss and its gradient beside the whole step of the small network: the share is 1 / ratio."""
    trainer, x_0, k = small()
    model, schedule = trainer.model, trainer.schedule
    logits = torch.randn(x_0.shape, generator=torch.Generator().manual_seed(7))

    def ours(k: torch.Tensor, key: fb.Philox, part: slice = slice(None), backend: str = "auto") -> tuple[Any, ...]:
        numbers = {"center": model.center(k), "scale": model.scale(k), "outputs": ("births", "model_input")}
        noised = fb.thin(x_0[part], schedule.survival(k), rng=key, backend=backend, **numbers)
        leaf, weight = logits[part].requires_grad_(), schedule.weight("likelihood", k)
        loss = fb.birth_loss(leaf, noised.births, weight, gain=model.gain(k), backend=backend)
        return noised.births, noised.model_input, loss.detach(), torch.autograd.grad(loss.sum(), leaf)[0]

    def step(i: int) -> None:
        ours(schedule.draw(len(x_0), rng=fb.Philox(i), like=x_0), fb.Philox(i))

    def check() -> None:
        same_as_reference(lambda part, backend: ours(k[part], fb.Philox(1), part, backend))

    others = {"the whole training step": lambda _: trainer.train_step()}
    bench(f"noising and loss of a training step, {len(x_0)}x1x28x28", x_0.numel(), step, others, check)


@pytest.mark.last
def test_share_of_a_sampling_step(bench: Any) -> None:
    """The reverse step beside a step of fb.sample with the small network; the share is 1 / ratio."""
    model, steps, shape = small().trainer.model, 2, (64, 1, 28, 28)
    x_t, logits = images(shape) // 2, torch.randn(shape, generator=torch.Generator().manual_seed(7))
    times = model.schedule.grid(100, "cosine").tolist()

    def ours(i: int, part: slice = slice(None), backend: str = "auto") -> fb.Stepped:
        k_t, k_s = times[i % 100], times[i % 100 + 1]
        numbers = {"gain": model.gain(k_t), "center": model.center(k_s), "scale": model.scale(k_s)}
        step = model.schedule.bridge(k_t, k_s)
        return fb.bridge_step(x_t[part], logits[part], step, rng=fb.Philox(i), backend=backend, **numbers)

    whole = "the whole sampling step"
    others = {whole: lambda i: fb.sample(model, model.schedule, shape, steps, rng=fb.Philox(i))}
    check = functools.partial(same_as_reference, lambda part, backend: ours(50, part, backend))
    bench(
        "reverse step of a sampling step, 64x1x28x28", int(np.prod(shape)), ours, others, check, shares={whole: steps}
    )
