"""What a network must give for a head: the one rule, for a model and for a scheduler that has no network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ..heads import HEADS, head_named

if TYPE_CHECKING:
    from ..heads.head import Head


def outputs_of(op: str, argument: str, given: Any, model: Any, shape: Sequence[int]) -> Tensor:
    """What a network returned, unwrapped and contiguous. ValueError unless its shape suits the model's head and counts
    (B, C, ...) of this shape; it names the heads that it would suit.

    model: a `NetworkModel`."""
    outputs = given if isinstance(given, Tensor) else getattr(given, "sample", given)
    if not isinstance(outputs, Tensor):
        rule = "must be a tensor, or an object that has one as attribute sample"
        raise TypeError(f"{op}: {argument}: {rule}, got {type(given).__name__}")
    wanted, found = _shape(model.head_object, model.max_count, shape), tuple(outputs.shape)
    if found != wanted:
        rule = f"must have shape {wanted} for head {model.head_object.name!r}"
        others = " or ".join(repr(name) for name in HEADS if found == _of_other(name, model, shape))
        raise ValueError(f"{op}: {argument}: {rule}, got {found}" + (f", which suits head={others}" if others else ""))
    return outputs.contiguous()  # a compiled network may give them with the channels last


def _of_other(name: str, model: Any, shape: Sequence[int]) -> tuple[int, ...] | None:
    """The shape for another head, where the model could have it as it is."""
    head = head_named(name)
    able = model.max_count <= head.largest_count and (model.bounded or head.unbounded is not None)
    return _shape(head, model.max_count, shape) if able and not head.takes_noise else None


def _shape(head: Head, max_count: int, shape: Sequence[int]) -> tuple[int, ...]:
    batch, channels, *rest = shape
    return batch, channels * head.numbers_per_count(max_count), *rest
