"""The bridge of Count Bridges (njwfish/count_bridges, bridges/torch/skellam.py) between two tables, before and after.

    python examples/bridge_loop.py     # both loops, timed on one thread

Between x_0 and x_1, two states of the same cells, a state takes a binomial part of the difference. The reverse loop
goes from x_1 to x_0, in each step by a prediction of x_0. Here the network is one that knows x_0.
"""

import timeit

import torch

import fastblackout as fb

STEPS = 10
GENERATOR = torch.Generator().manual_seed(0)
X_0, X_1 = (torch.poisson(20 * torch.rand(256, 500, generator=GENERATOR) ** 4, generator=GENERATOR) for _ in range(2))


def before(x_0: torch.Tensor = X_0, x_1: torch.Tensor = X_1) -> tuple[torch.Tensor, torch.Tensor]:
    difference = x_1 - x_0
    w = torch.rand(len(x_0), 1)  # a time for each cell of a training batch
    noised = x_0 + difference.sign() * torch.binomial(difference.abs(), w.expand_as(x_0))
    x = x_1
    for step in range(STEPS, 0, -1):
        difference = x - x_0
        kept = torch.binomial(difference.abs(), torch.full_like(x, (step - 1) / step))
        x = x_0 + difference.sign() * kept
    return noised, x


def after(x_0: torch.Tensor = X_0, x_1: torch.Tensor = X_1, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    difference = x_1 - x_0
    w = torch.rand(len(x_0), 1)
    noised = x_0 + difference.sign() * fb.binomial(difference.abs(), w, rng=fb.Philox(seed))
    x, how = x_1, {"max_count": 255, "outputs": ("x_t",)}  # with larger counts max_count=10_000, say
    for step in range(STEPS, 0, -1):
        difference = x - x_0
        kept = fb.thin(difference.abs(), (step - 1) / step, rng=fb.Philox(seed, call=step), **how).x_t
        x = x_0 + difference.sign() * kept
    return noised, x


if __name__ == "__main__":
    torch.set_num_threads(1)
    for loop in (before, after):
        print(f"{loop.__name__:8}{1e3 * min(timeit.repeat(loop, number=1, repeat=5)):9.1f} ms")
