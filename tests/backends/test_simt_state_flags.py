"""Wrong logits of laws with a logit for every state on the CUDA kernels, in the shim: see test_simt_flags.py."""

import math

import pytest
import torch

import fastblackout as fb
from fastblackout.backends import cuda
from support.op_posterior import NO_MORE
from support.simt import _simt, new_flag


@pytest.mark.parametrize("family", [3, 4])
@pytest.mark.parametrize("wrong", [0.0, math.nan, -math.inf])
def test_flags_of_a_logit_for_every_state(wrong, family):
    """A wrong one of a state below x_t is told too."""
    _simt.configure("forward", 0, 1)
    x, head, one = torch.full((1, 40), 3), torch.zeros(1, 40, 11), torch.ones(1, dtype=torch.float64)
    head[0, -1, 2], expected = wrong, 0 if wrong == 0 else 2
    given = x, family, head, *NO_MORE, None, x, one, torch.zeros(1), 10
    cuda.posterior_loss(*given, torch.empty(1), flag := new_flag(), module=_simt)
    assert flag.item() == expected
    grads = torch.empty_like(head), *NO_MORE, None
    cuda.posterior_loss_backward(*given, *grads, flag := new_flag(), module=_simt)
    assert flag.item() == expected
    numbers = one / 2, one / 2, torch.zeros(1), fb.Philox(3).tensor(), 10, *torch.ones(2, 1)
    x_s = torch.full_like(x, 99)
    cuda.posterior_step(x, family, head, *NO_MORE, None, *numbers, x_s, None, flag := new_flag(), module=_simt)
    assert flag.item() == expected and x_s.min() >= 0 and x_s.max() <= 10
