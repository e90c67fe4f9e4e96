"""Calls of the ops on counts that torch may trace, their inputs, and arguments of the ops that torch has registered."""

import numpy as np
import pytest
import torch

import fastblackout as fb
from fastblackout.call import torch_registry  # noqa: F401  (registers torch.ops.fastblackout)
from support import product
from support.draws import DRAWS
from support.op_table import OPS, PLAIN

# torch's own tracing looks at the .grad of tensors that are no leaves.
WARNINGS = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
KEYS = [fb.Philox(0), fb.Philox(2**63 + 5, 3, 7), fb.Philox(2**64 - 1, 2**32 - 64, 2**32 - 1), fb.Philox(1)]


def inputs(batch=4, shape=(2, 3, 5), seed=0, dtype=torch.uint8):
    random = np.random.default_rng(seed)
    x = torch.from_numpy(random.integers(0, 200, (batch, *shape))).to(dtype)
    logits = torch.from_numpy(random.normal(0, 3, (batch, *shape)).astype(np.float32))
    p = torch.from_numpy(random.random(batch))
    return x, logits, fb.Prob(p, 1.0 - p)


def numbers(batch, value, dtype=torch.float32):
    return torch.linspace(value / 2, value, batch).to(dtype)


def thin(x, logits, p, q, key):
    center = p.float()[:, None, None, None] * 100.0
    return fb.thin(x, fb.Prob(p, q), rng=key, center=center, scale=0.5, outputs=("x_t", "model_input"))


def bridge(x, logits, p, q, key):
    return fb.bridge_step(x, logits, fb.Prob(p, q), rng=key, gain=20.0, attrition=0.1, input_dtype=torch.bfloat16)


def bridge_births(x, logits, p, q, key):
    return fb.bridge_step(x, births=x, step=fb.Prob(p, q), rng=key, rounding="nearest", outputs=("x_s",))


def tau_leap(x, logits, p, q, key):
    return fb.tau_leap_step(x, logits, fb.Prob(p, q), rng=key, gain=p * 40.0, center=1.5)


def law_step(x, logits, p, q, key):
    law = {"family": "beta-binomial", "offset": p - 2, "center": 1.5, "input_dtype": torch.bfloat16}
    return fb.posterior_step(x, (logits, 0.5 * logits), fb.Prob(p, q), rng=key, **law)


def draws(x, logits, p, q, key):
    """Every element-wise draw, of an element each and of numbers that broadcast, in another dtype."""
    reals, column = logits.tanh(), p.bfloat16()[:, None, None, None]
    each = [(getattr(fb, op), draw.right) for op, draw in DRAWS.items()]
    return tuple(op(**right(x, given), rng=key) for op, right in each for given in (reals, column))


def composed(x, logits, p, q, key):
    probs = torch.stack([logits.exp(), logits.exp() + 1], -1)
    parts = torch.stack(fb.split(x, (0.25, 0.75), logits.exp(), rng=key))
    return fb.Thinned(fb.multinomial(x, probs, rng=key), fb.skellam(logits.exp(), 3.0, rng=key), parts)


def loss(x, logits, p, q, key):
    return fb.Thinned(fb.birth_loss(logits, x, p.float()[:, None, None, None], gain=3.0))


