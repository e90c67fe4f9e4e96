"""Runs everything that takes a GPU's tensors on the tensors of pretend_cuda.py; started by test_simt_device.py.

A process of its own, as what pretends stays on. Prints one JSON line: {case: how it failed, "" where it did not}.
"""

import functools
import gc
import json
import sys
import threading
import traceback
import types
import warnings

import numpy as np
import torch

import fastblackout as fb
from fastblackout.blackout.losses import blackout_loss
from fastblackout.call import torch_registry  # noqa: F401  so that `start` finds it
from fastblackout.data import load
from fastblackout.sampling import steps
from fastblackout.training.config import TrainConfig
from fastblackout.training.trainer import Trainer
from support import device_training, gpu_checks, pretend_cuda, process_calls, product, spread_calls
from support.device_training import raises
from support.op_table import OPS, PLAIN
from support.pretend_cuda import CUDA, DeviceTensor

SHAPE = (3, 2, 5, 7)
CASES = {function.__name__: function for function in device_training.CASES}


def case(function):
    CASES[function.__name__] = function
    return function


@case
def the_device_refuses_what_a_gpu_refuses():
    on_host = torch.arange(6.0).view(2, 3)
    x = on_host.to("cuda", torch.float64)
    assert (type(x), x.device, x.is_cuda, x.is_cpu, x.dtype) == (DeviceTensor, CUDA, True, False, torch.float64)
    for made in (torch.zeros(2, device=CUDA), torch.tensor([1, 2], device="cuda:0"), x.new_ones(3), x[0], x.to(x)):
        assert type(made) is DeviceTensor, made
    for call in (lambda: x + on_host, lambda: torch.where(on_host > 0, x, x), lambda: x.mul_(on_host)):
        assert "tensors on cuda:0 and on the cpu" in raises(call)
    assert "can't convert cuda:0" in raises(x.numpy) and "Tensor.cpu() first" in raises(lambda: torch.add(x, 1).numpy())
    pretend_cuda.waits.clear()
    assert (x + torch.tensor(1.0) * 2).is_cuda and pretend_cuda.waits == []  # a number may be of the host
    assert type(x.cpu()) is torch.Tensor and x.sum().item() == 15.0
    assert pretend_cuda.waits == ["to", "_local_scalar_dense"]
    on_host.zero_()
    assert x.tolist() == [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]
    leaf = x.detach().requires_grad_()
    (leaf * leaf).sum().backward()
    assert type(leaf.grad) is DeviceTensor and torch.equal(leaf.grad.cpu(), 2 * x.cpu())


def kept_of(call):
    """The tensors made by this thread in a call, while a graph could own its memory, that outlive the call."""
    pretend_cuda.made.clear()
    call()
    gc.collect()
    return [made() for thread, made in pretend_cuda.made if thread == threading.get_ident() and made() is not None]


@case
def what_outlives_a_call_is_noticed():
    kept = []
    assert kept_of(lambda: kept.append(torch.zeros(3, device="cuda")))
    assert not kept_of(lambda: torch.zeros(3, device="cuda"))


@case
def first_calls_keep_nothing_of_the_callers_memory_and_wait_for_nothing():
    """The memory that a CUDA graph owns while it is warmed up is the calling thread's."""
    schedule = fb.Schedule.logit(20)
    model = fb.BlackoutModel(torch.nn.Identity(), schedule, 255)
    k, x = torch.tensor([3, 4], device=CUDA), torch.zeros(5, 7, dtype=torch.uint8, device=CUDA)
    calls = {
        "numbers": lambda: fb.thin(x, 0.25, rng=fb.Philox(1), scale=2.0),
        "schedule": lambda: (schedule.weight("likelihood", k), schedule.bridge(k, 0), model.gain(k)),
    }
    for op in OPS:
        a = product.arguments(op, PLAIN | {"shape": (2, 3000)})  # large: birth_loss counts the chunks of a sample
        calls[op] = functools.partial(product.public, op, product.moved(a, CUDA), fb.Philox(1).tensor(CUDA), "cuda")
    for what, call in calls.items():
        pretend_cuda.waits.clear()
        kept = kept_of(call)
        assert pretend_cuda.made and not kept, f"{what} keeps {kept}"
        assert not pretend_cuda.waits, f"{what} waits for the device: {pretend_cuda.waits}"


