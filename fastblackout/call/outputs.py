"""What ops make: outputs chosen by name or a single one, new or given by the caller."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..arrays import Array, adopt
from ..reference.categorical import GUIDE
from .arguments import Call
from .checks import check_tensor, same_shape
from .copied_counts import as_it_came
from .request import check_no_gradient, check_out, float_dtype, names_of, out_of, outputs_of


class Outputs:
    """names: of the outputs. schema: the end of the torch schema. result: the type that holds several of them."""

    names: tuple[str, ...]
    schema = ", str backend) -> Tensor"
    result: Any = None

    def make(self, call: Call, *request: Any) -> dict[str, Any]:
        """The outputs of a call by name, None where one is not asked for. request: what the call says of them.

        On the host an output of one number for each sample is a NumPy array, which takes less time to make than a
        tensor.
        """
        raise NotImplementedError

    def give(self, call: Call, values: Sequence[Any]) -> Any:
        """What the public op returns, of the outputs in their order."""
        (value,) = values
        return value

    def traced(self, call: Call, registered: Callable[..., Any], request: Sequence[Any]) -> list[Any]:
        """The outputs in their order where torch traces. registered: the op, but for what its schema says of them."""
        results = registered()
        return list(results) if isinstance(results, (list, tuple)) else [results]

    def request(self, call: Call, arguments: Sequence[Any]) -> Sequence[Any]:
        """The request in the arguments of the registered op. The call, which is new, learns of them what `make` reads.

        It asks a shape nothing: the shapes that torch traces may be symbols.
        """
        call.first = Array(arguments[0], call.op, "")
        call.samples = call.first.samples
        return ()

    def parts(self, arguments: Sequence[Any]) -> Sequence[Any]:
        """The arguments of the kernels, among the arguments of the registered op."""
        return arguments

    def returned(self, outputs: dict[str, Any]) -> Any:
        """What the registered op returns."""
        tensors = [tensor for tensor in outputs.values() if tensor is not None]
        if self.schema.endswith("[]"):
            return tensors
        return tuple(tensors) if len(self.names) > 1 else tensors[0]


class Chosen(Outputs):
    """Outputs in the shape of the first argument, of which a call names those it wants, with `out` for arrays given.

    like: names of those in the dtype of the first argument; the first of them may lie exactly where that argument does.
    After them comes model_input, in input_dtype. count: the name of a count for each sample, int64, always made.
    """

    schema = ", str[] outputs, ScalarType input_dtype, str backend) -> Tensor[]"

    def __init__(self, *like: str, result: Any, count: str = "") -> None:
        self.names = (*like, "model_input")
        self.result, self.count = result, count
        self._wanted: dict[Any, tuple[list[str], dict[str, str]]] = {}

    def wanted(self, call: Call, outputs: Any, input_dtype: Any) -> tuple[list[str], dict[str, str]]:
        """The names asked for, in their order, and the dtypes of all."""
        usual = None
        if type(outputs) is tuple and outputs == self.names and type(input_dtype) is str and not call.through_torch:
            usual = input_dtype, call.first.dtype, call.first.is_tensor
            if usual in self._wanted:
                return self._wanted[usual]
        asked = names_of(call.op, "outputs", outputs, self.names)
        dtype = float_dtype(call.op, "input_dtype", input_dtype, call.first)
        dtypes = {name: dtype if name == "model_input" else call.first.dtype for name in self.names}
        wanted = [name for name in self.names if name in asked], dtypes
        if usual is not None:
            self._wanted[usual] = wanted  # what most calls ask for
        return wanted

    def make(self, call: Call, *request: Any) -> dict[str, Any]:
        names, input_dtype, out = request
        names, dtypes = self.wanted(call, names, input_dtype)
        outputs: dict[str, Any] = {}
        if out is None:
            for name, dtype in dtypes.items():
                outputs[name] = call.first.empty_like(dtype) if name in names else None
        else:
            outputs = outputs_of(call.op, call.first, dtypes, out, self.names[0], call.read)
        if self.count:
            outputs[self.count] = _for_samples(call, "int64")
            if call.through_torch:
                outputs[self.count].value.zero_()  # kernels add to it
        return outputs

    def give(self, call: Call, values: Sequence[Any]) -> Any:
        if call.first.came_as:
            counts = len(self.names) - 1
            values = [*(as_it_came(value, call.first) for value in values[:counts]), *values[counts:]]
        return self.result(*values)

    def traced(self, call: Call, registered: Callable[..., Any], request: Sequence[Any]) -> list[Any]:
        names, input_dtype, out = request
        names, dtypes = self.wanted(call, names, input_dtype)
        check_out(call.op, out, call.first)
        into: dict[str, Any] = {} if out is None else {name: getattr(out, name, None) for name in dtypes}
        into = {name: value for name, value in into.items() if value is not None}
        for name, value in into.items():
            _check_traced(call, f"out.{name}", value, dtypes[name])
        names = names if out is None else list(into)
        results = registered(names, getattr(sys.modules["torch"], dtypes["model_input"]))
        outputs = dict(zip(names, results[: len(names)], strict=True))  # a count may follow
        for name, value in into.items():
            outputs[name] = value.copy_(outputs[name])
        return [*(outputs.get(name) for name in dtypes), *results[len(names) :]]

    def request(self, call: Call, arguments: Sequence[Any]) -> Sequence[Any]:
        super().request(call, arguments)
        return *arguments[-2:], None

    def parts(self, arguments: Sequence[Any]) -> Sequence[Any]:
        return arguments[:-2]


class Single(Outputs):
    """One output.

    dtype: its own, or None for the dtype of the first argument. like: "" for the shape, memory order and strides of the
    first argument, "dense" for its shape in C order (the argument may be a broadcast view, whose memory order means
    nothing), "sample" for one number a sample.
    """

    def __init__(self, name: str = "out", dtype: str | None = None, like: str = "") -> None:
        self.names, self.dtype, self.like = (name,), dtype, like

    def make(self, call: Call, *request: Any) -> dict[str, Any]:
        dtype = self.dtype or call.first.dtype
        if self.like == "sample":
            return {self.names[0]: _for_samples(call, dtype)}
        return {self.names[0]: call.first.empty_like(dtype, call.first.shape if self.like else None)}

    def give(self, call: Call, values: Sequence[Any]) -> Any:
        (value,) = values
        return as_it_came(value, call.first) if call.first.came_as and not self.dtype else value


class LikeDraws(Outputs):
    """One output like the draws of a network."""

    names = ("grad",)

    def make(self, call: Call, *request: Any) -> dict[str, Any]:
        return {"grad": call.arrays("logits")[0].empty_like()}


class LossAndNorms(Outputs):
    """A loss for each sample, float32 (B,), and for its gradient the norms that it is made of, float64, of S draws:
    (B, S (S + 1) / 2). The public op returns the loss alone."""

    names = "loss", "norms"
    schema = ", str backend) -> (Tensor, Tensor)"

    def make(self, call: Call, *request: Any) -> dict[str, Any]:
        count = call.arrays("logits")[0].shape[0]
        return {
            "loss": _for_samples(call, "float32"),
            "norms": _for_samples(call, "float64", count * (count + 1) // 2),
        }

    def give(self, call: Call, values: Sequence[Any]) -> Any:
        loss, _ = values
        return loss


class OrGiven(Single):
    """One output like the first argument. It is drawn in memory of its own, and copied to `out` where that is given, so
    that an error leaves `out` as it was. `out` may be the first argument itself."""

    def make(self, call: Call, *request: Any) -> dict[str, Any]:
        (out,) = request
        call.into = out_of(call.op, out, call.first, call.first_name, call.read)
        return super().make(call)

    def give(self, call: Call, values: Sequence[Any]) -> Any:
        if call.into is None:
            return super().give(call, values)
        (value,) = values
        if call.into.is_tensor:
            call.into.value.copy_(value)
        else:
            call.into.value[...] = call.into.like(value).value
        return call.into.give()

    def traced(self, call: Call, registered: Callable[..., Any], request: Sequence[Any]) -> list[Any]:
        (out,) = request
        check_out(call.op, out, call.first)
        call.into = None if out is None else _check_traced(call, "out", out, call.first.dtype)
        return super().traced(call, registered, request)

    def request(self, call: Call, arguments: Sequence[Any]) -> Sequence[Any]:
        super().request(call, arguments)
        return (None,)


class Rows(Outputs):
    """Matrices of a call whose arguments are probabilities: float64 (B, S, S), or (S, S) for one that is no array."""

    names = ("out",)

    def make(self, call: Call, *request: Any) -> dict[str, Any]:
        return {"out": _new(call, "float64", (call.samples, call.elements, call.elements))}

    def give(self, call: Call, values: Sequence[Any]) -> Any:
        (rows,) = values
        return rows[0] if call.one else rows

    def request(self, call: Call, arguments: Sequence[Any]) -> Sequence[Any]:
        call.elements = arguments[2]
        return super().request(call, arguments)


class Tables(Outputs):
    """The thresholds and the guide of matrices (K, R, S), and whether they belong to one matrix for all."""

    names = "thresholds", "guide"
    schema = ", str backend) -> (Tensor, Tensor)"

    def make(self, call: Call, *request: Any) -> dict[str, Any]:
        shape = call.first.shape
        return {"thresholds": _new(call, "int64", shape), "guide": _new(call, "uint16", (*shape[:2], GUIDE))}

    def give(self, call: Call, values: Sequence[Any]) -> Any:
        return *values, call.one


def _check_traced(call: Call, name: str, value: Any, dtype: str) -> Array:
    """An output given where torch traces."""
    array = adopt(value, call.op, name, (dtype,))
    check_no_gradient(call.op, name, value)
    check_tensor(call.op, name, array, value)
    same_shape(call.op, name, array, "the input", call.first)
    return array


def _new(call: Call, dtype: str, shape: tuple[Any, ...]) -> Array:
    """An output of this shape in C order, like the first argument in all else; of NumPy where there is none."""
    return call.first.empty_like(dtype, shape) if call.first else Array(np.empty(shape, dtype), call.op, "out")


def _for_samples(call: Call, dtype: str, *shape: int) -> Any:
    """An output (samples, *shape): NumPy for the host, else on the device of the first argument."""
    size = call.samples, *shape
    return _new(call, dtype, size) if call.through_torch else np.zeros(size, dtype)


def to_caller(call: Call, outputs: dict[str, Any]) -> list[Any]:
    """Outputs of the host, arrays, None or NumPy (samples,), as the caller's kind of arrays."""
    values = []
    for output in outputs.values():
        if output is None:
            value = None
        elif type(output) is Array:
            value = output.value if output.namespace is None else output.give(call.op)
        elif call.first.is_tensor:
            value = sys.modules["torch"].from_numpy(output)
        else:
            value = call.first.like(output).give()
        values.append(value)
    return values
