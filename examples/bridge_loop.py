"""The bridge of Count Bridges (njwfish/count_bridges, bridges/torch/skellam.py) between two tables, before and after.

    python examples/bridge_loop.py     # both loops, timed on one thread

A state between two states x_0 and x_1 of the same cells is x_0 + sign(x_1 - x_0) Binomial(abs(x_1 - x_0), w). The
reverse loop goes from x_1 to x_0, in each step by a prediction of x_0. Here the network is one that knows x_0.
"""

import timeit

import torch

import fastblackout as fb

STEPS = 10
GENERATOR = torch.Generator().manual_seed(0)
X_0, X_1 = (torch.poisson(20 * torch.rand(256, 500, generator=GENERATOR) ** 4, generator=GENERATOR) for _ in range(2))


def between_before(x_0: torch.Tensor, x_1: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    difference = x_1 - x_0
    return x_0 + difference.sign() * torch.binomial(difference.abs(), w.expand_as(x_0))


def before(x_0: torch.Tensor = X_0, x_1: torch.Tensor = X_1) -> tuple[torch.Tensor, torch.Tensor]:
    noised = between_before(x_0, x_1, torch.rand(len(x_0), 1))  # a time for each cell of a training batch
    x = x_1
    for step in range(STEPS, 0, -1):
        x = between_before(x_0, x, torch.tensor((step - 1) / step))
    return noised, x


def between_after(x_0: torch.Tensor, x_1: torch.Tensor, w: torch.Tensor | float, key: fb.Philox) -> torch.Tensor:
    difference = x_1 - x_0
    return x_0 + difference.sign() * fb.thin(difference.abs(), w, max_count=1 << 20, outputs=("x_t",), rng=key).x_t


def after(x_0: torch.Tensor = X_0, x_1: torch.Tensor = X_1, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    noised = between_after(x_0, x_1, torch.rand(len(x_0), 1), fb.Philox(seed))
    x = x_1
    for step in range(STEPS, 0, -1):
        x = between_after(x_0, x, (step - 1) / step, fb.Philox(seed, call=step))
    return noised, x


if __name__ == "__main__":
    torch.set_num_threads(1)
    for loop in (before, after):
        print(f"{loop.__name__:8}{1e3 * min(timeit.repeat(loop, number=1, repeat=5)):9.1f} ms")
