"""thin and the reverse steps with numbers that differ within a sample, for each feature or element, or with a mask."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.nn.functional import softplus

import fastblackout as fb
from cases.harness import as_reference
from cases.workloads import SHAPE, images

LONG = pytest.mark.long
WIDTHS = {"feature": (1, SHAPE[1], 1, 1), "element": SHAPE}
EACH = [pytest.param("feature", marks=LONG), "element"]
Numbers = dict[str, Any]


def uniform(shape: tuple[int, ...], seed: int = 3) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def rows(number: Any, part: slice) -> Any:
    """The numbers of a part of the batch, where each element has one."""
    return number[part] if isinstance(number, torch.Tensor) and len(number) == SHAPE[0] else number


def _bench_thin(bench: Any, case: str, given: Numbers, plain: Numbers, theirs: Callable[[int], Any]) -> None:
    x_0 = images()

    def ours(i: int, part: slice = slice(None), backend: str = "auto", numbers: Numbers = given) -> torch.Tensor:
        how: Numbers = {name: rows(number, part) for name, number in numbers.items()}
        return fb.thin(x_0[part], rng=fb.Philox(i), outputs="x_t", backend=backend, **how).x_t

    others = {"torch.binomial": theirs, "one alive, no mask": lambda i: ours(i, numbers=plain)}
    bench(case, x_0.numel(), ours, others, as_reference(ours))


@pytest.mark.parametrize("width", EACH)
def test_thin(bench: Any, width: str) -> None:
    counts, alive = images().float(), uniform(WIDTHS[width])
    probs = alive.expand(SHAPE)
    theirs = lambda _: torch.binomial(counts, probs)  # noqa: E731
    _bench_thin(bench, f"thin, an alive for each {width}", {"alive": alive}, {"alive": 0.37}, theirs)


def test_masked_thin(bench: Any) -> None:
    counts, probs, mask = images().float(), torch.full(SHAPE, 0.37), uniform(SHAPE) < 0.8
    theirs = lambda _: torch.where(mask, torch.binomial(counts, probs), counts)  # noqa: E731
    _bench_thin(bench, "thin, a mask", {"alive": 0.37, "mask": mask}, {"alive": 0.37}, theirs)


PLAIN = {"step": 0.2, "gain": 8.0}  # of the reverse steps


def _eager(op: Callable[..., Any], x_t: torch.Tensor, logits: torch.Tensor, numbers: Numbers) -> torch.Tensor:
    """Poisson births, or births that are rounded at random and drawn."""
    y, step = numbers["gain"] * softplus(logits), torch.as_tensor(numbers["step"]).expand(SHAPE)
    if op is fb.tau_leap_step:
        born = torch.minimum(torch.poisson(y * step), 255.0 - x_t)
    else:
        born = torch.binomial(torch.minimum(torch.floor(y + torch.rand_like(y)), 255.0 - x_t), step)
    return x_t + (torch.where(numbers["mask"], born, 0.0) if "mask" in numbers else born)


@pytest.mark.parametrize("width", EACH)
@pytest.mark.parametrize("name", ["gain", "step", pytest.param("mask", marks=LONG)])
@pytest.mark.parametrize("op", [fb.bridge_step, pytest.param(fb.tau_leap_step, marks=LONG)])
def test_steps(bench: Any, op: Callable[..., Any], name: str, width: str) -> None:
    x_t, logits, number = images(), 4.0 * uniform(SHAPE, 5) - 2.0, uniform(WIDTHS[width])
    given = PLAIN | {name: number < 0.8 if name == "mask" else number * PLAIN[name]}

    def ours(i: int, part: slice = slice(None), backend: str = "auto", numbers: Numbers = given) -> torch.Tensor:
        how: Numbers = {name: rows(number, part) for name, number in numbers.items()}
        return op(x_t[part], logits[part], rng=fb.Philox(i), outputs="x_s", backend=backend, **how).x_s

    counts = x_t.float()
    others = {
        "eager torch": lambda _: _eager(op, counts, logits, given),
        "numbers for all": lambda i: ours(i, numbers=PLAIN),
    }
    bench(f"{op.__name__}, a {name} for each {width}", x_t.numel(), ours, others, as_reference(ours))
