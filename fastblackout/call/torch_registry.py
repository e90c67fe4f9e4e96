"""The declared ops as torch knows them, torch.ops.fastblackout.*, and calls of ops on tensors.

The registered ops are functional, with the key and every number of a sample in tensors, and return only the outputs
asked for. They are registered for the CPU and CUDA, with shapes for meta and fake tensors. Where torch traces a call,
it goes through them; tensors on a device go to the kernels themselves, which also write into `out`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ..arrays import Array, is_traced
from ..backends import select
from ..backends.wrong_values import check_values, flag
from .arguments import Call, Key
from .declared import DECLARED, Declaration
from .keys import one_key

# Outputs keep the input's strides as they were when traced, so the input must keep them too.
_TAG = getattr(torch.Tag, "needs_exact_strides", torch.Tag.needs_fixed_stride_order)
library = torch.library.Library("fastblackout", "DEF")
kernels: dict[str, Callable[..., Any]] = {}  # what the registered ops run
calls: dict[str, Callable[..., Any]] = {}  # the registered ops, by the way around their keys where one is needed


def call(op: Declaration, deciding: Tensor, values: Sequence[Any], request: Sequence[Any], backend: str) -> Any:
    """An op on tensors. deciding: the one that chooses the way."""
    call = Call(op.op, backend, through_torch=True, traced=is_traced(deciding))
    op.read(call, values)
    if call.traced or op.extend is not None:
        select.check_name(op.op, backend)

        def registered(*asked: Any) -> Any:
            """The registered op. asked: what its schema says of the outputs."""
            return calls[op.name](*_parts(op, call, values), *asked, backend)

        return op.outputs.give(call, op.outputs.traced(call, registered, request))
    outputs = _tensors(op.outputs.make(call, *request))
    run(op, backend, _parts(op, call, values), outputs)
    return op.outputs.give(call, list(outputs.values()))


def _tensors(outputs: dict[str, Any]) -> dict[str, Any]:
    return {name: None if array is None else array.value for name, array in outputs.items()}


def _parts(op: Declaration, call: Call, values: Sequence[Any]) -> list[Any]:
    """All arguments as the schema has them. The key comes last of all: a call that is refused draws none."""
    if op.key is not None:
        at, key = op.key
        call.record["key"] = key.resolve(call, values[at])
    parts: list[Any] = []
    for field in call.record.values():
        parts += field if type(field) is tuple else (field,)
    return [part.value if isinstance(part, Array) else part for part in parts]


def run(op: Declaration, backend: str, parts: Sequence[Any], outputs: dict[str, Any]) -> None:
    """The kernels on real tensors; writes the outputs, None where one is not asked for."""
    like = parts[0]
    into = list(outputs.values())
    elements = max(tensor.numel() for tensor in (like, *into) if tensor is not None)
    chosen = select.select(op.ranked_as, backend, like.device.type, elements)
    if chosen not in select.DEVICE_BACKENDS:
        op.run_on_host(chosen, parts, outputs)
        return
    if like.ndim == 0:
        parts = [part for argument, some in op.split(parts) for part in argument.for_rows(*some)]
        into = [None if tensor is None else tensor.reshape(1) for tensor in into]
    getattr(select.device_module(chosen), op.name)(*parts, *into, flag(op.ranked_as, like.device))
    if like.device.type == "cpu":  # Triton's interpreter
        check_values.check()


def register(op: Declaration) -> None:
    """Defines torch.ops.fastblackout.<name>."""
    words = ", ".join(part for argument in op.arguments for part in argument.parts)

    def kernel(*arguments: Any, fake: bool = False) -> Any:
        *parts, backend = arguments
        call = Call(op.op, backend, through_torch=True)
        for kind, some in op.split(parts):
            call.record.update(zip(kind.fields, kind.from_schema(some), strict=True))
        outputs = _tensors(op.outputs.make(call, *op.outputs.request(call, parts)))
        if not fake:
            run(op, backend, op.outputs.parts(parts), outputs)
        return op.outputs.returned(outputs)

    calls[op.name] = define(f"{op.name}({words}{op.outputs.schema}", kernel)
    if op.key is not None:
        torch.library.register_vmap(f"fastblackout::{op.name}", functools.partial(_slices, op), lib=library)
    if op.extend is not None:
        op.extend()


def _slices(op: Declaration, info: Any, dims: Sequence[int | None], *arguments: Any) -> tuple[Any, Any]:
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
