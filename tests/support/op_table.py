"""The table of ops for product.py: an op's own factors, its arguments for a case, and how it is called.

A new element-wise draw is a value in draws.py. Another new op is a row here: its factors beyond COMMON (or in
place of it), a function from a Maker to dense CPU tensors and numbers, two calls, the public function and its kernel in
fastblackout.backends, and wrong values.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

import fastblackout as fb
from fastblackout.call.declared import DECLARED
from support import draws, op_posterior, op_states
from support.helpers import KEYS
from support.maker import Maker

Arguments = dict[str, Any]

SHAPES = ((), (3, 0, 2), (3, 1), (2, 7), (3, 31), (2, 1, 28, 28), (3, 3, 32, 32), (1, 3, 257, 129))
LAYOUTS = ("contiguous", "channels_last", "transposed", "sliced", "inner", "expanded")
COUNTS, FLOATS = ("uint8", "int16", "int32", "int64"), ("float32", "bfloat16", "float16", "float64")
MAXIMA = (255, 200, 15, 1, 0, 256, 100_000)
COMMON: dict[str, Sequence[Any]] = {"shape": SHAPES, "layout": LAYOUTS, "counts": COUNTS, "floats": FLOATS, "key": KEYS}
NO_KEY: dict[str, Sequence[Any]] = {"key": KEYS[:1]}  # of the ops that draw nothing
PLAIN = {"layout": "contiguous", "counts": "int32", "floats": "float32", "key": fb.Philox(1), "max_count": 100}
LOGITS = (-6e4, -1e4, -87.5, -86.5, 0.0, 20.0, 300.0, 6e4)
# What lies in the case's layout, of a draw everything; the rest is one a sample.
IMAGES = ("x", "logits", "births", "a", "b", "x_0", *op_posterior.HEADS)


def _state(m: Maker) -> Arguments:
    """What thin and the reverse steps share. thin's only floats are the model input; the steps have a factor for it."""
    a = {"x": m.counts(), "p": m.probs(), "center": m.rows((3.3, -0.5, -1e-20)), "scale": m.rows((0.7, -2.0))}
    a |= {"max_count": m.max_count, "input_dtype": m.case.get("inputs", m.case["floats"])}
    return a | ({"outputs": m.case["outputs"]} if "outputs" in m.case else {})  # else all


def _thin(m: Maker) -> Arguments:
    a = _state(m)
    return a | {"q": 1 - a["p"]}


def _reverse(m: Maker) -> Arguments:
    a = _state(m) | {"gain": m.rows((1.0, 30.0, 7.3, 0.0))}
    given = m.case.get("given")
    if not given:
        return a | {"logits": m.uniform(-6.0, 6.0, LOGITS)}
    if given == "floats":
        return a | {"births": m.uniform(0.0, 40.0, (0.0, 0.5, 2.5, 6e4))}
    return a | {"births": m.whole(getattr(torch, given))}


def _bridge(m: Maker) -> Arguments:
    a = _reverse(m)
    a |= {"q": 1 - a["p"], "rounding": "nearest" if m.case.get("nearest") else "stochastic"}
    if not m.case.get("fall"):
        return a
    sigma = m.probs((0.05, 0.6, 0.0, 1e-9))
    return a | {"sigma_p": sigma, "sigma_q": 1 - sigma}


def _tau_leap(m: Maker) -> Arguments:
    return _reverse(m) | {"p": m.probs((0.05, 0.4, 1.7, 0.0, 1e9))}


def _posterior_step(m: Maker) -> Arguments:
    return op_posterior.step_factors(m, _state)


def _birth_loss(m: Maker) -> Arguments:
    a = {"logits": m.uniform(-40.0, 40.0, LOGITS), "births": m.counts(), "gain": m.rows((m.case.get("gain", 1.0), 7.3))}
    return a | {"weight": m.rows((1.0, -1.5, 1e-3, 0.0), torch.float64), "upstream": m.rows((1.0, -2.5))}


