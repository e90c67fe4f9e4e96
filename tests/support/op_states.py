"""The ops between states in op_table.py: their arguments and the calls."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

import fastblackout as fb

Arguments = dict[str, Any]


def matrices(shape: tuple[int, ...], made: torch.Generator) -> Tensor:
    """Rows of probabilities, float64, zeros among them."""
    weights = torch.rand(shape, generator=made, dtype=torch.float64, device=made.device) ** 4
    weights[..., 1:].mul_(weights[..., 1:] > 0.1)
    return weights / weights.sum(-1, keepdim=True)


def arguments(op: str, case: dict[str, Any], x: Tensor, max_count: int, p: Tensor, made: torch.Generator) -> Arguments:
    """x are states or counts in 0..max_count."""
    batch, states = len(x), max_count + 1
    if op == "transition_rows":
        return {"p": p, "q": 1 - p, "max_count": max_count}
    if op in ("thin_log_prob", "bridge_log_prob"):
        more = [torch.randint(0, max_count + 1, x.shape, generator=made).to(x.dtype) for _ in range(2)]
        return {"x": x, "a": more[0], "p": p, "q": 1 - p} | ({"b": more[1]} if op == "bridge_log_prob" else {})
    kind = case.get("matrices", "each")
    count = {"one": 1, "index": 2, "each": batch}[kind]
    a: Arguments = {"x": x, "one": kind == "one"}
    if kind == "index":
        a["index"] = torch.randint(0, count, (batch,), generator=made)
    if op == "categorical":
        single = case["floats"] != "float64"
        probs = matrices((count, states, states), made)
        return a | {"probs": probs.float() if single else probs, "table": bool(case.get("table"))}
    a |= {"before": matrices((count, states, states), made), "after": matrices((count, states, states), made)}
    a["after"] = 0.01 + 0.9 * a["after"]
    given = case.get("given", "logits")
    if given == "x_0":
        return a | {"x_0": torch.randint(0, states, x.shape, generator=made).to(torch.int32)}
    if given == "probs":
        return a | {"predicted": matrices((*x.shape, states), made)}
    logits = 4 * torch.randn((*x.shape, states), generator=made)
    return a | {"logits": logits.to(getattr(torch, case["floats"]))}


def public(op: str, a: Arguments, rng: Any, backend: str) -> Tensor:
    """The op as users call it."""
    if op == "transition_rows":
        return fb.transition_rows(fb.Prob(a["p"], a["q"]), a["max_count"], backend=backend)
    if op == "thin_log_prob":
        return fb.thin_log_prob(a["x"], a["a"], fb.Prob(a["p"], a["q"]), backend=backend)
    if op == "bridge_log_prob":
        return fb.bridge_log_prob(a["x"], a["a"], a["b"], fb.Prob(a["p"], a["q"]), backend=backend)
    more = {"index": a.get("index"), "rng": rng, "backend": backend}

    def one(name: str) -> Tensor:
        return a[name][0] if a["one"] else a[name]

    if op == "categorical":
        probs = fb.CategoricalTable(one("probs"), backend=backend) if a["table"] else one("probs")
        return fb.categorical(a["x"], probs, **more)
    more |= {"logits": a.get("logits"), "probs": a.get("predicted")}
    return fb.categorical_bridge(a["x"], a.get("x_0"), before=one("before"), after=one("after"), **more)


def direct(kernels: Any, op: str, a: Arguments, key: Tensor, out: Tensor, flag: Tensor) -> None:
    """The same by the functions of fastblackout.backends."""
    if op == "transition_rows":
        kernels.transition_rows(a["p"], a["q"], a["max_count"] + 1, out, flag)
    elif op in ("thin_log_prob", "bridge_log_prob"):
        counts = [a[name] for name in ("x", "a", "b") if name in a]
        getattr(kernels, op)(*counts, a["p"], a["q"], out, flag)
    elif op == "categorical_bridge":
        given = a.get("logits", a.get("predicted"))
        kernels.categorical_bridge(
            a["x"], a.get("x_0"), given, "logits" in a, a["before"], a["after"], a.get("index"), key, out, flag
        )
    elif a["table"]:
        probs = a["probs"]
        thresholds = torch.empty(probs.shape, dtype=torch.int64, device=probs.device)
        guide = torch.empty((*probs.shape[:2], 256), dtype=torch.uint16, device=probs.device)
        kernels.build_categorical_table(probs, thresholds, guide, flag)
        kernels.categorical_table(a["x"], thresholds, guide, a.get("index"), key, out, flag)
    else:
        kernels.categorical(a["x"], a["probs"], a.get("index"), key, out, flag)
