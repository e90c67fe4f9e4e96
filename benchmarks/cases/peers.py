"""The samplers others offer, each as a call that takes its ordinal; those not installed are left out and named."""

from __future__ import annotations

import functools
import importlib
import os
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch.distributions import Binomial

from cases.workloads import schedule

# Modules; the packages that bring them have the same names.
OPTIONAL = ("scipy", "numba", "jax", "mkl_random")
Calls = dict[str, Callable[[int], Any]]


@functools.cache
def load(name: str) -> ModuleType | str:
    """The module, or one line saying why it is absent."""
    if name == "jax":  # one thread, as everyone else; read when jax is imported
        os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")
    try:
        return importlib.import_module(name)
    except ImportError as error:
        return str(error)


def absent() -> dict[str, str]:
    """What to do about the optional peers that were not timed."""
    return {
        name: f"pip install '.[bench]' brings it as {name} ({why})"
        for name in OPTIONAL
        if isinstance(why := load(name), str)
    }


def present(name: str) -> Any:
    return None if isinstance(module := load(name), str) else module


def binomial(count: torch.Tensor, probs: Sequence[torch.Tensor]) -> Calls:
    """Binomial(count, probs[ordinal]): float32 tensors of one shape, converted beforehand to what each peer takes."""
    generator = np.random.default_rng(0)
    n, ps = count.numpy().astype(np.int64), [p.double().numpy() for p in probs]
    sets = len(ps)
    calls: Calls = {
        "torch.binomial": lambda i: torch.binomial(count, probs[i % sets]),
        "torch.distributions": lambda i: Binomial(count, probs[i % sets], validate_args=False).sample(),
        "numpy Generator": lambda i: generator.binomial(n, ps[i % sets]),
        "numpy Generator, from and to torch": lambda i: torch.from_numpy(
            generator.binomial(count.numpy().astype(np.int64), probs[i % sets].numpy())
        ).float(),
    }
    if present("scipy"):
        from scipy.stats import binom

        calls["scipy rvs"] = lambda i: binom.rvs(n, ps[i % sets], random_state=generator)
    if numba := present("numba"):
        draw = _numba_loop(numba, lambda n, p: np.random.binomial(n, p))
        flat, flat_ps = n.ravel(), [p.ravel() for p in ps]
        calls["numba"] = lambda i: draw(flat, flat_ps[i % sets])
    if jax := present("jax"):
        sample = jax.jit(lambda key, n, p: jax.random.binomial(key, n, p))
        key, on_n, *on_ps = jax.random.key(0), *(jax.numpy.asarray(value.numpy()) for value in (count, *probs))
        calls["jax.random"] = lambda i: sample(jax.random.fold_in(key, i), on_n, on_ps[i % sets]).block_until_ready()
    if mkl := present("mkl_random"):
        state = mkl.MKLRandomState(0, brng="PHILOX4X32X10")
        calls["mkl_random"] = lambda i: state.binomial(n, ps[i % sets])
    return calls


def numpy_generators(count: torch.Tensor, probs: Sequence[torch.Tensor], parts: int) -> list[Callable[[int], Any]]:
    """NumPy's binomial on as many parts of the batch, each with a generator of its own."""
    n = np.array_split(count.numpy().astype(np.int64), parts)
    ps = [np.array_split(p.double().numpy(), parts) for p in probs]

    def draw(part: int, generator: np.random.Generator, i: int) -> Any:
        return generator.binomial(n[part], ps[i % len(ps)][part])

    generators = map(np.random.default_rng, range(parts))
    return [functools.partial(draw, part, generator) for part, generator in enumerate(generators)]