def energy(x, logits, p, q, key):
    draws = torch.stack([logits, 0.5 * logits])
    return fb.Thinned(fb.energy_loss(draws, x, x // 2, p.float()[:, None, None, None], offset=p - 2))


def posterior(x, logits, p, q, key):
    law = {"family": "beta-binomial", "offset": p - 2}
    return fb.Thinned(fb.posterior_loss((logits, 0.5 * logits), x, x // 8, p.float()[:, None, None, None], **law))


CALLS = [thin, bridge, bridge_births, tau_leap, law_step, draws, loss, energy, posterior]


def registered_draws():
    """Every element-wise draw: of its first dtypes, and of its last ones in another layout."""
    for op in DRAWS:
        last = {name: values[-1] for name, values in OPS[op].factors.items() if name != "max_count"}
        for case, backend in (({}, "auto"), (last | {"floats": "bfloat16", "layout": "channels_last"}, "reference")):
            case = PLAIN | {"shape": (4, 2, 3, 5)} | case
            a = product.moved(product.arguments(op, case), "cpu", case["layout"], OPS[op].images)
            yield op, (*map(a.get, OPS[op].images), KEYS[1].tensor(), backend)


def registered():
    """name: arguments of every registered op, in layouts and options that differ."""
    x, logits, (p, q) = inputs()
    key, last = KEYS[1].tensor(), x.to(memory_format=torch.channels_last)
    gain, center, scale = numbers(4, 3.0), numbers(4, 9.0), numbers(4, 0.5)
    f32, bf16 = torch.float32, torch.bfloat16
    end = (key, 255, gain)
    some, both = ["births", "model_input"], ["x_s", "model_input"]
    leaf = logits.clone().requires_grad_()
    draws = torch.stack([logits, logits.flip(0), 1 - logits])
    norms = torch.ops.fastblackout.energy_loss(x, draws, x, p, gain, 255, "auto")[1]
    scored = draws.transpose(1, 2).contiguous().transpose(1, 2).half().requires_grad_()
    no_more, law, step = (None,) * 6, (p, gain, 255, "auto"), (gain, key, 255, center, scale)
    small, drawn = x[:2, :, :4, :4] % 6, torch.Generator().manual_seed(5)
    network = torch.randn(2, 11, *small.shape[1:], generator=drawn).requires_grad_()
    states, none, few = (
        network.detach().movedim(1, -1).bfloat16(),
        (None,) * 7,
        (gain[:2], key, 10, center[:2], scale[:2]),
    )
    mixture = [(logits * at).requires_grad_() for at in (0.1, -0.1, 0.2, -0.2, 0.3, 0.1, 0.1, -0.1)]
    return [
        ("thin", (x, p, q, key, 255, center, scale, some, f32, "auto")),
        ("thin", (last, p, q, key, 255, center, scale, ["x_t"], f32, "reference")),
        ("thin", (x[:, 0, 0, 0].int(), p, q, key, 1000, center, scale, ["model_input"], bf16, "auto")),
        ("bridge_step", (last, logits, None, p, q, None, None, *end, True, center, scale, both, bf16, "auto")),
        ("bridge_step", (x, None, x.float(), p, q, q, p, *end, False, center, scale, ["x_s"], f32, "auto")),
        ("tau_leap_step", (x, logits.half(), None, p, *end, center, scale, both, f32, "auto")),
        ("birth_loss", (leaf, x, p, gain, "auto")),
        ("birth_loss", (leaf.detach().bfloat16().requires_grad_(), x.float(), p, gain, "reference")),
        ("birth_loss_backward", (logits, x, p, gain, "auto")),
        ("energy_loss", (x, draws.clone().requires_grad_(), x.float(), p, gain, 255, "auto")),
        ("energy_loss", (x.int(), scored, x, p, gain, 2**31 - 1, "reference")),
        ("energy_loss_backward", (x, draws, x, p, gain, 255, norms, "auto")),
        ("posterior_loss", (x, 0, leaf, draws[1].half().requires_grad_(), *no_more, x.float() // 8, *law)),
        ("posterior_loss", (x.int(), 0, scored[0].detach(), leaf, *no_more, x // 8, p, gain, 2**31 - 1, "reference")),
        ("posterior_loss", (x, 1, *mixture, x // 8, *law)),
        ("posterior_loss", (x, 2, leaf, draws[1].half().requires_grad_(), *no_more, x // 8, *law)),
        ("posterior_loss", (small, 3, network.movedim(1, -1), *none, small // 2, p[:2], gain[:2], 10, "auto")),
        ("posterior_loss", (small, 4, network.detach().movedim(1, -1), *none, small, p[:2], gain[:2], 10, "reference")),
        ("posterior_loss_backward", (small, 4, states, *none, small // 2, p[:2], gain[:2], 10, "auto")),
        ("posterior_loss_backward", (x, 0, logits, draws[1].half(), *no_more, x // 8, *law)),
        ("posterior_loss_backward", (x, 1, *[each.detach() for each in mixture], x // 8, *law)),
        ("posterior_step", (last, 0, logits, draws[1].half(), *no_more, p, q, *step, both, bf16, "auto")),
        ("posterior_loss_backward", (x, 2, logits, draws[1].half(), *no_more, x // 8, *law)),
        ("posterior_step", (x, 2, logits, -logits, *no_more, p, q, *step, both, f32, "auto")),
        ("posterior_step", (x, 1, logits, -logits, *no_more, p, q, *step, both, f32, "auto")),
        ("posterior_step", (small, 3, states, *none, p[:2], q[:2], *few, both, f32, "auto")),
        (
            "posterior_step",
            (x.int(), 0, logits, logits, *no_more, p, q, gain, key, 2000, center, scale, ["x_s"], f32, "reference"),
        ),
        *registered_draws(),
    ]
