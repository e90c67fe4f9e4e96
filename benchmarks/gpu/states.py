"""The ops between states in work.py: inputs, our calls, and the same work in torch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

import fastblackout as fb
from fastblackout.call import torch_registry  # noqa: F401  (registers torch.ops.fastblackout)
from support.op_states import matrices

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
    return (torch.ops.fastblackout.categorical_table(v["x"], v["thresholds"], v["guide"], None, key, backend),)


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
