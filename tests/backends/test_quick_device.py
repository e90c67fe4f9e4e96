"""The short way into the CUDA kernels: taken where a call is plain, equal to the long way, silent where it is not.

The kernels are the SIMT shim's, on host memory; the code that reads tensors is the same as on a GPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

import fastblackout as fb
from fastblackout.backends import available
from fastblackout.blackout.losses import Numbers, blackout_loss, numbers_at
from fastblackout.call import short
from fastblackout.call.declared import DECLARED
from fastblackout.call.keys import resolve_rng
from fastblackout.data.dataset import make_dataset
from fastblackout.training.config import preset
from fastblackout.training.trainer import Trainer
from support import short_way
from support.short_way import KEY, PAIR, SPREAD, WEIGHT, B, P, long_way, same
from support.short_way_device import CUDA, Calls, Device, on_device
from support.simt import _simt

pytestmark = [short_way.only, pytest.mark.skipif(_simt is None, reason="fastblackout._simt is not built")]

X = short_way.X[:, :, :3, :3]
LOGITS = torch.randn(X.shape, generator=torch.Generator().manual_seed(1)) * 40
LAYOUTS = {
    "plain": X.contiguous(),
    "channels last": X.contiguous(memory_format=torch.channels_last),
    "slice": X,
    "whole words": short_way.X.reshape(B, 70)[:, :16].contiguous(),
}
SINGLE = SPREAD.float()
OFFSET = torch.tensor([-0.3, 0.0, -9.0])
SMALL, LARGE = tuple(X.shape), (B, 1030)  # of one chunk, and of two


def energy_of(shape: tuple[int, ...], draws: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    source = torch.Generator().manual_seed(draws)
    x_t = torch.randint(0, 256, shape, dtype=torch.uint8, generator=source)
    births = torch.randint(0, 90, shape, generator=source)
    return x_t, torch.randn(draws, *shape, generator=source), births


_, DRAWS, BIRTHS = energy_of(SMALL, 2)


@pytest.fixture
def calls(monkeypatch: Any) -> Iterator[Calls]:
    with on_device(monkeypatch) as started:
        yield started


@pytest.mark.parametrize("layout", LAYOUTS)
def test_numbers_by_value_and_tensors_give_the_same_bits(calls: Calls, monkeypatch: Any, layout: str) -> None:
    """Numbers for all samples, which are parameters of the kernel, against tensors of the same numbers, read in device
    memory at any stride; and both against the long way."""
    x, p = LAYOUTS[layout], torch.full((B,), 0.3, dtype=torch.float64)
    rows = {"center": torch.full((1,), 0.5).expand(B), "scale": torch.full((2 * B,), 0.3)[::2], "rng": KEY.tensor()}
    made = calls.short(fb.thin, x, 0.3, center=0.5, scale=0.3, rng=KEY)
    assert same(made, calls.short(fb.thin, x, fb.Prob(p, 1 - p), **rows))
    with long_way():
        assert same(made, fb.thin(x, 0.3, center=0.5, scale=0.3, rng=KEY)) and calls.long == ["thin"]


@pytest.mark.parametrize("alive", (PAIR, fb.Prob(0.25, 0.75), fb.Prob(P.repeat_interleave(3)[::3], 1 - P)))
def test_thin_is_the_long_way(calls: Calls, monkeypatch: Any, alive: Any) -> None:
    options = {"rng": KEY, "outputs": ("births", "model_input"), "center": SINGLE}
    made = calls.short(fb.thin, X, alive, **options)
    with long_way():
        assert same(made, fb.thin(X, alive, **options))


@pytest.mark.parametrize(
    ("dtype", "options"),
    (
        ("float32", {"gain": 2.0}),
        ("float64", {"gain": SINGLE, "rounding": "nearest", "outputs": ("x_s",)}),
        ("bfloat16", {"attrition": 0.1, "center": SINGLE}),
        ("float16", {"attrition": fb.Prob(P, 1 - P), "scale": 0.25}),
        ("births", {"rounding": "nearest"}),
    ),
)
def test_bridge_is_the_long_way(calls: Calls, monkeypatch: Any, dtype: str, options: Any) -> None:
    """Over the dtypes of what a network gives; x_t and logits in different layouts."""
    given = {"births": LOGITS.abs().double()} if dtype == "births" else {"logits": LOGITS.to(getattr(torch, dtype))}
    for step in (0.3, PAIR):
        made = calls.short(fb.bridge_step, X, step=step, rng=KEY, **given, **options)
        with long_way():
            assert same(made, fb.bridge_step(X, step=step, rng=KEY, **given, **options))


def test_no_constant_is_kept_and_none_made(calls: Calls, monkeypatch: Any) -> None:
    """In a sampling loop every step has numbers of its own: they cost no tensor."""
    made: list[Any] = []
    full, empty = torch.full, torch.empty_like
    monkeypatch.setattr(torch, "full", lambda *given, **how: made.append(given) or full(*given, **how))
    one = X[:1, :, :1, :1]
    for k in range(3):
        options = {"gain": 1.0 + k, "center": 0.5 * k, "scale": 1.0 / (1 + k), "rng": KEY.at(call=k)}
        calls.short(fb.bridge_step, one, one.float(), 0.1 + 0.1 * k, **options)
    assert made == [] and torch.empty_like is empty


def test_a_seed_is_drawn_once_and_last(calls: Calls) -> None:
    generator = torch.Generator().manual_seed(5)
    key = resolve_rng(None, generator, "thin")
    generator.manual_seed(5)
    with pytest.raises(ValueError, match="p \\+ q must be 1"):
        fb.thin(X, fb.Prob(0.5, 0.6), generator=generator)
    assert same(calls.short(fb.thin, X, 0.3, generator=generator), fb.thin(X, 0.3, rng=key))


REFUSED: dict[str, Any] = {
    "p": lambda: fb.thin(X, 1.5, rng=KEY),
    "p + q": lambda: fb.thin(X, fb.Prob(0.5, 0.6), rng=KEY),
    "rows": lambda: fb.thin(X, fb.Prob(P[:2], 1 - P[:2]), rng=KEY),
    "center": lambda: fb.thin(X, 0.5, rng=KEY, center=float("nan")),
    "scale": lambda: fb.thin(X, 0.5, rng=KEY, scale=1e300),
    "max_count": lambda: fb.thin(X, 0.5, rng=KEY, max_count=-1),
    "first_sample": lambda: fb.thin(X, 0.5, rng=fb.Philox(0, first_sample=2**32 - 2)),
    "key and generator": lambda: fb.thin(X, 0.5, rng=KEY, generator=torch.Generator()),
    "key tensor": lambda: fb.thin(X, 0.5, rng=torch.zeros(4, dtype=torch.int64)),
    "backend": lambda: fb.thin(X, 0.5, rng=KEY, backend="triton"),
    "outputs": lambda: fb.thin(X, 0.5, rng=KEY, outputs=("x_s",)),
    "dtype": lambda: fb.thin(X.float().half(), 0.5, rng=KEY),
    "shape": lambda: fb.bridge_step(X, LOGITS[:, :1], 0.5, rng=KEY),
    "both": lambda: fb.bridge_step(X, LOGITS, 0.5, births=LOGITS, rng=KEY),
    "neither": lambda: fb.bridge_step(X, None, 0.5, rng=KEY),
    "integer logits": lambda: fb.bridge_step(X, X, 0.5, rng=KEY),
    "gain": lambda: fb.bridge_step(X, LOGITS, 0.5, rng=KEY, gain=-1.0),
    "a small gain": lambda: fb.bridge_step(X, LOGITS, 0.5, rng=KEY, gain=-1e-50),
    "bools": lambda: fb.thin(X, P > 0.5, rng=KEY),
    "rounding": lambda: fb.bridge_step(X, LOGITS, 0.5, rng=KEY, rounding="floor"),
    "attrition": lambda: fb.bridge_step(X, LOGITS, 0.5, rng=KEY, attrition=1.1),
}


@pytest.mark.parametrize("name", REFUSED)
def test_errors_are_those_of_the_long_way(calls: Calls, monkeypatch: Any, name: str) -> None:
    launches = _simt.launches()
    with pytest.raises((TypeError, ValueError)) as raised:
        REFUSED[name]()
    with long_way(), pytest.raises(raised.type) as wanted:
        REFUSED[name]()
    assert str(raised.value) == str(wanted.value) and len(calls.long) == 2 and _simt.launches() == launches


@pytest.mark.parametrize(
    "call",
    (
        lambda x: fb.thin(x.int(), 0.5, rng=KEY, max_count=np.int64(255)),
        lambda x: fb.thin(x, 0.5, rng=KEY, input_dtype=torch.bfloat16),
        lambda x: fb.thin(x, P.numpy(), rng=KEY),
        lambda x: fb.thin(x, 0.5, rng=KEY, center=SPREAD),
        lambda x: fb.thin(x, 0.5, rng=KEY, scale=SINGLE.tolist()),
        lambda x: fb.thin(x, 0.5, rng=torch.stack([KEY.tensor()] * 2, 1)[:, 0]),
        lambda x: fb.thin(torch.nn.Parameter(x, requires_grad=False), 0.5, rng=KEY),
    ),
)
def test_what_is_not_plain_goes_the_long_way(calls: Calls, call: Any) -> None:
    call(X)
    assert calls.long == ["thin"]


def test_another_backend_goes_the_long_way(calls: Calls, monkeypatch: Any) -> None:
    monkeypatch.setattr(available, "absent", lambda backend, op: None)

    def taken(backend: str) -> bool:
        values = X, 0.5, (KEY, None), None, 0.0, 1.0
        return _simt.call_thin(backend, values, (short_way.THINNED, "float32", None), DECLARED["thin"].spec) is not None

    assert taken("auto") and taken("cuda") and not taken("triton")
    with fb.use_backend("triton"):
        assert taken("cuda") and not taken("auto")


def test_wrong_values_in_tensors_are_told_by_check_values(calls: Calls) -> None:
    with pytest.raises(ValueError, match="bridge_step: gain.*got others on cpu"), fb.check_values():
        calls.short(fb.bridge_step, X, LOGITS, 0.5, rng=KEY, gain=torch.tensor([1.0, -1.0, 1.0]))
    with pytest.raises(ValueError, match="thin: probability"), fb.check_values():
        calls.short(fb.thin, X, fb.Prob(P, P), rng=KEY)
    with fb.check_values():
        calls.short(fb.thin, X, PAIR, rng=KEY)


def test_calls_that_others_look_at_go_the_long_way(calls: Calls, monkeypatch: Any) -> None:
    class Mode(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            return func(*args, **(kwargs or {}))

    def thinned(y: Any) -> Any:
        fb.thin(X, 0.5, rng=KEY.tensor())
        return y.sum()

    with Mode():
        thinned(LOGITS)
    torch.func.grad(thinned)(LOGITS)
    with monkeypatch.context() as patch:
        patch.setattr(torch.compiler, "is_compiling", lambda: True)
        assert (
            short.call(DECLARED["thin"], (X, 0.5, (KEY, None), None, 0.0, 1.0), (("x_t",), "float32", None), "auto")
            is None
        )
    assert calls.long == ["thin", "thin"]


def test_a_graph_that_is_captured_takes_keys_in_tensors_alone(monkeypatch: Any) -> None:
    """A key that is known on the host would be the same at every replay: the long way refuses it."""
    device = Device()
    device.stream = 64
    with on_device(monkeypatch, device) as calls:
        made = calls.short(fb.thin, X, 0.5, rng=KEY)
        _simt.capture(64)
        assert same(made, calls.short(fb.thin, X, 0.5, rng=KEY.tensor()))
        for rng in (KEY, None):
            before = len(calls.long)
            fb.thin(X, 0.5, rng=rng)
            assert len(calls.long) == before + 1
        device.stream = 128  # another stream
        assert same(made, calls.short(fb.thin, X, 0.5, rng=KEY))
    assert set(device.asked) == {(CUDA, 0)}


@pytest.mark.parametrize("which", ("logits", "step", "gain", "key"))
def test_a_tensor_on_another_device_goes_the_long_way(monkeypatch: Any, which: str) -> None:
    device, before = Device(), _simt.device()
    given = {"logits": LOGITS.clone(), "step": P.clone(), "gain": SINGLE.clone(), "key": KEY.tensor()}

    def step() -> Any:
        prob = fb.Prob(given["step"], 1 - P)
        return fb.bridge_step(X, given["logits"], prob, gain=given["gain"], rng=given["key"])

    with on_device(monkeypatch, device) as calls:
        calls.short(step)
        device.elsewhere.add(id(given[which]))
        step()
        assert calls.long == ["bridge_step"] and _simt.device() == before


def test_a_stream_that_torch_cannot_tell_goes_the_long_way(monkeypatch: Any) -> None:
    device = Device()
    device.fails = True
    with on_device(monkeypatch, device) as calls:
        fb.thin(X, 0.5, rng=KEY)
        assert calls.long == ["thin"]


@pytest.mark.parametrize("dtype", ("float32", "float64", "bfloat16", "float16"))
@pytest.mark.parametrize("elements", (18, 2100), ids=("a chunk", "three chunks"))
def test_loss_is_the_long_way(calls: Calls, monkeypatch: Any, dtype: str, elements: int) -> None:
    """With its gradient, for an upstream gradient of all samples and one for each; numbers by value and in tensors."""
    rows = torch.randn(B, elements, generator=torch.Generator().manual_seed(3)).mul(9).to(getattr(torch, dtype))
    births = torch.arange(B * elements).view(B, elements).remainder(7)

    def graded(weight: Any, gain: Any) -> Any:
        logits = rows.clone().requires_grad_()
        made = fb.birth_loss(logits, births, weight, gain=gain)
        summed = torch.autograd.grad(made.sum(), logits, retain_graph=True)[0]
        return made.detach(), summed, torch.autograd.grad(made, logits, torch.tensor([2.0, 0.0, -0.7]))[0]

    for weight, gain in ((0.3, 2.0), (WEIGHT, SINGLE)):
        launches = _simt.launches()
        made = graded(weight, gain)
        assert calls.long == [] and _simt.launches() == launches + 3
        with long_way():
            assert same(made, graded(weight, gain)) and len(calls.long) > 0
        calls.long.clear()


def test_a_loss_without_a_gradient_keeps_nothing(calls: Calls) -> None:
    leaf = LOGITS.clone().requires_grad_()

    def graded(logits: Any) -> bool:
        op = short_way.LOSSES["birth_loss"]
        return bool(_simt.loss_birth_loss("cuda", (logits, X, 0.5, 1.0), (), op.forward.spec)[1])

    assert graded(leaf) and not graded(LOGITS)
    with torch.no_grad():
        assert not graded(leaf) and calls.short(fb.birth_loss, leaf, X, 0.5).grad_fn is None
        assert calls.short(fb.energy_loss, DRAWS.clone().requires_grad_(), X, BIRTHS, 0.5).grad_fn is None
    assert calls.short(fb.energy_loss, DRAWS, X, BIRTHS, 0.5).grad_fn is None
    assert calls.short(fb.energy_loss, DRAWS.clone().requires_grad_(), X, BIRTHS, 0.5).grad_fn is not None
    made = calls.short(fb.birth_loss, leaf, X, 0.5)
    with pytest.raises(RuntimeError, match="cannot be differentiated again"):
        torch.autograd.grad(made.sum(), leaf, create_graph=True)[0].sum().backward()


@pytest.mark.parametrize("shape", ((B, 1, 1, 1), (1, 1, 1, 1), ()))
@pytest.mark.parametrize("op", ("birth_loss", "energy_loss"))
def test_weights_of_every_shape_have_a_gradient(calls: Calls, op: str, shape: tuple[int, ...]) -> None:
    given = {"births": X} if op == "birth_loss" else {"births": BIRTHS, "x_t": X}
    weight = WEIGHT.view(shape) if shape and shape[0] == B else WEIGHT[:1].view(shape)
    grads = []
    for each in (weight, weight.reshape(-1).expand(B).contiguous()):
        leaf = (LOGITS if op == "birth_loss" else DRAWS).clone().requires_grad_()
        made = getattr(fb, op)(leaf, **given, weight=each)
        grads.append(torch.autograd.grad(made, leaf, torch.tensor([2.0, 0.0, -0.7]))[0])
    assert torch.equal(*grads)


@pytest.mark.parametrize("changed", ("weight", "gain"))
def test_a_number_of_the_loss_that_changes_is_told(calls: Calls, changed: str) -> None:
    numbers = {"weight": WEIGHT.clone(), "gain": SINGLE.clone()}
    made = calls.short(fb.birth_loss, LOGITS.clone().requires_grad_(), X, **numbers)
    numbers[changed].mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        made.sum().backward()


WRONG: dict[str, Any] = {
    "birth_loss": [{"weight": float("inf")}, {"gain": 0.0}, {"births": X[:2]}, {"weight": torch.ones(2).double()}],
    "energy_loss": [{"weight": float("inf")}, {"offset": float("nan")}, {"births": X[:2]}, {"logits": DRAWS[:1]}],
}


@pytest.mark.parametrize("op", WRONG)
def test_what_a_loss_cannot_take_is_told_as_by_the_long_way(calls: Calls, monkeypatch: Any, op: str) -> None:
    right = {"births": X, "weight": 1.0} | ({"logits": LOGITS} if op == "birth_loss" else {"logits": DRAWS, "x_t": X})
    for wrong in WRONG[op]:
        with pytest.raises((TypeError, ValueError)) as raised:
            getattr(fb, op)(**right | wrong)
        with long_way(), pytest.raises(raised.type) as wanted:
            getattr(fb, op)(**right | wrong)
        assert str(raised.value) == str(wanted.value)
    rules = {"logits": "logits"} | ({"offset": "finite"} if op == "energy_loss" else {})
    for name, rule in rules.items():
        given = right | {name: (right["logits"] if name == "logits" else OFFSET) * float("nan")}
        with pytest.raises(ValueError, match=f"{op}: .*{rule}"), fb.check_values():
            calls.short(getattr(fb, op), **given)


def energy_graded(x_t: Any, logits: Any, births: Any, weight: Any, offset: Any, **options: Any) -> Any:
    """The loss, and its gradients for an upstream gradient of all samples and one for each."""
    leaf = logits.detach().requires_grad_()
    made = fb.energy_loss(leaf, x_t, births, weight, offset=offset, **options)
    summed = torch.autograd.grad(made.sum(), leaf, retain_graph=True)[0]
    return made.detach(), summed, torch.autograd.grad(made, leaf, torch.tensor([2.0, 0.0, -0.7]))[0]


@pytest.mark.parametrize(("shape", "draws"), [(SMALL, 2), (SMALL, 3), (SMALL, 8), (LARGE, 2)])
def test_energy_is_the_long_way(calls: Calls, monkeypatch: Any, shape: tuple[int, ...], draws: int) -> None:
    """Numbers by value and in tensors; counts of several dtypes, logits whose draws lie apart, and in dimension 1."""
    x_t, drawn, births = energy_of(shape, draws)
    for logits in (drawn, drawn.transpose(0, 1).contiguous().transpose(0, 1), drawn.repeat_interleave(2, 0)[::2]):
        for x, weight, offset in ((x_t, 0.3, -1.0), (x_t.int(), WEIGHT, OFFSET), (x_t, SPREAD, OFFSET[:1].expand(B))):
            launches = _simt.launches()
            made = energy_graded(x, logits, births, weight, offset, max_count=255)
            assert calls.long == [] and _simt.launches() == launches + 3
            with long_way():
                assert (
                    same(made, energy_graded(x, logits, births, weight, offset, max_count=255)) and len(calls.long) > 0
                )
            calls.long.clear()


def test_an_energy_that_is_not_plain_goes_the_long_way(calls: Calls) -> None:
    for given in (
        {"x_t": X.numpy()},
        {"offset": OFFSET.double()},
        {"weight": WEIGHT.float()},
        {"births": BIRTHS.to(torch.int8)},
    ):
        values = {"logits": DRAWS, "x_t": X, "births": BIRTHS, "weight": 0.5} | given
        launches = _simt.launches()
        try:
            fb.energy_loss(**values)
        except (TypeError, ValueError):
            assert _simt.launches() == launches
        assert len(calls.long) == 1 or "x_t" in given, given
        calls.long.clear()


@pytest.mark.parametrize("family", ("beta-binomial", "bayes-logistic", "negative-binomial"))
@pytest.mark.parametrize("shape", (SMALL, LARGE), ids=("a chunk", "two chunks"))
def test_laws_are_the_long_way(calls: Calls, family: str, shape: tuple[int, ...]) -> None:
    """A loss with its gradients, numbers by value and in tensors, and a step."""
    x_t, drawn, births = energy_of(shape, 2)
    x_t = x_t // 2

    def made(weight: Any, offset: Any, dtype: torch.dtype) -> Any:
        leaves = [each.to(dtype, copy=True).requires_grad_() for each in drawn]
        loss = fb.posterior_loss(leaves, x_t, births, weight, family=family, offset=offset, max_count=255)
        first = torch.autograd.grad(loss.sum(), leaves, retain_graph=True)
        return loss.detach(), *first, *torch.autograd.grad(loss, leaves, torch.tensor([2.0, 0.0, -0.7]))

    for how in ((0.3, -1.0, torch.float32), (WEIGHT, OFFSET, torch.float16)):
        launches = _simt.launches()
        results = made(*how)
        assert calls.long == [] and _simt.launches() == launches + 3
        with long_way():
            assert same(results, made(*how)) and len(calls.long) > 0
        calls.long.clear()
    step = {"family": family, "offset": OFFSET, "rng": KEY}
    stepped = calls.short(fb.posterior_step, x_t, list(drawn), PAIR, **step)
    with long_way():
        assert same(stepped, fb.posterior_step(x_t, list(drawn), PAIR, **step))


def test_its_gradient_may_go_the_long_way(calls: Calls, monkeypatch: Any) -> None:
    leaf = DRAWS.clone().requires_grad_()
    made = calls.short(fb.energy_loss, leaf, X, BIRTHS, WEIGHT, offset=OFFSET)
    (short_one,) = torch.autograd.grad(made.sum(), leaf, retain_graph=True)
    with long_way():
        (long_one,) = torch.autograd.grad(made.sum(), leaf)
    assert same(short_one, long_one) and calls.long == ["energy_loss_backward"]


@pytest.mark.parametrize("head", ("mean", "implicit"))
def test_what_a_training_step_makes_goes_the_short_way(monkeypatch: Any, head: str) -> None:
    """Noise and loss take its numbers as they are; from float64 rows, converted, they have the same bits."""
    config = preset("digits", head=head, compile="off", batch=4, channels=8, schedule_steps=20)
    images = np.random.default_rng(1).integers(0, 17, (8, 1, 8, 8), dtype=np.uint8)
    trainer = Trainer(config, make_dataset("digits", images, max_count=16), {}, torch.device("cpu"))
    x_0, _, k, numbers = trainer.batch()
    given = trainer.model, trainer.schedule, x_0, k, fb.Philox(7).tensor(), config.weight

    def loss(numbers: Numbers) -> Any:
        torch.manual_seed(1)  # for dropout
        return blackout_loss(*given, numbers=numbers)

    wide = numbers_at(trainer.model, trainer.schedule, config.weight, k)
    assert {row.dtype for row in wide} == {torch.float64}
    expected = loss(wide)
    with on_device(monkeypatch) as calls:
        made = loss(numbers)
        assert set(calls.long) <= {"normal"}  # the noise of head "implicit"
    assert torch.equal(made, expected)
