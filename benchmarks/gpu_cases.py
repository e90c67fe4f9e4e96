"""The cases of gpu_checks.py: arguments that cover shapes, dtypes, layouts and keys, and the calls that take them."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from typing import Any

import gpu_states
import torch
from torch import Tensor

import fastblackout as fb

OPS = (
    "thin", "bridge_step", "tau_leap_step", "birth_loss", "binomial", "poisson", "categorical", "categorical_bridge",
    "transition_rows", "thin_log_prob", "bridge_log_prob",
)  # fmt: skip
NO_DRAW = ("birth_loss", "transition_rows", "thin_log_prob", "bridge_log_prob")
SHAPES = ((3, 1), (3, 7), (3, 31), (3, 1, 28, 28), (3, 3, 32, 32), (2, 3, 257, 129))
SEEDS = (0, 1, 16, 2**63, 2**64 - 1)
LAYOUTS = ("contiguous", "channels_last", "sliced", "inner")
COUNTS, FLOATS = ("uint8", "int16", "int32", "int64"), ("float32", "bfloat16", "float16", "float64")
PROBS = (0.37, 0.0, 1.0, 0.5, 1e-12, 1 - 1e-12, 0.93, 1e-3)
COMMON: dict[str, Sequence[Any]] = {"shape": SHAPES, "seed": SEEDS, "layout": LAYOUTS, "floats": FLOATS}
FACTORS: dict[str, dict[str, Sequence[Any]]] = {
    "thin": {"counts": COUNTS, "limit": (255, 200, 15, 1000), "all": (True, False)},
    "bridge_step": {
        "counts": COUNTS,
        "limit": (255, 200, 15, 1000),
        "given": (0, 1),
        "nearest": (0, 1),
        "fall": (0, 1),
    },
    "tau_leap_step": {"counts": COUNTS, "limit": (255, 200, 15, 1000), "given": (0, 1)},
    "birth_loss": {"counts": COUNTS, "limit": (100,)},
    "binomial": {"counts": COUNTS, "limit": (255, 10**6, 2**53), "pair": (0, 1)},
    "poisson": {"counts": ("int64",), "limit": (3, 300, 10**6)},
    "categorical": {
        "counts": COUNTS, "limit": (255, 39, 2, 599), "matrices": ("one", "index", "each"), "table": (0, 1),
    },
    "categorical_bridge": {
        "counts": COUNTS, "limit": (1, 3, 30), "matrices": ("one", "index", "each"),
        "given": ("logits", "probs", "x_0"),
    },
    "transition_rows": {"counts": ("uint8",), "limit": (0, 2, 40, 255)},
    "thin_log_prob": {"counts": COUNTS, "limit": (255, 20)},
    "bridge_log_prob": {"counts": COUNTS, "limit": (127, 20)},
}  # fmt: skip
PLAIN = {"seed": 1, "layout": "contiguous", "floats": "float32", "counts": "int32", "limit": 100, "all": True}
Arguments = dict[str, Any]


def cover(factors: dict[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Combinations in which every pair of values of two factors occurs; the same every time."""
    draw = random.Random(0)
    pairs = {((a, u), (b, v)) for a, b in itertools.combinations(factors, 2) for u in factors[a] for v in factors[b]}
    cases = []
    while pairs:
        first = dict(min(pairs, key=repr))
        picks = [{name: draw.choice(values) for name, values in factors.items()} | first for _ in range(30)]
        best = max(picks, key=lambda pick: len(pairs & set(itertools.combinations(pick.items(), 2))))
        pairs -= set(itertools.combinations(best.items(), 2))
        cases.append(best)
    return cases


def cases(op: str) -> list[dict[str, Any]]:
    return cover(COMMON | FACTORS[op])