def _energy_loss(m: Maker) -> Arguments:
    """Draws lie in dimension 1 here, so that all arguments can be cut by samples; dense: in dimension 0 in memory."""
    born: torch.dtype = getattr(torch, m.case.get("born", "float32"))
    births = m.uniform(0.0, 40.0, (0.0, 0.5, 2.5, 6e4), born) if born.is_floating_point else m.whole(born, 2**53)
    a: Arguments = {"x": m.counts(), "births": births, "max_count": m.max_count, "dense": m.case.get("dense", 0)}
    a |= {"logits": torch.stack([m.uniform(-6.0, 6.0, LOGITS) for _ in range(m.case.get("draws", 2))], 1)}
    a |= {"weight": m.rows((1.0, -1.5, 1e-3, 0.0), torch.float64), "upstream": m.rows((1.0, -2.5))}
    return a | {"offset": m.rows((0.0, -1.5, -20.0, 3.0))}


def _thinned(a: Arguments, more: dict[str, Any]) -> Any:
    return fb.thin(a["x"], fb.Prob(a["p"], a["q"]), **more)


def _bridged(a: Arguments, more: dict[str, Any]) -> Any:
    fall = fb.Prob(a["sigma_p"], a["sigma_q"]) if "sigma_p" in a else 0.0
    given = {"births": a.get("births"), "attrition": fall}
    return fb.bridge_step(a["x"], a.get("logits"), fb.Prob(a["p"], a["q"]), **given, **more)


def _leaped(a: Arguments, more: dict[str, Any]) -> Any:
    return fb.tau_leap_step(a["x"], a.get("logits"), a["p"], births=a.get("births"), **more)


def _lost(a: Arguments, more: dict[str, Any]) -> Any:
    del more["rng"]
    logits = a["logits"].detach().requires_grad_()
    loss = fb.birth_loss(logits, a["births"], a["weight"], **more)
    return {"loss": loss.detach(), "grad": torch.autograd.grad(loss, logits, a["upstream"])[0]}


def draws_of(a: Arguments) -> Tensor:
    """Logits as fb.energy_loss takes them."""
    draws = a["logits"].detach().transpose(0, 1)
    return draws.contiguous() if a["dense"] else draws


def _scored(a: Arguments, more: dict[str, Any]) -> Any:
    del more["rng"]
    logits = draws_of(a).requires_grad_()
    loss = fb.energy_loss(logits, a["x"], a["births"], a["weight"], offset=a["offset"], **more)
    (grad,) = torch.autograd.grad(loss, logits, a["upstream"])
    return {"loss": loss.detach(), "grad": grad.transpose(0, 1)}


# The same by the functions of fastblackout.backends, into given outputs: (kernels, arguments, key, outputs, flag).
def _thin_kernel(k: Any, a: Arguments, key: Tensor, out: dict[str, Tensor], flag: Tensor) -> None:
    made = (out.get(name) for name in ("x_t", "births", "model_input"))
    k.thin(a["x"], a["p"], a["q"], key, a["max_count"], a["center"], a["scale"], *made, flag)


def _bridge_kernel(k: Any, a: Arguments, key: Tensor, out: dict[str, Tensor], flag: Tensor) -> None:
    k.bridge_step(
        a["x"], a.get("logits"), a.get("births"), a["p"], a["q"], a.get("sigma_p"), a.get("sigma_q"), key,
        a["max_count"], a["gain"], a["rounding"] == "stochastic", a["center"], a["scale"], out.get("x_s"),
        out.get("model_input"), flag,
    )  # fmt: skip


def _tau_leap_kernel(k: Any, a: Arguments, key: Tensor, out: dict[str, Tensor], flag: Tensor) -> None:
    out["overshoot"].zero_()  # the kernels add to it
    k.tau_leap_step(
        a["x"], a.get("logits"), a.get("births"), a["p"], key, a["max_count"], a["gain"], a["center"], a["scale"],
        out.get("x_s"), out.get("model_input"), out["overshoot"], flag,
    )  # fmt: skip


