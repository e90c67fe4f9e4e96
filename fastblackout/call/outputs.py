"""What ops make: outputs chosen by name or a single one, new or given by the caller."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from ..arrays import Array, adopt
from ..reference.categorical import GUIDE
from .call import Call
from .checks import check_tensor, same_shape
from .elements import dense_like
from .given_outputs import float_dtype, names_of, out_of, outputs_of


class Outputs:
    """names: those of the outputs. schema: the end of the torch schema. result: the type that holds several of them."""

    names: tuple[str, ...]
    schema: str
    result: Any = None

    def make(self, call: Call, *request: Any) -> dict[str, Any]:
        """The outputs of a call by name, None where one is not asked for. request: what the call says of them.

        On the host an output of one number for each sample is a NumPy array, which takes less time to make than a
        tensor.
        """
        raise NotImplementedError

    def give(self, call: Call, made: Iterable[Any]) -> Any:
        """What the public op returns, of the outputs in their order."""
        (value,) = made
        return value

    def traced(self, call: Call, registered: Callable[..., Any], request: Sequence[Any]) -> list[Any]:
        """The outputs in their order where torch traces. registered: the op, but for what its schema says of them."""
        return [registered()]

    def empty(self, arguments: Sequence[Any]) -> dict[str, Any]:
        """New tensors for the arguments of the registered op."""
        raise NotImplementedError

    def parts(self, arguments: Sequence[Any]) -> Sequence[Any]:
        """Of the arguments of the registered op, those of the kernels."""
        return arguments

    def returned(self, made: dict[str, Any]) -> Any:
        """What the registered op returns."""
        (value,) = made.values()
        return value


class Chosen(Outputs):
    """Outputs in the shape of the first argument, of which a call names those it wants, with `out` for arrays given.

    like: names of those in the dtype of the first argument; the first of them may lie exactly where that argument does.
    After them comes model_input, in input_dtype. count: the name of a count for each sample, int64, always made.
    """

    def __init__(self, *like: str, result: Any, count: str = "") -> None:
        self.names = (*like, "model_input")
        self.result, self.count = result, count
        self._wanted: dict[Any, tuple[list[str], dict[str, str]]] = {}
        self.schema = ", str[] outputs, ScalarType input_dtype, str backend) -> Tensor[]"

    def wanted(self, call: Call, outputs: Any, input_dtype: Any) -> tuple[list[str], dict[str, str]]:
        """The names asked for, in their order, and the dtypes of all."""
        said = None
        if type(outputs) is tuple and outputs == self.names and type(input_dtype) is str and not call.through_torch:
            said = input_dtype, call.first.dtype, call.first.is_tensor
            if said in self._wanted:
                return self._wanted[said]
        asked = names_of(call.op, "outputs", outputs, self.names)
        dtype = float_dtype(call.op, "input_dtype", input_dtype, call.first)
        dtypes = {name: dtype if name == "model_input" else call.first.dtype for name in self.names}
        made = [name for name in self.names if name in asked], dtypes
        if said is not None:
            self._wanted[said] = made  # what most calls ask for
        return made

    def make(self, call: Call, *request: Any) -> dict[str, Any]:
        outputs, input_dtype, out = request
        names, dtypes = self.wanted(call, outputs, input_dtype)
        made: dict[str, Any] = outputs_of(call.op, call.first, dtypes, names, out, self.names[0], call.read)
        if self.count:
            made[self.count] = one_a_sample(call, "int64")
        return made

    def give(self, call: Call, made: Iterable[Any]) -> Any:
        return self.result(*made)

    def traced(self, call: Call, registered: Callable[..., Any], request: Sequence[Any]) -> list[Any]:
        outputs, input_dtype, out = request
        names, dtypes = self.wanted(call, outputs, input_dtype)
        given: dict[str, Any] = {} if out is None else {name: getattr(out, name, None) for name in dtypes}
        given = {name: value for name, value in given.items() if value is not None}
        for name, value in given.items():
            _check_traced(call, f"out.{name}", value, dtypes[name])
        names = names if out is None else list(given)
        results = registered(names, getattr(sys.modules["torch"], dtypes["model_input"]))
        made = dict(zip(names, results[: len(names)], strict=True))  # a count may follow
        for name, value in given.items():
            made[name] = value.copy_(made[name])
        return [*(made.get(name) for name in dtypes), *results[len(names) :]]

    def empty(self, arguments: Sequence[Any]) -> dict[str, Any]:
        # Its parts, the names asked for, and the dtype of the model input.
        first, (names, input_dtype) = arguments[0], arguments[-2:]
        made: dict[str, Any] = {}
        for name in self.names:
            dtype = input_dtype if name == "model_input" else first.dtype
            made[name] = sys.modules["torch"].empty_like(first, dtype=dtype) if name in names else None
        if self.count:
            made[self.count] = first.new_zeros(first.shape[:1] or (1,), dtype=sys.modules["torch"].int64)
        return made

    def parts(self, arguments: Sequence[Any]) -> Sequence[Any]:
        return arguments[:-2]

    def returned(self, made: dict[str, Any]) -> list[Any]:
        return [tensor for tensor in made.values() if tensor is not None]


class Single(Outputs):
    """One output.

    dtype: its own, or None for that of the first argument. like: "" for the shape, memory order and strides of the
    first argument, "dense" for its shape in C order, "sample" for one number a sample.
    """

    def __init__(self, name: str = "out", dtype: str | None = None, like: str = "") -> None:
        self.names, self.dtype, self.like = (name,), dtype, like
        self.schema = ", str backend) -> Tensor"

    def make(self, call: Call, *request: Any) -> dict[str, Any]:
        first = call.first
        dtype = self.dtype or first.dtype
        if self.like == "dense":
            return {self.names[0]: dense_like(first, dtype)}
        if self.like == "sample":
            return {self.names[0]: one_a_sample(call, dtype)}
        return {self.names[0]: first.empty_like(dtype)}

    def empty(self, arguments: Sequence[Any]) -> dict[str, Any]:
        first = arguments[0]
        dtype = first.dtype if self.dtype is None else getattr(sys.modules["torch"], self.dtype)
        if self.like:
            shape = first.shape if self.like == "dense" else first.shape[:1]
            return {self.names[0]: first.new_empty(shape, dtype=dtype)}
        return {self.names[0]: sys.modules["torch"].empty_like(first, dtype=dtype)}


class LikeDraws(Single):
    """One output like the draws of a network, the second argument."""

    def make(self, call: Call, *request: Any) -> dict[str, Any]:
        assert call.draws is not None
        return {self.names[0]: call.draws.empty_like()}

    def empty(self, arguments: Sequence[Any]) -> dict[str, Any]:
        return {self.names[0]: sys.modules["torch"].empty_like(arguments[1])}


class LossAndNorms(Outputs):
    """A loss for each sample, float32 (B,), and for its gradient the norms that it is made of, float64, of S draws, the
    second argument: (B, S (S + 1) / 2). The public op returns the loss alone."""

    names = "loss", "norms"
    schema = ", str backend) -> (Tensor, Tensor)"

    def make(self, call: Call, *request: Any) -> dict[str, Any]:
        assert call.draws is not None
        count = call.draws.shape[0]
        return {"loss": np.zeros(call.samples, np.float32), "norms": np.zeros((call.samples, count * (count + 1) // 2))}

    def give(self, call: Call, made: Iterable[Any]) -> Any:
        loss, _ = made
        return loss

    def traced(self, call: Call, registered: Callable[..., Any], request: Sequence[Any]) -> list[Any]:
        return list(registered())

    def empty(self, arguments: Sequence[Any]) -> dict[str, Any]:
        (first, draws, *_), torch = arguments, sys.modules["torch"]
        samples, count = first.shape[0], draws.shape[0]
        loss = first.new_empty((samples,), dtype=torch.float32)
        return {"loss": loss, "norms": first.new_empty((samples, count * (count + 1) // 2), dtype=torch.float64)}

    def returned(self, made: dict[str, Any]) -> Any:
        return tuple(made.values())


class OrGiven(Single):
    """One output like the first argument. It is drawn in memory of its own, and copied to `out` where that is given, so
    that an error leaves `out` as it was. `out` may be the first argument itself."""

    def make(self, call: Call, *request: Any) -> dict[str, Any]:
        (out,) = request
        call.into = out_of(call.op, out, call.first, call.first_name, call.read)
        return super().make(call)

    def give(self, call: Call, made: Iterable[Any]) -> Any:
        (value,) = made
        if call.into is None:
            return value
        if call.into.is_tensor:
            call.into.value.copy_(value)
        else:
            call.into.value[...] = call.into.like(value).value
        return call.into.give()

    def traced(self, call: Call, registered: Callable[..., Any], request: Sequence[Any]) -> list[Any]:
        (out,) = request
        call.into = None if out is None else _check_traced(call, "out", out, call.first.dtype)
        return [registered()]


class Rows(Outputs):
    """Matrices of a call whose arguments are probabilities: float64 (B, S, S), or (S, S) for one that is no array."""

    names = ("out",)
    schema = ", str backend) -> Tensor"

    def make(self, call: Call, *request: Any) -> dict[str, Any]:
        shape = (call.samples, call.elements, call.elements)
        if call.first is None:
            return {"out": Array(np.empty(shape), call.op, "out")}
        torch = sys.modules["torch"]
        value = torch.empty(shape, dtype=torch.float64, device=call.first.value.device)
        return {"out": Array(value, call.op, "out")}

    def give(self, call: Call, made: Iterable[Any]) -> Any:
        (rows,) = made
        return rows[0] if call.one else rows

    def empty(self, arguments: Sequence[Any]) -> dict[str, Any]:
        p, _, states = arguments
        return {"out": p.new_empty((p.shape[0], states, states))}


class Tables(Outputs):
    """The thresholds and the guide of matrices (K, R, S), and whether they are those of one matrix for all."""

    names = "thresholds", "guide"
    schema = ", str backend) -> (Tensor, Tensor)"

    def make(self, call: Call, *request: Any) -> dict[str, Any]:
        first, shapes = call.first, self._shapes(call.first.shape)
        if first.is_tensor:
            return {name: first.like(tensor) for name, tensor in self.empty([first.value]).items()}
        return {name: first.like(np.empty(shape, dtype)) for name, (shape, dtype) in shapes.items()}

    def give(self, call: Call, made: Iterable[Any]) -> Any:
        return *made, call.one

    def traced(self, call: Call, registered: Callable[..., Any], request: Sequence[Any]) -> list[Any]:
        return list(registered())

    def empty(self, arguments: Sequence[Any]) -> dict[str, Any]:
        (probs,), torch = arguments, sys.modules["torch"]
        shapes = self._shapes(probs.shape)
        return {name: probs.new_empty(shape, dtype=getattr(torch, dtype)) for name, (shape, dtype) in shapes.items()}

    def returned(self, made: dict[str, Any]) -> Any:
        return tuple(made.values())

    def _shapes(self, shape: Sequence[Any]) -> dict[str, tuple[tuple[Any, ...], str]]:
        return {"thresholds": (tuple(shape), "int64"), "guide": ((*shape[:2], GUIDE), "uint16")}


def _check_traced(call: Call, name: str, value: Any, dtype: str) -> Array:
    """An output given where torch traces."""
    array = adopt(value, call.op, name, (dtype,))
    check_tensor(call.op, name, array, value)
    same_shape(call.op, name, array, "the input", call.first)
    return array


def one_a_sample(call: Call, dtype: str) -> Any:
    """Zeros (samples,): NumPy for the host, else on the device of the first argument."""
    if not call.through_torch:
        return np.zeros(call.samples, dtype)
    value = call.first.value.new_zeros((call.samples,), dtype=getattr(sys.modules["torch"], dtype))
    return call.first.made(value, dtype, (call.samples,))


def given_back(call: Call, made: Any) -> Any:
    """An output of the host, None or NumPy (samples,), as the caller's kind of array."""
    if made is None:
        return None
    if call.first.is_tensor:
        return sys.modules["torch"].from_numpy(made)
    return call.first.like(made).give()
