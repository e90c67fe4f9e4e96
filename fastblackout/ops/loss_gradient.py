"""The gradients of losses.

Plain CPU tensors take `Kept`, which is not called through torch's dispatcher.

The registered losses, as torch.ops.fastblackout.birth_loss, have derivative and vmap rules: autograd.Functions with a
static setup_context, which torch.func needs and torch.library.register_autograd lacks. They stand behind the op's
Autograd key; inside a transform of torch.func, whose levels a Function behind a key cannot cross, they are applied
directly. A loss takes what a network gives (one tensor, or the several of a head) and a weight among its arguments, and
returns (B,), perhaps with more that its gradient needs. The op of the gradient, NAME_backward, takes the same, a
coefficient in the place of the weight, and then what was kept; it returns a tensor, or a list of them for a head.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..arrays import in_functorch
from ..call.arguments import Argument, Draws, Logits
from ..call.declared import DECLARED
from ..call.head import Head

_SAVED = object()  # stands for a tensor that autograd keeps
_PLAIN = {float, int, str, np.ndarray, type(None)}  # of most other values: torch's isinstance takes three times as long


def once(op: str) -> str:
    """Why the gradient of a loss refuses."""
    return f"{op}: logits: the gradient cannot be differentiated again, got a second differentiation"


class Kept(torch.autograd.Function):
    """The loss of plain CPU tensors, computed before, with what its gradient needs.

    Not with the static setup_context: it costs 20 us a call, and torch.func takes the other path. One argument beside
    those that have a gradient: each costs 1 us.
    """

    @staticmethod
    def forward(ctx: Any, *given: Any) -> Any:
        """given: the tensors that have a gradient; then a tuple: op, gradient, values, loss.

        gradient(upstream, *values) gives the gradients, a tuple where there are several tensors.
        """
        op, gradient, values, loss = given[-1]
        saved, kept = [], []
        for each in values:
            if type(each) not in _PLAIN and isinstance(each, torch.Tensor):
                saved.append(each)  # as a tensor: torch tells of a change in place
                each = _SAVED
            kept.append(each)
        ctx.save_for_backward(*saved)
        ctx.made = op, gradient, kept
        return loss

    @staticmethod
    def backward(ctx: Any, upstream: Any) -> Any:  # type: ignore[override]
        op, gradient, kept = ctx.made
        saved = iter(ctx.saved_tensors)
        values = [next(saved) if each is _SAVED else each for each in kept]
        # Gradients are enabled here under create_graph alone.
        again = torch.is_grad_enabled()
        made = Once.apply(op, gradient, upstream, *values) if again else gradient(upstream, *values)
        return (*made, None) if type(made) is tuple else (made, None)


class Once(torch.autograd.Function):
    """The gradient of the loss `op`, which refuses to be differentiated instead of passing for a constant."""

    @staticmethod
    def forward(ctx: Any, op: str, gradient: Callable[..., Any], *arguments: Any) -> Any:  # type: ignore[override]
        ctx.op = op
        return gradient(*arguments)

    @staticmethod
    def backward(ctx: Any, *upstream: Any) -> Any:
        raise RuntimeError(once(ctx.op))


def _parts(name: str) -> list[tuple[Argument, str]]:
    """Of an op: its arguments as its torch schema has them, each with the kind it is part of."""
    return [(argument, part) for argument in DECLARED[name].arguments for part in argument.parts]


def _graded(name: str) -> list[int]:
    """Which of them are what a network gives."""
    kinds = Draws, Head, Logits
    return [at for at, (argument, part) in enumerate(_parts(name)) if isinstance(argument, kinds) and "Tensor" in part]


def _sample_dims(name: str) -> list[int]:
    """Of each: which dimension is the sample's."""
    return [1 if isinstance(argument, Draws) else 0 for argument, _ in _parts(name)]


