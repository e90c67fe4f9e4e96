"""What ops make: outputs chosen by name or a single one, new or given by the caller.

A call may say their names, their dtype, and arrays to write them to.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np

from ..arrays import FLOATS, Array, adopt
from ..ground.values import is_tensor, settled, shown
from ..probability import Prob
from ..reference.categorical import GUIDE
from .arguments import Call, as_it_came, check_tensor, need_gradient, same_library, same_shape


def names_of(op: str, argument: str, names: Any, known: Sequence[str]) -> frozenset[str]:
    if type(names) is tuple and names == known:
        return frozenset(known)
    if isinstance(names, str):
        names = (names,)
    if not isinstance(names, Collection) or hasattr(names, "__array__"):
        raise TypeError(f"{op}: {argument}: must be names, some of {', '.join(known)}, got {shown(names)}")
    chosen = list(names)
    if not chosen or not all(isinstance(name, str) and name in known for name in chosen):
        raise ValueError(f"{op}: {argument}: must be some of {', '.join(known)}, got {shown(chosen)}")
    return frozenset(chosen)


def float_dtype(op: str, argument: str, dtype: Any, of: Array) -> str:
    name = dtype if isinstance(dtype, str) else shown(dtype).removeprefix("torch.")
    if isinstance(dtype, np.dtype):
        name = str(dtype)  # the name hides a foreign byte order
    elif isinstance(dtype, type):  # float, np.float32; for None NumPy would say float64
        try:
            name = np.dtype(dtype).name
        except TypeError:
            name = ""
    if name not in FLOATS:
        raise TypeError(f"{op}: {argument}: must be one of {', '.join(FLOATS)}, got {shown(dtype)}")
    if name == "bfloat16" and not of.is_tensor:
        raise TypeError(f"{op}: {argument}: bfloat16 needs torch tensors, NumPy has no such type, got {shown(dtype)}")
    return name


def check_out(op: str, out: Any, like: Array) -> None:
    """TypeError for an `out` beside counts that are copied: what is drawn from the copy is copied, too."""
    if out is not None and like.came_as:
        raise TypeError(f"{op}: out: must be None for {like.came_as} counts, got {type(out).__name__}")


def check_no_gradient(op: str, label: str, value: Any) -> None:
    """ValueError for an output that torch would differentiate by: it would take what is written for its own value."""
    if need_gradient(value):
        raise ValueError(f"{op}: {label}: must not require a gradient, got a tensor that does")


def outputs_of(
    op: str, source: Array, dtypes: dict[str, str], out: Any, in_place: str, read: dict[str, Any]
) -> dict[str, Array | None]:
    """The output arrays of `out`, a tuple of the op's result type with None where one is not wanted, by name.

    `in_place` names the output that may lie exactly where `source` does; nothing else may overlap, nor any of `read`,
    the op's other arguments, of any type.
    """
    check_out(op, out, source)
    into = {name: getattr(out, name, None) for name in dtypes}
    if all(value is None for value in into.values()):
        raise TypeError(f"{op}: out: must have one of {', '.join(dtypes)}, got {type(out).__name__}")
    arrays: dict[str, Array | None] = {}
    taken = [("the input", source), *memory_of(op, read)]
    for name, value in into.items():
        arrays[name] = None
        if value is not None:
            at = source if name == in_place else None
            arrays[name] = array = output_of(op, f"out.{name}", value, dtypes[name], source, taken, at)
            taken.append((f"out.{name}", array))
    return arrays


def memory_of(op: str, arguments: dict[str, Any]) -> list[tuple[str, Array]]:
    """The arrays among arguments, and in pairs."""
    arrays: list[tuple[str, Array]] = []
    for name, value in arguments.items():
        if isinstance(value, Prob):
            arrays += memory_of(op, {f"{name}.p": value.p, f"{name}.q": value.q})
        elif hasattr(value, "__dlpack__"):
            arrays.append((name, Array(value, op, name)))
    return arrays


def out_of(op: str, out: Any, source: Array, name: str, read: dict[str, Any]) -> Array | None:
    """The one output of an op, if given, like `source`, its argument of that name: see outputs_of."""
    if out is None:
        return None
    check_out(op, out, source)
    return output_of(op, "out", out, source.dtype, source, [(name, source), *memory_of(op, read)], source)


def output_of(
    op: str, label: str, value: Any, dtype: str, source: Array, taken: Sequence[tuple[str, Array]], at: Array | None
) -> Array:
    """A given output, like `source`, that overlaps none of `taken`; it may lie exactly where `at` does."""
    check_no_gradient(op, label, value)
    if is_tensor(value) and settled(op, label, value) is not value:
        raise ValueError(f"{op}: {label}: must have its values in memory, got one whose negation or zeros are put off")
    array = Array(value, op, label)
    if array.dtype != dtype:
        raise TypeError(f"{op}: {label}: dtype must be {dtype}, got {array.dtype}")
    same_library(op, label, array, "the input", source)
    same_shape(op, label, array, "the input", source)
    strides = array.strides()
    if not array.is_tensor and not array.value.flags.aligned:
        raise ValueError(f"{op}: {label}: must be aligned to its elements, got address {array.address()}")
    if not array.is_tensor and any(step % array.value.itemsize for step in array.value.strides):
        raise ValueError(f"{op}: {label}: strides must be whole elements, got {array.value.strides} bytes")
    reach = 0  # of the dimensions with smaller strides: a step must go beyond it
    for step, size in sorted((abs(step), size) for step, size in zip(strides, array.shape, strict=True) if size > 1):
        if step <= reach:
            raise ValueError(f"{op}: {label}: elements must not overlap, got strides {strides}")
        reach += step * (size - 1)
    if not array.is_tensor and not array.value.flags.writeable:
        raise ValueError(f"{op}: {label}: must be writable, got a read-only array")
    low, high = array.extent()
    for other_name, other in taken:
        if other.device != array.device:
            continue
        start, end = other.extent()
        exact = other is at and array.address() == other.address()
        if low < end and start < high and not (exact and strides == other.strides()):
            raise ValueError(f"{op}: {label}: must not overlap {other_name}, got overlapping memory")
    return array


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

    def wanted(self, call: Call, outputs: Any, input_dtype: Any) -> tuple[list[str], dict[str, str]]:
        """The names asked for, in their order, and the dtypes of all."""
        asked = names_of(call.op, "outputs", outputs, self.names)
        dtype = float_dtype(call.op, "input_dtype", input_dtype, call.first)
        dtypes = dict.fromkeys(self.names, call.first.dtype) | {"model_input": dtype}
        return list(filter(asked.__contains__, self.names)), dtypes

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
        return self.returned_as(values, call.first)

    def returned_as(self, values: Sequence[Any], first: Array) -> Any:
        """The outputs, counts in the dtype that the first argument came as."""
        if first.came_as:
            counts = len(self.names) - 1
            values = [as_it_came(value, first) for value in values[:counts]] + list(values[counts:])
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
