"""Wrong values on the CUDA kernels (run on the CPU by csrc/simt): a defined result and bits of a flag, no exception."""

import pytest
import torch
from helpers import bits

import fastblackout as fb
from fastblackout.backends import cuda

try:
    from fastblackout import _simt
except ImportError:
    _simt = None

COUNTS = ["uint8", "int16", "int32", "int64"]


@pytest.fixture(autouse=True)
def built():
    _simt.configure("forward", 0, 1)


def key_tensor(rng):
    seed = rng.seed - 2**64 if rng.seed >= 2**63 else rng.seed
    return torch.tensor([seed, rng.first_sample, rng.call], dtype=torch.int64)


def new_flag():
    return torch.zeros(1, dtype=torch.int32)


@pytest.mark.parametrize("counts", COUNTS)
def test_wrong_values_set_the_flag_and_are_clamped(counts):
    shape, rng, zero, one = (1, 64), fb.Philox(1), torch.zeros(1), torch.ones(1)

    def thin(values, p, max_count=100):
        flag, out = new_flag(), torch.empty(shape, dtype=getattr(torch, counts))
        prob = torch.tensor([p], dtype=torch.float64)
        cuda.thin(values, prob, 1 - prob, key_tensor(rng), max_count, zero, one, out, None, None, flag, module=_simt)
        return out, flag.item()

    right = torch.full(shape, 100, dtype=getattr(torch, counts))
    wrong = right.clone()
    wrong[0, 3] = 120
    for values, p, expected_flag, expected in [
        (right, 1.0, 0, right), (wrong, 1.0, 1, right), (right, 1.5, 8, right), (right, -1.0, 8, right * 0),
        (wrong, float("nan"), 9, right * 0),
    ]:  # fmt: skip
        out, flag = thin(values, p)
        assert flag == expected_flag
        assert bits(out) == bits(expected)


@pytest.mark.parametrize("max_count", [255, 1000])
def test_wrong_logits_and_births_set_the_flag(max_count):
    shape, rng, zero, one = (1, 32), fb.Philox(1), torch.zeros(1), torch.ones(1)
    x, half = torch.full(shape, 10, dtype=torch.int32), torch.tensor([1.0], dtype=torch.float64)

    def step(**network):
        flag, x_s = new_flag(), torch.empty_like(x)
        cuda.bridge(
            x, network.get("logits"), network.get("births"), half, 1 - half, None, None, key_tensor(rng), max_count,
            one, False, zero, one, x_s, None, flag, module=_simt,
        )  # fmt: skip
        return x_s[0, 0].item(), flag.item()

    for value, expected in [(float("nan"), (10, 2)), (float("inf"), (max_count, 2)), (-200.0, (10, 0)), (4.0, (14, 0))]:
        logits = torch.zeros(shape)
        logits[0, 0] = value
        assert step(logits=logits) == expected
    for value, expected in [(float("nan"), (10, 4)), (-1.0, (10, 4)), (float("inf"), (max_count, 4)), (3.0, (13, 0))]:
        births = torch.zeros(shape)
        births[0, 0] = value
        assert step(births=births) == expected


def test_wrong_values_of_losses_and_element_draws_set_the_flag():
    one, rng = torch.ones(1), fb.Philox(2)
    for logit, born, expected in [
        (0.0, 1.0, 0),
        (float("nan"), 1.0, 2),
        (0.0, -1.0, 4),
        (float("inf"), float("nan"), 6),
    ]:
        logits, births, loss, flag = torch.zeros(1, 40), torch.zeros(1, 40), torch.zeros(1), new_flag()
        logits[0, 39], births[0, 39] = logit, born
        cuda.birth_loss(logits, births, one.double(), one, loss, flag, module=_simt)
        assert flag.item() == expected
    for count, p, expected in [
        (3.0, 0.5, 0),
        (3.5, 0.5, 1),
        (-1.0, 0.5, 1),
        (3.0, 1.5, 8),
        (float("nan"), float("nan"), 9),
    ]:
        out, flag = torch.empty(1, 1, dtype=torch.float64), new_flag()
        n, prob = torch.full((1, 1), count, dtype=torch.float64), torch.full((1, 1), p, dtype=torch.float64)
        cuda.binomial(n, prob, None, key_tensor(rng), out, flag, module=_simt)
        assert flag.item() == expected
        assert 0 <= out.item() <= 3
    for rate, expected in [(3.0, 0), (-1.0, 8), (float("nan"), 8), (float("inf"), 8)]:
        out, flag = torch.empty(1, 1, dtype=torch.int64), new_flag()
        cuda.poisson(torch.full((1, 1), rate), key_tensor(rng), out, flag, module=_simt)
        assert flag.item() == expected
