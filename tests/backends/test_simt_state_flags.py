"""Wrong logits of laws with a logit for every state on the CUDA kernels, in the shim: see test_simt_flags.py."""

import math

import pytest
import torch

import fastblackout as fb
from fastblackout.backends import cuda
from support.op_posterior import NO_MORE
from support.simt import _simt, new_flag


@pytest.mark.parametrize("family", [3, 4])
@pytest.mark.parametrize(
    ("state", "wrong"), [(2, 0.0), (2, math.nan), (2, -math.inf), (6, math.nan), (7, math.nan), (7, -math.inf)]
)
def test_flags_of_a_logit_for_every_state(state, wrong, family):
    """A wrong one of a state below x_t, 3, is told too; a NaN of another makes the loss NaN. 6 is the seen one."""
    _simt.configure("forward", 0, 1)
    x, head, one = torch.full((1, 40), 3), torch.zeros(1, 40, 11), torch.ones(1, dtype=torch.float64)
    head[0, -1, state], expected = wrong, 0 if wrong == 0 else 2
    spreads = math.isnan(wrong) and state >= 3
    given = x, family, head, *NO_MORE, None, x, one, torch.zeros(1), 10
    cuda.posterior_loss(*given, loss := torch.empty(1), flag := new_flag(), module=_simt)
    assert flag.item() == expected and loss.isnan() == spreads
    grads = torch.empty_like(head), *NO_MORE, None
    cuda.posterior_loss_backward(*given, *grads, flag := new_flag(), module=_simt)
    assert flag.item() == expected and not grads[0][0, :-1].isnan().any()
    assert grads[0][0, -1, 3:].isnan().all() == spreads and not grads[0][0, -1, :3].isnan().any()
    numbers = one / 2, one / 2, torch.zeros(1), fb.Philox(3).tensor(), 10, *torch.ones(2, 1)
    x_s = torch.full_like(x, 99)
    cuda.posterior_step(x, family, head, *NO_MORE, None, *numbers, x_s, None, flag := new_flag(), module=_simt)
    assert flag.item() == expected and x_s.min() >= 0 and x_s.max() <= 10
