"""gamma, beta and what is drawn by them: shapes spread over 0.1..10, equally many in each octave, and large ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import fastblackout as fb
from cases import peers
from cases.harness import same_as_reference
from cases.workloads import SHAPE, uniforms, vector_isas

RANGES = {"0.1..10": (-1.0, 1.0), "10..1000": (1.0, 3.0)}


def _shapes(name: str) -> list[torch.Tensor]:
    low, high = RANGES[name]
    return [10 ** (low + (high - low) * u) for u in uniforms(SHAPE, torch.float32)[:2]]


def _gamma_peers(shapes: torch.Tensor) -> peers.Calls:
    """Gamma(shape), one draw for each shape."""
    generator, numpy_shapes = np.random.default_rng(0), shapes.double().numpy()
    law = torch.distributions.Gamma(shapes, torch.ones_like(shapes))
    calls: peers.Calls = {
        "torch.distributions": lambda i: law.sample(),
        "numpy Generator": lambda i: generator.standard_gamma(numpy_shapes),
    }
    if jax := peers.present("jax"):
        sample, key, given = jax.jit(lambda key, a: jax.random.gamma(key, a)), jax.random.key(0), shapes.numpy()
        calls["jax.random"] = lambda i: sample(jax.random.fold_in(key, i), given).block_until_ready()
    return calls


def _beta_peers(a: torch.Tensor, b: torch.Tensor) -> peers.Calls:
    """Beta(a, b), one draw for each pair."""
    generator, numpy_a, numpy_b = np.random.default_rng(0), a.double().numpy(), b.double().numpy()
    law = torch.distributions.Beta(a, b)
    calls: peers.Calls = {
        "torch.distributions": lambda i: law.sample(),
        "numpy Generator": lambda i: generator.beta(numpy_a, numpy_b),
    }
    if jax := peers.present("jax"):
        sample, key, given = (
            jax.jit(lambda key, a, b: jax.random.beta(key, a, b)),
            jax.random.key(0),
            (a.numpy(), b.numpy()),
        )
        calls["jax.random"] = lambda i: sample(jax.random.fold_in(key, i), *given).block_until_ready()
    return calls


def _beta_binomial_peers(n: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> peers.Calls:
    """Binomial(n, Beta(a, b)), one draw for each."""
    generator, given = np.random.default_rng(0), [each.double().numpy() for each in (a, b)]
    law, floats, numpy_n = torch.distributions.Beta(a, b), n.float(), n.numpy()
    return {
        "torch.distributions": lambda i: torch.binomial(floats, law.sample()),
        "numpy Generator": lambda i: generator.binomial(numpy_n, generator.beta(*given)),
    }


def _negative_binomial_peers(r: torch.Tensor, mean: torch.Tensor) -> peers.Calls:
    """Poisson(mean / r Gamma(r)), one draw for each."""
    generator, given = np.random.default_rng(0), (r.double().numpy(), (r / (r + mean)).double().numpy())
    law = torch.distributions.NegativeBinomial(r, mean / (r + mean))
    return {
        "torch.distributions": lambda i: law.sample(),
        "numpy Generator": lambda i: generator.negative_binomial(*given),
    }


@pytest.mark.parametrize("isa", vector_isas())
@pytest.mark.parametrize("name", RANGES)
def test_gamma(bench: Any, isa: str | None, name: str) -> None:
    shape = _shapes(name)[0]

    def ours(i: int, part: slice = slice(None), backend: str = "auto") -> torch.Tensor:
        return fb.gamma(shape[part], scale=1.0, rng=fb.Philox(i), backend=backend)

    def check() -> None:
        same_as_reference(lambda part, backend: ours(0, part, backend))

    bench(f"gamma, shapes {name}", shape.numel(), ours, _gamma_peers(shape), check, isa=isa)


@pytest.mark.parametrize("isa", vector_isas())
@pytest.mark.parametrize("name", RANGES)
def test_beta(bench: Any, isa: str | None, name: str) -> None:
    a, b = _shapes(name)

    def ours(i: int, part: slice = slice(None), backend: str = "auto") -> torch.Tensor:
        return fb.beta(a[part], b[part], rng=fb.Philox(i), backend=backend)

    def check() -> None:
        same_as_reference(lambda part, backend: ours(0, part, backend))

    bench(f"beta, shapes {name}", a.numel(), ours, _beta_peers(a, b), check, isa=isa)


@pytest.mark.parametrize("isa", vector_isas())
@pytest.mark.parametrize("name", RANGES)
def test_beta_binomial(bench: Any, isa: str | None, name: str) -> None:
    a, b = _shapes(name)
    n = (uniforms(SHAPE, torch.float32)[2] * 256).to(torch.uint8)

    def ours(i: int, part: slice = slice(None), backend: str = "auto") -> torch.Tensor:
        return fb.beta_binomial(n[part], a[part], b[part], rng=fb.Philox(i), backend=backend)

    def check() -> None:
        same_as_reference(lambda part, backend: ours(0, part, backend))

    bench(f"beta_binomial, shapes {name}", n.numel(), ours, _beta_binomial_peers(n, a, b), check, isa=isa)


@pytest.mark.parametrize("isa", vector_isas())
@pytest.mark.parametrize("name", RANGES)
def test_negative_binomial(bench: Any, isa: str | None, name: str) -> None:
    r = _shapes(name)[0]
    mean = 50 * uniforms(SHAPE, torch.float32)[2]

    def ours(i: int, part: slice = slice(None), backend: str = "auto") -> torch.Tensor:
        return fb.negative_binomial(r[part], mean=mean[part], rng=fb.Philox(i), backend=backend)

    def check() -> None:
        same_as_reference(lambda part, backend: ours(0, part, backend))

    bench(f"negative_binomial, r {name}", r.numel(), ours, _negative_binomial_peers(r, mean), check, isa=isa)