def arguments(op: str, case: dict[str, Any], number: int = 0) -> Arguments:
    """Dense CPU tensors for a case, extremes among them; what the layout is put on has at least two dimensions."""
    made, shape = torch.Generator().manual_seed(number), case["shape"]
    counts, floats = getattr(torch, case["counts"]), getattr(torch, case["floats"])

    def rows(values: Sequence[float], dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.tensor([values[(number + b) % len(values)] for b in range(shape[0])], dtype=dtype)

    def uniform(low: float, high: float, dtype: torch.dtype = floats) -> Tensor:
        return (low + (high - low) * torch.rand(shape, generator=made, dtype=torch.float64)).to(dtype)

    limit = min(case["limit"], torch.iinfo(counts).max)
    x = torch.randint(0, limit + 1, shape, generator=made).to(counts)
    x.view(-1)[::5], x.view(-1)[3::7] = limit, 0
    if op == "binomial":
        p = uniform(0.0, 1.0, torch.float64 if case.get("pair") else floats)
        p.view(-1)[::11] = 1e-6
        return {"x": x, "prob": p} | ({"prob_q": 1 - p} if case.get("pair") else {})
    if op == "poisson":
        return {"rate": uniform(0.0, min(case["limit"], 6e4))}
    if op in gpu_states.OPS:
        return gpu_states.arguments(op, case, x, limit, rows(PROBS, torch.float64), made)
    gain, logits = rows((1.0, 30.0, 7.3)), uniform(-6.0, 6.0)
    if op == "birth_loss":
        logits.view(-1)[::9] = -200.0
        return {"logits": logits, "births": x, "weight": rows((1.0, -1.5, 1e-3), torch.float64), "gain": gain,
                "upstream": rows((1.0, -2.5))}  # fmt: skip
    p = rows(PROBS, torch.float64)
    center, scale = rows((3.3, -0.5)), rows((0.7, -2.0))
    a = {"x": x, "p": p, "center": center, "scale": scale, "max_count": limit, "input_dtype": case["floats"]}
    if op == "thin":
        return a | {"q": 1 - p, "outputs": ("x_t", "births", "model_input") if case["all"] else ("x_t",)}
    a |= {"births": uniform(0.0, 40.0)} if case.get("given") else {"logits": logits}
    if op == "tau_leap_step":
        return a | {"p": 3 * p, "gain": gain}
    sigma = rows((0.05, 0.6, 0.0), torch.float64) if case.get("fall") else None
    fall = {} if sigma is None else {"sigma_p": sigma, "sigma_q": 1 - sigma}
    return a | {"q": 1 - p, "gain": gain, "rounding": "nearest" if case.get("nearest") else "stochastic"} | fall


def public(op: str, a: Arguments, rng: Any, backend: str = "cpu") -> dict[str, Tensor]:
    """The op as users call it; rng: a Philox or a key tensor."""
    if op in gpu_states.OPS:
        return {"out": gpu_states.public(op, a, rng, backend)}
    names = ("max_count", "center", "scale", "input_dtype", "outputs", "rounding", "gain")
    more = {name: a[name] for name in names if name in a} | {"backend": backend}
    if op == "birth_loss":
        logits = a["logits"].detach().requires_grad_()
        loss = fb.birth_loss(logits, a["births"], a["weight"], **more)
        return {"loss": loss.detach(), "grad": torch.autograd.grad(loss, logits, a["upstream"])[0]}
    if op == "binomial":
        prob = fb.Prob(a["prob"], a["prob_q"]) if "prob_q" in a else a["prob"]
        return {"out": fb.binomial(a["x"], prob, rng=rng, **more)}
    if op == "poisson":
        return {"out": fb.poisson(a["rate"], rng=rng, **more)}
    if op == "thin":
        made: Any = fb.thin(a["x"], fb.Prob(a["p"], a["q"]), rng=rng, **more)
    else:
        more |= {"rng": rng, "births": a.get("births")}
        if op == "tau_leap_step":
            made = fb.tau_leap_step(a["x"], a.get("logits"), a["p"], **more)
        else:
            fall = fb.Prob(a["sigma_p"], a["sigma_q"]) if "sigma_p" in a else 0.0
            made = fb.bridge_step(a["x"], a.get("logits"), fb.Prob(a["p"], a["q"]), attrition=fall, **more)
    return {name: value for name, value in made._asdict().items() if value is not None}


def direct(kernels: Any, op: str, a: Arguments, key: Tensor, out: dict[str, Tensor], flag: Tensor) -> None:
    """The same by the functions of fastblackout.backends, into given outputs."""
    net, born = a.get("logits"), a.get("births")
    if op in gpu_states.OPS:
        gpu_states.direct(kernels, op, a, key, out["out"], flag)
    elif op == "birth_loss":
        kernels.birth_loss(net, born, a["weight"], a["gain"], out["loss"], flag)
        kernels.birth_loss_grad(net, born, a["upstream"].double() * a["weight"], a["gain"], out["grad"], flag)
    elif op == "binomial":
        kernels.binomial(a["x"], a["prob"], a.get("prob_q"), key, out["out"], flag)
    elif op == "poisson":
        kernels.poisson(a["rate"], key, out["out"], flag)
    elif op == "thin":
        images = (out["x_t"], out.get("births"), out.get("model_input"))
        kernels.thin(a["x"], a["p"], a["q"], key, a["max_count"], a["center"], a["scale"], *images, flag)
    elif op == "tau_leap_step":
        out["overshoot"].zero_()  # the kernels add to it
        kernels.tau_leap(
            a["x"], net, born, a["p"], key, a["max_count"], a["gain"], a["center"], a["scale"], out["x_s"],
            out["model_input"], out["overshoot"], flag,
        )  # fmt: skip
    else:
        kernels.bridge(
            a["x"], net, born, a["p"], a["q"], a.get("sigma_p"), a.get("sigma_q"), key, a["max_count"], a["gain"],
            a["rounding"] == "stochastic", a["center"], a["scale"], out["x_s"], out["model_input"], flag,
        )  # fmt: skip
