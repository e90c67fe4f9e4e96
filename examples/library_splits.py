"""Functions of scvi-tools, deepinv and cubic that split counts at random, before and after.

    python examples/library_splits.py     # both of each, timed on one thread

`after` takes the arguments of the library's function and can stand in its place:

    from scvi.external.joint_embedding_scvi import _module
    _module.binomial_split = library_splits.scvi_after

- scvi: `binomial_split` of scvi-tools 1.5. JointEmbeddingSCVI thins each training batch by it.
- deepinv: `set_binomial_corruptor` of deepinv 0.5 (deepinv.loss.r2r), the noise that R2RLoss adds to Poisson counts.
- cubic: `binomial_split` of cubic 0.8 (cubic.metrics.spectral.frc), by which it estimates the resolution of one image.
  What it draws is all here. Its errors and warnings are not.
"""

import timeit

import numpy as np
import torch

import fastblackout as fb


def scvi_before(x, p=0.5):
    counts = x.round().clamp(min=0)
    x_1 = torch.distributions.Binomial(counts, p).sample()
    return x_1, counts - x_1


def scvi_after(x, p=0.5):
    counts = x.round().clamp(min=0)
    x_1 = fb.binomial(counts, p)
    return x_1, counts - x_1


def deepinv_before(y, alpha, gamma):
    z = y / gamma
    law = torch.distributions.Binomial(z.round(), alpha)
    return lambda: gamma * (z - law.sample()) / (1 - alpha)


def deepinv_after(y, alpha, gamma):
    z = y / gamma
    counts = z.round().int()
    return lambda: gamma * (z - fb.thin(counts, alpha, max_count=1 << 30, outputs=("x_t",)).x_t) / (1 - alpha)


def cubic_before(image, p=0.5, *, counts_mode="counts", gain=1.0, offset=0.0, readout_noise_rms=0.0, rng=None):
    generator = np.random.default_rng(rng)
    if counts_mode == "poisson_thinning":
        rates = image.astype(np.float64).clip(min=0)
        halves = generator.poisson(p * rates), generator.poisson((1 - p) * rates)
        return tuple(half.astype(np.float32) for half in halves)
    electrons = ((image.astype(np.float64) - offset) / gain).clip(min=0) + readout_noise_rms**2
    counts = np.rint(electrons).astype(np.int64)
    one = generator.binomial(counts, p)
    return tuple((half.astype(np.float32) - readout_noise_rms**2 / 2).clip(min=0) for half in (one, counts - one))


def cubic_after(image, p=0.5, *, counts_mode="counts", gain=1.0, offset=0.0, readout_noise_rms=0.0, rng=None):
    key = fb.Philox(int(np.random.default_rng(rng).integers(1 << 63)))
    if counts_mode == "poisson_thinning":
        rates = image.astype(np.float64).clip(min=0)
        halves = fb.poisson(p * rates, rng=key), fb.poisson((1 - p) * rates, rng=key.at(call=1))
        return tuple(half.astype(np.float32) for half in halves)
    electrons = ((image.astype(np.float64) - offset) / gain).clip(min=0) + readout_noise_rms**2
    counts = np.rint(electrons).astype(np.int64)
    halves = fb.thin(counts, p, rng=key, max_count=1 << 53, outputs=("x_t", "births"))[:2]
    return tuple((half.astype(np.float32) - readout_noise_rms**2 / 2).clip(min=0) for half in halves)


if __name__ == "__main__":
    torch.set_num_threads(1)
    cells = torch.poisson(torch.exp(2 * torch.randn(256, 4000) - 2))
    images = torch.poisson(100 * torch.rand(8, 3, 256, 256)) / 100
    photons = np.random.default_rng(0).poisson(100.0, (1024, 1024)).astype(np.uint16)
    calls = {
        "scvi": lambda split: split(cells, torch.rand(256, 1)),
        "deepinv": lambda corruptor: corruptor(images, 0.15, torch.tensor([0.01]))(),
        "cubic": lambda split: split(photons),
    }
    for name, call in calls.items():
        for when in ("before", "after"):
            function = globals()[f"{name}_{when}"]
            seconds = min(timeit.repeat(lambda call=call, function=function: call(function), number=1, repeat=5))
            print(f"{name:8} {when:8}{1e3 * seconds:9.1f} ms")
