"""The cases of times.py: the inputs of every op at a size, our call, and the same work in torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import softplus

import fastblackout as fb
from gpu import heads, states
from gpu.inputs import Inputs, column, filled, reverse, rows
from support import draws
from support.draw_values import by_cupy


class Case(NamedTuple):
    name: str
    op: str
    make: Callable[[tuple[int, ...], torch.Generator], Inputs]
    ours: Callable[[Inputs, Any, str], tuple[Tensor, ...]]  # (inputs, rng, backend)
    peers: dict[str, Callable[[Inputs], Any]]
    compiled: Callable[..., Any] | None = None  # what torch.compile gets
    reads: int = 1  # times ours reads its inputs


def own(inputs: Inputs) -> Inputs:
    return {name: value for name, value in inputs.items() if not name.startswith("peer_")}


def noising(shape: tuple[int, ...], made: torch.Generator) -> Inputs:
    """Counts uniform in 0..255, a uniform survival probability per image."""
    x = torch.randint(0, 256, shape, dtype=torch.uint8, device=made.device, generator=made)
    p = rows(shape, made)
    inputs = {"x": x, "p": p, "q": 1 - p, "center": (127.5 * p).float(), "scale": filled(shape, made, 1 / 64)}
    return inputs | {"peer_x": x.float(), "peer_p": column(p).expand(shape)}


def loss(shape: tuple[int, ...], made: torch.Generator) -> Inputs:
    logits = 4 * torch.randn(shape, device=made.device, generator=made)
    births = torch.randint(0, 64, shape, dtype=torch.uint8, device=made.device, generator=made)
    weight, gain = rows(shape, made), filled(shape, made, 1.0)
    ours = {"logits": logits, "births": births, "weight": weight, "gain": gain}
    return ours | {"peer_births": births.float(), "peer_weight": weight.float()}


def drawn(op: str) -> Callable[[Inputs, Any, str], tuple[Tensor, ...]]:
    """An element-wise draw, of inputs in the order of its arguments."""
    return lambda v, rng, backend: (draws.public(op, own(v), rng, backend),)


def _thin(outputs: tuple[str, ...]) -> Callable[[Inputs, Any, str], tuple[Tensor, ...]]:
    def ours(v: Inputs, rng: Any, backend: str) -> tuple[Tensor, ...]:
        numbers = {"center": v["center"], "scale": v["scale"], "outputs": outputs}
        return tuple(fb.thin(v["x"], fb.Prob(v["p"], v["q"]), rng=rng, backend=backend, **numbers))

    return ours


def _bridge(v: Inputs, rng: Any, backend: str) -> tuple[Tensor, ...]:
    numbers = {name: v[name] for name in ("gain", "center", "scale")}
    return tuple(fb.bridge_step(v["x"], v["logits"], fb.Prob(v["p"], v["q"]), rng=rng, backend=backend, **numbers))


def _tau_leap(v: Inputs, rng: Any, backend: str) -> tuple[Tensor, ...]:
    numbers = {name: v[name] for name in ("gain", "center", "scale")}
    return tuple(fb.tau_leap_step(v["x"], v["logits"], v["p"], rng=rng, backend=backend, **numbers))


def _loss(v: Inputs, rng: Any, backend: str) -> tuple[Tensor, ...]:
    logits = v["logits"].detach().requires_grad_()
    result = fb.birth_loss(logits, v["births"], v["weight"], gain=v["gain"], backend=backend)
    return result.detach(), torch.autograd.grad(result.sum(), logits)[0]


def _eager_thin(v: Inputs) -> tuple[Tensor, ...]:
    x_t = torch.binomial(v["peer_x"], v["peer_p"])
    return x_t, v["peer_x"] - x_t, (x_t - column(v["center"])) * column(v["scale"])


def _eager_bridge(v: Inputs) -> tuple[Tensor, ...]:
    y = softplus(v["logits"])
    n = torch.minimum(torch.floor(y + torch.rand_like(y)), 255 - v["peer_x"])
    x_s = v["peer_x"] + torch.binomial(n, column(v["p"]).expand_as(n))
    return x_s, (x_s - column(v["center"])) * column(v["scale"])


def _eager_tau_leap(v: Inputs) -> tuple[Tensor, ...]:
    births = torch.poisson(softplus(v["logits"]) * column(v["p"]))
    x_s = v["peer_x"] + torch.minimum(births, 255 - v["peer_x"])
    return x_s, (x_s - column(v["center"])) * column(v["scale"])


def loss_of(logits: Tensor, births: Tensor, weight: Tensor) -> Tensor:
    y = softplus(logits)
    return weight * (y - births * torch.log(y)).flatten(1).sum(1)


def eager_loss(v: Inputs, function: Callable[..., Tensor] = loss_of) -> tuple[Tensor, ...]:
    logits = v["logits"].detach().requires_grad_()
    result = function(logits, v["peer_births"], v["peer_weight"])
    return result.detach(), torch.autograd.grad(result.sum(), logits)[0]


UNCAPTURED = ("CuPy",)  # it keeps to its own streams, which torch's graphs do not see


# The most important first.
CASES = (
    Case("thin, x_t", "thin", noising, _thin(("x_t",)),
         {"torch.binomial": lambda v: torch.binomial(v["peer_x"], v["peer_p"]), **by_cupy("binomial", "x", "peer_p")}),
    Case("bridge, float32", "bridge_step", reverse, _bridge, {"eager torch": _eager_bridge}, _eager_bridge),
    Case("birth_loss + gradient", "birth_loss", loss, _loss, {"eager torch": eager_loss}, loss_of, 2),
    Case("thin, three outputs", "thin", noising, _thin(("x_t", "births", "model_input")), {"eager torch": _eager_thin},
         _eager_thin),
    Case("tau-leap, float32", "tau_leap_step", reverse, _tau_leap, {"eager torch": _eager_tau_leap}, _eager_tau_leap),
    Case("posterior step, beta-binomial", "posterior_step", heads.with_law, heads.law_step("beta-binomial"),
         {"eager torch": heads.eager_beta_binomial_step}),
    Case("posterior step, negative-binomial", "posterior_step", heads.with_law, heads.law_step("negative-binomial"),
         {"eager torch": heads.eager_negative_binomial_step}),
    Case("energy_loss + gradient, four draws", "energy_loss", heads.joint_draws, heads.energy,
         {"eager torch": heads.eager_energy}, reads=2),
    Case("posterior_loss + gradient, beta-binomial", "posterior_loss", heads.law_of_births,
         heads.law_loss("beta-binomial"), {"eager torch": heads.eager_law_loss(heads.beta_binomial_of)}, reads=2),
    Case("posterior_loss + gradient, negative-binomial", "posterior_loss", heads.law_of_births,
         heads.law_loss("negative-binomial"), {"eager torch": heads.eager_law_loss(heads.negative_binomial_of)},
         reads=2),
    *(Case(name, op, inputs, drawn(op), draw.PEERS) for op, draw in draws.DRAWS.items()
      for name, inputs in draw.TIMED.items()),
    Case("categorical, probabilities", "categorical", states.noising, states.draw,
         {"gather, torch.multinomial": states.eager_multinomial, "gather, cumsum": states.eager_inverse}),
    Case("categorical, table", "categorical", states.tabled, states.draw_by_table, {}),
    Case("categorical bridge, 16 states", "categorical_bridge", states.reverse, states.draw_back,
         {"eager torch": states.eager_bridge}),
    Case("transition rows", "transition_rows", states.laws, states.rows_of, {"eager torch": states.eager_rows}),
    Case("thin log-probability", "thin_log_prob", states.counts, states.log_prob,
         {"eager torch": states.eager_log_prob}, states.eager_log_prob),
)  # fmt: skip
