"""bessel: orders and arguments to 50. No library beside this has the law: the peer is the same method in NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import fastblackout as fb
from cases import peers
from cases.harness import same_as_reference
from cases.workloads import SHAPE, uniforms, vector_isas


def numpy_attempts(order: torch.Tensor, argument: torch.Tensor) -> peers.Calls:
    """Poisson numbers, accepted by the ratio of another Poisson probability to its largest, until all are."""
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


@pytest.mark.parametrize("isa", vector_isas())
def test_bessel(bench: Any, isa: str | None) -> None:
    order, argument = (uniforms(SHAPE)[0] * 51).long(), 50 * uniforms(SHAPE, torch.float32)[1]

    def ours(i: int, part: slice = slice(None), backend: str = "auto") -> torch.Tensor:
        return fb.bessel(order[part], argument[part], rng=fb.Philox(i), backend=backend)

    def check() -> None:
        same_as_reference(lambda part, backend: ours(0, part, backend))

    bench("bessel, orders and arguments to 50", order.numel(), ours, numpy_attempts(order, argument), check, isa=isa)
