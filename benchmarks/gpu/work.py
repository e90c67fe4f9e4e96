"""The cases of times.py: the inputs of every op at a size, our call, and the same work in torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import softplus

import fastblackout as fb
from fastblackout.call import torch_registry  # noqa: F401  (registers torch.ops.fastblackout)
from support import draws
from support.draws import by_cupy
from support.op_states import matrices

Inputs = dict[str, Tensor]  # samples first; those named peer_* are what torch's functions take, made beforehand
Ours = Callable[[Inputs, Any, str], tuple[Tensor, ...]]  # (inputs, rng, backend)
K_T, K_S = 500, 450  # of the 1,000-step grid: the reverse step that is timed
CHUNK = 1 << 20  # pixels whose rows of 256 probabilities torch gathers at once


def rows(shape: tuple[int, ...], made: torch.Generator, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.rand(shape[:1], dtype=dtype, device=made.device, generator=made)


def filled(shape: tuple[int, ...], made: torch.Generator, value: float, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.full(shape[:1], value, dtype=dtype, device=made.device)


def column(value: Tensor) -> Tensor:
    return value.float().view(-1, 1, 1, 1)


def reverse(shape: tuple[int, ...], made: torch.Generator) -> Inputs:
    """A state half way down and a network that knows the image: softplus(logits) = x_0 - x_t."""
    schedule = fb.Schedule.logit(1000)
    step = schedule.bridge(K_T, K_S)
    x_0 = torch.randint(0, 256, shape, device=made.device, generator=made, dtype=torch.int16).float()
    x_t = torch.floor(x_0 * schedule.survival(K_T).p)
    y = x_0 - x_t
    logits = torch.where(y > 0, y + torch.log(-torch.expm1(-y)), -30.0)
    center = 127.5 * float(schedule.survival(K_S).p)
    return {
        "x": x_t.to(torch.uint8), "logits": logits, "p": filled(shape, made, step.p, torch.float64),
        "q": filled(shape, made, step.q, torch.float64), "gain": filled(shape, made, 1.0),
        "center": filled(shape, made, center), "scale": filled(shape, made, 1.0), "peer_x": x_t,
    }  # fmt: skip


class Case(NamedTuple):
    name: str
    op: str
    make: Callable[[tuple[int, ...], torch.Generator], Inputs]
    ours: Ours
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


def drawn(op: str) -> Ours:
    """An element-wise draw, of inputs in the order of its arguments."""
    return lambda v, rng, backend: (draws.public(op, own(v), rng, backend),)


def _thin(outputs: tuple[str, ...]) -> Ours:
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


# Heads that know more than the mean


def with_law(shape: tuple[int, ...], made: torch.Generator) -> Inputs:
    """The same state, and a head that has learnt something of the image."""
    inputs = reverse(shape, made)
    mean, concentration = torch.randn((2, *shape), device=made.device, generator=made)
    inputs |= {"head_0": 2 * mean, "head_1": 1 + 1.5 * concentration, "offset": filled(shape, made, -0.5)}
    return {name: value for name, value in inputs.items() if name not in ("logits", "gain")}


def remaining(shape: tuple[int, ...], made: torch.Generator) -> Inputs:
    """Counts on the way down, with what is to be born again; a weight and an offset for each image."""
    x_0 = torch.randint(0, 256, shape, device=made.device, generator=made, dtype=torch.int16)
    x = (x_0 * torch.rand(shape, device=made.device, generator=made)).to(torch.uint8)
    births = (x_0 - x).to(torch.uint8)
    ours = {"x": x, "births": births, "weight": rows(shape, made), "offset": -rows(shape, made).float()}
    return ours | {"peer_room": 255 - x.float(), "peer_births": births.float(), "peer_weight": ours["weight"].float()}


def joint_draws(shape: tuple[int, ...], made: torch.Generator) -> Inputs:
    """Four draws a network made of each image: a view with the samples first, of memory that has the draws first."""
    logits = torch.randn((4, *shape), device=made.device, generator=made)
    return remaining(shape, made) | {"logits": logits.movedim(0, 1)}


def law_of_births(shape: tuple[int, ...], made: torch.Generator) -> Inputs:
    both = torch.randn((2, *shape), device=made.device, generator=made)
    return remaining(shape, made) | {"head_0": both[0], "head_1": both[1]}


def law_step(family: str) -> Ours:
    def ours(v: Inputs, rng: Any, backend: str) -> tuple[Tensor, ...]:
        numbers = {name: v[name] for name in ("offset", "center", "scale")} | {"family": family}
        head, step = (v["head_0"], v["head_1"]), fb.Prob(v["p"], v["q"])
        return tuple(fb.posterior_step(v["x"], head, step, rng=rng, backend=backend, **numbers))

    return ours


def energy(v: Inputs, rng: Any, backend: str) -> tuple[Tensor, ...]:
    logits = v["logits"].movedim(1, 0).detach().requires_grad_()
    numbers = {"offset": v["offset"], "max_count": 255, "backend": backend}
    result = fb.energy_loss(logits, v["x"], v["births"], v["weight"], **numbers)
    return result.detach(), torch.autograd.grad(result.sum(), logits)[0].movedim(0, 1)


def energy_of(logits: Tensor, room: Tensor, births: Tensor, weight: Tensor, offset: Tensor) -> Tensor:
    y = (room * torch.sigmoid(2 * logits + column(offset))).flatten(2)
    away, count = (y - births.flatten(1)).norm(dim=2).mean(0), len(y)
    pairs = [(y[s] - y[r]).norm(dim=1) for s in range(count) for r in range(s + 1, count)]
    return weight * (away - torch.stack(pairs).mean(0) / 2)


def eager_energy(v: Inputs) -> tuple[Tensor, ...]:
    logits = v["logits"].movedim(1, 0).detach().requires_grad_()
    result = energy_of(logits, v["peer_room"], v["peer_births"], v["peer_weight"], v["offset"])
    return result.detach(), torch.autograd.grad(result.sum(), logits)[0]


def law_loss(family: str) -> Ours:
    def ours(v: Inputs, rng: Any, backend: str) -> tuple[Tensor, ...]:
        head = [v[name].detach().requires_grad_() for name in ("head_0", "head_1")]
        numbers = {"family": family, "offset": v["offset"], "max_count": 255, "backend": backend}
        result = fb.posterior_loss(head, v["x"], v["births"], v["weight"], **numbers)
        return result.detach(), *torch.autograd.grad(result.sum(), head)

    return ours


def beta_binomial_of(o_1: Tensor, o_2: Tensor, room: Tensor, births: Tensor, weight: Tensor, offset: Tensor) -> Tensor:
    mean, c = torch.sigmoid(o_1 + column(offset)), torch.exp((o_2 + 1).clamp(-5, 7))
    a, b, lgamma = mean * c, (1 - mean) * c, torch.lgamma
    chosen = lgamma(room + 1) - lgamma(births + 1) - lgamma(room - births + 1)
    drawn = lgamma(births + a) + lgamma(room - births + b) - lgamma(room + a + b)
    law = chosen + drawn + lgamma(a + b) - lgamma(a) - lgamma(b)
    return weight * -law.flatten(1).sum(1)


def _size_and_theta(o_1: Tensor, o_2: Tensor, room: Tensor, offset: Tensor) -> tuple[Tensor, Tensor]:
    m = torch.exp((o_1 + 0.5 * math.log(255)).clamp(-12, 36))
    r, gone = torch.exp((o_2 + 1).clamp(-7, 16)), torch.exp(column(offset))
    return r + (255 - room), gone * m / (r + (1 - gone) * m)


def negative_binomial_of(
    o_1: Tensor, o_2: Tensor, room: Tensor, births: Tensor, weight: Tensor, offset: Tensor
) -> Tensor:
    size, theta = _size_and_theta(o_1, o_2, room, offset)
    rising = torch.lgamma(size + births) - torch.lgamma(size) - torch.lgamma(births + 1)
    share = torch.log(theta) - torch.log1p(theta)
    return weight * (size * torch.log1p(theta) - births * share - rising).flatten(1).sum(1)


def eager_law_loss(law_of: Callable[..., Tensor]) -> Callable[[Inputs], tuple[Tensor, ...]]:
    def eager(v: Inputs) -> tuple[Tensor, ...]:
        head = [v[name].detach().requires_grad_() for name in ("head_0", "head_1")]
        result = law_of(*head, v["peer_room"], v["peer_births"], v["peer_weight"], v["offset"])
        return result.detach(), *torch.autograd.grad(result.sum(), head)

    return eager


def eager_beta_binomial_step(v: Inputs) -> tuple[Tensor, ...]:
    m = torch.sigmoid(v["head_0"] + column(v["offset"]))
    c = torch.exp(torch.clamp(v["head_1"] + 1, -5, 7))
    f = torch.distributions.Beta(m * c, (1 - m) * c, validate_args=False).sample()
    x_s = v["peer_x"] + torch.binomial(255 - v["peer_x"], f * column(v["p"]))
    return x_s, (x_s - column(v["center"])) * column(v["scale"])


def eager_negative_binomial_step(v: Inputs) -> tuple[Tensor, ...]:
    size, theta = _size_and_theta(v["head_0"], v["head_1"], 255 - v["peer_x"], v["offset"])
    births = torch.poisson(torch._standard_gamma(size) * (theta * column(v["p"])))
    x_s = (v["peer_x"] + births).clamp(max=255)
    return x_s, (x_s - column(v["center"])) * column(v["scale"])


# Ops between states


def states_noising(shape: tuple[int, ...], made: torch.Generator) -> Inputs:
    """uint8 states and a transition matrix of 256 states for each image."""
    x = torch.randint(0, 256, shape, dtype=torch.uint8, device=made.device, generator=made)
    probs = matrices((shape[0], 256, 256), made)
    return {"x": x, "probs": probs, "peer_x": x.long(), "peer_probs": probs.float()}


def states_tabled(shape: tuple[int, ...], made: torch.Generator) -> Inputs:
    """The same states and matrices as thresholds."""
    v = states_noising(shape, made)
    table = fb.CategoricalTable(v["probs"])
    return {"x": v["x"], "thresholds": table.thresholds, "guide": table.guide}


def states_reverse(shape: tuple[int, ...], made: torch.Generator) -> Inputs:
    """16 states and the logits of a network for x_0."""
    x = torch.randint(0, 16, shape, dtype=torch.uint8, device=made.device, generator=made)
    pair = {name: 0.9 * matrices((shape[0], 16, 16), made) + 0.1 / 16 for name in ("before", "after")}
    logits = 4 * torch.randn((*shape, 16), device=made.device, generator=made)
    return {"x": x, "logits": logits, **pair, "peer_x": x.long()}


def transition_laws(shape: tuple[int, ...], made: torch.Generator) -> Inputs:
    """Probabilities of as many matrices as there are channels, of as many states as the image has columns."""
    p = torch.rand(shape[0] * shape[1], dtype=torch.float64, device=made.device, generator=made)
    return {"p": p, "q": 1 - p, "x": torch.zeros((len(p), shape[2]), dtype=torch.uint8, device=made.device)}


def ordered_counts(shape: tuple[int, ...], made: torch.Generator) -> Inputs:
    x = torch.randint(0, 256, shape, dtype=torch.uint8, device=made.device, generator=made)
    y = torch.randint(0, 256, shape, dtype=torch.uint8, device=made.device, generator=made)
    p = torch.rand(shape[0], dtype=torch.float64, device=made.device, generator=made)
    return {"x": torch.minimum(x, y), "x_0": torch.maximum(x, y), "p": p, "q": 1 - p}


def draw(v: Inputs, rng: Any, backend: str) -> tuple[Tensor, ...]:
    return (fb.categorical(v["x"], v["probs"], rng=rng, backend=backend),)


def draw_by_table(v: Inputs, rng: Any, backend: str) -> tuple[Tensor, ...]:
    key = rng if isinstance(rng, Tensor) else rng.tensor(v["x"].device)
    return (torch.ops.fastblackout.categorical_table(v["x"], v["thresholds"], v["guide"], None, key, backend),)


def draw_back(v: Inputs, rng: Any, backend: str) -> tuple[Tensor, ...]:
    pair = {name: v[name] for name in ("before", "after")}
    return (fb.categorical_bridge(v["x"], logits=v["logits"], **pair, rng=rng, backend=backend),)


def rows_of(v: Inputs, _: Any, backend: str) -> tuple[Tensor, ...]:
    return (fb.transition_rows(fb.Prob(v["p"], v["q"]), v["x"].shape[1] - 1, backend=backend),)


def log_prob(v: Inputs, _: Any, backend: str) -> tuple[Tensor, ...]:
    return (fb.thin_log_prob(v["x"], v["x_0"], fb.Prob(v["p"], v["q"]), backend=backend),)


def _gathered(v: Inputs) -> Iterator[Tensor]:
    """Rows of every pixel's state, some images at a time: they take 1 KB a pixel."""
    flat = v["peer_x"].flatten(1)
    together = max(1, CHUNK // flat.shape[1])
    for probs, x in zip(v["peer_probs"].split(together), flat.split(together), strict=True):
        yield torch.take_along_dim(probs, x[:, :, None], 1)


def eager_multinomial(v: Inputs) -> list[Tensor]:
    return [torch.multinomial(rows.flatten(0, 1), 1) for rows in _gathered(v)]


def eager_inverse(v: Inputs) -> list[Tensor]:
    return [(rows.cumsum(-1) < torch.rand_like(rows[..., :1])).sum(-1) for rows in _gathered(v)]


def eager_bridge(v: Inputs) -> Tensor:
    flat, logits = v["peer_x"].flatten(1), v["logits"].flatten(1, -2)
    x_0 = (logits - torch.empty_like(logits).exponential_().log()).argmax(-1)
    weights = torch.take_along_dim(v["before"].float(), x_0[:, :, None], 1)
    weights = weights * torch.take_along_dim(v["after"].float().mT, flat[:, :, None], 1)
    return torch.multinomial(weights.flatten(0, 1), 1)


def eager_rows(v: Inputs) -> Tensor:
    n = torch.arange(v["x"].shape[1], device=v["p"].device, dtype=torch.float64)[:, None]
    return eager_log_prob({"x": n.T, "x_0": n, "p": v["p"]}).exp()


def eager_log_prob(v: Inputs) -> Tensor:
    x, n = v["x"].double(), v["x_0"].double()
    p = v["p"].view(-1, *[1] * (max(x.ndim - 1, 2)))
    lead = torch.lgamma(n + 1) - torch.lgamma(x + 1) - torch.lgamma(n - x + 1)
    return lead + torch.xlogy(x, p) + torch.special.xlog1py(n - x, -p)


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
    Case("posterior step, beta-binomial", "posterior_step", with_law, law_step("beta-binomial"),
         {"eager torch": eager_beta_binomial_step}),
    Case("posterior step, negative-binomial", "posterior_step", with_law, law_step("negative-binomial"),
         {"eager torch": eager_negative_binomial_step}),
    Case("energy_loss + gradient, four draws", "energy_loss", joint_draws, energy,
         {"eager torch": eager_energy}, reads=2),
    Case("posterior_loss + gradient, beta-binomial", "posterior_loss", law_of_births,
         law_loss("beta-binomial"), {"eager torch": eager_law_loss(beta_binomial_of)}, reads=2),
    Case("posterior_loss + gradient, negative-binomial", "posterior_loss", law_of_births,
         law_loss("negative-binomial"), {"eager torch": eager_law_loss(negative_binomial_of)},
         reads=2),
    *(Case(name, op, inputs, drawn(op), draw.PEERS) for op, draw in draws.DRAWS.items()
      for name, inputs in draw.TIMED.items()),
    Case("categorical, probabilities", "categorical", states_noising, draw,
         {"gather, torch.multinomial": eager_multinomial, "gather, cumsum": eager_inverse}),
    Case("categorical, table", "categorical", states_tabled, draw_by_table, {}),
    Case("categorical bridge, 16 states", "categorical_bridge", states_reverse, draw_back,
         {"eager torch": eager_bridge}),
    Case("transition rows", "transition_rows", transition_laws, rows_of, {"eager torch": eager_rows}),
    Case("thin log-probability", "thin_log_prob", ordered_counts, log_prob,
         {"eager torch": eager_log_prob}, eager_log_prob),
)  # fmt: skip
