"""A loss and its gradient, declared together: both take the same, but the gradient a coefficient for the weight."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..backends import host, select
from ..call.arguments import Argument, Call
from ..call.numbers import KeptNumbers, PerSample
from ..call.operation import Operation
from ..call.outputs import Outputs, to_caller
from ..ground.values import is_tensor

WEIGHT = PerSample("weight", "float64")


class _Coefficient(PerSample):
    """Upstream gradient times weight. On the host it may be any number, infinite too."""

    any_number = True

    def canon(self, call: Call, value: Any) -> tuple[Any]:
        return super().canon(call, value) if call.through_torch else KeptNumbers(*self.names).canon(call, value)


_COEFFICIENT = _Coefficient("coefficient", "float64")


def declare_loss(
    name: str,
    *arguments: Argument,
    loss: tuple[Outputs, Callable[..., Any]],
    gradient: tuple[Outputs, Callable[..., Any]],
    kept: Sequence[Argument] = (),
) -> tuple[Operation, Operation]:
    """The ops NAME and NAME_backward, with the derivative and vmap rules of loss_gradient.py.

    arguments: of the loss, WEIGHT among them. loss, gradient: the outputs and the reference of each. kept: of the
    outputs of the loss, what its gradient takes after the rest.
    """

    def extend() -> None:
        from . import loss_gradient

        loss_gradient.register(name, loss_gradient.loss(name))

    def extend_gradient() -> None:
        from . import loss_gradient

        loss_gradient.register(f"{name}_backward", loss_gradient.gradient(name))

    given = [_COEFFICIENT if each is WEIGHT else each for each in arguments]
    outputs, twin = loss
    forward = Operation(name, *arguments, outputs=outputs, twin=twin, extend=extend)
    outputs, twin = gradient
    backward = f"{name}_backward"
    return forward, Operation(backward, *given, *kept, outputs=outputs, twin=twin, of=name, extend=extend_gradient)


def run_graded(loss: Operation, values: Sequence[Any], backend: str, gradient: Operation | None) -> tuple[Any, ...]:
    """A loss of plain CPU tensors that will be differentiated: (its outputs, the backend that ran, slopes).

    slopes: with `gradient`, what becomes the gradients, from the C++ kernel of float32 logits: made in the same pass,
    for a second one would take half as long again. Else it is empty.
    """
    call = Call(loss.op, backend)
    loss.read(call, values)
    chosen = select.select_host(loss.op, backend)
    outputs, size, slopes = loss.outputs.make(call), (call.samples, call.elements), {}
    if gradient and chosen == "cpu" and all(each.dtype == "float32" for each in call.arrays("head") or [call.first]):
        slopes = gradient.outputs.make(call)
    name = f"{loss.name}_and_slopes" if slopes else loss.name
    host.run(name, loss.twin, chosen, call.record, outputs | slopes, size)
    return to_caller(call, outputs), chosen, [each.value for each in slopes.values() if each is not None]


def one_row(weight: Any) -> Any:
    """Weights of samples on a device, a number or a tensor (), (B,) or (B, 1, ..., 1), to multiply an upstream (B,)."""
    return weight.reshape(-1) if is_tensor(weight) else weight
