"""The short way into the CPU kernels: taken where a call is plain, equal to the long way, silent where it is not."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch

import fastblackout as fb
from fastblackout.call import short
from support import short_way
from support.short_way import BIRTHS, KEY, LAYOUTS, LOGITS, PAIR, SPREAD, WEIGHT, B, P, X, bridge, loss, same, thin

pytestmark = short_way.only


def negated(value: torch.Tensor) -> torch.Tensor:
    """The same numbers with their negation put off: those in memory have the other sign."""
    return torch.complex(value, -value).conj().imag


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("alive", (PAIR, 0.3, fb.Prob(0.25, 0.75)), ids=("tensors", "float", "floats"))
def test_thin_is_the_long_way(layout: str, alive: Any) -> None:
    x = LAYOUTS[layout]
    for options in (
        {},
        {"center": SPREAD, "scale": 0.5},
        {"center": 0.5, "scale": SPREAD.repeat_interleave(2).float()[::2]},
        {"outputs": ("births",)},
        {"outputs": ("x_t", "model_input")},
    ):
        made = thin(x, alive, **options)
        assert made is not None
        assert same(made, fb.thin(x, alive, **{"rng": KEY.tensor(), **options}))  # a key tensor goes the long way


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("rounding", ("stochastic", "nearest"))
def test_bridge_is_the_long_way(layout: str, rounding: str) -> None:
    x = LAYOUTS[layout]
    for options in (
        {},
        {"gain": SPREAD, "center": SPREAD.float()},
        {"outputs": ("x_s",)},
        {"attrition": 0.1},
        {"attrition": fb.Prob(P, 1 - P)},
    ):
        made = bridge(x, LOGITS, PAIR, rounding=rounding, **options)
        assert made is not None
        assert same(made, fb.bridge_step(x, LOGITS, PAIR, rounding=rounding, **{"rng": KEY.tensor(), **options}))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", ("uint8", "int16", "int32", "int64", "float32", "float64", "bfloat16", "float16"))
def test_loss_is_the_long_way(layout: str, dtype: str) -> None:
    """The long way takes the numbers as NumPy arrays; gradients of sums, and of another order."""
    births = BIRTHS.to(getattr(torch, dtype))
    for weight, gain in ((WEIGHT, SPREAD), (0.5, SPREAD), (WEIGHT, 2.0)):
        single = [value if type(value) is float else value.float() for value in (weight, gain)]
        double = [value if type(value) is float else value.double() for value in single]
        results = []
        for pair in (single, double, [value if type(value) is float else value.numpy() for value in single]):
            logits = LAYOUTS[layout].float().sub(128).div(9).requires_grad_()
            assert (loss(logits, births, *pair) is not None) == (len(results) < 2)
            made = fb.birth_loss(logits, births, pair[0], gain=pair[1])
            expanded = torch.autograd.grad(made.sum(), logits, retain_graph=True)[0].clone()
            upstream = torch.tensor([2.0, 0.0, -0.7, 0.0, 1e-3])[::2]
            results.append((made.detach(), expanded, torch.autograd.grad(made, logits, upstream)[0]))
        assert same(results[0], results[2]) and same(results[1], results[2])


def test_loss_keeps_slopes_for_one_gradient_only() -> None:
    logits = LOGITS.clone().requires_grad_()
    made = fb.birth_loss(logits, BIRTHS, WEIGHT, gain=SPREAD)
    first, again = (torch.autograd.grad(made, logits, torch.ones(B), retain_graph=True)[0] for _ in range(2))
    assert first.data_ptr() != again.data_ptr() and torch.equal(first, again)
    with pytest.raises(RuntimeError, match="cannot be differentiated again"):
        (twice,) = torch.autograd.grad(made, logits, torch.ones(B), create_graph=True)
        twice.sum().backward()


@pytest.mark.parametrize("weight", (WEIGHT, WEIGHT.numpy()), ids=("short", "long"))
@pytest.mark.parametrize("before", (torch.ones(B), WEIGHT.float()), ids=("foreseen", "not foreseen"))
def test_a_first_gradient_with_a_graph_is_the_same(weight: Any, before: Any) -> None:
    def gradient(upstream: Any, create_graph: bool = False, backend: str = "auto") -> Any:
        logits = LOGITS.clone().requires_grad_()
        made = fb.birth_loss(logits, BIRTHS, weight, gain=SPREAD, backend=backend)
        return torch.autograd.grad(made, logits, upstream, create_graph=create_graph)[0]

    for _ in range(2):
        gradient(before)
    with_graph = gradient(WEIGHT.float(), True)
    assert torch.equal(with_graph, gradient(WEIGHT.float(), backend="reference"))
    with pytest.raises(RuntimeError, match="cannot be differentiated again"):
        with_graph.sum().backward()


def test_loss_foresees_the_gradient_from_above() -> None:
    """Once the last two were the same for all samples: the slopes are then what a backward pass with it returns."""

    def gradient(upstream: Any) -> Any:
        logits = LOGITS.clone().requires_grad_()
        made = fb.birth_loss(logits, BIRTHS, WEIGHT, gain=SPREAD)
        return torch.autograd.grad(made, logits, upstream)[0]

    same = torch.full((B,), 0.3)
    wanted = [gradient(same) for _ in range(3)]
    leaf = LOGITS.clone().requires_grad_()
    _, slopes, foreseen = loss(leaf, BIRTHS, WEIGHT, SPREAD)
    assert foreseen == same[0].item() and all(torch.equal(slopes, each) for each in wanted)
    assert short.scale_slopes(slopes, same, WEIGHT, foreseen) is slopes
    assert short.scale_slopes(slopes, -same, WEIGHT, foreseen) is None  # was not foreseen
    gradient(-same)
    gradient(same)
    assert loss(leaf, BIRTHS, WEIGHT, SPREAD)[2] is None
    gradient(same)
    assert loss(leaf, BIRTHS, WEIGHT, SPREAD)[2] == foreseen
    gradient(torch.tensor([0.3, 0.3, 0.2]))
    _, slopes, foreseen = loss(leaf, BIRTHS, WEIGHT, SPREAD)
    assert foreseen is None
    assert torch.equal(short.scale_slopes(slopes, same, WEIGHT, foreseen), wanted[0])


@pytest.mark.parametrize("changed", ("weight", "gain"))
def test_a_changed_number_is_told(changed: str) -> None:
    logits, numbers = LOGITS.clone().requires_grad_(), {"weight": WEIGHT.clone(), "gain": SPREAD.clone()}
    made = fb.birth_loss(logits, BIRTHS, **numbers)
    numbers[changed].mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        made.sum().backward()


@pytest.mark.parametrize(
    "made",
    (
        lambda: thin(X.int(), PAIR, max_count=255),
        lambda: thin(X.numpy(), PAIR),
        lambda: thin(torch.nn.Parameter(X, requires_grad=False), PAIR),
        lambda: thin(X[:0], fb.Prob(P[:0], P[:0])),
        lambda: thin(X, PAIR, generator=torch.Generator()),
        lambda: thin(X, PAIR, rng=None, generator=0),
        lambda: thin(X, PAIR, backend="reference"),
        lambda: thin(X, PAIR, input_dtype="bfloat16"),
        lambda: thin(X, PAIR, outputs=("births", "x_t")),
        lambda: thin(X, PAIR, outputs=["x_t"]),
        lambda: thin(X, PAIR, max_count=256),
        lambda: thin(X, PAIR, max_count=True),
        lambda: thin(X, fb.Prob(P, P)),
        lambda: thin(X, fb.Prob(torch.full((B,), 0.25), torch.full((B,), 0.75))),
        lambda: thin(X, fb.Prob(P[:2], 1 - P[:2])),
        lambda: thin(X, 1.5),
        lambda: thin(X, PAIR, center=float("nan")),
        lambda: thin(X, PAIR, scale=1e300),
        lambda: thin(X, PAIR, rng=fb.Philox(0, first_sample=2**32 - 2)),
        lambda: bridge(X, LOGITS.double(), PAIR),
        lambda: bridge(X, LOGITS[:, :1], PAIR),
        lambda: bridge(X, None, PAIR),
        lambda: bridge(X, LOGITS, PAIR, births=X),
        lambda: bridge(X, LOGITS, PAIR, attrition=1.1),
        lambda: bridge(X, LOGITS, PAIR, attrition=0),
        lambda: bridge(X, LOGITS, PAIR, rounding="floor"),
        lambda: bridge(X, LOGITS, PAIR, gain=-1.0),
        lambda: loss(LOGITS.double(), BIRTHS),
        lambda: loss(LOGITS.numpy(), BIRTHS),
        lambda: loss(LOGITS, BIRTHS.numpy()),
        lambda: loss(LOGITS, BIRTHS[:1]),
        lambda: loss(LOGITS[:0], BIRTHS[:0]),
        lambda: loss(LOGITS, BIRTHS, WEIGHT[:2]),
        lambda: loss(LOGITS, BIRTHS, float("inf")),
        lambda: loss(LOGITS, BIRTHS, gain=0.0),
        lambda: loss(LOGITS, BIRTHS, gain=SPREAD.half()),
        lambda: loss(LOGITS, BIRTHS, WEIGHT.float()[:2]),
        lambda: loss(LOGITS, BIRTHS, WEIGHT.float().view(B, 1, 1, 1)),
        lambda: loss(LOGITS, BIRTHS, backend="reference"),
        lambda: thin(X, PAIR, outputs=(["x_t"],)),
        lambda: thin(X, PAIR, input_dtype=np.array(["float32", "float32"])),
        lambda: thin(X, PAIR, center=negated(SPREAD)),
        lambda: thin(X, PAIR, center=torch._efficientzerotensor(B)),
        lambda: thin(X, fb.Prob(negated(P), 1 - P)),
        lambda: thin(torch._neg_view(X), PAIR),
        lambda: bridge(X, negated(LOGITS), PAIR),
        lambda: bridge(X, LOGITS, PAIR, rounding=np.array(["nearest", "nearest"])),
        lambda: loss(negated(LOGITS), BIRTHS),
        lambda: loss(LOGITS, negated(BIRTHS.float())),
    ),
)
def test_what_is_not_plain_goes_the_long_way(made: Any) -> None:
    assert made() is None


def test_the_short_way_is_taken_where_the_cpu_is_asked_for() -> None:
    assert thin(X, PAIR, backend="cpu") is not None and loss(LOGITS, BIRTHS, backend="cpu") is not None
    with fb.use_backend("cpu", threads=1):
        assert bridge(X, LOGITS, PAIR) is not None
    with fb.use_backend("reference"):
        assert thin(X, PAIR) is None and thin(X, PAIR, backend="cpu") is not None


def test_the_short_way_runs_with_what_is_asked_for() -> None:
    """Threads and instruction sets change no result, so their tests would pass on others."""
    module = short._module()
    for level, isa in enumerate(module.isas()):
        with fb.use_backend(isa=isa, threads=5):
            assert module.quick_settings("auto") == (5, level)
    at_import = module.isas().index(module.isa())
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        assert module.quick_settings("cpu") == (3, at_import)
    finally:
        torch.set_num_threads(before)
    for backend in ("reference", "triton", "cuda", None, b"auto"):
        assert module.quick_settings(backend) is None


def test_nothing_is_taken_before_torch_is_known() -> None:
    called = "_cpu.quick_settings('auto'), _cpu.quick_loss('auto', (0, 0, 1.0, 1.0))"
    code = f"from fastblackout import _cpu; print({called})"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, timeout=100)
    assert done.stdout == "None None\n", (done.returncode, done.stderr)


def test_slopes_are_kept_where_there_may_be_a_gradient() -> None:
    leaf = LOGITS.clone().requires_grad_()
    assert loss(LOGITS, BIRTHS)[1] is None and loss(leaf, BIRTHS)[1] is not None
    with torch.no_grad():
        assert loss(leaf, BIRTHS)[1] is None


def test_wrong_values_are_told_as_on_the_long_way() -> None:
    for call, options in ((fb.thin, {"max_count": 9}), (fb.bridge_step, {"logits": LOGITS * float("nan")})):
        texts = []
        for rng in (KEY, KEY.tensor()):
            with pytest.raises(ValueError) as raised:
                call(X, **{"alive" if call is fb.thin else "step": PAIR}, rng=rng, **options)
            texts.append(str(raised.value))
        assert texts[0] == texts[1]
    for logits, births in ((LOGITS, BIRTHS.float() - 1), (LOGITS * float("inf"), BIRTHS), (LOGITS / 0, BIRTHS.byte())):
        texts = []
        for weight in (1.0, 1):
            with pytest.raises(ValueError) as raised:
                fb.birth_loss(logits, births, weight)
            texts.append(str(raised.value))
        assert texts[0] == texts[1]


def test_dimensions_that_do_not_merge() -> None:
    """A view has room for 16 dimensions after the samples'; the short way leaves it to the other to say so."""
    x = torch.full((2,) * 18, 7, dtype=torch.uint8)
    merged = fb.thin(x.flatten(1), 0.5, rng=KEY)
    assert same(thin(x, 0.5), [made.reshape(x.shape) for made in merged])
    x = x.permute(*reversed(range(18)))
    assert thin(x, 0.5) is None
    for given in (x, x.numpy()):
        with pytest.raises(ValueError, match="^arrays may have at most 16 dimensions that do not merge$"):
            fb.thin(given, 0.5, rng=KEY)
