"""birth_loss with numbers of each element: the C++ kernel that reads them gives the bits of the reference."""

import itertools

import numpy as np
import pytest
import torch

import fastblackout as fb
from support.helpers import BACKENDS, using

SHAPES = [(3, 2500), (2, 3, 40, 30), (4, 1, 5), (70, 7)]
DTYPES = [torch.float32, torch.bfloat16, torch.float16, torch.float64]
BORN = [torch.uint8, torch.float32, torch.int64]


def _numbers(shape, random):
    """What stands beside logits: of each element, feature or sample, in several dtypes; equal numbers and 0, too."""
    each = torch.from_numpy(random.normal(0, 2, shape))
    feature = torch.from_numpy(random.random((1, shape[1], *[1] * (len(shape) - 2)))) + 1e-3
    sample = each.flatten(1)[:, :1].reshape(-1, *[1] * (len(shape) - 1))
    some = each.clone()
    some[0], some[-1, ..., 0] = 0.0, 1e-300
    weights = [each, each.float(), feature.half(), sample.expand(shape), torch.full(shape, -3), some]
    gains = [1.0, 0.3, each.abs() + 1e-6, (each.abs() + 1e-3).bfloat16(), feature, torch.full(shape, 7)]
    return list(itertools.product(weights, gains))


def _calls(shape, dtype, born, seed):
    random = np.random.default_rng(seed)
    logits = torch.from_numpy(random.normal(0, 9, shape)).to(dtype)
    if dtype is torch.float32:
        logits.view(-1)[0] = 2.9e38  # where AVX-512's exponent of a float gives up
    births = torch.from_numpy(random.integers(0, 99, shape)).to(born)
    return [(logits, births, weight, gain) for weight, gain in _numbers(shape, random)]


def _made(logits, births, weight, gain, upstream):
    leaf = logits.clone().requires_grad_()
    loss = fb.birth_loss(leaf, births, weight, gain=gain)
    loss.backward(upstream)
    return [value.contiguous().view(torch.uint8).numpy().tobytes() for value in (loss.detach(), leaf.grad)]


@pytest.mark.parametrize("number", range(len(SHAPES) * len(DTYPES)))
def test_bits_of_the_reference(number):
    """The pairs of weights and gains go round with the shapes and dtypes, so that each comes once."""
    index, kind = divmod(number, len(DTYPES))
    shape, born = SHAPES[index], BORN[number % len(BORN)]
    for at, values in enumerate(_calls(shape, DTYPES[kind], born, number)[number :: len(SHAPES) * len(DTYPES)]):
        upstream = torch.linspace(-1, 2, shape[0]) if at % 2 else torch.ones(shape[0])
        found = {}
        for backend, threads in [("reference", 1), *((name, 1 + at % 2) for name in BACKENDS[1:])]:
            with using(backend, threads):
                found[backend] = _made(*values, upstream)
        for backend, made in found.items():
            assert made == found["reference"], (backend, at)


def test_strides(backend):
    logits, births, weight, gain = _calls((4, 50, 30), torch.float32, torch.uint8, 1)[2]
    weight = weight.flip(1)
    turned = [value.transpose(1, 2).contiguous().transpose(1, 2) for value in (logits, births, weight)]
    assert _made(*turned, gain, torch.ones(4)) == _made(logits, births, weight, gain, torch.ones(4))
    every_other = [value[::2] for value in (logits, births, weight, gain)]
    assert _made(*every_other, torch.ones(2)) == _made(*(value.clone() for value in every_other), torch.ones(2))


def test_whatever_gradient_was_foreseen():
    """Of losses one after the other, whose upstream gradients change and stay."""
    values = _calls((3, 1500), torch.float32, torch.uint8, 2)[1]
    expected = {}
    for number in (1.0, 0.5, 0.25):
        with using("reference"):
            expected[number] = _made(*values, torch.full((3,), number))
    for number in (1.0, 1.0, 0.5, 1.0, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 1.0):
        assert _made(*values, torch.full((3,), number)) == expected[number]


def test_a_second_backward():
    logits, births, weight, gain = _calls((3, 100), torch.float32, torch.uint8, 3)[1]
    leaf = logits.requires_grad_()
    loss = fb.birth_loss(leaf, births, weight, gain=gain).sum()
    first, second = (torch.autograd.grad(loss, leaf, retain_graph=True)[0] for _ in range(2))
    assert torch.equal(first, second) and first.data_ptr() != second.data_ptr()
    weight += 1.0
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


WRONG = {
    "gain: must be finite and above 0, got 0": ("gain", 0.0),
    "gain: must be finite and above 0, got -1": ("gain", -1.0),
    "gain: must be finite and above 0, got inf": ("gain", np.inf),
    "gain: must be finite and above 0, got nan": ("gain", np.nan),
    "weight: must be finite, got nan": ("weight", np.nan),
    "weight: must be finite, got -inf": ("weight", -np.inf),
    "logits: must be finite in float32, got nan": ("logits", np.nan),
    "births: must be finite and at least 0, got -2": ("births", -2.0),
}


@pytest.mark.parametrize("text", WRONG)
@pytest.mark.parametrize("name", BACKENDS[1:])
def test_the_first_wrong_number_is_named(name, text):
    argument, value = WRONG[text]
    random = np.random.default_rng(0)
    given = {each: random.random((3, 2100)).astype(np.float32) + 0.1 for each in ("logits", "births", "weight", "gain")}
    given[argument][1, 2050] = given[argument][2, 3] = value
    with using(name), pytest.raises(ValueError) as caught:
        fb.birth_loss(**given)
    assert str(caught.value) == f"birth_loss: {text} at sample 1, element 2050"