def poisson(rates: Sequence[torch.Tensor]) -> Calls:
    """Poisson(rates[ordinal]): float32 tensors."""
    generator = np.random.default_rng(0)
    wide = [rate.double().numpy() for rate in rates]
    sets = len(wide)
    calls: Calls = {
        "torch.poisson": lambda i: torch.poisson(rates[i % sets]),
        "numpy Generator": lambda i: generator.poisson(wide[i % sets]),
        "numpy Generator, from and to torch": lambda i: torch.from_numpy(
            generator.poisson(rates[i % sets].numpy())
        ).float(),
    }
    if present("scipy"):
        from scipy.stats import poisson as law

        calls["scipy rvs"] = lambda i: law.rvs(wide[i % sets], random_state=generator)
    if numba := present("numba"):
        draw = _numba_loop(numba, lambda _, rate: np.random.poisson(rate))
        flat = [rate.ravel() for rate in wide]
        calls["numba"] = lambda i: draw(flat[i % sets], flat[i % sets])
    if jax := present("jax"):
        sample = jax.jit(lambda key, rate: jax.random.poisson(key, rate))
        key, on_rates = jax.random.key(0), [jax.numpy.asarray(rate.numpy()) for rate in rates]
        calls["jax.random"] = lambda i: sample(jax.random.fold_in(key, i), on_rates[i % sets]).block_until_ready()
    if mkl := present("mkl_random"):
        state = mkl.MKLRandomState(0, brng="PHILOX4X32X10")
        calls["mkl_random, default (inexact)"] = lambda i: state.poisson(wide[i % sets])
        calls["mkl_random, PTPE (exact)"] = lambda i: state.poisson(wide[i % sets], method="PTPE")
    return calls


def _numba_loop(numba: Any, element: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    draw = numba.njit(element)

    @numba.njit
    def loop(a: Any, b: Any) -> Any:
        out = np.empty(a.size, np.int64)
        for i in range(a.size):
            out[i] = draw(a[i], b[i])
        return out

    return loop


class Noisifier:
    """Noising as the authors do it: for every pixel its float64 column of a (T + 1, 256, 256) table of distribution
    functions is gathered and compared with one uniform; torch's argmax of the comparisons as integers is x_t. A second
    such table holds the births. `rows`: as their method could be done better, with rows that lie in one piece and
    NumPy's argmax of booleans, which stops at the first."""

    BATCH = 16  # images at once: their gathered rows are 100 MB

    def __init__(self, survival: np.ndarray, rows: bool = False) -> None:
        p = survival[:, None]
        law = np.zeros((len(survival), 256, 256))  # [k, x_0, x_t], a row from the row above: one more particle
        law[:, 0, 0] = 1.0
        for n in range(1, 256):
            law[:, n] = law[:, n - 1] * (1.0 - p)
            law[:, n, 1:] += law[:, n - 1, :-1] * p
        cdf = torch.from_numpy(np.cumsum(law, axis=2, out=law))
        cdf[..., -1] = 1.0
        self._rows, self._cdf = rows, cdf if rows else cdf.mT.contiguous()  # theirs: [k, x_t, x_0]
        levels = torch.arange(256.0, dtype=torch.float64)
        self._births = (levels[:, None] - levels).expand_as(cdf).contiguous()
        self._center = torch.from_numpy(127.5 * survival)

    def __call__(self, x_0: torch.Tensor, k: torch.Tensor) -> tuple[list[torch.Tensor], ...]:
        """x_0: int64 (B, C, H, W); k: int64 (B,). x_t, births and model input, a tensor for each part of the batch."""
        parts = [self._part(x, t) for x, t in zip(x_0.split(self.BATCH), k.split(self.BATCH), strict=True)]
        return tuple(list(part) for part in zip(*parts, strict=True))

    def _part(self, x_0: torch.Tensor, k: torch.Tensor) -> tuple[torch.Tensor, ...]:
        k, u = k[:, None, None, None], torch.rand((*x_0.shape, 1))
        if self._rows:
            x_t = torch.from_numpy((u < self._cdf[k, x_0]).numpy().argmax(-1))
        else:
            x_t = torch.argmax((u < self._cdf[k, :, x_0]).long(), dim=-1)
        births = self._births[k, x_0, x_t]
        return x_t, births.float(), (x_t - self._center[k]).float()


AUTHORS, AUTHORS_BETTER = "authors' noisifier", "authors' noisifier, rows in one piece"


@functools.cache
def noisifiers(which: tuple[str, ...] = (AUTHORS, AUTHORS_BETTER)) -> dict[str, Noisifier]:
    """The steps of the 1,000-step grid: the tables of each are 1 GB."""
    return {name: Noisifier(schedule().p, rows=name == AUTHORS_BETTER) for name in which}
