"""An op, declared once: from what it takes and what it makes follow its checks, its torch schema and every call."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ..arrays import DTYPES, Array
from ..backends import host, select
from ..backends.float_mode import default_floats
from .arguments import WITHIN, Argument, Call, Key
from .numbers import Numbers
from .outputs import Outputs, to_caller

DECLARED: dict[str, Declaration] = {}  # all ops by name


class Declaration:
    """An op, by the name that torch.ops.fastblackout and the backends know it by.

    arguments: in the order that every kernel takes them in. outputs: what it makes. twin: the reference. of: the public
    name, which errors say, where that is another. ranked_as: the public op whose preferred backends it shares, where
    that is another. extend: called once the op is registered with torch, to give it derivatives; such an op is called
    through torch's dispatcher wherever its tensors are. per_element: what is called instead, with the op
    first, where an argument that takes a number for each sample is given numbers that differ within one. cells: the
    function of foreign.py that draws scipy.sparse and AnnData counts.
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
        per_element: Callable[..., Any] | None = None,
        cells: Callable[..., Any] | None = None,
    ) -> None:
        self.name, self.op, self.ranked_as = name, of or name, ranked_as or of or name
        self.arguments, self.outputs, self.twin, self.extend = arguments, outputs, twin, extend
        self.per_element, self.cells = per_element and default_floats(per_element), cells
        self.values = [each.names[0] for each in arguments]
        self.kinds = [(each, each.fields) for each in arguments]
        self.fields = [field for _, fields in self.kinds for field in fields]
        self.numbers = [(at, each.differs) for at, each in enumerate(arguments) if isinstance(each, Numbers)]
        self.key = next(((at, each) for at, each in enumerate(arguments) if isinstance(each, Key)), None)
        self.short, self.spec = f"call_{name}", self._spec()
        DECLARED[name] = self
        if per_element is not None:
            WITHIN.add(self.op)
        if (registry := sys.modules.get("fastblackout.call.torch_registry")) is not None:
            registry.register(self)

    def _spec(self) -> tuple[Any, ...]:
        """What csrc/bindings/call_reader.h has to know: the dtypes of each array as bits, the names of the outputs if a
        call chooses among them, the type that holds them, the code of an output's own dtype, or -1, and the laws of a
        head."""
        codes = {name: code for code, name in enumerate(DTYPES)}
        masks = tuple(
            sum(1 << codes[dtype] for dtype in dtypes if dtype in codes)
            for argument in self.arguments
            for dtypes in argument.arrays
        )
        outputs = self.outputs
        names = outputs.names if outputs.result is not None else None
        laws = next((argument.laws for argument in self.arguments if argument.laws), None)
        return masks, names, outputs.result, codes.get(getattr(outputs, "dtype", None) or "", -1), laws

    def on_host(self, values: Sequence[Any], request: Sequence[Any], backend: str) -> Any:
        """A call of NumPy's arrays, or of plain CPU tensors."""
        chosen = select.select_host(self.ranked_as, backend)
        call = Call(self.op, backend)
        self.read(call, values)
        outputs = self.outputs.make(call, *request)
        self.run(call, values, chosen, outputs)
        return self.outputs.give(call, to_caller(call, outputs))

    def run(self, call: Call, values: Sequence[Any], chosen: str, outputs: dict[str, Any]) -> None:
        """The host's kernels, or twins. The key is resolved last, so that a call that is refused draws no seed."""
        if self.key is not None:
            at, key = self.key
            call.record["key"] = key.resolve(call, values[at])
        host.run(self.name, self.twin, chosen, call.record, outputs, (call.samples, call.elements))

    def read(self, call: Call, values: Sequence[Any]) -> None:
        """Fills the call's record. The key in it is resolved last."""
        for (argument, fields), value in zip(self.kinds, values, strict=True):
            call.record.update(zip(fields, argument.canon(call, value), strict=True))

    def split(self, parts: Sequence[Any]) -> Iterator[tuple[Argument, Sequence[Any]]]:
        """Every argument with its own of the parts of the torch schema."""
        at = 0
        for argument in self.arguments:
            yield argument, parts[at : at + len(argument.parts)]
            at += len(argument.parts)

    def run_on_host(self, chosen: str, parts: Sequence[Any], outputs: dict[str, Any]) -> None:
        """The host's kernels on the parts of the torch schema, with all checks of a direct call. outputs: tensors."""
        call = Call(self.op, "auto")
        values = [argument.from_parts(*some) for argument, some in self.split(parts)]
        self.read(call, values)
        arrays = {name: None if tensor is None else Array(tensor, self.op, name) for name, tensor in outputs.items()}
        self.run(call, values, chosen, arrays)
