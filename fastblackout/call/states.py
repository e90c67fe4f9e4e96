"""The kinds of arguments of the ops on states: transition matrices, tables of them, and predictions of x_0.

There is one matrix for all samples, one of several chosen by index, or one a sample.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..arrays import COUNTS, FLOATS, Array, adopt
from ..ground.values import check_mask, from_dlpack, is_tensor, real_array
from ..probability import Prob
from ..reference.categorical import MAX_STATES
from .arguments import Argument, Call, adopt_counts, check_tensor, detached, same_device, same_library, same_shape
from .numbers import as_constant, largest, pair_of, pair_on_host


def matrices_of(op: str, argument: str, value: Any, dtypes: tuple[str, ...]) -> tuple[Array, bool]:
    """((K, R, S), whether it is one matrix for all) of (R, S) or (K, R, S); copied only where rows are strided."""
    array = adopt(value, op, argument, dtypes)
    if len(array.shape) not in (2, 3) or 0 in array.shape[-2:]:
        raise ValueError(f"{op}: {argument}: shape must be (R, S) or (K, R, S), got {array.shape}")
    if max(array.shape[-2:]) > MAX_STATES:
        raise ValueError(f"{op}: {argument}: must have at most {MAX_STATES} states, got shape {array.shape}")
    shared = len(array.shape) == 2
    tensor = array.value.detach() if array.is_tensor else array.value
    if array.strides()[-1] != 1:
        tensor = tensor.contiguous() if array.is_tensor else np.ascontiguousarray(tensor)
    return array.like(tensor[None] if shared else tensor), shared


def check_samples(op: str, argument: str, matrices: Array, shared: bool, indexed: bool, samples: int) -> None:
    """ValueError unless every sample has a matrix."""
    if not shared and not indexed and matrices.shape[0] != samples:
        raise ValueError(
            f"{op}: {argument}: must hold one matrix for each of {samples} samples unless index is given, "
            f"got shape {matrices.shape}"
        )
    if indexed and matrices.shape[0] == 0:
        raise ValueError(f"{op}: {argument}: must hold a matrix, got shape {matrices.shape}")


def check_index_use(op: str, index: Any, shared: bool) -> None:
    if index is not None and shared:
        rule = "must be None where there is one matrix for all samples"
        raise ValueError(f"{op}: index: {rule}, got {type(index).__name__}")


def index_on_host(op: str, index: Any, samples: int) -> np.ndarray:
    """int64 (samples,), contiguous; the kernels check its values."""
    if not isinstance(index, np.ndarray) and not is_tensor(index) and hasattr(index, "__dlpack__"):
        index = from_dlpack(op, "index", index)
    check_index(op, index, samples)
    if not is_tensor(index):
        return np.require(index, requirements=("C", "A"))
    if index.device.type != "cpu":
        raise ValueError(f"{op}: index: must be on the CPU, got a tensor on {index.device}")
    return np.ascontiguousarray(index.numpy())


def check_index(op: str, index: Any, samples: int) -> None:
    """TypeError or ValueError unless int64 (samples,), of either library."""
    check_mask(op, "index", index)
    dtype = str(getattr(index, "dtype", type(index).__name__)).removeprefix("torch.")
    if dtype != "int64":
        raise TypeError(f"{op}: index: must be int64, one a sample, got {dtype}")
    if tuple(index.shape) != (samples,):
        raise ValueError(f"{op}: index: shape must be ({samples},), got {tuple(index.shape)}")


def check_holds(op: str, argument: str, dtype: str, states: int) -> None:
    if states - 1 > largest(dtype):
        raise TypeError(f"{op}: {argument}: dtype must hold states up to {states - 1}, got {dtype}")


PROBS = ("float64", "float32")


class Matrices(Argument):
    """(matrix, index): a transition matrix for all samples, one for each, or the one of several that index says."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.names = (name, "index")
        self.parts = (f"Tensor {name}", "Tensor? index")

    def canon(self, call: Call, value: Any) -> tuple[Any, ...]:
        matrix, index = value
        matrix, shared = matrices_of(call.op, self.name, call.settle(self.name, _constant(call, matrix)), PROBS)
        _check_device(call, self.name, matrix)
        return matrix, self._index(call, matrix, shared, index)

    def from_parts(self, *parts: Any) -> Any:
        matrix, index = parts
        return matrix[0] if len(matrix) == 1 and index is None else matrix, index

    def _index(self, call: Call, matrix: Array, shared: bool, index: Any) -> Any:
        check_index_use(call.op, index, shared)
        check_holds(call.op, call.first_name, call.first.dtype, matrix.shape[-1])
        which = _index(call, index)
        check_samples(call.op, self.name, matrix, shared, which is not None, call.samples)
        return which


