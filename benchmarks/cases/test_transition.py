"""transition: whole rows of thinning, and log-probabilities of images."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import fastblackout as fb
from cases.harness import same_as_reference
from cases.workloads import SETS, images, uniforms

stats = pytest.importorskip("scipy.stats")


def test_rows(bench: Any) -> None:
    """A 256 by 256 matrix."""
    p = [float(value) for value in uniforms((1,))]
    n, k = np.arange(256)[:, None], np.arange(256)

    def ours(i: int, part: slice = slice(None), backend: str = "auto") -> torch.Tensor:
        return torch.from_numpy(fb.transition_rows(p[i % SETS], 255, backend=backend))[part]

    def check() -> None:
        same_as_reference(lambda part, backend: ours(0, part, backend), rows=256)
        np.testing.assert_allclose(ours(0).numpy(), stats.binom.pmf(k, n, p[0]), atol=1e-13)

    others = {"scipy binom.pmf": lambda i: stats.binom.pmf(k, n, p[i % SETS])}
    bench("transition_rows, S = 256", 256 * 256, ours, others, check)


def test_log_prob(bench: Any) -> None:
    x_0, alive = images(), uniforms(images().shape[:1])
    x_t = [fb.thin(x_0, p, rng=fb.Philox(i), outputs="x_t").x_t for i, p in enumerate(alive)]

    def ours(i: int, part: slice = slice(None), backend: str = "auto") -> torch.Tensor:
        return fb.thin_log_prob(x_t[i % SETS][part], x_0[part], alive[i % SETS][part], backend=backend)

    spread = [p.view(-1, 1, 1, 1) for p in alive]
    k_host, n_host, p_host = [x.numpy() for x in x_t], x_0.numpy(), [p.numpy() for p in spread]
    k_wide, n_wide = [x.double() for x in x_t], x_0.double()

    def lgamma(i: int) -> torch.Tensor:
        k, n, p = k_wide[i % SETS], n_wide, spread[i % SETS]
        orders = torch.lgamma(n + 1) - torch.lgamma(k + 1) - torch.lgamma(n - k + 1)
        return orders + torch.xlogy(k, p) + torch.xlogy(n - k, 1 - p)

    def check() -> None:
        same_as_reference(lambda part, backend: ours(0, part, backend))
        torch.testing.assert_close(ours(0), lgamma(0), rtol=1e-9, atol=1e-9)

    others = {
        "scipy binom.logpmf": lambda i: stats.binom.logpmf(k_host[i % SETS], n_host, p_host[i % SETS]),
        "torch.lgamma": lgamma,
    }
    bench("thin_log_prob", x_0.numel(), ours, others, check)