def _birth_loss_kernel(k: Any, a: Arguments, key: Tensor, out: dict[str, Tensor], flag: Tensor) -> None:
    k.birth_loss(a["logits"], a["births"], a["weight"], a["gain"], out["loss"], flag)
    coefficient = a["upstream"].double() * a["weight"]
    k.birth_loss_backward(a["logits"], a["births"], coefficient, a["gain"], out["grad"], flag)


def _energy_loss_kernel(k: Any, a: Arguments, key: Tensor, out: dict[str, Tensor], flag: Tensor) -> None:
    draws = draws_of(a)
    norms = a["weight"].new_empty(len(a["x"]), len(draws) * (len(draws) + 1) // 2)
    inputs, last = (a["x"], draws, a["births"]), (a["offset"], a["max_count"])
    k.energy_loss(*inputs, a["weight"], *last, out["loss"], norms, flag)
    grad = torch.empty_like(draws) if a["dense"] else out["grad"].transpose(0, 1)
    k.energy_loss_backward(*inputs, a["upstream"].double() * a["weight"], *last, norms, grad, flag)
    if a["dense"]:
        out["grad"].copy_(grad.transpose(0, 1))


class Op(NamedTuple):
    arguments: Callable[[Maker], Arguments]
    public: Callable[[Arguments, dict[str, Any]], Any]  # with the rng and options
    kernel: Callable[[Any, Arguments, Tensor, dict[str, Tensor], Tensor], None]
    factors: dict[str, Sequence[Any]]  # beyond, or in place of, COMMON
    wrong: Sequence[tuple[str, float, str]]  # argument, value that no kernel takes, how the rule of the flag begins
    images: Sequence[str] = IMAGES


_THIN_OUTPUTS = (("x_t", "births", "model_input"), ("x_t",), ("births", "model_input"))
_STEPS = {
    # Births as floats or integers, else logits, which have twice the cases of each.
    "max_count": MAXIMA,
    "inputs": FLOATS,
    "given": ("", "", "floats", *COUNTS),
    "one": (0, 1),
    "outputs": (("x_s", "model_input"), ("x_s",), ("model_input",)),
}
OPS = {
    "thin": Op(
        _thin, _thinned, _thin_kernel, {"max_count": MAXIMA, "one": (0, 1), "outputs": _THIN_OUTPUTS},
        (("x", 200, "counts"), ("p", 1.5, "probability"), ("q", 0.3, "probability"), ("center", math.nan, "gain")),
    ),
    "bridge_step": Op(
        _bridge, _bridged, _bridge_kernel, _STEPS | {"nearest": (0, 1), "fall": (0, 1)},
        (("logits", math.nan, "logits"), ("p", 0.3, "probability"), ("gain", -1.0, "gain")),
    ),
    "tau_leap_step": Op(
        _tau_leap, _leaped, _tau_leap_kernel, _STEPS,
        (("logits", math.inf, "logits"), ("x", -1, "counts"), ("scale", math.inf, "gain")),
    ),
    "birth_loss": Op(
        _birth_loss, _lost, _birth_loss_kernel,
        NO_KEY | {
            "shape": (*SHAPES[1:], (2, 5000)), "counts": (*COUNTS, *FLOATS), "max_count": (100,), "gain": (1.0, 1e-30),
        },
        (("logits", math.nan, "logits"), ("weight", math.nan, "gain"), ("gain", 0.0, "gain")),
    ),
    "energy_loss": Op(
        _energy_loss, _scored, _energy_loss_kernel,
        NO_KEY | {
            "shape": (*SHAPES[1:], (2, 5000)), "born": (*COUNTS, *FLOATS), "draws": (2, 3, 4, 5, 6, 7, 8),
            "dense": (0, 1), "max_count": (255, 15, 100_000, 2**53),
        },
        (("x", 200, "counts"), ("logits", math.nan, "logits"), ("offset", math.inf, "gain")),
    ),
    "posterior_loss": Op(
        op_posterior.arguments, op_posterior.public, op_posterior.kernel,
        NO_KEY | {
            "shape": (*SHAPES[1:], (2, 5000)), "born": (*COUNTS, *FLOATS), "max_count": (255, 15, 100_000, 2**53),
            "components": (0, 1, 2, 3, -1),
        },
        (
            ("x", 200, "counts"), ("head_1", math.nan, "logits"), ("births", 200, "births"),
            ("offset", math.inf, "gain"),
        ),
    ),
    "posterior_step": Op(
        _posterior_step, op_posterior.stepped, op_posterior.step_kernel,
        {name: _STEPS[name] for name in ("inputs", "one", "outputs")} | {
            "shape": SHAPES[1:], "max_count": (255, 15, 1, 100_000, 2**53), "components": (0, 1, 2, 3, -1),
        },
        (
            ("x", 200, "counts"), ("head_0", math.nan, "logits"), ("head_1", math.inf, "logits"),
            ("p", 0.3, "probability"), ("offset", math.nan, "gain"), ("scale", math.inf, "gain"),
        ),
    ),
}  # fmt: skip


def _draw(op: str) -> Op:
    """An element-wise draw, whose arguments have the names and the order of its declaration."""
    row = draws.DRAWS[op]
    first, *_ = getattr(fb, op) and DECLARED[op].arguments

    def public(a: Arguments, more: dict[str, Any]) -> dict[str, Tensor]:
        return {"out": draws.public(op, a, more["rng"], more["backend"])}

    def kernel(k: Any, a: Arguments, key: Tensor, out: dict[str, Tensor], flag: Tensor) -> None:
        getattr(k, op)(*map(a.get, first.names), key, out["out"], flag)

    return Op(row.arguments, public, kernel, row.FACTORS, row.WRONG, first.names)


OPS |= {op: _draw(op) for op in draws.DRAWS}


def _between_states(op: str, wrong: Sequence[tuple[str, float, str]], **factors: Sequence[Any]) -> Op:
    def arguments(m: Maker) -> Arguments:
        return op_states.arguments(op, m.case, m.counts(), m.max_count, m.probs(), m.random)

    def public(a: Arguments, more: dict[str, Any]) -> dict[str, Tensor]:
        return {"out": op_states.public(op, a, more["rng"], more["backend"])}

    def kernel(k: Any, a: Arguments, key: Tensor, out: dict[str, Tensor], flag: Tensor) -> None:
        op_states.direct(k, op, a, key, out["out"], flag)

    shapes = tuple(shape for shape in SHAPES if shape and 0 not in shape)
    return Op(arguments, public, kernel, {"shape": shapes, **factors}, wrong)


STATES = {
    "categorical": {
        "wrong": (("x", 200, "counts"), ("probs", math.nan, "probability")),
        "floats": ("float32", "float64"),
        "max_count": (255, 39, 2, 300),
        "matrices": ("one", "index", "each"),
        "table": (0, 1),
    },
    "categorical_bridge": {
        "wrong": (("logits", math.nan, "logits"), ("after", math.nan, "probability")),
        "max_count": (1, 3, 30),
        "matrices": ("one", "index", "each"),
        "given": ("logits", "probs", "x_0"),
    },
    "transition_rows": NO_KEY
    | {
        "wrong": (("p", 1.5, "probability"), ("q", 0.3, "probability")),
        "counts": ("uint8",),
        "max_count": (0, 2, 40, 255),
    },
    "thin_log_prob": NO_KEY | {"wrong": (("x", -1, "counts"), ("p", math.nan, "probability")), "max_count": (255, 20)},
    "bridge_log_prob": NO_KEY | {"wrong": (("b", -1, "counts"),), "max_count": (127, 20)},
}
OPS |= {op: _between_states(op, **factors) for op, factors in STATES.items()}