class Table(Matrices):
    """((thresholds, guide, whether it is one for all), index): the thresholds of a fb.CategoricalTable."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.names = ("thresholds", "guide", "index")
        self.parts = ("Tensor thresholds", "Tensor guide", "Tensor? index")

    def canon(self, call: Call, value: Any) -> tuple[Any, ...]:
        (thresholds, guide, shared), index = value
        guide, thresholds = (Array(call.settle(self.name, part), call.op, self.name) for part in (guide, thresholds))
        _check_device(call, self.name, thresholds)
        return thresholds, guide, self._index(call, thresholds, shared, index)

    def from_parts(self, *parts: Any) -> Any:
        thresholds, guide, index = parts
        return (thresholds, guide, len(thresholds) == 1 and index is None), index


class TableRows(Argument):
    """The matrices that a table is made of."""

    names = ("probs",)
    parts = ("Tensor probs",)

    def canon(self, call: Call, value: Any) -> tuple[Array]:
        array, call.one = matrices_of(call.op, "probs", call.settle("probs", value), PROBS)
        call.first, (call.samples, call.elements) = array, array.shape[:2]
        return (array,)


class Prediction(Argument):
    """(x_0, logits, probs): exactly one of known states, and of the logits or probabilities of all of them."""

    names = "x_0", "weights", "is_logits"
    parts = "Tensor? x_0", "Tensor? weights", "bool is_logits"

    def canon(self, call: Call, value: Any) -> tuple[Any, ...]:
        source, weights = (each and detached(call, each) for each in self._checked(call, value))
        if weights is not None and not call.first.shape and not call.through_torch:
            weights = weights.like(weights.value[None])  # its first dimension is the sample's
        return source, weights, value[1] is not None

    def from_parts(self, *parts: Any) -> Any:
        x_0, weights, is_logits = parts
        return (x_0, weights, None) if is_logits else (x_0, None, weights)

    def for_rows(self, *parts: Any) -> tuple[Any, ...]:
        x_0, weights, is_logits = parts
        return *super().for_rows(x_0), None if weights is None else weights[None], is_logits

    def _checked(self, call: Call, value: Any) -> tuple[Array | None, Array | None]:
        """(x_0, weights), one of them None."""
        dtypes: dict[str, tuple[str, ...]] = {"x_0": COUNTS, "logits": FLOATS, "probs": PROBS}
        present = {name: each for name, each in zip(dtypes, value, strict=True) if each is not None}
        if len(present) != 1:
            rule = "exactly one of x_0, logits and probs must be given"
            raise TypeError(f"{call.op}: x_0: {rule}, got {list(present) or 'none'}")
        ((name, each),) = present.items()
        array = adopt_counts(call.settle(name, each), call.op, name, dtypes[name])
        same = same_shape if name == "x_0" else same_device
        for check in (same, same_library):
            check(call.op, name, array, call.first_name, call.first)
        if name == "x_0":
            return array, None
        return None, array


class MatrixPair(Argument):
    """(before, after, index): P(s) and P(t - s), float64, each as Matrices takes them; with Prediction before it."""

    names = "before", "after", "index"
    parts = "Tensor before", "Tensor after", "Tensor? index"

    def canon(self, call: Call, value: Any) -> tuple[Any, ...]:
        *pair, index = value
        first, second, shared = self._pair(call, *(_constant(call, matrix) for matrix in pair))
        for name, array in (("before", first), ("after", second)):
            _check_device(call, name, array)
        return self._repeated(call, first, second, shared, index)

    def from_parts(self, *parts: Any) -> Any:
        before, after, index = parts
        one = len(before) == 1 and index is None
        return (before[0], after[0], index) if one else parts

    def _pair(self, call: Call, before: Any, after: Any) -> tuple[Array, Array, bool]:
        """P(s) and P(t - s) as (K, S, S), and whether both are one for all."""
        op = call.op
        matrices = {"before": call.settle("before", before), "after": call.settle("after", after)}
        pair = [matrices_of(op, name, matrix, ("float64",)) for name, matrix in matrices.items()]
        for (array, _), name in zip(pair, matrices, strict=True):
            square = (pair[0][0].shape[-1],) * 2
            if array.shape[1:] != square:
                raise ValueError(f"{op}: {name}: shape must end in {square}, got {array.shape}")
        (first, one), (second, other) = pair
        if not one and not other and first.shape[0] != second.shape[0]:
            rule = f"must hold as many matrices as before, {first.shape[0]}"
            raise ValueError(f"{op}: after: {rule}, got {second.shape[0]}")
        return first, second, one and other

    def _repeated(self, call: Call, before: Array, after: Array, shared: bool, index: Any) -> tuple[Any, ...]:
        """Both with the same number of matrices, without a copy; ValueError unless every sample has its own."""
        op, x, states = call.op, call.first, before.shape[-1]
        check_index_use(op, index, shared)
        check_holds(op, call.first_name, x.dtype, states)
        if (weights := call.record["weights"]) is not None:
            shape = weights.shape if x.shape or call.through_torch else weights.shape[1:]  # as Prediction gives it
            if shape != (*x.shape, states):
                name = "logits" if call.record["is_logits"] else "probs"
                rule = f"shape must be (*shape of {call.first_name}, S), {(*x.shape, states)}"
                raise ValueError(f"{op}: {name}: {rule}, got {shape}")
        which = _index(call, index)
        count = max(before.shape[0], after.shape[0])
        for name, array in (("before", before), ("after", after)):
            one = array.shape[0] == 1 or count == 1
            check_samples(op, name, array, one, which is not None, call.samples)
        return _repeated(before, count), _repeated(after, count), which


def _repeated(matrices: Array, count: int) -> Array:
    shape = (count, *matrices.shape[1:])
    value = matrices.value
    return matrices.like(value.expand(shape) if matrices.is_tensor else np.broadcast_to(value, shape))


class Rows(Argument):
    """(prob, states): a probability for each sample, or one, and the number of states of its matrix."""

    names = "prob", "states"
    parts = "Tensor p", "Tensor q", "SymInt states"

    def tensors(self, value: Any) -> list[Any]:
        return [part for part in _sides(value[0]) if is_tensor(part)]

    def canon(self, call: Call, value: Any) -> tuple[Any, ...]:
        prob, states = self._begin(call, value)
        if not call.through_torch:
            return *pair_on_host(call.op, "prob", prob, call.samples), states
        p, q = pair_of(call.op, "prob", prob, call.first.value, call.samples, call.backend)
        return p.contiguous(), q.contiguous(), states

    def from_parts(self, *parts: Any) -> Any:
        p, q, states = parts
        return Prob(p, q), states

    def _begin(self, call: Call, value: Any) -> tuple[Any, int]:
        """The settled value, after the call has learnt of how many samples and states it is."""
        tensors, (prob, states) = self.tensors(value), value
        prob = call.settle("prob", prob)
        shapes = [part.shape if is_tensor(part) else real_array(call.op, "prob", part).shape for part in _sides(prob)]
        sizes = [shape[0] for shape in shapes if shape]
        call.samples, call.elements = sizes[0] if sizes else 1, states
        call.one, call.first = not sizes, Array(tensors[0].detach(), call.op, "prob") if tensors else None
        return prob, states


def _sides(prob: Any) -> tuple[Any, ...]:
    return tuple(prob) if isinstance(prob, Prob) else (prob,)


def _constant(call: Call, value: Any) -> Any:
    """A plain NumPy array where torch traces: a constant of the graph. Others go on, to be refused by name."""
    if not (call.traced and type(value) is np.ndarray):
        return value
    return as_constant(value, call.first.value)


def _check_device(call: Call, name: str, array: Array) -> None:
    """TypeError or ValueError unless it is where the states are, and a tensor where the call needs one."""
    if call.through_torch:
        check_tensor(call.op, name, array, array.value)
    same_device(call.op, name, array, call.first_name, call.first)


def _index(call: Call, index: Any) -> Any:
    """Of the way of the call: NumPy for the host, a tensor for a device or where torch traces."""
    if index is None:
        return None
    index = call.settle("index", _constant(call, index))
    if not call.through_torch:
        return index_on_host(call.op, index, call.samples)
    _check_device(call, "index", Array(index, call.op, "index"))
    check_index(call.op, index, call.samples)
    return index.contiguous()
