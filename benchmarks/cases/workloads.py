"""The work the cases share."""

from __future__ import annotations

import functools
import itertools
import os
from typing import Any, NamedTuple

import numpy as np
import torch

import fastblackout as fb
from fastblackout.backends import available

SHAPE = (64, 3, 32, 32)
SETS = 4  # inputs prepared for a case; call i takes set i % SETS
STEPS = 1000
# What people train on: a batch of about as many pixels each.
SHAPES = {"MNIST": (256, 1, 28, 28), "CIFAR": SHAPE, "CelebA-64": (16, 3, 64, 64), "256x256": (1, 3, 256, 256)}
_LEAST_LOGIT = -30.0  # stands for 0 expected births


def images(shape: tuple[int, ...] = SHAPE) -> torch.Tensor:
    """Counts uniform in 0..255, uint8."""
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def uniforms(shape: tuple[int, ...], dtype: torch.dtype = torch.float64) -> list[torch.Tensor]:
    """SETS tensors uniform in [0, 1)."""
    generator = torch.Generator().manual_seed(2)
    return [torch.rand(shape, dtype=dtype, generator=generator) for _ in range(SETS)]


@functools.cache
def schedule() -> fb.Schedule:
    return fb.Schedule.logit(STEPS)


class Noising(NamedTuple):
    """Images and survival probabilities, one per image: as ours takes them, and as float32 tensors of one shape."""

    x_0: torch.Tensor
    alive: list[fb.Prob]
    counts: torch.Tensor
    probs: list[torch.Tensor]


def noising(x_0: torch.Tensor, alive: list[fb.Prob]) -> Noising:
    per_image = (-1, *(1 for _ in x_0.shape[1:]))
    probs = [prob.p.float().view(per_image).expand_as(x_0).contiguous() for prob in alive]
    return Noising(x_0, alive * (SETS // len(alive)), x_0.float(), probs * (SETS // len(alive)))


_cpu = available.load("_cpu")
ISAS = [name for name in _cpu.isas() if not _cpu.emulated(name)]


def vector_isas() -> list[str | None]:
    """This machine's best instruction set, as None, and those below it that have vectors."""
    return [None, *ISAS[1:-1]]


def thread_counts() -> list[int]:
    """2, 4, 8, ... and all cores there are."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return sorted({1 << n for n in range(1, 10) if 1 << n <= cores} | ({cores} if cores > 1 else set()))


def workload_a(shape: tuple[int, ...] = SHAPE, shared: bool = False, sets: int = SETS) -> Noising:
    """p uniform; with `shared` the same for all images of a call. sets: how many of the SETS differ."""
    draws = [p[:1].expand_as(p).contiguous() if shared else p for p in uniforms(shape[:1])[:sets]]
    return noising(images(shape), [fb.Prob(p, 1 - p) for p in draws])


def grid_indices(images: int = SHAPE[0]) -> list[torch.Tensor]:
    """k of the 1,000-step grid, one per image."""
    return [1 + (u * STEPS).long() for u in uniforms((images,))]


def blackout_grid() -> Noising:
    return noising(images(), [schedule().survival(k) for k in grid_indices()])


class Reverse(NamedTuple):
    """One reverse step: the state as ours takes it and in float32, the network's output, the birth probability."""

    x_t: torch.Tensor
    state: torch.Tensor
    logits: torch.Tensor
    step: fb.Prob
    center: float


@functools.cache
def reverse_path(batch: int, shape: tuple[int, ...] = SHAPE[1:]) -> list[Reverse]:
    """20 evenly spaced steps of the 1,000-step grid, with a network that knows x_0: softplus(logits) = x_0 - x_t."""
    x_0, path = images((batch, *shape)), []
    for k_t, k_s in itertools.pairwise(schedule().grid(20, "index").tolist()):
        x_t, births, _ = fb.thin(x_0, schedule().survival(k_t), rng=fb.Philox(3), outputs=("x_t", "births"))
        y = births.double()
        logits = torch.where(y > 0, y + torch.log(-torch.expm1(-y)), _LEAST_LOGIT).float()
        step, center = schedule().bridge(k_t, k_s), 127.5 * schedule().survival(k_s).p
        path.append(Reverse(x_t, x_t.float(), logits, step, center))
    return path


def single_cells(cells: int, depth: float, genes: int = 2000) -> Any:
    """A CSR matrix in float32: negative binomial counts, genes and depths log-normal; depth: the mean logarithm."""
    from scipy.sparse import csr_matrix, vstack

    generator, made = np.random.default_rng(0), []
    means = generator.lognormal(depth, 1.5, genes)
    for start in range(0, cells, 1000):
        rows = min(1000, cells - start)
        rates = generator.gamma(1.0, 1.0, (rows, genes)) * means * generator.lognormal(-0.125, 0.5, (rows, 1))
        made.append(csr_matrix(generator.poisson(rates).astype(np.float32)))
    return vstack(made, format="csr")
