"""A loss and its gradient, declared together: both take the same, but the gradient a coefficient for the weight."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..call.arguments import Argument
from ..call.number_arguments import PerSample
from ..call.operation import Operation
from ..call.outputs import Outputs

WEIGHT = PerSample("weight", "float64")
# Upstream gradient times weight. It may be any number: that of a scaled loss may well be infinite.
_COEFFICIENT = PerSample("coefficient", "float64", checked=False)


def declare_loss(
    name: str,
    *arguments: Argument,
    loss: tuple[Outputs, Callable[..., Any]],
    gradient: tuple[Outputs, Callable[..., Any]],
    kept: Sequence[Argument] = (),
) -> tuple[Operation, Operation]:
    """The ops NAME and NAME_backward, with the derivative and vmap rules of loss_rules.py.

    arguments: of the loss, WEIGHT among them. loss, gradient: the outputs and the reference of each. kept: of the
    outputs of the loss, what its gradient takes after the rest.
    """

    def extend() -> None:
        from . import loss_rules

        loss_rules.register(name, loss_rules.loss(name))

    def extend_gradient() -> None:
        from . import loss_rules

        loss_rules.register(f"{name}_backward", loss_rules.gradient(name))

    given = [_COEFFICIENT if each is WEIGHT else each for each in arguments]
    outputs, twin = loss
    forward = Operation(name, *arguments, outputs=outputs, twin=twin, extend=extend)
    outputs, twin = gradient
    backward = f"{name}_backward"
    return forward, Operation(backward, *given, *kept, outputs=outputs, twin=twin, of=name, extend=extend_gradient)
