"""A loss and its gradient, declared together: both take the same, but the gradient a coefficient for the weight."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..backends import select
from ..backends.float_mode import default_floats
from ..call import short
from ..call.arguments import Argument, Call, Draws, Logits, need_gradient, through_torch
from ..call.head import Head
from ..call.numbers import KeptNumbers, PerSample, on_host
from ..call.operation import Operation
from ..call.outputs import Outputs, to_caller
from ..ground.values import is_tensor

WEIGHT = PerSample("weight", "float64")


class _Coefficient(PerSample):
    """Upstream gradient times weight. On the host it may be any number, infinite too."""

    def canon(self, call: Call, value: Any) -> tuple[Any]:
        return super().canon(call, value) if call.through_torch else KeptNumbers(*self.names).canon(call, value)


_COEFFICIENT = _Coefficient("coefficient", "float64")


class Loss:
    """The ops NAME and NAME_backward, `forward` and `backward`, with the derivative and vmap rules of loss_gradient.py.

    arguments: of the loss, among them WEIGHT, and Logits, Draws or a Head, which a network gives. loss, gradient: the
    outputs and the reference of each. kept: of the outputs of the loss, what its gradient takes after the rest.
    finish(memory, upstream, values, *kept): makes the gradient of memory that the loss has filled for it, or None.
    """

    def __init__(
        self,
        name: str,
        *arguments: Argument,
        loss: tuple[Outputs, Callable[..., Any]],
        gradient: tuple[Outputs, Callable[..., Any]],
        finish: Callable[..., Any],
        kept: Sequence[Argument] = (),
    ) -> None:
        def extend(backward: bool = False) -> None:
            from . import loss_gradient

            rules = loss_gradient.gradient if backward else loss_gradient.loss
            loss_gradient.register(f"{name}_backward" if backward else name, rules(name))

        self.op, self.short, self.finish, self.taken = name, f"loss_{name}", finish, len(arguments)
        self.weight = arguments.index(WEIGHT)
        self.at = next(at for at, each in enumerate(arguments) if isinstance(each, (Logits, Draws, Head)))
        self.of_law = isinstance(arguments[self.at], Head)
        outputs, twin = loss
        self.forward = Operation(name, *arguments, outputs=outputs, twin=twin, extend=extend)
        given = [_COEFFICIENT if each is WEIGHT else each for each in arguments]
        outputs, twin = gradient
        self.backward = Operation(
            f"{name}_backward", *given, *kept, outputs=outputs, twin=twin, of=name,
            extend=functools.partial(extend, backward=True),
        )  # fmt: skip

    def __call__(self, values: Sequence[Any], backend: str) -> Any:
        """The loss of each sample, which torch may differentiate by what the network gives."""
        made = self.plain(values, backend)
        return self.other(values, backend) if made is None else made

    def plain(self, values: Sequence[Any], backend: str) -> Any:
        """The same of plain arguments, and None of others."""
        if (made := short.loss(self.short, self.forward.spec, values, backend)) is None:
            return None
        outputs, memory, chosen = made
        return outputs[0] if memory is None else self._kept(values, outputs, chosen, [memory])

    def other(self, values: Sequence[Any], backend: str) -> Any:
        given = values[self.at][1] if self.of_law else (values[self.at],)
        arrays = given if isinstance(given, (tuple, list)) else ()
        if not any(map(need_gradient, arrays)) or any(through_torch(each, backend) for each in (values[0], *arrays)):
            return self.forward(values, backend=backend)
        call = Call(self.op, backend)  # of plain CPU tensors that will be differentiated
        self.forward.read(call, values)
        chosen, outputs = select.select_host(self.op, backend), self.forward.outputs.make(call)
        self.forward.run(call, values, chosen, outputs)
        return self._kept(values, to_caller(call, outputs), chosen, [None])

    def _kept(self, values: Sequence[Any], outputs: Sequence[Any], chosen: str, once: list[Any]) -> Any:
        """The loss, whose gradient is to come. once: memory of it."""
        name, given = values[self.at] if self.of_law else (None, (values[self.at],))
        loss, *kept = outputs
        flat = [*given, *values, *kept]
        flat[len(given) + self.at] = name
        return graded(*given, (self.op, functools.partial(self._gradient, chosen, once), flat, loss))

    def _gradient(self, chosen: str, once: list[Any], upstream: Any, *flat: Any) -> Any:
        """The gradient by what the network gives, a tuple where that are several tensors."""
        first = len(flat) - self.taken - len(self.forward.outputs.names) + 1
        given, values, kept = flat[:first], list(flat[first : first + self.taken]), flat[first + self.taken :]
        values[self.at] = (values[self.at], given) if self.of_law else given[0]
        memory = once.pop() if once else None  # it becomes the gradient; a second backward makes its own
        if chosen == "cpu" and memory is not None:
            made = self.finish(memory, upstream, values, *kept)
            if made is not None:
                return made
        values[self.weight] = _coefficient(self.op, upstream, values[self.weight], chosen)
        return self.backward((*values, *kept), backend=chosen)


@default_floats
def _coefficient(op: str, upstream: Any, weight: Any, chosen: str) -> Any:
    """Upstream gradient times weight, in float64: a tensor for a device."""
    if chosen in select.DEVICE_BACKENDS:
        return upstream.double() * (weight.reshape(-1) if is_tensor(weight) else weight)
    return np.ascontiguousarray(upstream.double().numpy() * on_host(op, "weight", weight, len(upstream)))


def scale_slopes(memory: Any, upstream: Any, values: Sequence[Any], at: int) -> Any:
    """The gradient, in the memory of its slopes: these times `upstream` and the weight values[at]; or None."""
    several = type(memory) is tuple
    for slopes in memory if several else (memory,):
        if not slopes.is_contiguous():  # gone through as it lies: the states of a network's head are not the innermost
            slopes = slopes.permute(0, *sorted(range(1, slopes.ndim), key=slopes.stride().__getitem__, reverse=True))
        if short.special("quick_scale", slopes, upstream, values[at]) is None:
            return None
    return memory


def graded(*given: Any) -> Any:
    """loss_gradient.Kept.apply."""
    return _kept().apply(*given)


@functools.cache
def _kept() -> Any:
    """loss_gradient.Kept, which needs torch. An import in a call would take a microsecond."""
    from .loss_gradient import Kept

    return Kept
