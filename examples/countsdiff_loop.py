"""A reverse loop of CountsDiff (rsoatto/countsdiff) with remasking: births and deaths in every step, before and after.

    python examples/countsdiff_loop.py     # both loops, timed on one thread

The state goes from black to counts 0..255. In each step a network predicts how many particles are missing; some of them
are born, and some of those that are there die ("remasking"). Here the network is one that knows the images.
"""

import timeit

import torch

import fastblackout as fb

STEPS, SIGMA = 20, 0.01  # SIGMA: the largest chance to die in a step
P = torch.cos(torch.linspace(torch.pi / 2, 0, STEPS + 1)) ** 2  # the share alive, from 0 to 1
IMAGES = torch.randint(0, 256, (16, 3, 32, 32), generator=torch.Generator().manual_seed(0))


def missing(state: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """The network."""
    return (images - state).clamp(min=0)


def chances(step: int) -> tuple[float, float]:
    """Of a birth and of a death: no larger than leaves a chance of a birth of at most 1."""
    p_t, p_s = float(P[step]), float(P[step + 1])
    sigma = min(SIGMA, (1 - p_s) / p_t)
    return (p_s - (1 - sigma) * p_t) / (1 - p_t), sigma


def before(images: torch.Tensor = IMAGES) -> torch.Tensor:
    images = images.float()
    state = torch.zeros_like(images)
    for step in range(STEPS):
        beta, sigma = chances(step)
        predicted = missing(state, images)
        births = torch.binomial(predicted, torch.full_like(predicted, beta))
        deaths = torch.binomial(state, torch.full_like(state, sigma))
        state = state + births - deaths
    return state


def after(images: torch.Tensor = IMAGES, seed: int = 0) -> torch.Tensor:
    images = images.float()
    state = torch.zeros_like(images)
    how = {"rounding": "nearest", "max_count": 255, "outputs": ("x_s",)}
    for step in range(STEPS):
        beta, sigma = chances(step)
        key = fb.Philox(seed, call=step)
        births = missing(state, images)
        state = fb.bridge_step(state, births=births, step=beta, attrition=sigma, rng=key, **how).x_s
    return state


if __name__ == "__main__":
    torch.set_num_threads(1)
    for loop in (before, after):
        print(f"{loop.__name__:8}{1e3 * min(timeit.repeat(loop, number=1, repeat=5)):9.1f} ms")
