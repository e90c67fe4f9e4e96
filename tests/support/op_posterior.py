"""fb.posterior_loss and fb.posterior_step for op_table.py: arguments for a case, the public call, and the kernels."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

import fastblackout as fb
from fastblackout.call.head import FAMILIES
from support.maker import Maker

EXTREMES = (-6e4, 6.0, -6.0, -87.5, 0.0, 20.0, 300.0, 6e4)
# The most births that a dtype holds exactly, with all below.
_WHOLE = {
    "uint8": 255,
    "int16": 2**15 - 1,
    "int32": 2**31 - 1,
    "float16": 2**11,
    "bfloat16": 2**8,
}


NO_MORE = (None,) * 6  # the arrays of a head of two that are not there

# Wrong values of a step, and the bits of the flag they set: (count, o_1, o_2, p, q, offset, bits).
STEP_CASES = [
    (10, 0.0, 0.0, 0.3, 0.7, 0.0, 0), (11, 0.0, 0.0, 0.3, 0.7, 0.0, 1), (-1, math.nan, 0.0, 0.3, 0.7, 0.0, 3),
    (4, math.inf, 0.0, 0.3, 0.7, 0.0, 2), (4, 0.0, math.nan, 0.3, 0.7, 0.0, 2),
    (4, math.nan, -math.inf, 1.0, 0.0, 0.0, 2),
    (4, 0.0, 0.0, 1.5, -0.5, 0.0, 8), (4, 0.0, 0.0, math.nan, 0.5, 0.0, 8), (4, 0.0, 0.0, 0.3, 0.3, 0.0, 8),
    (4, 0.0, 0.0, 0.3, 0.7, math.inf, 16), (4, 0.0, 0.0, 0.3, 0.7, math.nan, 16),
]  # fmt: skip


def step_arguments(x: int, o_1: float, o_2: float, p: float, q: float, offset: float, bits: int) -> tuple[Any, ...]:
    """(counts, head, (p, q, offset, key), bits), wrong in the last element."""
    counts, head = torch.full((1, 40), 3), torch.zeros(2, 1, 40)
    counts[0, -1], head[0, 0, -1], head[1, 0, -1] = x, o_1, o_2
    pair = (torch.tensor([each], dtype=torch.float64) for each in (p, q))
    return counts, head, (*pair, torch.tensor([offset]), fb.Philox(3).tensor()), bits


NAMES = "beta-binomial, bayes-logistic, negative-binomial, mean"  # as errors list them
HEADS = tuple(f"head_{at}" for at in range(8))


def _head(m: Maker) -> dict[str, Any]:
    """Extremes of the head lie beyond both clamps. The factor "components": of the law "bayes-logistic"; for the other
    laws see `family_of`."""
    components, family = m.case.get("components", 0), family_of(m)
    arrays = max(3 * components - 1, 2)
    made = {name: m.uniform(-9.0, 9.0, EXTREMES[at:] + EXTREMES[:at]) for at, name in enumerate(HEADS[:arrays])}
    if components <= 0:
        made = {"head_0": m.uniform(-9.0, 9.0, EXTREMES), "head_1": m.uniform(-9.0, 9.0, EXTREMES[::-1])}
    return made | {"offset": m.rows((0.0, -1.5, -20.0, 3.0)), "family": family}


def family_of(m: Maker) -> int:
    """The number of the law. The factor "components": above 0 "bayes-logistic" of so many, -1 "negative-binomial"."""
    components = m.case.get("components", 0)
    return 1 - components if components < 0 else int(components > 0)


def _bounded(m: Maker) -> None:
    """Laws that go from state to state take the reference long where these are many."""
    if family_of(m) not in (0, 2):
        size = math.prod(m.shape)
        m.max_count = min(m.max_count, 255 if size < 200 else 40 if size < 3000 else 15)


def arguments(m: Maker) -> dict[str, Any]:
    """Births within the room that x leaves, also all and none of it."""
    _bounded(m)
    x, born = m.counts(), m.case.get("born", "float32")
    room = torch.clamp(m.max_count - x.long(), max=2**31 if born in ("int64", "float64") else _WHOLE.get(born, 2**24))
    births = (room * torch.rand(m.shape, generator=m.random, dtype=torch.float64)).long()
    births.view(-1)[::4], births.view(-1)[1::4] = room.view(-1)[::4], 0
    a: dict[str, Any] = {"x": x, "births": births.to(getattr(torch, born)), "max_count": m.max_count}
    a |= _head(m) | {"weight": m.rows((1.0, -1.5, 1e-3, 0.0), torch.float64), "upstream": m.rows((1.0, -2.5))}
    return a


def step_factors(m: Maker, state: Callable[[Maker], dict[str, Any]]) -> dict[str, Any]:
    """state: what thin and the reverse steps share."""
    _bounded(m)
    made = state(m)
    return made | _head(m) | {"q": 1 - made["p"]}


def _law(a: dict[str, Any]) -> dict[str, Any]:
    return {"family": tuple(FAMILIES)[a["family"]], "offset": a["offset"]}


def _all(a: dict[str, Any], names: tuple[str, ...] = HEADS) -> list[Any]:
    """The arrays of a head as kernels take them, None for those that are not there."""
    return [a.get(name) for name in names]


def public(a: dict[str, Any], more: dict[str, Any]) -> Any:
    del more["rng"]
    head = [each.detach().requires_grad_() for each in _all(a) if each is not None]
    loss = fb.posterior_loss(head, a["x"], a["births"], a["weight"], **_law(a), **more)
    grads = torch.autograd.grad(loss, head, a["upstream"])
    return {"loss": loss.detach(), **{f"grad_{at}": grad for at, grad in enumerate(grads)}}


def kernel(k: Any, a: dict[str, Any], key: Tensor, out: dict[str, Tensor], flag: Tensor) -> None:
    inputs, last = (a["x"], a["family"], *_all(a), a["births"]), (a["offset"], a["max_count"])
    k.posterior_loss(*inputs, a["weight"], *last, out["loss"], flag)
    coefficient = a["upstream"].double() * a["weight"]
    grads = [out.get(name.replace("head", "grad")) for name in HEADS]
    k.posterior_loss_backward(*inputs, coefficient, *last, *grads, flag)


def stepped(a: dict[str, Any], more: dict[str, Any]) -> Any:
    head = [each for each in _all(a) if each is not None]
    return fb.posterior_step(a["x"], head, fb.Prob(a["p"], a["q"]), **_law(a), **more)


def step_kernel(k: Any, a: dict[str, Any], key: Tensor, out: dict[str, Tensor], flag: Tensor) -> None:
    k.posterior_step(
        a["x"], a["family"], *_all(a), a["p"], a["q"], a["offset"], key, a["max_count"], a["center"], a["scale"],
        out.get("x_s"), out.get("model_input"), flag,
    )  # fmt: skip
