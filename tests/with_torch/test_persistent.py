"""Tensors that outlive the call that made them: tables of a schedule and a model, and what they are made in."""

import copy
import pickle
import threading
import warnings

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

import fastblackout as fb
from fastblackout.blackout.losses import blackout_loss
from fastblackout.ground.persistent import persistent
from fastblackout.schedule import indices
from support.arrays import bits

CPU = torch.device("cpu")
K = torch.tensor([3, 1, 20])


class Scaled(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(0.1))

    def forward(self, model_input, time):
        return model_input * self.weight


def modelled():
    options = {"input": "normalized", "data_mean": 90.0, "data_std": 60.0}
    return fb.BlackoutModel(Scaled(), fb.Schedule.logit(20), 255, **options)


def numbers(model, k):
    """Every table that a loss reads."""
    schedule, (p, q) = model.schedule, model.schedule.survival(k)
    weights = [schedule.weight(name, k) for name in ("likelihood", "finite-time", "instantaneous")]
    return [p, q, *weights, *schedule.bridge(k, 0), schedule.leap(k, 0, form="rate"), model.center(k), model.scale(k)]


@pytest.mark.slow
def test_tables_are_made_while_a_loss_is_traced():
    """Not one of them was there before; the next model of this kind, and its copy, find their own."""

    def step(model, x, k, key):
        weights = ("likelihood", "finite-time", "instantaneous")
        return torch.stack([blackout_loss(model, model.schedule, x, k, key, weight) for weight in weights])

    compiled = torch.compile(step, fullgraph=True, backend="aot_eager")
    x, rng = torch.randint(0, 256, (3, 5), dtype=torch.uint8), fb.Philox(3)
    for model in (first := modelled(), copy.deepcopy(first), modelled()):
        results = []
        for function, key in ((compiled, rng.tensor()), (step, rng)):
            loss = function(model, x, K, key)
            results.append([bits(value) for value in (loss, *torch.autograd.grad(loss.sum(), model.network.weight))])
        assert results[0] == results[1]


def test_tables_of_two_devices_in_one_graph():
    def both(k):
        return model.gain(k), model.gain(k.to("meta")), model.schedule.survival(k.to("meta")).p

    model = modelled()
    gain, meta, p = torch.compile(both, fullgraph=True, backend="eager")(K)
    assert torch.equal(gain, model.gain(K)) and meta.device == p.device == torch.device("meta")


def test_tables_are_no_part_of_a_module():
    model = modelled()
    before, copied = len(pickle.dumps(model)), [numbers(model, k) for k in (K, K.to("meta"))]
    assert copied[1][0].is_meta and len(pickle.dumps(model)) == before
    assert set(model.state_dict()) == {"network.weight"} and not list(model.buffers())
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model)), copy.deepcopy(model).half()):
        assert [bits(value) for value in numbers(other, K)] == [bits(value) for value in copied[0]]
        assert other.schedule == model.schedule


def test_fake_tensors_leave_nothing_behind(monkeypatch):
    monkeypatch.setattr(indices, "readable", lambda tensor: False)  # as of a device: they have no values
    model = modelled()
    with FakeTensorMode():
        fakes = numbers(model, torch.tensor([3, 1, 20]))
    assert {type(value).__name__ for value in fakes} == {"FakeTensor"}
    assert {type(value) for value in numbers(model, K)} == {torch.Tensor}


@pytest.mark.parametrize("strict", [False, True])
def test_an_export_leaves_nothing_behind(strict):
    class Numbers(torch.nn.Module):
        def forward(self, k):
            return tuple(numbers(model, k))

    model = modelled()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch 2.6, of the constants it makes itself
        exported = torch.export.export(Numbers(), (K,), strict=strict).module()
    for one, other in zip(exported(K), numbers(model, K), strict=True):
        assert type(other) is torch.Tensor and torch.equal(one, other)


class Refusing(TorchDispatchMode):
    """As a graph's memory pool, a state of the thread: nothing may be made in it."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        raise AssertionError(f"{func} in the caller's thread")


def test_it_is_made_outside_of_every_state_of_the_caller():
    threads = []

    def make():
        threads.append(threading.get_ident())
        return torch.ones(3)

    with torch.inference_mode(), torch.device("meta"), Refusing():
        made = persistent("op", "an op", CPU, make)
    assert made.tolist() == [1.0] * 3 and not made.is_inference() and threads != [threading.get_ident()]
    with pytest.raises(ZeroDivisionError):
        persistent("op", "an op", CPU, lambda: 1 // 0)


def test_nothing_is_made_inside_a_capture(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
    with pytest.raises(ValueError, match="^op: CUDA graph: a call must have run on cuda:3 before a capture, got none$"):
        persistent("op", "a call", torch.device("cuda", 3), list)
