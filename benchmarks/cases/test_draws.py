"""Element-wise draws beside the same draws of other libraries, a number for each element."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import fastblackout as fb
from cases import peers
from cases.harness import as_reference
from cases.workloads import SETS, SHAPE, uniforms, vector_isas

every_isa = pytest.mark.parametrize("isa", vector_isas())


@every_isa
def test_binomial(bench: Any, isa: str | None) -> None:
    """Workload B, counts uniform in 0..10,000."""
    count = torch.randint(0, 10_001, SHAPE, generator=torch.Generator().manual_seed(6)).float()
    probs = uniforms(SHAPE, torch.float32)

    def ours(i: int, part: slice = slice(None), backend: str = "auto") -> torch.Tensor:
        return fb.binomial(count[part], probs[i % SETS][part], rng=fb.Philox(i), backend=backend)

    integers = count.int()
    others = peers.binomial(count, probs)
    others["torch.binomial, int32 in and out"] = lambda i: torch.binomial(integers.float(), probs[i % SETS]).int()
    bench("binomial, counts to 10,000", count.numel(), ours, others, as_reference(ours), isa=isa)


@every_isa
def test_poisson(bench: Any, isa: str | None) -> None:
    """Workload C, rates uniform in 0..50."""
    rates = [50 * u for u in uniforms(SHAPE, torch.float32)]

    def ours(i: int, part: slice = slice(None), backend: str = "auto") -> torch.Tensor:
        return fb.poisson(rates[i % SETS][part], rng=fb.Philox(i), backend=backend)

    bench("poisson, rates 0..50", rates[0].numel(), ours, peers.poisson(rates), as_reference(ours), isa=isa)


@every_isa
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_standard_normal(bench: Any, isa: str | None, dtype: torch.dtype) -> None:
    mean = torch.zeros(SHAPE, dtype=dtype)

    def ours(i: int, part: slice = slice(None), backend: str = "auto") -> torch.Tensor:
        return fb.normal(mean[part], 1.0, rng=fb.Philox(i), backend=backend)

    generator, numpy_dtype = np.random.default_rng(0), np.float32 if dtype == torch.float32 else np.float64
    others: peers.Calls = {
        "torch.randn": lambda i: torch.randn(SHAPE, dtype=dtype),
        "numpy Generator": lambda i: generator.standard_normal(SHAPE, numpy_dtype),
    }
    if (jax := peers.present("jax")) and dtype == torch.float32:
        sample, key = jax.jit(lambda key: jax.random.normal(key, SHAPE)), jax.random.key(0)
        others["jax.random"] = lambda i: sample(jax.random.fold_in(key, i)).block_until_ready()
    if (mkl := peers.present("mkl_random")) and dtype == torch.float64:
        state = mkl.MKLRandomState(0, brng="PHILOX4X32X10")
        others["mkl_random, inverse function"] = lambda i: state.standard_normal(SHAPE, method="ICDF")
    name = f"standard normal, {str(dtype).removeprefix('torch.')}"
    bench(name, mean.numel(), ours, others, as_reference(ours), isa=isa)


def in_jax(draw: Callable[..., Any], *shapes: torch.Tensor) -> peers.Calls:
    """draw(jax.random, key, *shapes) under jit, where JAX is installed."""
    if not (jax := peers.present("jax")):
        return {}
    sample, key = jax.jit(lambda key, *given: draw(jax.random, key, *given)), jax.random.key(0)
    given = [shape.numpy() for shape in shapes]
    return {"jax.random": lambda i: sample(jax.random.fold_in(key, i), *given).block_until_ready()}


def in_torch_and_numpy(law: Any, drawn: Callable[[Any], Any]) -> peers.Calls:
    generator = np.random.default_rng(0)
    return {"torch.distributions": lambda i: law.sample(), "numpy Generator": lambda i: drawn(generator)}


Work = tuple[str, tuple[torch.Tensor, ...], Callable[..., torch.Tensor], peers.Calls]  # what, of what, ours, theirs


def gamma(a: torch.Tensor, b: torch.Tensor, u: torch.Tensor) -> Work:
    wide, law = a.double().numpy(), torch.distributions.Gamma(a, torch.ones_like(a))
    others = in_torch_and_numpy(law, lambda generator: generator.standard_gamma(wide))
    others |= in_jax(lambda random, key, a: random.gamma(key, a), a)
    return "gamma, shapes", (a,), lambda a, **how: fb.gamma(a, scale=1.0, **how), others


def beta(a: torch.Tensor, b: torch.Tensor, u: torch.Tensor) -> Work:
    wide, law = (a.double().numpy(), b.double().numpy()), torch.distributions.Beta(a, b)
    others = in_torch_and_numpy(law, lambda generator: generator.beta(*wide))
    return "beta, shapes", (a, b), fb.beta, others | in_jax(lambda random, key, a, b: random.beta(key, a, b), a, b)


def beta_binomial(a: torch.Tensor, b: torch.Tensor, u: torch.Tensor) -> Work:
    n = (u * 256).to(torch.uint8)
    generator, wide = np.random.default_rng(0), (a.double().numpy(), b.double().numpy())
    law, floats, numpy_n = torch.distributions.Beta(a, b), n.float(), n.numpy()
    others: peers.Calls = {
        "torch.distributions": lambda i: torch.binomial(floats, law.sample()),
        "numpy Generator": lambda i: generator.binomial(numpy_n, generator.beta(*wide)),
    }
    return "beta_binomial, shapes", (n, a, b), fb.beta_binomial, others


def negative_binomial(r: torch.Tensor, _: torch.Tensor, u: torch.Tensor) -> Work:
    mean = 50 * u
    law, wide = torch.distributions.NegativeBinomial(r, mean / (r + mean)), (r.double(), (r / (r + mean)).double())
    others = in_torch_and_numpy(law, lambda generator: generator.negative_binomial(*(x.numpy() for x in wide)))
    return "negative_binomial, r", (r, mean), lambda r, mean, **how: fb.negative_binomial(r, mean=mean, **how), others


RANGES = {"0.1..10": (-1.0, 1.0), "10..1000": (1.0, 3.0)}  # equally many shapes in each octave


@every_isa
@pytest.mark.parametrize("name", RANGES)
@pytest.mark.parametrize("work_of", [gamma, beta, beta_binomial, negative_binomial])
def test_by_gamma_draws(bench: Any, isa: str | None, name: str, work_of: Callable[..., Work]) -> None:
    low, high = RANGES[name]
    a, b, u = uniforms(SHAPE, torch.float32)[:3]
    work, given, op, others = work_of(10 ** (low + (high - low) * a), 10 ** (low + (high - low) * b), u)

    def ours(i: int, part: slice = slice(None), backend: str = "auto") -> torch.Tensor:
        return op(*(number[part] for number in given), rng=fb.Philox(i), backend=backend)

    bench(f"{work} {name}", a.numel(), ours, others, as_reference(ours), isa=isa)


def numpy_attempts(order: torch.Tensor, argument: torch.Tensor) -> peers.Calls:
    """The same method in NumPy, as no other library has the law: Poisson numbers, each accepted by the ratio of another
    Poisson probability to its largest."""
    if isinstance(special := peers.load("scipy.special"), str):
        return {}
    generator, n, a = np.random.default_rng(0), order.numpy().ravel(), argument.double().numpy().ravel()
    rate_1 = (n + np.hypot(n, a)) / 2
    log_rate, top = np.log(np.maximum(rate_1, 1e-300)), np.floor(rate_1)
    rate_2 = a * a / 4 / np.maximum(rate_1, 1e-300)

    def level(x: np.ndarray, log_m: np.ndarray) -> np.ndarray:
        return x * log_m - special.gammaln(x + 1)

    def draw(_: int) -> np.ndarray:
        out, at = np.empty(n.size, np.int64), np.arange(n.size)
        while at.size:
            k, log_m = generator.poisson(rate_2[at]), log_rate[at]
            out[at] = k
            at = at[np.log(generator.random(at.size)) > level(n[at] + k, log_m) - level(top[at], log_m)]
        return out

    return {"numpy Generator, scipy gammaln": draw}


@every_isa
def test_bessel(bench: Any, isa: str | None) -> None:
    order, argument = (uniforms(SHAPE)[0] * 51).long(), 50 * uniforms(SHAPE, torch.float32)[1]

    def ours(i: int, part: slice = slice(None), backend: str = "auto") -> torch.Tensor:
        return fb.bessel(order[part], argument[part], rng=fb.Philox(i), backend=backend)

    others = numpy_attempts(order, argument)
    bench("bessel, orders and arguments to 50", order.numel(), ours, others, as_reference(ours), isa=isa)


def hypergeometric_peers(good: torch.Tensor, bad: torch.Tensor, draws: torch.Tensor) -> peers.Calls:
    """Good balls among the draws; torch has none."""
    generator, given = np.random.default_rng(0), [each.numpy() for each in (good, bad, draws)]
    calls: peers.Calls = {"numpy Generator": lambda i: generator.hypergeometric(*given)}
    if peers.present("scipy"):
        from scipy.stats import hypergeom

        n_good, n_bad, n = given
        calls["scipy rvs"] = lambda i: hypergeom.rvs(n_good + n_bad, n_good, n, random_state=generator)
    return calls


@every_isa
@pytest.mark.parametrize("most", [20, 10_000])
def test_hypergeometric(bench: Any, isa: str | None, most: int) -> None:
    """Urns hold as many good balls as bad ones in the mean. A call draws a share of them, which is uniform."""
    good, bad, share = uniforms(SHAPE)[:3]
    good, bad = (good * most).long() + 1, (bad * most).long() + 1  # scipy refuses urns without balls
    draws = (share * (good + bad + 1)).long()

    def ours(i: int, part: slice = slice(None), backend: str = "auto") -> torch.Tensor:
        return fb.hypergeometric(good[part], bad=bad[part], draws=draws[part], rng=fb.Philox(i), backend=backend)

    work = f"hypergeometric, to {most:,} balls of a kind"
    bench(work, good.numel(), ours, hypergeometric_peers(good, bad, draws), as_reference(ours), isa=isa)