@case
def an_op_runs_first_in_a_capture():
    for op in OPS:
        gpu_checks.check_first(op, "cuda", CUDA, SHAPE)


@case
def every_op_gives_the_bits_of_the_cpu():
    for op in OPS:
        a, rng = product.arguments(op, PLAIN | {"shape": SHAPE}), fb.Philox(5, first_sample=6, call=7)
        for key in (rng, rng.tensor(CUDA)):
            for name, value in product.public(op, product.moved(a, CUDA), key).items():
                assert type(value) is DeviceTensor, (op, name)
                product.same(f"{op}: {name}", value, product.public(op, a, rng)[name])


@case
def flags():
    for op in OPS:
        gpu_checks.check_flags(op, "cuda", CUDA, SHAPE)


@case
def parts_of_a_batch():
    for op in OPS:
        gpu_checks.check_ranks(op, "cuda", CUDA, (16, 5))


@case
def numbers_that_differ_within_a_sample():
    """The bits of the CPU, without waiting for the device; wrong values are flagged."""
    there = lambda array: torch.from_numpy(np.array(array)).to(CUDA)  # noqa: E731
    host, expected = spread_calls.steps(), spread_calls.losses(lambda array: torch.from_numpy(np.array(array)), True)
    for x in (spread_calls.X, spread_calls.X.astype(np.uint8), spread_calls.X.astype(np.float32)):
        pretend_cuda.waits.clear()
        made = spread_calls.steps(there, x, fb.Philox.tensor(spread_calls.KEY, CUDA))
        assert not pretend_cuda.waits, pretend_cuda.waits
        for name, results in made.items():
            for one, other in zip(results, host[name], strict=True):
                assert one is other is None or (type(one) is DeviceTensor and (one.cpu().numpy() == other).all()), name
    pretend_cuda.waits.clear()
    made = spread_calls.losses(there, graded=True)
    assert not pretend_cuda.waits, pretend_cuda.waits
    for name, results in made.items():
        for one, other in zip(results, expected[name], strict=True):
            product.same(name, one, other)
    x, most, logits = there(spread_calls.X), there(spread_calls.MOST), there(spread_calls.LOGITS)
    y, none = there(spread_calls.EXPECTED), there(np.zeros(spread_calls.SHAPE))
    for op, call in {
        "thin: counts": lambda: fb.thin(x, 0.4, max_count=most - 100),
        "bridge_step: counts": lambda: fb.bridge_step(x - 300, logits, 0.4, max_count=most),
        "tau_leap_step: births": lambda: fb.tau_leap_step(x, births=y * torch.nan, step=y, max_count=most),
        "bridge_step: logits": lambda: fb.bridge_step(x, logits * torch.nan, 0.4, gain=y + 1, max_count=220),
        "birth_loss: gain": lambda: fb.birth_loss(logits, x, y, gain=y - 1),
        "birth_loss: births": lambda: fb.birth_loss(None, x, 1.0, expected=none),
        "birth_loss: gain, weight": lambda: fb.birth_loss(None, x, 1.0, expected=-y - 1),
    }.items():
        try:
            with fb.check_values():
                call()
        except ValueError as error:
            assert op in str(error), (op, error)
        else:
            raise AssertionError(op)


class Foreign:
    """An array of a library that has nothing but DLPack, on the device."""

    def __init__(self, memory):
        self.memory = memory

    def __dlpack_device__(self):
        return 2, 0  # kDLCUDA

    def __dlpack__(self, **how):
        return self.memory

    def __array_namespace__(self):
        return types.SimpleNamespace(from_dlpack=Foreign)


@case
def arrays_of_another_library():
    """torch.from_dlpack itself asks for a stream, and so for a driver: here it takes what __dlpack__ gives."""
    x, logits = torch.randint(0, 90, SHAPE, dtype=torch.uint8), torch.randn(SHAPE)
    there, kept = lambda tensor: Foreign(tensor.to(CUDA)), torch.from_dlpack
    torch.from_dlpack = lambda array: array.__dlpack__()
    try:
        pretend_cuda.waits.clear()
        made = fb.thin(there(x), 0.5, rng=fb.Philox(3))
        loss = fb.birth_loss(there(logits), made.births, 1.0, gain=there(logits.exp()))
        assert not pretend_cuda.waits, pretend_cuda.waits
    finally:
        torch.from_dlpack = kept
    host = fb.thin(x, 0.5, rng=fb.Philox(3))
    for one, other in zip(
        (*made, loss), (*host, fb.birth_loss(logits, host.births, 1.0, gain=logits.exp())), strict=True
    ):
        assert type(one) is Foreign and type(one.memory) is DeviceTensor
        product.same("of another library", one.memory, other)


