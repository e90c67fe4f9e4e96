"""What ops take in the place of NumPy's arrays and torch's tensors: a table of types, asked after these.

Counts in scipy.sparse's CSR and CSC formats, alone or in an AnnData: only the stored values are drawn. A count of 0
stays 0 in the ops here, so what is not stored needs no draw. The stored values, in the order of the matrix' canonical
form (indices sorted, duplicates summed), are an array (nnz,) like any other. A new AnnData carries nothing that was
computed from other counts. No library is imported here: while anndata is not loaded there are no objects of it.

Arrays of other libraries on a device, such as CuPy's: ops take torch's tensors on the same memory in their place. Those
on the host are read through NumPy (arrays.py). Both ways are DLPack's, which also makes the streams of the two
libraries wait for one another.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..arrays import Array
from ..ground.values import aligned, common_shape, is_array, is_number, is_tensor, real_array, shown
from ..probability import Prob
from .numbers import largest_in
from .outputs import names_of

# What pandas calls the values of a column of numbers, whatever its dtype.
_NUMBERS = {"integer", "floating", "mixed-integer-float", "decimal", "complex"}
# Names of the columns of categories or of booleans that scanpy computes from the counts.
_COMPUTED = re.compile("(leiden|louvain|highly_variable).*|phase|predicted_doublet")


def is_annotated(value: Any) -> bool:
    """Whether a value is an AnnData."""
    module = sys.modules.get("anndata")
    return module is not None and isinstance(value, module.AnnData)


def matrix_of(op: str, argument: str, data: Any, layer: str | None = None) -> Any:
    """X of an AnnData, or one of its layers. ValueError where it is not there, lies in a file, or is damaged."""
    if data.isbacked:
        rule = "must be in memory, read it by .to_memory() first"
        raise ValueError(f"{op}: {argument}: {rule}, got an AnnData in a file")
    if layer is not None:
        if layer not in data.layers:
            raise ValueError(f"{op}: layer: must be one of {listed(data.layers)}, got {layer!r}")
        return checked(op, argument, data.layers[layer])
    if data.X is None:
        there = f" (its layers: {listed(data.layers)})" if len(data.layers) else ""
        raise ValueError(f"{op}: {argument}: must have counts in X, got an AnnData without X{there}")
    return checked(op, argument, data.X)


def checked(op: str, argument: str, matrix: Any) -> Any:
    """The matrix. ValueError where it is CSR or CSC with indices out of range: scipy's compiled loops trust them, and
    end the process."""
    if getattr(matrix, "format", None) in ("csr", "csc"):
        ends, size = matrix.indptr, matrix.shape[-1 if matrix.format == "csr" else 0]
        if ends[0] != 0 or (ends[1:] < ends[:-1]).any() or ends[-1] > min(len(matrix.indices), len(matrix.data)):
            raise ValueError(f"{op}: {argument}: indptr must rise from 0 to the number of values, got others")
        used = matrix.indices[: ends[-1]]
        low, high = used.min(initial=0), used.max(initial=0)
        if not 0 <= low <= high < max(size, 1):
            raise ValueError(f"{op}: {argument}: indices must be in 0..{size - 1}, got {low if low < 0 else high}")
    return matrix


def of_layer(op: str, argument: str, value: Any, layer: str) -> Any:
    """An AnnData whose X is a layer of another. TypeError for a value that is no AnnData."""
    if not is_annotated(value):
        raise TypeError(f"{op}: layer: must be None but for AnnData, got {layer!r} for {type(value).__name__}")
    return type(value)(X=matrix_of(op, argument, value, layer), obs=value.obs, var=value.var)


def new_of(data: Any, counts: Any, layers: dict[str, Any] | None = None) -> Any:
    """An AnnData of the same cells and genes with other counts in X and in layers.

    Of obs and var the columns that may be figures of the counts of `data` stay behind, as all else does.
    """
    return type(data)(X=counts, obs=_described(data.obs), var=_described(data.var), layers=layers)


def _described(table: Any) -> Any:
    """A copy of obs or var without columns of numbers, and without the categories that scanpy computes from counts.
    Numbers that are categories are names."""
    kind_of = sys.modules["pandas"].api.types.infer_dtype
    kept = [
        _COMPUTED.fullmatch(str(name)) is None and kind_of(column, skipna=True) not in _NUMBERS
        for name, column in table.items()
    ]
    return table.loc[:, kept].copy()


def listed(names: Any) -> str:
    """Some names, for a message."""
    shown = [repr(str(name)) for name in names]
    more = f" and {len(shown) - 10} more" if len(shown) > 10 else ""
    return f"{', '.join(shown[:10])}{more}" if shown else "those there are, none"


_ON_THE_HOST = 1  # kDLCPU


def entered(operation: Any, values: Sequence[Any], request: Sequence[Any], backend: str) -> Any:
    """The results of an op whose first array is of these types, in its type; None where it is not."""
    if (array := foreign_of(values[0])) is not None:
        return by_tensors(operation.op, operation, array, values, request, backend)
    return None if operation.cells is None else operation.cells(operation, values, request, backend)


def cells_of(op: str, argument: str, value: Any) -> Dense | Stored | Annotated | None:
    """The counts of an AnnData or of a sparse matrix; None for any other value. TypeError for another sparse format.

    No library is imported for it: of a module that is not loaded there are no objects.
    """
    if is_tensor(value) or isinstance(value, np.ndarray):
        return None
    for library, belongs, kind in _KINDS:
        if (module := sys.modules.get(library)) is not None and belongs(module, value):
            return kind(op, argument, value)
    return None


class Dense:
    """The dense counts of an AnnData: an op takes them, and what stands beside them, as they are."""

    def __init__(self, op: str, argument: str, values: Any) -> None:
        self.op, self.argument = op, argument
        self.values = np.asarray(values)  # the array of a view is of a class of anndata's

    def fitted(self, name: str, value: Any) -> Any:
        for part in value if isinstance(value, Prob) else (value,):
            _check_fits(self.op, self.argument, self.values.shape, name, np.shape(part))
        return value

    def thin(self, operation: Any, *arguments: Any) -> Any:
        return operation(*arguments)

    def give(self, drawn: Any) -> Any:
        return drawn


class Stored:
    """The stored values of a matrix, in canonical order. values: (nnz,)."""

    def __init__(self, op: str, argument: str, matrix: Any) -> None:
        if matrix.format not in ("csr", "csc"):
            rule = "a sparse matrix must be in CSR or CSC format, convert it by .tocsr() first"
            raise TypeError(f"{op}: {argument}: {rule}, got {type(matrix).__name__}")
        checked(op, argument, matrix)
        if not matrix.has_canonical_format or len(matrix.data) > matrix.nnz:  # there may be room for others
            matrix = matrix.copy()
            matrix.sum_duplicates()
            matrix.prune()
        self.op, self.argument, self.matrix, self.values = op, argument, matrix, matrix.data

    def places(self, axis: int) -> Any:
        """Of each stored value its index along an axis."""
        matrix = self.matrix
        if matrix.ndim == 1 or axis == (1 if matrix.format == "csr" else 0):
            return matrix.indices
        return np.repeat(np.arange(matrix.shape[axis]), np.diff(matrix.indptr))

    def fitted(self, name: str, value: Any) -> Any:
        """An argument that broadcasts to the shape of the matrix, as one number or one for each stored value."""
        if value is None or is_number(value):
            return value
        if isinstance(value, Prob):
            return Prob(self.fitted(f"{name}.p", value.p), self.fitted(f"{name}.q", value.q))
        array, shape = Array(value, self.op, name), self.matrix.shape
        if array.is_tensor:
            raise TypeError(f"{self.op}: {name}: must be a number or a NumPy array beside scipy.sparse, got a tensor")
        _check_fits(self.op, self.argument, shape, name, array.shape)
        sizes = (*(1,) * (len(shape) - len(array.shape)), *array.shape)
        return array.value.reshape(sizes)[tuple(0 if size == 1 else self.places(at) for at, size in enumerate(sizes))]

    def thin(self, operation: Any, values: Sequence[Any], *request: Any) -> Any:
        """The outputs of thin, of the stored values as one sample."""
        counts, alive, key, max_count, *rest = values
        each = self.fitted("alive", self._for_rows("alive", alive))
        if is_array(max_count):
            max_count = np.asarray(self.fitted("max_count", self._for_rows("max_count", max_count)))[None]
        if isinstance(each, Prob):
            each = Prob(*(np.asarray(part)[None] if np.ndim(part) else part for part in each))
        elif np.ndim(each):
            each = np.asarray(each)[None]
        drawn = operation((counts[None], each, key, max_count, *rest), *request)
        return [None if array is None else array[0] for array in drawn]

    def _for_rows(self, name: str, value: Any) -> Any:
        """As `fitted` takes it, of a shape that stands beside the matrix."""
        if isinstance(value, Prob):
            return Prob(self._for_rows(f"{name}.p", value.p), self._for_rows(f"{name}.q", value.q))
        if is_number(value):
            return value
        array = real_array(self.op, name, value)
        return array.reshape(aligned(self.op, name, array.shape, self.argument, self.matrix.shape))

    def give(self, drawn: Any) -> Any:
        """A matrix of the same kind and structure, with index arrays of its own: scipy changes them in place."""
        matrix = self.matrix.copy()
        matrix.data = drawn
        return matrix


class Annotated:
    """The counts of an AnnData, its X."""

    def __init__(self, op: str, argument: str, data: Any) -> None:
        counts = matrix_of(op, argument, data)
        self.data = data
        self.counts: Any = cells_of(op, argument, counts) or Dense(op, argument, counts)
        self.values: Any = self.counts.values
        self.fitted: Any = self.counts.fitted
        self.thin: Any = self.counts.thin

    def give(self, drawn: Any) -> Any:
        """An AnnData of the same cells and genes. What was computed from the counts, such as layers, stays behind."""
        return new_of(self.data, self.counts.give(drawn))

    def give_layers(self, key: str, parts: Sequence[Any]) -> Any:
        """The same without X, with the parts in layers key_0, key_1, ..."""
        return new_of(self.data, None, {f"{key}_{n}": self.counts.give(part) for n, part in enumerate(parts)})


# Where a library is loaded: (its name, whether a value is of it, what an op takes of such a one).
_KINDS: tuple[tuple[str, Callable[[Any, Any], bool], Any], ...] = (
    ("scipy.sparse", lambda sparse, value: sparse.issparse(value), Stored),
    ("anndata", lambda _, value: is_annotated(value), Annotated),
)


def _check_fits(op: str, argument: str, shape: tuple[int, ...], name: str, other: tuple[int, ...]) -> None:
    """ValueError unless what stands beside counts broadcasts to their shape."""
    if common_shape(op, {argument: shape, name: other}) != shape:
        raise ValueError(f"{op}: {name}: must broadcast to shape {shape}, got {other}")


def elements(operation: Any, values: Sequence[Any], request: Sequence[Any], backend: str) -> Any:
    """An op of call.elements whose first argument is such counts, by its draw of the values; else None."""
    (counts, *others), *rest = values
    name, *names = operation.arguments[0].dtypes
    if (cells := cells_of(operation.op, name, counts)) is None:
        return None
    numbers = (cells.fitted(*each) for each in zip(names, others, strict=True))
    return cells.give(operation(((cells.values, *numbers), *rest), request, backend))


def thinned(operation: Any, values: Sequence[Any], request: Sequence[Any], backend: str) -> Any:
    """thin of such counts, of which it makes x_t and births alone; None for other counts."""
    op, (x_0, alive, key, max_count, center, scale), (outputs, input_dtype, out) = operation.op, values, request
    if (cells := cells_of(op, "x_0", x_0)) is None:
        return None
    if out is not None:
        raise TypeError(f"{op}: out: must be None for scipy.sparse and AnnData, got {type(out).__name__}")
    for name, value, only in (("center", center, 0), ("scale", scale, 1)):
        if not (is_number(value) and value == only):
            raise ValueError(f"{op}: {name}: must be {only} for scipy.sparse and AnnData, got {shown(value)}")
    *counts, model_input = operation.outputs.names
    asked = names_of(op, "outputs", outputs, (*counts, model_input))
    wanted = [name for name in counts if name in asked]
    if not wanted:
        raise ValueError(
            f"{op}: outputs: must hold {' or '.join(counts)} for scipy.sparse and AnnData, got {shown(outputs)}"
        )
    if max_count is None:
        max_count = largest_in(cells.values)
    values, request = (cells.values, alive, key, max_count, center, scale), (wanted, input_dtype, None)
    drawn = cells.thin(operation, values, request, backend)
    return operation.outputs.result(*(None if each is None else cells.give(each) for each in drawn))


def foreign_of(value: Any) -> Any:
    """The value, or of a tuple its first such part, if it is an array of another library on a device; else None."""
    if type(value) is tuple:
        # A list, as torch 2.6 does not trace `next` with a default.
        found = [each for each in value if foreign_of(each) is not None]
        return found[0] if found else None
    known = isinstance(value, (int, float, np.ndarray)) or is_tensor(value)  # numbers may be symbols of torch.compile
    if known or not hasattr(value, "__dlpack_device__"):
        return None
    try:
        kind, _ = value.__dlpack_device__()
    except Exception:  # of the other library, whatever it raises; the op refuses the value later, by name
        return None
    return None if kind == _ON_THE_HOST else value


def by_tensors(op: str, call: Callable[..., Any], foreign: Any, *arguments: Any) -> Any:
    """call(*arguments) with tensors in the place of arrays on a device, and such arrays, of foreign's kind, back."""
    namespace = _namespace_of(foreign)
    results = call(*(_changed(each, lambda value: _tensor(op, value)) for each in arguments))
    return _changed(results, lambda value: namespace.from_dlpack(value) if is_tensor(value) and namespace else value)


def _namespace_of(array: Any) -> Any:
    """The module that makes such arrays by from_dlpack; None for a library without one, whose results stay tensors."""
    if hasattr(array, "__array_namespace__"):
        return array.__array_namespace__()
    module = sys.modules.get(type(array).__module__.partition(".")[0])
    return module if hasattr(module, "from_dlpack") else None


def _tensor(op: str, value: Any) -> Any:
    if foreign_of(value) is None:
        return value
    import torch

    try:
        return torch.from_dlpack(value)
    except Exception as error:  # of either library, whatever it raises
        kind, reason = type(value).__name__, " ".join(str(error).split())
        raise TypeError(f"{op}: arguments: must be readable by torch.from_dlpack, got {kind}: {reason}") from None


def _changed(value: Any, change: Callable[[Any], Any]) -> Any:
    """A value, or a list or tuple, of any kind, of values, with each of them changed."""
    if not isinstance(value, (list, tuple)):
        return change(value)
    parts = [_changed(each, change) for each in value]
    if all(one is other for one, other in zip(parts, value, strict=True)):
        return value
    return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
