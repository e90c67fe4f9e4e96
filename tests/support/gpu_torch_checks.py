"""Checks of a GPU backend inside torch: opcheck, torch.compile, its CUDA graphs. gpu_checks.py says who runs them."""

from __future__ import annotations

import gc
import sys
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import fastblackout as fb
from fastblackout.backends import wrong_values
from fastblackout.blackout.losses import blackout_loss
from fastblackout.call import numbers
from support.gpu_checks import Times
from support.op_table import OPS, PLAIN, draws_of
from support.product import arguments, called, moved, named, public, same


class _Calls(TorchDispatchMode):
    """Keeps the calls of fastblackout's registered ops."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[Any, tuple[Any, ...]]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.namespace == "fastblackout":
            self.seen.append((func, args))
        return func(*args, **(kwargs or {}))


def check_opcheck(op: str, backend: str, device: torch.device, shape: tuple[int, ...]) -> None:
    """torch.library.opcheck of every registered op that a call makes, with the arguments it gets; gradients too."""
    there = moved(arguments(op, PLAIN | {"shape": shape}), device)
    with _Calls() as calls:
        public(op, there, fb.Philox(2**63 + 1, first_sample=5).tensor(device), backend)
    assert len(calls.seen) == (2 if op.endswith("loss") else 1), calls.seen
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's tracing looks at the .grad of tensors that are no leaves
        for func, args in calls.seen:
            given = [value.detach() if isinstance(value, Tensor) else value for value in args]
            if func.name().endswith("loss"):  # the one with a gradient, which has none itself
                given[{"birth_loss": 0, "energy_loss": 1, "posterior_loss": 2}[op]].requires_grad_()
            torch.library.opcheck(func, tuple(given))


def forget() -> None:
    """As in a fresh process, in which no op has run: nothing that ops keep on a device is there."""
    torch._dynamo.reset()
    wrong_values._flags.clear()
    wrong_values._views.clear()
    numbers._constant.cache_clear()
    if (launch := sys.modules.get("fastblackout.kernels.launch")) is not None:
        launch._layouts.clear()
        launch._captured.clear()


def check_compiled(
    op: str, backend: str, device: torch.device, shape: tuple[int, ...], mode: str | None = None
) -> None:
    """torch.compile(fullgraph=True): one graph for all keys, the bits of the CPU.

    mode "reduce-overhead": torch warms up, captures and replays CUDA graphs, and the ops run for the first time in its
    warm-up, on strided tensors: what they keep may not lie in the graphs' memory.
    """
    forget()
    step = _compiled(op, backend, mode)
    for call in range(5):
        a, rng = arguments(op, PLAIN | {"shape": shape}, call if mode else 0), fb.Philox(2**63 + 5, call=9 * call)
        there = moved(a, device, "transposed" if mode else "contiguous", OPS[op].images)
        if mode:
            torch.compiler.cudagraph_mark_step_begin()
        made = {name: value.clone() for name, value in step(there, rng.tensor(device)).items()}
        gc.collect()
        for name, value in public(op, a, rng).items():
            same(f"compiled, call {call}: {name}", made[name], value)


def _compiled(op: str, backend: str, mode: str | None) -> Callable[[Any, Tensor], dict[str, Tensor]]:
    if not op.endswith("loss"):
        step = torch.compile(lambda given, key: called(op, given, key, backend), fullgraph=True, mode=mode)
        return lambda given, key: named(step(given, key))
    compiled = torch.compile(getattr(fb, op), fullgraph=True, mode=mode)

    def with_gradient(given: Any, key: Tensor) -> dict[str, Tensor]:
        """The gradient is taken outside: torch.compile has a backward graph of its own."""
        if op == "posterior_loss":
            head, law = [given[f"head_{at}"].detach().requires_grad_() for at in (0, 1)], {"family": "beta-binomial"}
            numbers = {name: given[name] for name in ("offset", "max_count")} | law
            loss = compiled(head, given["x"], given["births"], given["weight"], **numbers, backend=backend)
            first, second = torch.autograd.grad(loss, head, given["upstream"])
            return {"loss": loss.detach().clone(), "grad_0": first, "grad_1": second}
        if op == "energy_loss":
            logits, numbers = draws_of(given).requires_grad_(), {name: given[name] for name in ("offset", "max_count")}
            loss = compiled(logits, given["x"], given["births"], given["weight"], **numbers, backend=backend)
            (grad,) = torch.autograd.grad(loss, logits, given["upstream"])
            return {"loss": loss.detach().clone(), "grad": grad.transpose(0, 1)}
        logits = given["logits"].detach().requires_grad_()
        loss = compiled(logits, given["births"], given["weight"], gain=given["gain"], backend=backend)
        return {"loss": loss.detach().clone(), "grad": torch.autograd.grad(loss, logits, given["upstream"])[0]}

    return with_gradient


def check_losses(backend: str, device: torch.device) -> None:
    """A training loss in one graph, schedule and model included, eager and compiled, and its gradient."""
    schedule = fb.Schedule.logit(50)
    x = torch.randint(0, 256, (8, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))

    def loss(model: Any, x: Tensor, k: Tensor, key: Tensor) -> Tensor:
        return blackout_loss(model, schedule, x, k, key, "likelihood")

    for mode in (None, "default", "reduce-overhead"):
        forget()
        model = fb.BlackoutModel(Times(), schedule, 255)
        wanted, rng = [], fb.Philox(3)
        for call in range(4):
            k = schedule.draw(8, rng.at(call=call))
            value = loss(model, x, k, rng.at(call=call).tensor())
            wanted.append((k, value.detach(), torch.autograd.grad(value.sum(), model.network.weight)[0]))
        model = model.to(device)
        step = loss if mode is None else torch.compile(loss, fullgraph=True, mode=mode)
        with fb.use_backend(backend):
            for call, (k, value, grad) in enumerate(wanted):
                torch.compiler.cudagraph_mark_step_begin()
                got = step(model, x.to(device), k.to(device), rng.at(call=call).tensor(device))
                slope = torch.autograd.grad(got.sum(), model.network.weight)[0]
                same(f"loss, mode {mode}, call {call}", got, value)
                torch.testing.assert_close(slope.cpu(), grad, rtol=1e-4, atol=1e-4)  # a sum in another order