@case
def processes():
    for name in process_calls.PROCESSES:
        gpu_checks.check_process(name, "cuda", CUDA)


@case
def tokens():
    gpu_checks.check_tokens(CUDA)


@case
def samples():
    for options in gpu_checks.SAMPLERS:
        gpu_checks.check_sample(options, "cuda", CUDA)


class Network(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.mix = torch.nn.Conv2d(2, 2, 3, padding=1)
        self.by_time = torch.nn.Linear(1, 2)

    def forward(self, x, time, labels=None):
        shift = self.by_time(time[:, None].float() / 50)
        return self.mix(x * 0.01) + shift[:, :, None, None] + (0 if labels is None else labels[:, None, None, None])


@case
def losses_and_their_gradients():
    schedule = fb.Schedule.logit(50)
    torch.manual_seed(1)
    x, labels = torch.randint(0, 256, SHAPE, dtype=torch.uint8), torch.tensor([0, 1, 2])
    for options in ({}, {"input": "normalized", "data_mean": 90.0, "data_std": 60.0, "parametrization": "paper"}):
        model = fb.BlackoutModel(Network(), schedule, 255, **options)
        for weight in ("likelihood", "finite-time", "instantaneous"):
            results = []
            for device in ("cpu", CUDA):
                model, images = model.to(device), x.to(device)
                k = schedule.draw(len(x), fb.Philox(3), like=images)
                assert k.device == images.device
                loss = blackout_loss(model, schedule, images, k, fb.Philox(4), weight, labels.to(device))
                gradients = torch.autograd.grad(loss.sum(), list(model.parameters()))
                results.append([value.detach().cpu() for value in (loss, *gradients)])
            for one, other in zip(*results, strict=True):
                torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
            model = model.cpu()


@case
def training():
    """Steps with labels, the held-out losses and samples of a run, without dropout, whose words are a device's own."""
    options = {"batch": 8, "channels": 8, "dropout": 0.0, "label_dropout": 0.0, "schedule_steps": 20, "warmup": 1}
    config, results = TrainConfig(steps=2, conditional=True, **options), []
    for device in (torch.device("cpu"), CUDA):
        trainer = Trainer(config, load("digits"), {}, device)
        losses = [float(trainer.train_step()) for _ in range(2)]
        results.append((*losses, trainer.held_out.constant_loss, trainer.samples(lambda done: None)))
    *numbers, images = zip(*results, strict=True)
    for one, other in numbers:
        assert abs(one - other) < 1e-4, numbers
    assert (images[0] == images[1]).mean() > 0.9


@case
def schedules():
    schedule = fb.Schedule.cosine(30)
    host = schedule.draw(6, fb.Philox(1))
    there = schedule.draw(6, fb.Philox(1), like=torch.zeros(1, device=CUDA))
    calls = {
        "survival": lambda k: [*schedule.survival(k)],
        "bridge": lambda k: [*schedule.bridge(k, k - 1), *schedule.bridge(k, 0)],
        "attrition": lambda k: [part for pair in schedule.bridge_with_attrition(k, 0, 0.1) for part in pair],
        "leap": lambda k: [schedule.leap(k, k - 1, form=form) for form in ("bridge-mean", "rate")],
        "continuous": lambda k: [schedule.draw_continuous(6, fb.Philox(2), like=k)],
    }
    for name, call in calls.items():
        for one, other in zip(call(host), call(there), strict=True):
            assert type(other) is DeviceTensor, name
            product.same(name, other, one)


def eager(step, number):
    """In the place of the captured step's replays, which need a driver: the step itself."""
    for _ in range(number):
        step()


if __name__ == "__main__":
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # NumPy's, of the overflows that GPUs do not mention
    pretend_cuda.start()
    steps._replay = eager
    report = {}
    for name, call in CASES.items():
        try:
            call()
            report[name] = ""
        except Exception:
            report[name] = traceback.format_exc()[-3000:]
    print(json.dumps(report))
    sys.stdout.flush()