def _map_rows(name: str, made_at: Sequence[int], info: Any, dims: Any, *arguments: Any) -> tuple[Any, Any]:
    """The op with the mapped dimension merged into the samples': they are independent, so they are more samples.

    made_at: of the outputs, which dimension is the sample's.
    """
    *values, backend = arguments
    count, samples, merged = info.batch_size, 0, []
    for value, dim, sample in zip(values, dims[:-1], _sample_dims(name), strict=True):
        if isinstance(value, Tensor):
            fronted = value.expand(count, *value.shape) if dim is None else value.movedim(dim, 0)
            samples = fronted.shape[sample + 1]
            value = fronted.movedim(0, sample).flatten(sample, sample + 1)
        merged.append(value)
    made = getattr(torch.ops.fastblackout, name).default(*merged, backend)
    if isinstance(made, Tensor):
        return made.unflatten(made_at[0], (count, samples)), made_at[0]
    parted = tuple(output.unflatten(at, (count, samples)) for output, at in zip(made, made_at, strict=False))
    return parted, tuple(made_at[: len(parted)])


def loss(name: str) -> type[torch.autograd.Function]:
    """The rules of a loss: its gradient by what a network gives is another op, and no other argument gets one."""
    from ..call.torch_registry import calls

    graded_at, weight_at = _graded(name), [part for _, part in _parts(name)].index("Tensor weight")

    class Loss(torch.autograd.Function):
        @staticmethod
        def forward(*arguments: Any) -> Any:
            with torch._C._AutoDispatchBelowAutograd():
                return getattr(torch.ops.fastblackout, name).default(*arguments)

        @staticmethod
        def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
            kept = output[1:] if isinstance(output, tuple) else ()
            ctx.mark_non_differentiable(*kept)
            ctx.numbers = [_SAVED if isinstance(each, Tensor) else each for each in inputs]
            ctx.save_for_backward(*(each for each in inputs if isinstance(each, Tensor)), *kept)

        @staticmethod
        def backward(ctx: Any, upstream: Tensor, *unused: Any) -> tuple[Any, ...]:  # type: ignore[override]
            saved = iter(ctx.saved_tensors)
            *arguments, backend = (next(saved) if each is _SAVED else each for each in ctx.numbers)
            arguments[weight_at] = upstream.double() * arguments[weight_at]
            grads: list[Any] = [None] * len(ctx.numbers)
            made = calls[f"{name}_backward"](*arguments, *saved, backend)
            for at, grad in zip(graded_at, (made,) if isinstance(made, Tensor) else made, strict=False):
                grads[at] = grad
            return tuple(grads)

        @staticmethod
        def vmap(info: Any, dims: Any, *arguments: Any) -> tuple[Any, Any]:
            return _map_rows(name, [0] * len(DECLARED[name].outputs.names), info, dims, *arguments)

    return Loss


def gradient(name: str) -> type[torch.autograd.Function]:
    """The rules of the gradient of a loss, which refuses to be differentiated instead of passing for a constant."""
    op = f"{name}_backward"
    made_at = [_sample_dims(op)[at] for at in _graded(op)]

    class Gradient(torch.autograd.Function):
        @staticmethod
        def forward(*arguments: Any) -> Any:
            with torch._C._AutoDispatchBelowAutograd():
                made = getattr(torch.ops.fastblackout, op).default(*arguments)
            return made if isinstance(made, Tensor) else tuple(made)

        @staticmethod
        def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
            pass

        @staticmethod
        def backward(ctx: Any, *upstream: Tensor) -> tuple[Any, ...]:
            raise RuntimeError(once(name))

        @staticmethod
        def vmap(info: Any, dims: Any, *arguments: Any) -> tuple[Any, Any]:
            return _map_rows(op, made_at, info, dims, *arguments)

    return Gradient


def register(name: str, function: type[torch.autograd.Function]) -> None:
    """Gives the registered op `name` the rules of `function`, and calls of it the way around its key."""
    from ..call.torch_registry import calls, library

    op: Callable[..., Any] = calls[name]

    def behind_the_key(*arguments: Any) -> Any:
        graded = any(isinstance(each, Tensor) and each.requires_grad for each in arguments)
        return (function.apply if graded and torch.is_grad_enabled() else function.forward)(*arguments)

    library.impl(name, behind_the_key, "Autograd")
    torch.library.register_vmap(f"fastblackout::{name}", function.vmap, lib=library)  # type: ignore[attr-defined]

    def call(*arguments: Any) -> Any:
        return (function.apply if in_functorch() else op)(*arguments)

    calls[name] = call
