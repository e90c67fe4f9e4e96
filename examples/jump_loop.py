"""The reverse loop of JUMP (tqch/poisson-jump): Poisson numbers added to a float state, before and after.

    python examples/jump_loop.py     # both loops, timed on one thread

At time t the state is Poisson with mean alpha_t lbd x_0; a step to the time before adds a Poisson number with the mean
that is missing, by a prediction of x_0. Here the network is one that knows x_0. The state stays a float tensor that is
changed in place, as the network wants floats: whole numbers are added to it as they are.
"""

import timeit

import torch

import fastblackout as fb

STEPS, LAMBDA = 100, 50.0
ALPHAS = torch.linspace(1, 0, STEPS + 1, dtype=torch.float64) ** 2
X_0 = torch.rand(16, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def before(x_0: torch.Tensor = X_0) -> torch.Tensor:
    z = torch.zeros_like(x_0)
    for t in range(STEPS, 0, -1):
        z += torch.poisson(float(ALPHAS[t - 1] - ALPHAS[t]) * LAMBDA * x_0)
    return z.div_(LAMBDA)


def after(x_0: torch.Tensor = X_0, seed: int = 0) -> torch.Tensor:
    z = torch.zeros_like(x_0)
    for t in range(STEPS, 0, -1):
        z += fb.poisson(float(ALPHAS[t - 1] - ALPHAS[t]) * LAMBDA * x_0, rng=fb.Philox(seed, call=t))
    return z.div_(LAMBDA)


if __name__ == "__main__":
    torch.set_num_threads(1)
    for loop in (before, after):
        print(f"{loop.__name__:8}{1e3 * min(timeit.repeat(loop, number=1, repeat=5)):9.1f} ms")
