"""Arrays of another library on a device, as CuPy's are: a module that is made up here has the same entry points.

Its arrays say that they lie in memory that a GPU shares with the host, so that torch reads them without a GPU, by the
same calls of DLPack as others. tests/support/device_worker.py has the tests of a device that pretends to be a GPU.
"""

import sys
import types

import numpy as np
import pytest
import torch

import fastblackout as fb

KEY = fb.Philox(3)
X = np.random.default_rng(0).integers(0, 90, (4, 3, 5)).astype(np.uint8)
P = np.random.default_rng(1).random((4, 3, 5))
LOGITS = P.astype(np.float32) * 4 - 2
MASK = P < 0.7


class Plain:
    """As cupy.ndarray of CuPy 13: it names no namespace, but its module has from_dlpack."""

    __module__ = "pretended_cupy._core.core"

    def __init__(self, memory):
        self.memory = memory

    def __dlpack_device__(self):
        return 3, 0  # kDLCUDAHost

    def __dlpack__(self, stream=None):
        return self.memory.__dlpack__()


class Named(Plain):
    __module__ = "another_library"

    def __array_namespace__(self):
        return types.SimpleNamespace(from_dlpack=lambda tensor: Named(torch.from_dlpack(tensor)))


class Nameless(Plain):
    __module__ = "no_module"


@pytest.fixture(autouse=True)
def pretended(monkeypatch):
    module = types.ModuleType("pretended_cupy")
    module.from_dlpack = lambda tensor: Plain(torch.from_dlpack(tensor))
    monkeypatch.setitem(sys.modules, module.__name__, module)


def calls(of):
    """A call of every op that takes such arrays. of: makes an array of NumPy's."""
    x, p, logits, mask = map(of, (X, P, LOGITS, MASK))
    one, most = of(P[:, 0, 0].copy()), of(np.full((1, 3, 1), 100))
    how = {"rng": KEY}
    return {
        "thin": fb.thin(x, one, **how),
        "thin, of each": fb.thin(x, fb.Prob(p, of(1 - P)), mask=mask, max_count=most, **how),
        "bridge_step": fb.bridge_step(x, logits, one, gain=p, max_count=most, **how),
        "tau_leap_step": fb.tau_leap_step(x, births=p, step=p, mask=mask, **how),
        "birth_loss": fb.birth_loss(logits, x, one),
        "birth_loss, of each": fb.birth_loss(None, x, p, expected=of(P + 1), mask=mask),
        "posterior_loss": fb.posterior_loss((logits, p), x, of(X // 9), one, family="beta-binomial"),
        "posterior_step": fb.posterior_step(x, (logits, p), 0.4, family="beta-binomial", **how),
        "energy_loss": fb.energy_loss(of(np.stack([LOGITS, -LOGITS])), x, of(X // 9), 1.0),
        "binomial": fb.binomial(x, fb.Prob(p, of(1 - P)), **how),
        "poisson": fb.poisson(p, **how),
        "gamma": fb.gamma(2.0, scale=p, **how),
        "split": fb.split(x, (0.25, 0.75), **how),
        "multinomial": fb.multinomial(x, of(np.ones((5, 2))), **how),
        "skellam": fb.skellam(1.5, p, **how),
    }


def parts(made):
    return [part for part in (made if isinstance(made, tuple) else (made,)) if part is not None]


@pytest.mark.parametrize("kind", [Plain, Named, Nameless])
def test_arrays_come_back_as_their_own_kind(kind):
    expected = calls(torch.from_numpy)
    for name, made in calls(lambda array: kind(torch.from_numpy(array))).items():
        assert type(made) is type(expected[name]) or not isinstance(made, tuple)
        for one, other in zip(parts(made), parts(expected[name]), strict=True):
            assert type(one) is (torch.Tensor if kind is Nameless else kind), name
            assert torch.equal(one if kind is Nameless else one.memory, other), name


def test_out_is_written_in_place():
    x = torch.from_numpy(X.copy())
    state = Plain(x)
    made = fb.thin(state, 0.5, rng=KEY, outputs=("x_t",), out=fb.Thinned(x_t=state))
    assert type(made.x_t) is Plain and torch.equal(x, fb.thin(torch.from_numpy(X), 0.5, rng=KEY).x_t)


class Broken(Plain):
    def __dlpack__(self, **how):
        raise BufferError("no\nmemory")


class Mute(Plain):
    def __dlpack_device__(self):
        raise BufferError("no device")


@pytest.mark.parametrize(
    "call, text",
    [
        (
            lambda: fb.thin(Broken(X), 0.5),
            "thin: arguments: must be readable by torch.from_dlpack, got Broken: no memory",
        ),
        (lambda: fb.thin(Mute(X), 0.5), "thin: x_0: must be readable by DLPack, got Mute: no device"),
        (
            lambda: fb.bridge_step(X, Plain(torch.from_numpy(LOGITS)), 0.5),
            "bridge_step: logits: DLPack objects must be on the CPU, or be made tensors by torch.from_dlpack, "
            "got (3, 0)",
        ),
        (lambda: fb.thin(Plain(torch.from_numpy(X)), 1.5), "thin: alive: must be in [0, 1], got 1.5"),
    ],
)
def test_errors(call, text):
    with pytest.raises((TypeError, ValueError)) as caught:
        call()
    assert str(caught.value) == text
