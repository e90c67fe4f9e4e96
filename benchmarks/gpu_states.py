"""The ops between states in gpu_cases.py (what they take and the calls) and in gpu_work.py (inputs, ours, torch's)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

import fastblackout as fb
from fastblackout import torch_ops

OPS = ("categorical", "categorical_bridge", "transition_rows", "thin_log_prob", "bridge_log_prob")
Arguments = dict[str, Any]


def matrices(shape: tuple[int, ...], made: torch.Generator) -> Tensor:
    """Rows of probabilities, float64, zeros among them."""
    weights = torch.rand(shape, generator=made, dtype=torch.float64, device=made.device) ** 4
    weights[..., 1:].mul_(weights[..., 1:] > 0.1)
    return weights / weights.sum(-1, keepdim=True)


def arguments(
    op: str, case: dict[str, Any], x: Tensor, limit: int, p: Tensor, made: torch.Generator
) -> Arguments:  # fmt: skip
    """As gpu_cases.arguments: x are states or counts in 0..limit."""
    batch, states = len(x), limit + 1
    if op == "transition_rows":
        return {"p": p, "q": 1 - p, "limit": limit}
    if op in ("thin_log_prob", "bridge_log_prob"):
        more = [torch.randint(0, limit + 1, x.shape, generator=made).to(x.dtype) for _ in range(2)]
        return {"x": x, "a": more[0], "p": p, "q": 1 - p} | ({"b": more[1]} if op == "bridge_log_prob" else {})
    kind = case.get("matrices", "each")
    count = {"one": 1, "index": 5, "each": batch}[kind]
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
        return fb.transition_rows(fb.Prob(a["p"], a["q"]), a["limit"], backend=backend)
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
        kernels.transition_rows(a["p"], a["q"], out, flag)
    elif op in ("thin_log_prob", "bridge_log_prob"):
        kernels.log_prob(int(op == "bridge_log_prob"), a["x"], a["a"], a.get("b"), a["p"], a["q"], out, flag)
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


# ---- what is timed --------------------------------------------------------------------------------------------------

CHUNK = 1 << 20  # pixels whose rows of 256 probabilities torch gathers at once


def noising(shape: tuple[int, ...], made: torch.Generator) -> dict[str, Tensor]:
    """uint8 states and a transition matrix of 256 states for each image."""
    x = torch.randint(0, 256, shape, dtype=torch.uint8, device=made.device, generator=made)
    probs = matrices((shape[0], 256, 256), made)
    return {"x": x, "probs": probs, "peer_x": x.long(), "peer_probs": probs.float()}


def tabled(shape: tuple[int, ...], made: torch.Generator) -> dict[str, Tensor]:
    """The same states and matrices as thresholds."""
    v = noising(shape, made)
    table = fb.CategoricalTable(v["probs"])
    return {"x": v["x"], "thresholds": table.thresholds, "guide": table.guide}


def reverse(shape: tuple[int, ...], made: torch.Generator) -> dict[str, Tensor]:
    """16 states and the logits of a network for x_0."""
    x = torch.randint(0, 16, shape, dtype=torch.uint8, device=made.device, generator=made)
    pair = {name: 0.9 * matrices((shape[0], 16, 16), made) + 0.1 / 16 for name in ("before", "after")}
    logits = 4 * torch.randn((*shape, 16), device=made.device, generator=made)
    return {"x": x, "logits": logits, **pair, "peer_x": x.long()}


def laws(shape: tuple[int, ...], made: torch.Generator) -> dict[str, Tensor]:
    """Probabilities of as many matrices as there are channels, of as many states as the image has columns."""
    p = torch.rand(shape[0] * shape[1], dtype=torch.float64, device=made.device, generator=made)
    return {"p": p, "q": 1 - p, "x": torch.zeros((len(p), shape[2]), dtype=torch.uint8, device=made.device)}


def counts(shape: tuple[int, ...], made: torch.Generator) -> dict[str, Tensor]:
    x = torch.randint(0, 256, shape, dtype=torch.uint8, device=made.device, generator=made)
    y = torch.randint(0, 256, shape, dtype=torch.uint8, device=made.device, generator=made)
    p = torch.rand(shape[0], dtype=torch.float64, device=made.device, generator=made)
    return {"x": torch.minimum(x, y), "x_0": torch.maximum(x, y), "p": p, "q": 1 - p}


def draw(v: dict[str, Tensor], rng: Any, backend: str) -> tuple[Tensor, ...]:
    return (fb.categorical(v["x"], v["probs"], rng=rng, backend=backend),)


def draw_by_table(v: dict[str, Tensor], rng: Any, backend: str) -> tuple[Tensor, ...]:
    key = rng if isinstance(rng, Tensor) else rng.tensor(v["x"].device)
    return (torch_ops.categorical_table(v["x"], v["thresholds"], v["guide"], None, key, backend),)


def draw_back(v: dict[str, Tensor], rng: Any, backend: str) -> tuple[Tensor, ...]:
    pair = {name: v[name] for name in ("before", "after")}
    return (fb.categorical_bridge(v["x"], logits=v["logits"], **pair, rng=rng, backend=backend),)


def rows_of(v: dict[str, Tensor], _: Any, backend: str) -> tuple[Tensor, ...]:
    return (fb.transition_rows(fb.Prob(v["p"], v["q"]), v["x"].shape[1] - 1, backend=backend),)


def log_prob(v: dict[str, Tensor], _: Any, backend: str) -> tuple[Tensor, ...]:
    return (fb.thin_log_prob(v["x"], v["x_0"], fb.Prob(v["p"], v["q"]), backend=backend),)


def _gathered(v: dict[str, Tensor]) -> Iterator[Tensor]:
    """Rows of every pixel's state, some images at a time: they take 1 KB a pixel."""
    flat = v["peer_x"].flatten(1)
    together = max(1, CHUNK // flat.shape[1])
    for probs, x in zip(v["peer_probs"].split(together), flat.split(together), strict=True):
        yield torch.take_along_dim(probs, x[:, :, None], 1)


def eager_multinomial(v: dict[str, Tensor]) -> list[Tensor]:
    return [torch.multinomial(rows.flatten(0, 1), 1) for rows in _gathered(v)]


def eager_inverse(v: dict[str, Tensor]) -> list[Tensor]:
    return [(rows.cumsum(-1) < torch.rand_like(rows[..., :1])).sum(-1) for rows in _gathered(v)]


def eager_bridge(v: dict[str, Tensor]) -> Tensor:
    flat, logits = v["peer_x"].flatten(1), v["logits"].flatten(1, -2)
    x_0 = (logits - torch.empty_like(logits).exponential_().log()).argmax(-1)
    weights = torch.take_along_dim(v["before"].float(), x_0[:, :, None], 1)
    weights = weights * torch.take_along_dim(v["after"].float().mT, flat[:, :, None], 1)
    return torch.multinomial(weights.flatten(0, 1), 1)


def eager_rows(v: dict[str, Tensor]) -> Tensor:
    n = torch.arange(v["x"].shape[1], device=v["p"].device, dtype=torch.float64)[:, None]
    return eager_log_prob({"x": n.T, "x_0": n, "p": v["p"]}).exp()


def eager_log_prob(v: dict[str, Tensor]) -> Tensor:
    x, n = v["x"].double(), v["x_0"].double()
    p = v["p"].view(-1, *[1] * (max(x.ndim - 1, 2)))
    lead = torch.lgamma(n + 1) - torch.lgamma(x + 1) - torch.lgamma(n - x + 1)
    return lead + torch.xlogy(x, p) + torch.special.xlog1py(n - x, -p)
