"""The declared ops as torch knows them, torch.ops.fastblackout.*, and calls of ops on tensors.

The registered ops are functional, with the key and every number of a sample in tensors, and return only the outputs
asked for. They are registered for the CPU and CUDA, with shapes for meta and fake tensors. Where torch traces a call,
it goes through them; tensors on a device go to the kernels themselves, which also write into `out`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..arrays import Array, is_traced
from ..backends import select
from ..backends.host import flat
from ..backends.wrong_values import check_values, flag
from .call import Call
from .declared import DECLARED
from .keys import one_key
from .number_arguments import Key

if TYPE_CHECKING:
    from .operation import Operation

# Outputs keep the input's strides as they were when traced, so the input must keep them too.
_TAG = getattr(torch.Tag, "needs_exact_strides", torch.Tag.needs_fixed_stride_order)
library = torch.library.Library("fastblackout", "DEF")
kernels: dict[str, Callable[..., Any]] = {}  # what the registered ops run
calls: dict[str, Callable[..., Any]] = {}  # the registered ops, by the way around their keys where one is needed


def call(op: Operation, deciding: Tensor, values: Sequence[Any], request: Sequence[Any], backend: str) -> Any:
    """An op on tensors. deciding: the one that chooses the way."""
    now = Call(op.op, backend, through_torch=True, traced=is_traced(deciding))
    op.read(now, values)
    if now.traced or op.extend is not None:
        select.check_name(op.op, backend)
        registered = functools.partial(_registered, op, now, values)
        return op.outputs.give(now, op.outputs.traced(now, registered, request))
    made = _made(op, now, request)
    run(op, backend, _parts(op, now, values), made)
    return op.outputs.give(now, made.values())


def _made(op: Operation, now: Call, request: Sequence[Any]) -> dict[str, Any]:
    """The outputs as tensors."""
    return {name: None if array is None else array.value for name, array in op.outputs.make(now, *request).items()}


def _registered(op: Operation, now: Call, values: Sequence[Any], *said: Any) -> Any:
    """The registered op. said: what its schema asks of the outputs."""
    return calls[op.name](*_parts(op, now, values), *said, now.backend)


def _parts(op: Operation, now: Call, values: Sequence[Any]) -> list[Any]:
    """All arguments as the schema has them. The key comes last of all: a call that is refused draws none."""
    op.resolve_key(now, values)
    return [field.value if isinstance(field, Array) else field for field in flat(now.record.values())]


def run(op: Operation, backend: str, parts: Sequence[Any], made: dict[str, Any]) -> None:
    """The kernels on real tensors; writes `made`, None where an output is not asked for."""
    like = parts[0]
    outputs = list(made.values())
    elements = max(tensor.numel() for tensor in (like, *outputs) if tensor is not None)
    chosen = select.select(op.ranked_as, backend, like.device.type, elements)
    if chosen not in select.DEVICE_BACKENDS:
        op.run_on_host(chosen, parts, made)
        return
    fields = list(parts)
    if like.ndim == 0:
        fields = [field for argument, some in op.split(parts) for field in argument.for_rows(*some)]
        outputs = [None if tensor is None else tensor.reshape(1) for tensor in outputs]
    getattr(select.device_module(chosen), op.name)(*fields, *outputs, flag(op.ranked_as, like.device))
    if like.device.type == "cpu":  # Triton's interpreter
        check_values.check()


def register(op: Operation) -> None:
    """Defines torch.ops.fastblackout.<name>."""
    words = ", ".join(part for argument in op.arguments for part in argument.parts)

    def kernel(*arguments: Any, fake: bool = False) -> Any:
        *parts, backend = arguments
        now = Call(op.op, backend, through_torch=True)
        for kind, some in op.split(parts):
            now.record.update(zip(kind.fields, kind.from_schema(some), strict=True))
        made = _made(op, now, op.outputs.request(now, parts))
        if not fake:
            run(op, backend, op.outputs.parts(parts), made)
        return op.outputs.returned(made)

    calls[op.name] = define(f"{op.name}({words}{op.outputs.schema}", kernel)
    if op.key is not None:
        torch.library.register_vmap(f"fastblackout::{op.name}", functools.partial(_slices, op), lib=library)
    if op.extend is not None:
        op.extend()


def _slices(op: Operation, info: Any, dims: Sequence[int | None], *arguments: Any) -> tuple[Any, Any]:
    """torch.vmap of an op that draws: a call for each slice, since each has a key of its own.

    `tensors.key_of` refuses one key for all before a seed is drawn, also where vmap maps no argument of the op.
    """
    (dim_of_key,) = next(some for argument, some in op.split(dims) if isinstance(argument, Key))
    if dim_of_key is None:
        raise ValueError(one_key(op.op))
    if info.batch_size == 0:
        raise ValueError(f"{op.op}: rng: torch.vmap must have slices to map over, got none")

    def of_slice(n: int) -> Any:
        pairs = zip(arguments, dims, strict=True)
        return calls[op.name](*(each.select(dim, n) if isinstance(dim, int) else each for each, dim in pairs))

    slices = [of_slice(n) for n in range(info.batch_size)]
    if isinstance(slices[0], Tensor):
        return torch.stack(slices), 0
    return [torch.stack(each) for each in zip(*slices, strict=True)], [0] * len(slices[0])


def define(signature: str, kernel: Callable[..., Any]) -> Any:
    """A registered op of this schema; kernel(*arguments, fake=True) makes its outputs without values."""
    name = signature.partition("(")[0]
    kernels[name] = kernel
    library.define(signature, tags=(_TAG, torch.Tag.pt2_compliant_tag))
    for device in ("CPU", "CUDA"):
        library.impl(name, kernel, device)

    def shapes(*arguments: Any) -> Any:
        return kernel(*arguments, fake=True)

    torch.library.register_fake(f"fastblackout::{name}", shapes, lib=library)
    return getattr(torch.ops.fastblackout, name).default


for _op in DECLARED.values():
    register(_op)
