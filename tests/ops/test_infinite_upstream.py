"""The gradients of the losses under an infinite upstream gradient, as of a loss scaled too far: no error.

Nothing of them is finite, as gradient scalers look for; where two pulls are infinite (energy_loss), it is NaN.
"""

import numpy as np
import pytest
import torch

import fastblackout as fb

X_T, BIRTHS = torch.tensor([[0, 5]], dtype=torch.uint8), torch.tensor([[4, 3]])
ONE = torch.tensor([[0.5, -1.0]])
LOSSES = {
    "birth_loss": lambda x, backend: fb.birth_loss(x, BIRTHS, 1.0, backend=backend),
    "energy_loss": lambda x, backend: fb.energy_loss(
        torch.stack((x, ONE / 4)), X_T, BIRTHS, 1.0, max_count=10, backend=backend
    ),
    "posterior_loss": lambda x, backend: fb.posterior_loss(
        (x, ONE), X_T, BIRTHS, 1.0, family="beta-binomial", max_count=10, backend=backend
    ),
}


@pytest.mark.parametrize("backend", ["auto", "reference"])
@pytest.mark.parametrize("name", LOSSES)
def test_it_is_taken(name, backend):
    x = ONE.clone().requires_grad_()
    plain, scaled = (
        torch.autograd.grad(LOSSES[name](x, backend), x, torch.tensor([upstream]))[0] for upstream in (1.0, np.inf)
    )
    assert torch.isfinite(plain).all() and not torch.isfinite(scaled).any()


@pytest.mark.parametrize("name", LOSSES)
def test_it_is_taken_under_torch_func(name):
    _, pull = torch.func.vjp(lambda x: LOSSES[name](x, "auto"), ONE)
    assert not torch.isfinite(pull(torch.tensor([np.inf]))[0]).any()
    assert "coefficient" in str(getattr(torch.ops.fastblackout, f"{name}_backward").default._schema)
