"""The short way into the CPU kernels: taken where a call is plain, equal to the long way, silent where it is not."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import fastblackout as fb
from fastblackout.backends.select import cpu_module
from fastblackout.call import short
from fastblackout.call.declared import Declaration
from fastblackout.call.keys import resolve_rng
from support import short_way
from support.short_way import (
    BIRTHS,
    KEY,
    LAYOUTS,
    LOGITS,
    LOSSES,
    PAIR,
    SPREAD,
    WEIGHT,
    B,
    P,
    X,
    bridge,
    long_way,
    loss,
    loss_of,
    same,
    thin,
)

pytestmark = short_way.only

OFFSET = torch.tensor([-0.3, 0.0, -9.0])


def drawn_logits(draws: int, x: torch.Tensor = X) -> torch.Tensor:
    return torch.randn(draws, *x.shape, generator=torch.Generator().manual_seed(draws))


DRAWS = drawn_logits(2)


def energy(
    weight: Any = 1.0,
    offset: Any = 0.0,
    logits: Any = DRAWS,
    x_t: Any = X,
    births: Any = BIRTHS,
    backend: str = "auto",
) -> Any:
    return loss_of("energy_loss", (x_t, logits, births, weight, offset, None), backend)


HEAD = LOGITS / 40, LOGITS.flip(1) / 40
FAMILIES = {"beta-binomial": 2, "bayes-logistic": 5, "negative-binomial": 2}


def posterior(
    family: Any = "beta-binomial", head: Any = HEAD, x_t: Any = X // 2, max_count: Any = None, offset: Any = -0.5
) -> Any:
    return loss_of("posterior_loss", (x_t, (family, head), BIRTHS, 1.0, offset, max_count))


def energy_loss(leaf: torch.Tensor) -> Any:
    return fb.energy_loss(leaf, X, BIRTHS, WEIGHT, offset=OFFSET)


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
        with long_way():
            assert same(made, fb.thin(x, alive, **{"rng": KEY, **options}))


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
        with long_way():
            assert same(made, fb.bridge_step(x, LOGITS, PAIR, rounding=rounding, **{"rng": KEY, **options}))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", ("uint8", "int16", "int32", "int64", "float32", "float64", "bfloat16", "float16"))
def test_loss_is_the_long_way(layout: str, dtype: str) -> None:
    """Gradients of sums, and of another order."""
    births = BIRTHS.to(getattr(torch, dtype))
    for weight, gain in ((WEIGHT, SPREAD), (0.5, SPREAD), (WEIGHT, 2.0)):
        single = [value if type(value) is float else value.float() for value in (weight, gain)]
        double = [value if type(value) is float else value.double() for value in single]
        results = []
        for pair in (single, double, [value if type(value) is float else value.numpy() for value in single]):
            logits = LAYOUTS[layout].float().sub(128).div(9).requires_grad_()
            assert loss(logits, births, *pair) is not None
            with long_way() if len(results) == 2 else contextlib.nullcontext():
                made = fb.birth_loss(logits, births, pair[0], gain=pair[1])
            expanded = torch.autograd.grad(made.sum(), logits, retain_graph=True)[0].clone()
            upstream = torch.tensor([2.0, 0.0, -0.7, 0.0, 1e-3])[::2]
            results.append((made.detach(), expanded, torch.autograd.grad(made, logits, upstream)[0]))
        assert same(results[0], results[2]) and same(results[1], results[2])


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("draws", (2, 3, 8))
@pytest.mark.parametrize("dtype", ("uint8", "int64", "float32", "bfloat16"))
def test_energy_is_the_long_way(layout: str, draws: int, dtype: str) -> None:
    """Gradients of sums, and of another order; logits whose draws lie apart, and in dimension 1."""
    x, births = LAYOUTS[layout], BIRTHS.to(getattr(torch, dtype))
    drawn = drawn_logits(draws, x)
    upstream = torch.tensor([2.0, 0.0, -0.7, 0.0, 1e-3])[::2]
    for logits in (drawn, drawn.transpose(0, 1).contiguous().transpose(0, 1), drawn.repeat_interleave(2, 0)[::2]):
        for weight, offset in ((WEIGHT, OFFSET), (0.5, OFFSET.double()), (WEIGHT.float(), -1.0)):
            results = []
            for backend in ("auto", "reference"):
                leaf = logits.detach().requires_grad_()
                taken = energy(weight, offset, leaf, x, births, backend) is not None
                assert taken == (backend == "auto")
                made = fb.energy_loss(leaf, x, births, weight, offset=offset, backend=backend)
                grads = [torch.autograd.grad(made, leaf, up, retain_graph=True)[0] for up in (torch.ones(B), upstream)]
                (expanded,) = torch.autograd.grad(made.sum(), leaf)
                results.append((made.detach(), *grads, expanded))
            assert same(*results)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("family", FAMILIES)
def test_posterior_loss_is_the_long_way(layout: str, family: str) -> None:
    """Gradients of sums, and of another order; arrays of a head that are the chunks of one tensor."""
    x, upstream = LAYOUTS[layout] // 2, torch.tensor([2.0, 0.0, -0.7, 0.0, 1e-3])[::2]
    whole = torch.randn(B, FAMILIES[family] * X.shape[1], *X.shape[2:], generator=torch.Generator().manual_seed(3))
    for weight, offset, dtype in ((WEIGHT, OFFSET, "float32"), (0.5, -1.0, "float32"), (WEIGHT, OFFSET, "float64")):
        results = []
        for backend in ("auto", "reference"):
            leaf = whole.to(getattr(torch, dtype), copy=True).requires_grad_()
            head = leaf.chunk(FAMILIES[family], 1)
            taken = loss_of("posterior_loss", (x, (family, head), BIRTHS, weight, offset, 255), backend) is not None
            assert taken == (backend == "auto" and dtype == "float32")
            given = {"family": family, "offset": offset, "max_count": 255, "backend": backend}
            made = fb.posterior_loss(list(head), x, BIRTHS, weight, **given)
            grads = [torch.autograd.grad(made, leaf, up, retain_graph=True)[0] for up in (torch.ones(B), upstream)]
            (expanded,) = torch.autograd.grad(made.sum(), leaf)
            results.append((made.detach(), *grads, expanded))
        assert same(*results)


def test_energy_without_a_gradient_and_of_another_backend_later() -> None:
    made = energy_loss(DRAWS)
    assert not made.requires_grad and torch.equal(made, energy(WEIGHT, OFFSET)[0][0])
    leaf = DRAWS.clone().requires_grad_()
    loss = energy_loss(leaf)
    with fb.use_backend("reference"):  # the gradient is of the backend that made the loss
        (grad,) = torch.autograd.grad(loss.sum(), leaf)
    assert torch.equal(grad, torch.autograd.grad(energy_loss(leaf).sum(), leaf)[0])


@pytest.mark.parametrize("weight", (WEIGHT, WEIGHT.numpy()), ids=("short", "long"))
def test_a_first_gradient_with_a_graph_is_the_same(weight: Any) -> None:
    def gradient(upstream: Any, create_graph: bool = False, backend: str = "auto") -> Any:
        logits = LOGITS.clone().requires_grad_()
        made = fb.birth_loss(logits, BIRTHS, weight, gain=SPREAD, backend=backend)
        return torch.autograd.grad(made, logits, upstream, create_graph=create_graph)[0]

    with_graph = gradient(WEIGHT.float(), True)
    assert torch.equal(with_graph, gradient(WEIGHT.float(), backend="reference"))
    with pytest.raises(RuntimeError, match="cannot be differentiated again"):
        with_graph.sum().backward()


def test_scaled_slopes_are_the_gradient() -> None:
    leaf, upstream = LOGITS.clone().requires_grad_(), WEIGHT.float()
    _, slopes = loss(leaf, BIRTHS, WEIGHT, SPREAD)
    assert short.special("quick_scale", slopes, upstream, WEIGHT) is slopes
    assert torch.equal(slopes, torch.autograd.grad(fb.birth_loss(leaf, BIRTHS, WEIGHT, gain=SPREAD), leaf, upstream)[0])
    assert short.special("quick_scale", slopes, upstream.double(), WEIGHT) is None


CHANGED = [("birth_loss", name) for name in ("weight", "gain")]
CHANGED += [("energy_loss", name) for name in ("logits", "x_t", "births", "weight", "offset")]
CHANGED += [("posterior_loss", name) for name in ("x_t", "births", "weight", "offset")]


@pytest.mark.parametrize(("op", "changed"), CHANGED)
def test_a_changed_argument_is_told(op: str, changed: str) -> None:
    numbers = {"gain": SPREAD} if op == "birth_loss" else {"x_t": X // 2, "offset": OFFSET}
    given = {name: value.clone() for name, value in {"births": BIRTHS, "weight": WEIGHT, **numbers}.items()}
    leaf = (DRAWS if op == "energy_loss" else LOGITS).clone().requires_grad_()
    if op == "posterior_loss":
        made = fb.posterior_loss((leaf, LOGITS / 40), **given, family="beta-binomial")
    else:
        given["logits"] = leaf
        made = getattr(fb, op)(**given)
    with torch.no_grad():
        given[changed].mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        made.sum().backward()


@pytest.mark.parametrize(
    "made",
    (
        lambda: thin(torch.nn.Parameter(X, requires_grad=False), PAIR),
        lambda: thin(X[:0], fb.Prob(P[:0], P[:0])),
        lambda: thin(X, PAIR, generator=torch.Generator()),
        lambda: thin(X, PAIR, rng=None, generator=0),
        lambda: thin(X, PAIR, backend="reference"),
        lambda: thin(X, PAIR, max_count=256),
        lambda: thin(X, PAIR, max_count=True),
        lambda: thin(X, fb.Prob(P, P)),
        lambda: thin(X, fb.Prob(P[:2], 1 - P[:2])),
        lambda: thin(X, 1.5),
        lambda: thin(X, PAIR, center=float("nan")),
        lambda: thin(X, PAIR, scale=1e300),
        lambda: thin(X, PAIR, rng=fb.Philox(0, first_sample=2**32 - 2)),
        lambda: bridge(X, LOGITS[:, :1], PAIR),
        lambda: bridge(X, None, PAIR),
        lambda: bridge(X, LOGITS, PAIR, births=X),
        lambda: bridge(X, LOGITS, PAIR, attrition=1.1),
        lambda: bridge(X, LOGITS, PAIR, rounding="floor"),
        lambda: bridge(X, LOGITS, PAIR, gain=-1.0),
        lambda: loss(LOGITS.double().requires_grad_(), BIRTHS),
        lambda: loss(LOGITS, BIRTHS[:1]),
        lambda: loss(LOGITS[:0], BIRTHS[:0]),
        lambda: loss(LOGITS, BIRTHS, WEIGHT[:2]),
        lambda: loss(LOGITS, BIRTHS, float("inf")),
        lambda: loss(LOGITS, BIRTHS, gain=0.0),
        lambda: loss(LOGITS, BIRTHS, gain=SPREAD.half()),
        lambda: loss(LOGITS, BIRTHS, WEIGHT.float()[:2]),
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
        lambda: energy(x_t=X.numpy()),
        lambda: energy(x_t=X[:2]),
        lambda: energy(logits=DRAWS.bfloat16().requires_grad_()),
        lambda: energy(logits=DRAWS.numpy()),
        lambda: energy(logits=DRAWS[:1]),
        lambda: energy(logits=drawn_logits(9)),
        lambda: energy(logits=DRAWS[:, :, :1]),
        lambda: energy(logits=DRAWS[0]),
        lambda: energy(births=BIRTHS[:, :1]),
        lambda: energy(float("nan")),
        lambda: energy(WEIGHT[:2]),
        lambda: energy(offset=float("inf")),
        lambda: energy(offset=SPREAD.half()),
        lambda: energy(backend="reference"),
        lambda: posterior(family="mean"),
        lambda: posterior(family=0),
        lambda: posterior(head=HEAD[:1]),
        lambda: posterior(head=LOGITS),
        lambda: posterior(head=(LOGITS, LOGITS.numpy())),
        lambda: posterior(head=(LOGITS, LOGITS[:2])),
        lambda: posterior(head=(LOGITS, X)),
        lambda: posterior(head=(LOGITS.double().requires_grad_(), LOGITS)),
        lambda: posterior(family="bayes-logistic", x_t=X.int(), max_count=65_536),
        lambda: posterior(max_count=256),
    ),
)
def test_what_is_not_plain_goes_the_long_way(made: Any) -> None:
    assert made() is None


DEEP = [1] * 65
REFUSED = {
    "no bytes": lambda: fb.thin(np.zeros(3, dtype=[]), 0.5, rng=KEY),
    "no bytes of numbers": lambda: fb.thin(X.numpy(), np.zeros(3, "V0"), rng=KEY),
    "no bytes of elements": lambda: fb.poisson(np.zeros(2, dtype=[]), rng=KEY),
    "65 dimensions": lambda: fb.thin(torch.ones(DEEP, dtype=torch.uint8), 0.5, rng=KEY),
    "200 dimensions": lambda: fb.poisson(torch.ones([1] * 200, dtype=torch.float64), rng=KEY),
    "a pair of counts": lambda: fb.binomial(fb.Prob(NUMBERS, NUMBERS), 0.5, rng=KEY),
    "bfloat16 of NumPy": lambda: fb.thin(X.numpy(), 0.5, rng=KEY, outputs=("x_t",), input_dtype="bfloat16"),
    "logits of NumPy": lambda: fb.energy_loss(DRAWS.numpy(), X, BIRTHS, 1.0),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_long_way_refuses(name: str) -> None:
    errors = TypeError, ValueError
    with pytest.raises(errors) as raised:
        REFUSED[name]()
    with long_way(), pytest.raises(errors) as wanted:
        REFUSED[name]()
    assert str(raised.value) == str(wanted.value)


FRAMES = {  # the most functions of the package that a call may enter; a time would be a neighbour's too
    "README's line": (lambda: fb.thin(X, P.float(), rng=KEY), 12),
    "NumPy": (lambda: fb.thin(X.numpy(), 0.5, rng=KEY), 12),
    "int32": (lambda: fb.thin(X.int(), 0.5, rng=KEY, max_count=255), 12),
    "births": (lambda: fb.bridge_step(X, births=BORN, step=PAIR, rng=KEY), 12),
    "elements": (lambda: fb.binomial(BIRTHS, 0.5, rng=KEY), 12),
    "a law": (lambda: fb.posterior_step(X, HEAD, PAIR, family="beta-binomial", rng=KEY), 12),
    "a loss": (lambda: fb.birth_loss(LOGITS, BIRTHS, WEIGHT), 12),
    "a loss of NumPy": (lambda: fb.birth_loss(LOGITS.numpy(), BIRTHS.numpy(), 1.0), 12),
    "a loss of a law": (lambda: fb.posterior_loss(HEAD, X // 2, BIRTHS, 1.0, family="beta-binomial"), 12),
    "float counts": (lambda: fb.thin(X.float(), 0.5, rng=KEY, max_count=255), 40),
    "a mask": (lambda: fb.thin(X, 0.5, rng=KEY, mask=X > 9), 120),
}


@pytest.mark.parametrize("name", FRAMES)
def test_calls_enter_few_functions(name: str) -> None:
    call, most = FRAMES[name]
    entered, package = [], str(Path(fb.__file__).parent)

    def note(frame: Any, event: str, _: Any) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(package):
            entered.append(frame.f_code.co_qualname if sys.version_info >= (3, 11) else frame.f_code.co_name)

    call()  # what is imported or kept by a first call
    before = sys.getprofile()
    sys.setprofile(note)
    try:
        call()
    finally:
        sys.setprofile(before)
    assert 0 < len(entered) <= most, entered


def test_the_short_way_is_taken_where_the_cpu_is_asked_for() -> None:
    assert thin(X, PAIR, backend="cpu") is not None and loss(LOGITS, BIRTHS, backend="cpu") is not None
    with fb.use_backend("cpu", threads=1):
        assert bridge(X, LOGITS, PAIR) is not None
    with fb.use_backend("reference"):
        assert thin(X, PAIR) is None and thin(X, PAIR, backend="cpu") is not None


def test_the_short_way_runs_with_what_is_asked_for() -> None:
    """Threads and instruction sets change no result, so their tests would pass on others."""
    module = cpu_module("test")
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
    called = (
        "_cpu.quick_settings('auto'), _cpu.loss_birth_loss('auto', (0, 0, 1.0, 1.0), (), ((), None, None, -1, None))"
    )
    code = f"from fastblackout import _cpu; print({called})"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, timeout=100)
    assert done.stdout == "None None\n", (done.returncode, done.stderr)


def test_slopes_are_kept_where_there_may_be_a_gradient() -> None:
    leaf = LOGITS.clone().requires_grad_()
    assert loss(LOGITS, BIRTHS)[1] is None and loss(leaf, BIRTHS)[1] is not None
    with torch.no_grad():
        assert loss(leaf, BIRTHS)[1] is None


def test_a_second_backward_gives_the_same() -> None:
    """The first makes its gradient in memory that the loss has prepared, which then is no more what it was."""
    leaf = DRAWS.clone().requires_grad_()
    loss = energy_loss(leaf)
    first, second = (torch.autograd.grad(loss.sum(), leaf, retain_graph=True)[0] for _ in range(2))
    assert first.data_ptr() != second.data_ptr() and torch.equal(first, second) and first.any()


def test_gradients_of_what_is_not_plain_go_the_long_way() -> None:
    values = X, DRAWS, BIRTHS, WEIGHT, OFFSET, None
    (_, norms), memory = loss_of("energy_loss", (X, DRAWS.clone().requires_grad_(), *values[2:]))
    ones, spec = torch.ones(B), LOSSES["energy_loss"].forward.spec

    def taken(norms: Any, upstream: Any) -> bool:
        made = short.special("quick_energy_gradient", values, norms, upstream, memory, spec)
        assert made is None or made is memory
        return made is not None

    assert not taken(norms, ones.double()) and not taken(norms, ones[:2])
    assert taken(norms, ones)


BORN, NAN = BIRTHS.float(), float("nan")
WRONG = {
    "counts": lambda: fb.thin(X, PAIR, rng=KEY, max_count=9),
    "counts of NumPy": lambda: fb.thin(X.numpy(), 0.5, rng=KEY, max_count=9),
    "counts of int64": lambda: fb.thin(X.long(), 0.5, rng=KEY, max_count=9),
    "counts of elements": lambda: fb.binomial(BIRTHS - 90, 0.5, rng=KEY),
    "probabilities of elements": lambda: fb.binomial(BIRTHS, BORN, rng=KEY),
    "rates": lambda: fb.poisson(-BORN - 1, rng=KEY),
    "logits": lambda: fb.bridge_step(X, LOGITS * NAN, PAIR, rng=KEY),
    "births": lambda: fb.bridge_step(X, births=-BORN - 1, step=PAIR, rng=KEY),
    "a leap": lambda: fb.tau_leap_step(X, LOGITS, -1.0, rng=KEY),
    "births of a loss": lambda: fb.birth_loss(LOGITS, BORN - 1, 1.0),
    "infinite logits": lambda: fb.birth_loss(LOGITS * float("inf"), BIRTHS, 1.0),
    "logits by 0": lambda: fb.birth_loss(LOGITS / 0, BIRTHS.byte(), 1.0),
    "counts of energy": lambda: fb.energy_loss(DRAWS, X, BIRTHS, 1.0, max_count=9),
    "logits of energy": lambda: fb.energy_loss(DRAWS * NAN, X, BIRTHS, 1.0, max_count=255),
    "births of energy": lambda: fb.energy_loss(DRAWS, X, BORN - 1, 1.0, max_count=255),
    "births of a law": lambda: fb.posterior_loss(HEAD, X, BORN + 0.5, 1.0, family="beta-binomial"),
    "a head": lambda: fb.posterior_step(X, (LOGITS, LOGITS * NAN), 0.5, family="negative-binomial", rng=KEY),
    "log-probabilities": lambda: fb.thin_log_prob(X.int(), X.int() - 256, 0.5),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_values_are_told_as_on_the_long_way(name: str) -> None:
    with pytest.raises(ValueError) as raised:
        WRONG[name]()
    with long_way(), pytest.raises(ValueError) as wanted:
        WRONG[name]()
    assert str(raised.value) == str(wanted.value)


NUMBERS = np.array([0.2, 0.7, 1.0])
PLAIN = {
    "NumPy": lambda: fb.thin(X.numpy(), 0.5, rng=KEY),
    "Fortran order": lambda: fb.thin(np.asfortranarray(X.numpy()), NUMBERS, rng=KEY, center=NUMBERS),
    "slices": lambda: fb.thin(X.numpy()[:, ::-1, 1:3], fb.Prob(0.25, 0.75), rng=KEY, outputs=["births"]),
    "int64": lambda: fb.thin(X.long(), 0.5, rng=KEY, max_count=2**53),
    "int16": lambda: fb.thin(X.short().numpy(), 0.5, rng=KEY, max_count=255, outputs="x_t"),
    "a dtype of the input": lambda: fb.thin(X, 0.5, rng=KEY, input_dtype="bfloat16"),
    "single probabilities": lambda: fb.thin(X, P.float(), rng=KEY),
    "probabilities of rows": lambda: fb.thin(X, P.view(B, 1, 1, 1), rng=KEY),
    "one for all": lambda: fb.thin(X, torch.tensor(0.25), rng=KEY, scale=torch.full((1, 1, 1, 1), 2.0)),
    "a list": lambda: fb.thin(X, [0.2, 0, 1], rng=KEY, scale=[1, 2.5, -1]),
    "integers": lambda: fb.thin(X, 1, rng=5, center=3),
    "a key tensor": lambda: fb.thin(X, 0.5, rng=KEY.tensor()),
    "births": lambda: fb.bridge_step(X, births=BORN, step=PAIR, rng=KEY),
    "births of NumPy": lambda: fb.bridge_step(X.numpy(), births=BIRTHS.numpy(), step=0.3, rng=KEY, attrition=0),
    "double logits": lambda: fb.bridge_step(X.int(), LOGITS.double(), 0.3, rng=KEY, max_count=255),
    "a leap": lambda: fb.tau_leap_step(X, LOGITS, WEIGHT.abs(), rng=KEY, max_count=255),
    "a leap by a pair": lambda: fb.tau_leap_step(X.numpy(), LOGITS.numpy(), fb.Prob(0.1, 0.9), rng=KEY),
    "elements": lambda: fb.binomial(BIRTHS, torch.tensor(0.3).double(), rng=KEY),
    "a number": lambda: fb.binomial(BIRTHS.numpy(), 0.5, rng=KEY),
    "numbers alone": lambda: fb.binomial(7, fb.Prob(0.25, 0.75), rng=KEY),
    "shapes that broadcast": lambda: fb.binomial(
        BIRTHS[:, :1], fb.Prob(P.view(B, 1, 1, 1), 1 - P.view(B, 1, 1, 1)), rng=KEY
    ),
    "rates": lambda: fb.poisson(BORN, rng=KEY),
    "three arguments": lambda: fb.beta_binomial(BIRTHS, 2.0, BORN + 1, rng=KEY),
    "a law": lambda: fb.posterior_step(X, HEAD, PAIR, family="beta-binomial", rng=KEY, offset=OFFSET),
    "a list of arrays": lambda: fb.posterior_step(
        X.int(), [*HEAD, *HEAD, LOGITS], 0.3, family="bayes-logistic", rng=KEY, max_count=300
    ),
    "a law of NumPy": lambda: fb.posterior_step(
        X.numpy(), (LOGITS.numpy(),) * 2, 0.3, family="negative-binomial", rng=KEY
    ),
    "a loss of NumPy": lambda: fb.birth_loss(LOGITS.numpy(), BORN.numpy(), NUMBERS),
    "a loss of half precision": lambda: fb.birth_loss(LOGITS.half(), BORN, WEIGHT),
    "energy of NumPy": lambda: fb.energy_loss(DRAWS.numpy(), X.numpy(), BIRTHS.numpy(), 1.0),
    "energy of bfloat16": lambda: fb.energy_loss(DRAWS.bfloat16(), X, BIRTHS, WEIGHT),
    "a loss of a law of NumPy": lambda: fb.posterior_loss(
        (LOGITS.numpy(),) * 2, X.numpy() // 2, BIRTHS.numpy(), 1.0, family="beta-binomial"
    ),
    "log-probabilities": lambda: fb.thin_log_prob(X // 2, X, P),
    "those of the bridge": lambda: fb.bridge_log_prob(X.numpy() // 2, X.numpy() // 3, X.numpy(), PAIR),
    "urns": lambda: fb.hypergeometric(BIRTHS.numpy(), bad=9, draws=5, rng=KEY),
}


@pytest.mark.parametrize("name", PLAIN)
def test_these_calls_are_plain(name: str, monkeypatch: Any) -> None:
    """And equal to the long way, to the bit, in library, dtype, shape and strides."""
    with monkeypatch.context() as patch:
        patch.setattr(Declaration, "on_host", None)  # which the long way ends in
        made = PLAIN[name]()
    with long_way():
        wanted = PLAIN[name]()
    assert type(made) is type(wanted)
    for one, other in zip(*((each if isinstance(each, tuple) else (each,)) for each in (made, wanted)), strict=True):
        assert type(one) is type(other) and (one is None or one.dtype == other.dtype)
        if one is not None:
            one, other = (torch.as_tensor(each) for each in (one, other))
            assert torch.equal(one, other) and one.stride() == other.stride()


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


# Beside what torch keeps: generators, the default device, modes and transforms that look at calls


@pytest.mark.parametrize("generator", (None, torch.Generator()), ids=("torch's own", "given"))
def test_a_seed_is_drawn_once_and_last(generator: Any) -> None:
    """As the long way draws it, and none by calls that are left to it."""
    source, drawn = generator or torch.default_generator, {"rng": None, "generator": generator}
    keys = [resolve_rng(None, drawn_from, "thin") for drawn_from in (source.manual_seed(5), source)]
    source.manual_seed(5)
    assert thin(X, fb.Prob(P, P), **drawn) is None and bridge(X, LOGITS, fb.Prob(P, P), **drawn) is None
    assert same(thin(X, PAIR, **drawn), fb.thin(X, PAIR, rng=keys[0]))
    assert same(bridge(X, LOGITS, PAIR, **drawn), fb.bridge_step(X, LOGITS, PAIR, rng=keys[1]))


def test_the_default_device_is_not_asked() -> None:
    """Neither for outputs nor, on every way, for keys."""
    compiled = torch.compile(lambda x: fb.thin(x, 0.5).x_t, backend="eager", fullgraph=True)
    with torch.device("meta"):
        assert KEY.tensor().device == compiled(X).device == X.device
        assert loss(LOGITS, BIRTHS)[0][0].device == LOGITS.device
        for outputs in (("x_t", "births"), ["x_t", "births"]):
            assert fb.thin(X, PAIR, outputs=outputs).births.device == X.device


def test_calls_that_others_look_at_go_the_long_way() -> None:
    class Mode(torch.utils._python_dispatch.TorchDispatchMode):
        seen: list[str] = []

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            self.seen.append(str(func))
            return func(*args, **(kwargs or {}))

    class Other(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            return func(*args, **(kwargs or {})).as_subclass(torch.nn.Buffer)

    with Other():
        assert thin(X, PAIR) is None and loss(LOGITS, BIRTHS) is None
    with Mode():
        assert thin(X, PAIR) is None and loss(LOGITS, BIRTHS) is None
        fb.birth_loss(LOGITS, BIRTHS, WEIGHT)
    assert any("birth_loss" in name for name in Mode.seen)

    def within(y: Any) -> Any:
        assert bridge(X, LOGITS, PAIR) is None and loss(LOGITS, BIRTHS) is None
        return y.sum()

    torch.func.grad(within)(LOGITS)
