"""hypergeometric: urns of as many good as bad balls in the mean, of which a uniform share is drawn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import fastblackout as fb
from cases import peers
from cases.harness import same_as_reference
from cases.workloads import SHAPE, uniforms, vector_isas


def _hypergeometric_peers(good: torch.Tensor, bad: torch.Tensor, draws: torch.Tensor) -> peers.Calls:
    """Good balls among the draws; torch has none."""
    generator, given = np.random.default_rng(0), [each.numpy() for each in (good, bad, draws)]
    calls: peers.Calls = {"numpy Generator": lambda i: generator.hypergeometric(*given)}
    if peers.present("scipy"):
        from scipy.stats import hypergeom

        n_good, n_bad, n = given
        calls["scipy rvs"] = lambda i: hypergeom.rvs(n_good + n_bad, n_good, n, random_state=generator)
    return calls


@pytest.mark.parametrize("isa", vector_isas())
@pytest.mark.parametrize("most", [20, 10_000])
def test_hypergeometric(bench: Any, isa: str | None, most: int) -> None:
    good, bad, share = uniforms(SHAPE)[:3]
    good, bad = (good * most).long() + 1, (bad * most).long() + 1  # scipy refuses urns without balls
    draws = (share * (good + bad + 1)).long()

    def ours(i: int, part: slice = slice(None), backend: str = "auto") -> torch.Tensor:
        return fb.hypergeometric(good[part], bad=bad[part], draws=draws[part], rng=fb.Philox(i), backend=backend)

    def check() -> None:
        same_as_reference(lambda part, backend: ours(0, part, backend))

    work = f"hypergeometric, to {most:,} balls of a kind"
    bench(work, good.numel(), ours, _hypergeometric_peers(good, bad, draws), check, isa=isa)
