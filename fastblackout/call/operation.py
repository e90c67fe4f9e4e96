"""An op, declared once: from what it takes and what it makes follow its checks, its torch schema and every call."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from ..arrays import Array
from ..backends import host, select
from ..backends.float_mode import default_floats
from . import foreign, short
from .arguments import Argument
from .call import Call
from .declared import DECLARED, WITHIN
from .number_arguments import NUMBERS_OR_NONE, Key, Numbers
from .outputs import Outputs, given_back
from .route import through_torch


class Operation:
    """An op, by the name that torch.ops.fastblackout and the backends know it by.

    arguments: in the order that every kernel takes them in. outputs: what it makes. twin: the reference. of: the public
    name, which errors say, where that is another. ranked_as: the public op whose preferred backends it shares, where
    that is another. extend: called once the op is registered with torch, to give it derivatives; such an op is called
    through torch's dispatcher wherever its tensors are. quick: the function that is the short way for plain calls, of
    fastblackout._cpu and, if it has one, of _cuda, see short.py. spread: what is called instead, with the op first,
    where an argument that takes a number for each sample is given numbers that differ within one. cells: the function
    of sparse.py that draws scipy.sparse and AnnData counts.
    """

    def __init__(
        self,
        name: str,
        *arguments: Argument,
        outputs: Outputs,
        twin: Callable[..., Any],
        of: str = "",
        ranked_as: str = "",
        extend: Callable[[], None] | None = None,
        quick: str = "",
        spread: Callable[..., Any] | None = None,
        cells: Callable[..., Any] | None = None,
    ) -> None:
        self.name, self.op, self.ranked_as = name, of or name, ranked_as or of or name
        self.arguments, self.outputs, self.twin, self.extend, self.quick = arguments, outputs, twin, extend, quick
        self.spread, self.cells = spread and default_floats(spread), cells
        self.kinds = [(each, each.fields) for each in arguments]
        self.fields = [field for _, fields in self.kinds for field in fields]
        self.numbers = [(at, each.differs) for at, each in enumerate(arguments) if isinstance(each, Numbers)]
        self.key = next(((at, each) for at, each in enumerate(arguments) if isinstance(each, Key)), None)
        DECLARED[name] = self
        if spread is not None:
            WITHIN.add(self.op)
        if (registry := sys.modules.get("fastblackout.call.torch_registry")) is not None:
            registry.register(self)

    def __call__(self, values: Sequence[Any], request: Sequence[Any] = (), backend: str = "auto") -> Any:
        """The op on the values of its arguments. request: outputs, input_dtype and out, of an op that takes them."""
        first = values[0]
        plain = type(first) is np.ndarray  # for which there is nothing to ask
        if not plain:
            if self.quick:
                drawn = short.call(self.quick, first, backend, values, request, self.outputs.names)
                if drawn is not None:
                    return self.outputs.result(*drawn)
            if (array := foreign.foreign_of(first)) is not None:
                return foreign.by_tensors(self.op, self, array, values, request, backend)
            if self.cells is not None and (given := self.cells(self, values, request, backend)) is not None:
                return given
        if self.spread is not None:
            for at, differs in self.numbers:
                if type(values[at]) not in NUMBERS_OR_NONE and differs(values[at]):
                    return self.spread(self, values, request, backend)
        if not plain:
            tensors = self.arguments[0].tensors(first)
            if any(through_torch(tensor, backend) for tensor in tensors):
                from . import torch_registry

                return torch_registry.call(self, tensors[0], values, request, backend)
        call = Call(self.op, backend)
        self.read(call, values)
        chosen = select.select_host(self.ranked_as, backend)
        made = self.outputs.make(call, *request)
        self.resolve_key(call, values)
        host.run(self.name, self.twin, chosen, call.record, made, (call.samples, call.elements))
        given = [each.give() if type(each) is Array else given_back(call, each) for each in made.values()]
        return self.outputs.give(call, given)

    def read(self, call: Call, values: Sequence[Any]) -> None:
        """Fills the call's record. The key in it is left to `resolve_key`."""
        for (argument, fields), value in zip(self.kinds, values, strict=True):
            call.record.update(zip(fields, argument.canon(call, value), strict=True))

    def resolve_key(self, call: Call, values: Sequence[Any]) -> None:
        """Last of all, so that a call that is refused draws no seed."""
        if self.key is not None:
            at, key = self.key
            call.record["key"] = key.resolve(call, values[at])

    def split(self, parts: Sequence[Any]) -> Iterator[tuple[Argument, Sequence[Any]]]:
        """Every argument with its own of the parts of the torch schema."""
        at = 0
        for argument in self.arguments:
            yield argument, parts[at : at + len(argument.parts)]
            at += len(argument.parts)

    def run_on_host(self, chosen: str, parts: Sequence[Any], made: dict[str, Any]) -> None:
        """The host's kernels on the parts of the torch schema, with all checks of a direct call. made: tensors."""
        call = Call(self.op, "auto")
        values = [argument.from_parts(*some) for argument, some in self.split(parts)]
        self.read(call, values)
        self.resolve_key(call, values)
        arrays = {name: None if tensor is None else Array(tensor, self.op, name) for name, tensor in made.items()}
        host.run(self.name, self.twin, chosen, call.record, arrays, (call.samples, call.elements))
